"""Kill: a cancellation in the middle of an await, with the right reason, for the right actor and no
other.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak

from .conftest import OpenNode


class Victim(ak.Actor):
    def __init__(self) -> None:
        self.log: list[str] = []

    @ak.cast
    def nothing(self) -> None:
        self.log.append("nothing")

    @ak.call
    def answer_inline(self) -> int:
        return 1

    @ak.call
    async def answer(self) -> int:
        return 1

    @ak.call
    async def sleep(self, log: list[str]) -> str:
        try:
            await trio.sleep(1_000)
            return "slept"
        finally:
            log.append("cleaned up")

    @ak.call
    async def in_nursery(self, log: list[str]) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(self.sleep, log)

    @ak.call
    async def in_shield(self, log: list[str], seconds: float) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
        log.append("left the shield")
        await trio.lowlevel.checkpoint()
        log.append("not reached")

    @ak.call
    async def in_thread(self, log: list[str], release: threading.Event, abandon: bool) -> None:
        try:
            await trio.to_thread.run_sync(release.wait, 10, abandon_on_cancel=abandon)
            await trio.lowlevel.checkpoint()
            log.append("not reached")
        finally:
            log.append("cleaned up")

    @ak.call
    async def swallow_once(self, log: list[str]) -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            log.append("swallowed")
        return "a result that nobody may get"

    @ak.call
    async def swallow(self, log: list[str], enough: trio.Event) -> None:
        while not enough.is_set():
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                pass
        log.append("gave in")

    @ak.call
    async def raise_in_cleanup(self, log: list[str]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append("cleaned up")
            raise ValueError("in the cleanup")

    @ak.cast
    def kill_itself(self, log: list[str]) -> None:
        self.ctx.kill()
        self.ctx.kill()
        log.append("went on to its end")

    @ak.call
    def kill_itself_inline(self, log: list[str]) -> str:
        self.ctx.kill()
        log.append("went on to its end")
        return "answered"

    @ak.call
    async def kill_itself_async(self, log: list[str]) -> None:
        self.ctx.kill()
        log.append("before")
        await trio.lowlevel.checkpoint()
        log.append("not reached")

    @ak.cast
    async def kill_itself_and_hide(self, seconds: float) -> None:
        self.ctx.kill()
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    @ak.call
    async def wait_for(self, event: trio.Event, log: list[str]) -> str:
        await event.wait()
        log.append("woke up")
        return "a result that nobody may get"

    def terminate(self, reason: ak.ExitReason) -> None:
        self.log.append("terminate")


async def call_killed(
    node: ak.Node, method: Any, *args: Any, twice: bool = False, release: Any = None
) -> ak.CalleeDied:
    """Call a new Victim, kill it when it has suspended, and return what the caller got."""
    ref = node.spawn(Victim)
    got: list[ak.CalleeDied] = []

    async def ask() -> None:
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.within(1_000_000).call(method, *args)
        got.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        ref.kill()
        if twice:
            ref.kill()
            await trio.testing.wait_all_tasks_blocked()
            ref.kill()
        if release is not None:
            release.set()
    assert not ref.alive
    return got[0]


async def works(node: ak.Node) -> None:
    """Check that another actor, on whatever worker, suspends and answers, untouched by any late
    kill.
    """
    refs = [node.spawn(Victim) for _ in range(5)]
    event = trio.Event()
    answers: list[str] = []

    async def ask(ref: ak.Ref[Victim]) -> None:
        answers.append(await ref.call(Victim.wait_for, event, []))

    async with trio.open_nursery() as nursery:
        for ref in refs:
            nursery.start_soon(ask, ref)
        await trio.testing.wait_all_tasks_blocked()
        event.set()
    assert len(answers) == 5
    for ref in refs:
        assert ref.alive
        ref.kill()
        assert not ref.alive


async def test_an_idle_actor_dies_at_once(opened: OpenNode) -> None:
    """The actor dies without a trio pass; terminate does not run."""
    async with opened() as node:
        ref = node.spawn(Victim)
        log = ref.obj.log
        ref.kill()
        assert not ref.alive
        assert log == []
        ref.kill()
        await works(node)


async def test_a_queued_actor_dies_before_its_first_step(opened: OpenNode) -> None:
    """The actor's messages are dead letters, the run queue's stale entry does no harm, and no
    coroutine is left unawaited.
    """
    async with opened() as node, node.subscribe(ak.ActorExited, ak.DeadLetter) as events:
        ref = node.spawn(Victim)
        log = ref.obj.log
        ref.cast(Victim.nothing)
        ref.cast(Victim.sleep, log)
        ref.kill()
        assert not ref.alive
        await trio.testing.wait_all_tasks_blocked()
        assert log == []
        exits, letters = [], []
        for event in events.drain():
            (exits if isinstance(event, ak.ActorExited) else letters).append(event)
        assert [event.reason for event in exits] == [ak.KILLED]
        assert [event.message for event in letters] == ["Victim.nothing", "Victim.sleep"]
        await works(node)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("method", [Victim.sleep, Victim.in_nursery, Victim.raise_in_cleanup])
async def test_a_suspended_actor_dies_in_its_await(
    opened: OpenNode, method: Any, twice: bool, autojump_clock: Any
) -> None:
    """In a sleep, in a nursery or with a cleanup that raises, the cleanup runs, the reason is
    Killed, and the caller gets CalleeDied.
    """
    async with opened() as node:
        log: list[str] = []
        error = await call_killed(node, method, log, twice=twice)
        assert error.reason == ak.KILLED
        assert log == ["cleaned up"] * (3 if method is Victim.in_nursery else 1)
        await works(node)


async def test_a_shielded_actor_dies_when_the_shield_ends(opened: OpenNode, autojump_clock: Any) -> None:
    """The actor dies not before the shield ends, and not later than its next await."""
    async with opened() as node:
        log: list[str] = []
        started = trio.current_time()
        error = await call_killed(node, Victim.in_shield, log, 50.0)
        assert error.reason == ak.KILLED
        assert trio.current_time() - started == pytest.approx(50)
        assert log == ["left the shield"]
        await works(node)


@pytest.mark.parametrize("abandon", [False, True])
async def test_an_actor_in_a_thread_dies_when_trio_lets_it(opened: OpenNode, abandon: bool) -> None:
    """``to_thread.run_sync`` decides: the actor dies at once when the thread may be abandoned,
    otherwise when it has ended.
    """
    async with opened() as node:
        log: list[str] = []
        release = threading.Event()
        error = await call_killed(node, Victim.in_thread, log, release, abandon, release=None if abandon else release)
        release.set()
        assert error.reason == ak.KILLED
        assert log == ["cleaned up"]
        await works(node)


async def test_an_actor_that_kills_itself_ends_with_its_message(opened: OpenNode, autojump_clock: Any) -> None:
    """A synchronous message goes on to its end, an inline call's answer still goes out, and an
    async handler dies in its next await.
    """
    async with opened() as node:
        log: list[str] = []
        ref = node.spawn(Victim)
        ref.cast(Victim.kill_itself, log)
        ref.cast(Victim.nothing)
        await trio.sleep(1)
        assert not ref.alive
        assert log == ["went on to its end"]
        ref = node.spawn(Victim)
        assert await ref.call(Victim.kill_itself_inline, log) == "answered"
        assert not ref.alive
        ref = node.spawn(Victim)
        log.clear()
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.call(Victim.kill_itself_async, log)
        assert caught.value.reason == ak.KILLED
        assert log == ["before"]
        await works(node)


async def test_a_kill_that_races_with_the_wake_up_wins(opened: OpenNode) -> None:
    """The wake-up is already on its way: the handler ends normally, but its result is not
    delivered.
    """
    async with opened() as node:
        log: list[str] = []
        event = trio.Event()
        ref = node.spawn(Victim)
        got: list[ak.CalleeDied] = []

        async def ask() -> None:
            with pytest.raises(ak.CalleeDied) as caught:
                await ref.call(Victim.wait_for, event, log)
            got.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            event.set()
            ref.kill()
        assert log == ["woke up"]
        assert got[0].reason == ak.KILLED
        await works(node)


async def test_cancellation_swallowed_once_is_death_all_the_same(opened: OpenNode) -> None:
    """The handler returns, but its caller gets CalleeDied instead of the result."""
    async with opened() as node:
        log: list[str] = []
        error = await call_killed(node, Victim.swallow_once, log)
        assert error.reason == ak.KILLED
        assert log == ["swallowed"]
        await works(node)


async def test_cancellation_swallowed_for_ever_is_reported_and_others_run(
    opened: OpenNode, mock_clock: trio.testing.MockClock
) -> None:
    """An Unkillable event and a count report it, and all others go on; when the actor gives in at
    last, it is gone.
    """
    async with opened(kill_timeout=2.0) as node:
        log: list[str] = []
        ref, other = node.spawn(Victim), node.spawn(Victim)
        enough = trio.Event()
        async with node.subscribe(ak.Unkillable) as events:
            ref.cast(Victim.swallow, log, enough)
            await trio.testing.wait_all_tasks_blocked()
            ref.kill()
            mock_clock.jump(1.9)
            await trio.lowlevel.checkpoint()
            assert node.statistics().unkillable == 0
            mock_clock.jump(0.2)
            event = await events.receive()
            assert event.ref is ref
            assert node.statistics().unkillable == 1
            for _ in range(20):
                assert await other.call(Victim.answer) == 1
            with trio.move_on_after(0):
                await other.call(Victim.sleep, [])
        assert ref.alive
        enough.set()
        assert await node.stopped(ref) == ak.KILLED
        assert log == ["gave in"]
        assert node.statistics().unkillable == 0


@pytest.mark.parametrize("itself", [False, True])
async def test_a_shield_that_lasts_is_reported_once(opened: OpenNode, itself: bool, autojump_clock: Any) -> None:
    """The report comes after ``kill_timeout``, even when the actor killed itself before it first
    suspended.
    """
    async with opened(kill_timeout=5.0) as node, node.subscribe(ak.Unkillable) as events:
        ref = node.spawn(Victim)
        if itself:
            ref.cast(Victim.kill_itself_and_hide, 100.0)
            await trio.testing.wait_all_tasks_blocked()
        else:
            ref.cast(Victim.in_shield, [], 100.0)
            await trio.testing.wait_all_tasks_blocked()
            ref.kill()
        await trio.sleep(4)
        assert events.drain() == []
        await trio.sleep(50)
        assert [event.ref for event in events.drain()] == [ref]
        assert node.statistics().unkillable == 1
        assert await node.stopped(ref) == ak.KILLED
        assert node.statistics().unkillable == 0
        assert events.drain() == []


async def test_a_late_kill_does_not_touch_the_next_actor_on_that_worker(opened: OpenNode, autojump_clock: Any) -> None:
    """By then the worker serves another actor, which sleeps on."""
    async with opened(max_idle=1) as node:
        first = node.spawn(Victim)
        second = node.spawn(Victim)
        await first.call(Victim.answer)
        log: list[str] = []
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await second.within(2_000).call(Victim.sleep, log))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            first.kill()
            first.kill()
            await trio.sleep(1)
            assert log == []
        assert answers == ["slept"]
        assert second.alive


async def test_an_actor_killed_twice_by_different_means_keeps_its_first_reason(
    opened: OpenNode, autojump_clock: Any
) -> None:
    """After exit(Shutdown) and then kill, the reason is Shutdown."""
    async with opened() as node:
        ref = node.spawn(Victim)
        ref.cast(Victim.sleep, [])
        reasons: list[Any] = []

        async def note() -> None:
            reasons.append(await node.stopped(ref))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note)
            await trio.testing.wait_all_tasks_blocked()
            ref.exit(ak.Shutdown("first"))
            ref.kill()
        assert reasons == [ak.Shutdown("first")]


async def test_callers_in_the_queue_of_a_killed_actor_fail_at_once(opened: OpenNode) -> None:
    """The caller that is served and those that wait all fail; none is left pending."""
    async with opened() as node:
        ref = node.spawn(Victim)
        failed: list[ak.ExitReason] = []

        async def ask(method: Any, *args: Any) -> None:
            with pytest.raises(ak.CalleeDied) as caught:
                await ref.call(method, *args)
            failed.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, Victim.sleep, [])
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(10):
                nursery.start_soon(ask, Victim.answer)
                nursery.start_soon(ask, Victim.answer_inline)
            await trio.testing.wait_all_tasks_blocked()
            assert node.statistics().pending_calls == 21
            ref.kill()
        assert failed == [ak.KILLED] * 21
        assert node.statistics().pending_calls == 0


async def test_a_cancelled_caller_leaves_the_callee_alone(opened: OpenNode, autojump_clock: Any) -> None:
    """The late answer is dropped, nothing is pending, and the callee goes on serving."""
    async with opened() as node:
        ref = node.spawn(Victim)
        log: list[str] = []
        with trio.move_on_after(1) as scope:
            await ref.within(5_000).call(Victim.sleep, log)
        assert scope.cancelled_caught
        assert node.statistics().pending_calls == 0
        assert log == []
        await trio.sleep(2_000)
        assert log == ["cleaned up"]
        assert await ref.call(Victim.answer) == 1


async def test_a_cancelled_caller_that_is_killed_too(opened: OpenNode, autojump_clock: Any) -> None:
    """An actor in a call within its own move_on_after is killed in the same instant: it ends with
    Killed, and the callee lives.
    """

    class Caller(ak.Actor):
        @ak.cast
        async def ask(self, ref: ak.Ref[Victim]) -> None:
            with trio.move_on_after(1):
                await ref.within(5_000).call(Victim.sleep, [])
            await trio.sleep_forever()

    async with opened() as node:
        callee, caller = node.spawn(Victim), node.spawn(Caller)
        caller.cast(Caller.ask, callee)
        reasons: list[Any] = []

        async def note() -> None:
            reasons.append(await node.stopped(caller))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note)
            await trio.sleep(1)
            caller.kill()
        assert reasons == [ak.KILLED]
        assert callee.alive
        assert node.statistics().pending_calls == 0


@pytest.mark.parametrize("how", ["before it begins", "receiving", "sleeping", "in a shield"])
async def test_a_process_is_killed_like_an_actor(opened: OpenNode, how: str, autojump_clock: Any) -> None:
    """A process dies before its function begins, in receive, in any await, and at the end of a
    shield.
    """
    log: list[str] = []

    async def process(ctx: ak.ProcessContext) -> None:
        log.append("began")
        try:
            if how == "receiving":
                await ctx.receive()
            if how == "in a shield":
                with trio.CancelScope(shield=True):
                    await trio.sleep(3)
                await trio.lowlevel.checkpoint()
            await trio.sleep_forever()
        finally:
            log.append("cleaned up")

    async with opened() as node:
        ref = node.spawn(process)
        if how != "before it begins":
            await trio.testing.wait_all_tasks_blocked()
        assert await _killed_now(node, ref) == ak.KILLED
        assert log == ([] if how == "before it begins" else ["began", "cleaned up"])
        await works(node)


async def _killed_now(node: ak.Node, ref: ak.Ref[Any]) -> ak.ExitReason | None:
    ref.kill()
    return await node.stopped(ref)


@pytest.mark.parametrize("first", ["kill", "cancel"])
async def test_a_kill_and_an_outer_cancellation_in_either_order(
    opened: OpenNode, first: str, autojump_clock: Any
) -> None:
    """The reason is right and no worker is left, whichever comes first."""
    reasons: dict[Any, ak.ExitReason] = {}
    with trio.CancelScope() as outer:
        async with opened() as node, node.subscribe(ak.ActorExited) as events:
            killed, other = node.spawn(Victim), node.spawn(Victim)
            for ref in (killed, other):
                ref.cast(Victim.sleep, [])
            await trio.sleep(1)
            if first == "kill":
                killed.kill()
                outer.cancel()
            else:
                outer.cancel()
                killed.kill()
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)
                reasons.update({event.ref: event.reason for event in events.drain()})
    assert outer.cancelled_caught
    assert reasons == {killed: ak.KILLED}
    assert not other.alive
