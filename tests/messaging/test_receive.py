"""How a process takes its messages: at once, within a time, and no longer once it is killed."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import actorkit as ak
from actorkit.runtime.base import trio_internals
from actorkit.runtime.base.trio_internals import Features
from actorkit.testing import Probe
from tests.conformance.marks import conforms
from tests.effort import effort

from .kit import settle

Wanted = Any


@pytest.fixture(params=["full", "degraded"])
async def node(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, clock: MockClock
) -> AsyncIterator[ak.Node]:
    """A node in each of both modes."""
    if request.param == "full":
        features = trio_internals.FEATURES
    else:
        features = Features.degraded()
        monkeypatch.setattr(trio_internals, "FEATURES", features)
    async with ak.open_node(features=features) as opened:
        yield opened


async def nowait(ctx: ak.ProcessContext, wanted: Wanted = None) -> Any:
    """``receive_nowait``, or the word "nothing" when it would block."""
    try:
        return ctx.receive_nowait(wanted)
    except trio.WouldBlock:
        return "nothing"


async def within_0(ctx: ak.ProcessContext, wanted: Wanted = None) -> Any:
    """``receive(within=0)``, or the word "nothing" when it is too late."""
    try:
        return await ctx.receive(wanted, within=0)
    except trio.TooSlowError:
        return "nothing"


AT_ONCE = pytest.mark.parametrize("at_once", [nowait, within_0])
AtOnce = Callable[..., Awaitable[Any]]
BUDGET = pytest.mark.parametrize("budget", [None, "1 MiB"], ids=["plain", "measured"])


async def run(node: ak.Node, process: Any, *messages: Any, budget: Any = None) -> ak.ExitReason:
    """Run a process that finds these messages in its mailbox, and return why it ended."""
    probe = Probe(node)
    ref = node.spawn(ak.child(process).with_(max_heap_size=budget))
    probe.monitor(ref)
    for message in messages:
        ref.send(message)
    reason: ak.ExitReason = (await probe.receive(ak.Down, within=100)).reason
    return reason


# --- at once --------------------------------------------------------------------------------------


@conforms("TMR-01")
@BUDGET
@AT_ONCE
async def test_what_is_there_is_taken(node: ak.Node, clock: MockClock, at_once: AtOnce, budget: Any) -> None:
    """Messages are taken in order; then there is nothing; the process goes on with receive as
    before.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        for _ in range(4):
            got.append(await at_once(ctx))
        ctx.ref.send("its own")
        got.append(await at_once(ctx))
        got.append(await at_once(ctx))
        ctx.send_after(1, ctx.ref, "later")
        got.append(await at_once(ctx))
        got.append(await ctx.receive())

    assert await run(node, process, 1, 2, 3, budget=budget) == ak.NORMAL
    assert got == [1, 2, 3, "nothing", "its own", "nothing", "nothing", "later"]


@AT_ONCE
async def test_what_is_wanted_is_taken(node: ak.Node, clock: MockClock, at_once: AtOnce) -> None:
    """Messages are taken by class or predicate; one that is not wanted stays, in order, and makes
    room only when it goes.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        got.append(await at_once(ctx, str))
        got.append(await at_once(ctx, str))
        got.append(await at_once(ctx, lambda m: m == 3))
        got.append(await at_once(ctx, float))
        for _ in range(3):
            got.append(await at_once(ctx))

    assert await run(node, process, 1, 2, "x", 3) == ak.NORMAL
    assert got == ["x", "nothing", 3, "nothing", 1, 2, "nothing"]


@AT_ONCE
async def test_it_lets_waiting_senders_in(node: ak.Node, clock: MockClock, at_once: AtOnce) -> None:
    """A place in a full mailbox goes to a sender that waits for it."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        await trio.sleep(1)
        for _ in range(5):
            got.append(await at_once(ctx))

    ref = node.spawn(ak.child(process).with_(mailbox=1))
    async with trio.open_nursery() as nursery:
        for n in range(3):
            nursery.start_soon(ref.send_wait, n)
            await settle()
    await node.stopped(ref)
    assert got[:3] == [0, 1, 2]
    assert got[3:] == ["nothing", "nothing"]


@AT_ONCE
async def test_a_predicate_that_raises_loses_nothing(node: ak.Node, clock: MockClock, at_once: AtOnce) -> None:
    """The predicate's exception comes out; the message that it was asked about stays."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        with pytest.raises(ZeroDivisionError):
            await at_once(ctx, lambda m: 1 // m)
        got.append(await at_once(ctx))

    assert await run(node, process, 0) == ak.NORMAL
    assert got == [0]


@pytest.mark.parametrize("way", ["receive", "within", "nowait"])
async def test_a_predicate_that_changes_the_mailbox(node: ak.Node, clock: MockClock, way: str) -> None:
    """The predicate takes a message itself, or sends one: nothing is taken twice, lost or
    overlooked.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        def wanted(message: Any) -> bool:
            if message == 2:
                got.append(("within", ctx.receive_nowait()))  # the first
                got.append(("within", ctx.receive_nowait(int)))  # the one it is asked about
                ctx.ref.send("new")
            return message == "new"

        if way == "nowait":
            got.append(ctx.receive_nowait(wanted))
        else:
            got.append(await ctx.receive(wanted, within=5 if way == "within" else None))
        got.append(ctx.receive_nowait())
        with pytest.raises(trio.WouldBlock):
            ctx.receive_nowait()

    assert await run(node, process, 1, 2, 3) == ak.NORMAL
    assert got == [("within", 1), ("within", 2), "new", 3]


@AT_ONCE
async def test_a_predicate_that_takes_what_it_wants(node: ak.Node, clock: MockClock, at_once: AtOnce) -> None:
    """A predicate takes the very message that it says it wants: no other is taken in its place."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        def greedy(message: int) -> bool:
            if message == 2:
                got.append(ctx.receive_nowait(lambda other: other == 2))
            return message >= 2

        got.append(await at_once(ctx, greedy))
        got.append(ctx.receive_nowait())

    assert await run(node, process, 1, 2, 3) == ak.NORMAL
    assert got == [2, 3, 1]


@AT_ONCE
async def test_only_one_task_receives(node: ak.Node, clock: MockClock, at_once: AtOnce) -> None:
    """While another task of the process is receiving, it raises BusyResourceError; the other task
    gets the message.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        async def waits() -> None:
            got.append(await ctx.receive(str))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await settle()
            with pytest.raises(trio.BusyResourceError, match="another task"):
                await at_once(ctx)
            ctx.ref.send("x")

    assert await run(node, process, 1) == ak.NORMAL
    assert got == ["x"]


async def test_from_a_task_of_its_own_and_from_outside(node: ak.Node, clock: MockClock) -> None:
    """A task in the process's nursery may receive; the host and other actors may not."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        async def child() -> None:
            got.append(ctx.receive_nowait())
            got.append(await ctx.receive(within=0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        await ctx.receive()

    ref: Any = node.spawn(process)
    ref.send(1)
    ref.send(2)
    await settle()
    assert got == [1, 2]
    with pytest.raises(ak.NotInsideActor, match=r"ctx\.receive_nowait"):
        ref.receive_nowait()
    with pytest.raises(ak.NotInsideActor, match=r"ctx\.receive of"):
        await ref.receive(within=0)


# --- within
# ----------------------------------------------------------------------------------------


async def test_within_a_time(node: ak.Node, clock: MockClock) -> None:
    """It waits that many seconds from the call on, whatever unwanted messages come; then it raises
    TooSlowError.
    """
    times: list[float] = []

    async def process(ctx: ak.ProcessContext) -> None:
        began = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await ctx.receive(str, within=3)
        times.append(trio.current_time() - began)
        assert await ctx.receive(str, within=2) == "in time"
        times.append(trio.current_time() - began)
        assert [await ctx.receive(within=math.inf) for _ in range(4)] == [0, 1, 2, 3]

    probe = Probe(node)
    ref = node.spawn(process)
    probe.monitor(ref)
    for n in range(4):
        await trio.sleep(1)
        ref.send(n)
    ref.send("in time")
    assert (await probe.receive(ak.Down)).reason == ak.NORMAL
    assert times == pytest.approx([3, 4])


@pytest.mark.parametrize("bad", [-1, -0.001, math.nan, "1"])
async def test_what_is_no_time(node: ak.Node, clock: MockClock, bad: Any) -> None:
    """What is not a time is a ValueError that says what was given; nothing is taken."""
    kept: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        with pytest.raises(ValueError, match=rf"within={bad!r} is no time: give seconds"):
            await ctx.receive(within=bad)
        kept.append(ctx.receive_nowait())

    assert await run(node, process, "kept") == ak.NORMAL
    assert kept == ["kept"]


async def test_within_0_lets_others_run(node: ak.Node, clock: MockClock) -> None:
    """A loop of receives that find nothing is not a busy loop: others run, and it can be killed."""
    turns = 0

    async def process(ctx: ak.ProcessContext) -> None:
        nonlocal turns
        while True:
            turns += 1
            with pytest.raises(trio.TooSlowError):
                await ctx.receive(within=0)

    ref = node.spawn(process)
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    assert turns > 3
    ref.kill()
    await node.stopped(ref)


async def test_a_message_that_comes_as_the_time_ends(node: ak.Node, clock: MockClock) -> None:
    """A message at the very moment of the deadline is received or waits: it is never lost, and
    never comes twice.
    """
    got: list[Any] = []
    late = 0

    async def process(ctx: ak.ProcessContext) -> None:
        nonlocal late
        while len(got) < 200:
            try:
                got.append(await ctx.receive(within=0.5))
            except trio.TooSlowError:
                late += 1

    ref = node.spawn(process)
    for n in range(200):
        await trio.sleep(0.5)
        ref.send(n)
    await node.stopped(ref)
    assert got == list(range(200))


@pytest.mark.parametrize("seconds", [None, 0, 5], ids=["for ever", "0", "5"])
@pytest.mark.parametrize("scope", ["cancelled", "expired", "around the task"])
async def test_a_cancelled_scope_cancels(node: ak.Node, clock: MockClock, scope: str, seconds: float | None) -> None:
    """A cancelled scope cancels before anything is taken, though a message waits: the message is
    there afterwards. receive_nowait does not check.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        await trio.sleep(1)
        if scope == "around the task":
            async with trio.open_nursery() as nursery:

                async def task() -> None:
                    got.append(await ctx.receive(within=seconds))

                nursery.start_soon(task)
                nursery.cancel_scope.cancel()
        else:
            with trio.move_on_after(0 if scope == "expired" else math.inf) as around:
                if scope == "cancelled":
                    around.cancel()
                got.append(ctx.receive_nowait())
                got.append(await ctx.receive(within=seconds))
            assert around.cancelled_caught
        got.append("then")
        got.append(await ctx.receive(within=seconds))

    messages = ["kept"] if scope == "around the task" else ["nowait", "kept"]
    assert await run(node, process, *messages) == ak.NORMAL
    assert got == [*messages[:-1], "then", "kept"]


async def test_a_scope_cancelled_while_it_waits_within(node: ak.Node, clock: MockClock) -> None:
    """A scope cancelled during the wait is a cancellation, not a TooSlowError, even when both come
    at once.
    """
    caught: list[bool] = []

    async def process(ctx: ak.ProcessContext) -> None:
        for seconds in (1, 2):
            with trio.move_on_after(1) as scope:
                await ctx.receive(within=seconds)
            caught.append(scope.cancelled_caught)

    reason = await run(node, process)
    assert caught[-1:] == [True] or isinstance(reason, ak.Crash)  # of two equal deadlines either may be first
    assert reason == ak.NORMAL or reason.type == "TooSlowError"  # type: ignore[attr-defined]


# --- killed
# ----------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[ak.ProcessContext], Awaitable[Any]]] = {
    "receive": lambda ctx: ctx.receive(),
    "selective": lambda ctx: ctx.receive(int),
    "within": lambda ctx: ctx.receive(within=1000),
    "iteration": lambda ctx: ctx.__anext__(),
}
ENDS: dict[str, Callable[[ak.Node, Any], None]] = {
    "a kill": lambda node, ref: ref.kill(),
    "an exit signal": lambda node, ref: ref.exit(ak.Failure("x")),
    "a stop": lambda node, ref: ref.stop(),
    "the parent's shutdown": lambda node, ref: node.engine.shutdown_child(ref, ak.SHUTDOWN),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("where", ["its function", "a task of its nursery", "a scope of its own"])
@pytest.mark.parametrize("way", WAYS)
async def test_woken_and_then_ended(node: ak.Node, clock: MockClock, way: str, where: str, end: str) -> None:
    """A process that a message has woken, and that is ended before it runs, does not get the
    message: it becomes a dead letter.
    """
    got: list[Any] = []
    log: list[str] = []

    async def takes(ctx: ak.ProcessContext) -> None:
        try:
            while True:
                got.append(await WAYS[way](ctx))
        finally:
            log.append("unwound")

    async def process(ctx: ak.ProcessContext) -> None:
        if where == "its function":
            await takes(ctx)
        elif where == "a scope of its own":
            with trio.fail_after(1000):
                await takes(ctx)
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(takes, ctx)

    ref = node.spawn(process)
    ref.send(1)
    await settle()
    before = node.statistics().dead_letters
    ref.send(2)
    ENDS[end](node, ref)
    ref.send(3)
    await node.stopped(ref)
    assert got == [1]
    assert log == ["unwound"]
    assert node.statistics().dead_letters == before + 2


@AT_ONCE
@pytest.mark.parametrize("again", ["the same", "receive"])
async def test_killed_while_many_wait(node: ak.Node, clock: MockClock, at_once: AtOnce, again: str) -> None:
    """A process that is killed on its own stack, by itself or by an actor that it calls, takes no
    more messages, not even from a full mailbox.
    """
    got: list[Any] = []

    class Killer(ak.Actor):
        @ak.call
        def kill(self, ref: ak.Ref[Any]) -> None:
            ref.kill()

    killer = node.spawn(Killer)

    async def process(ctx: ak.ProcessContext) -> None:
        got.append(await at_once(ctx))
        await killer.call(Killer.kill, ctx.ref)
        while True:
            got.append(await ctx.receive() if again == "receive" else await at_once(ctx))
            if got[-1] == "nothing":
                break

    assert await run(node, process, *range(100)) == ak.KILLED
    assert got in ([0], [0, "nothing"])


async def test_killed_while_it_lets_others_run(node: ak.Node, clock: MockClock) -> None:
    """A process that takes one message after another lets others run from time to time; a kill that
    comes then ends it before the next message.
    """
    got: list[int] = []

    async def process(ctx: ak.ProcessContext) -> None:
        while True:
            got.append(await ctx.receive())

    async with ak.open_node(slice_seconds=1e-9, features=node.engine.features) as eager:
        probe = Probe(eager)
        ref = eager.spawn(process)
        probe.monitor(ref)
        for n in range(1000):
            ref.send(n)
        while not got:
            await trio.lowlevel.checkpoint()
        taken = len(got)
        assert taken < 100
        ref.kill()
        assert (await probe.receive(ak.Down)).reason == ak.KILLED
    assert len(got) == taken


async def test_shielded_code_may_go_on(node: ak.Node, clock: MockClock) -> None:
    """As with any await, a shielded scope in a killed process waits for its message, and takes it
    in every way.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        try:
            await ctx.receive(str)
        finally:
            with trio.CancelScope(shield=True):
                got.append(await ctx.receive(int))
                got.append(await ctx.receive(int, within=0))
                got.append(ctx.receive_nowait(int))
            with pytest.raises(trio.WouldBlock):
                ctx.receive_nowait()

    ref = node.spawn(process)
    await settle()
    ref.kill()
    await settle()
    for n in range(4):
        ref.send(n)
    await node.stopped(ref)
    assert got == [0, 1, 2]


# --- a model
# ---------------------------------------------------------------------------------------

KINDS = st.sampled_from([None, int, str])
PROGRAM = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.one_of(st.integers(0, 9), st.sampled_from("abc"))),
        st.tuples(st.sampled_from(["nowait", "within 0", "within 1", "cancelled"]), KINDS),
    ),
    max_size=30,
)


@given(program=PROGRAM)
@effort(100)
def test_random_receives_against_a_list(program: list[tuple[str, Any]]) -> None:
    """Sends and receives of all kinds come in any order: each gives what a plain list would give,
    and leaves what it would leave.
    """
    got: list[Any] = []
    expected: list[Any] = []
    queue: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        for kind, value in program:
            if kind == "send":
                ctx.ref.send(value)
                queue.append(value)
                continue
            fits = [m for m in queue if value is None or isinstance(m, value)]
            if kind == "cancelled":
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await ctx.receive(value, within=1)
                assert scope.cancelled_caught
                continue
            if fits:
                queue.remove(fits[0])
            expected.append(fits[0] if fits else "nothing")
            if kind == "within 1":
                try:
                    got.append(await ctx.receive(value, within=1))
                except trio.TooSlowError:
                    got.append("nothing")
            else:
                got.append(await (nowait if kind == "nowait" else within_0)(ctx, value))
        while queue:
            expected.append(queue.pop(0))
            got.append(ctx.receive_nowait())

    async def main() -> None:
        async with ak.open_node() as node:
            assert await run(node, process) == ak.NORMAL

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert got == expected
