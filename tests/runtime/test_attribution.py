"""Attribution: the runtime knows at every instant which actor's code runs, and so does a listener
with ``step_hook``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.base.trio_internals import Features

from .conftest import assert_closed_clean


class Watch:
    """A node's ``step_hook``: keeps what it was told, and compares it."""

    def __init__(self, node: ak.Node) -> None:
        self.node = node
        self.told: Any = None
        self.calls = 0
        node.engine.step_hook = self.hook

    def hook(self, record: Any) -> None:
        assert self.node.engine.current is record, "the hook is told what current is"
        self.told = record
        self.calls += 1

    def is_on(self, ref: Any) -> None:
        """Check that this code belongs to ``ref``."""
        assert self.node.engine.current is ref
        assert self.told is ref

    def is_off(self) -> None:
        """Check that this code belongs to no actor."""
        assert self.node.engine.current is None
        assert self.told is None


@contextlib.asynccontextmanager
async def watched(features: Features, **options: Any) -> AsyncIterator[tuple[ak.Node, Watch]]:
    async with ak.open_node(features=features, **options) as node:
        watch = Watch(node)
        yield node, watch
        watch.is_off()
    assert_closed_clean(node)
    watch.is_off()


@pytest.fixture(autouse=True)
def crashes_are_failures(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An assertion that fails in an actor must fail the test."""
    yield
    assert "AssertionError" not in caplog.text


class Probe(ak.Actor):
    """Checks which actor is current from everywhere."""

    def __init__(self, watch: Watch, peer: ak.Ref[Probe] | None = None) -> None:
        self.watch = watch
        self.peer = peer
        self.look()

    def look(self) -> None:
        self.watch.is_on(self.ctx)

    @ak.call
    def sync(self) -> str:
        self.look()
        return "sync"

    @ak.call
    async def at_once(self) -> str:
        self.look()
        return "at once"

    @ak.call
    async def suspends(self) -> str:
        for _ in range(3):
            self.look()
            await trio.lowlevel.checkpoint()
        self.look()
        try:
            with trio.move_on_after(0):
                await trio.sleep_forever()
            self.look()
            with trio.fail_after(0):
                await trio.sleep_forever()
        except trio.TooSlowError:
            self.look()
        finally:
            self.look()
        return "suspended"

    @ak.call
    async def in_thread(self) -> str:
        self.look()

        def in_the_thread() -> None:
            trio.from_thread.run_sync(self.look)  # it runs in this task

        await trio.to_thread.run_sync(in_the_thread)
        self.look()
        return "thread"

    @ak.call
    async def calls(self) -> str:
        assert self.peer is not None
        for method in (Probe.sync, Probe.suspends, Probe.sync, Probe.at_once):
            self.look()
            await self.peer.call(method)
            self.look()
        return "called"

    @ak.call
    def spawns(self) -> str:
        self.look()
        other = self.ctx.spawn(Probe, self.watch)
        self.look()
        with contextlib.suppress(ak.StartFailed):
            self.ctx.spawn(Broken, self.watch)
        self.look()
        other.kill()
        self.look()
        return "spawned"

    @ak.call
    async def with_tasks(self) -> str:
        async def grandchild() -> None:
            self.look()
            await trio.lowlevel.checkpoint()
            self.look()

        async def child() -> None:
            self.look()
            async with trio.open_nursery() as nursery:
                self.look()
                nursery.start_soon(grandchild)
                nursery.start_soon(grandchild)
                await trio.lowlevel.checkpoint()
                self.look()
            self.look()
            if self.peer is not None:
                await self.peer.call(Probe.sync)
                self.look()
                await self.peer.call(Probe.suspends)
                self.look()

        async def fails() -> None:
            await trio.lowlevel.checkpoint()
            self.look()
            raise KeyError("in a task")

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(child)
            self.look()
        self.look()
        with contextlib.suppress(ExceptionGroup):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails)
                nursery.start_soon(trio.sleep_forever)
        self.look()
        return "tasks"

    @ak.call
    async def starts(self) -> str:
        async def child(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            self.look()
            await trio.lowlevel.checkpoint()
            task_status.started("value")
            self.look()
            await trio.lowlevel.checkpoint()
            self.look()

        async with trio.open_nursery() as nursery:
            assert await nursery.start(child) == "value"
            self.look()
        return "started"

    @ak.call
    async def swallows(self) -> str:
        self.ctx.kill()
        for _ in range(5):
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                self.look()
        return "swallowed"

    @ak.call
    def crashes(self) -> None:
        self.look()
        raise KeyError("crash")

    @ak.call
    async def crashes_later(self) -> None:
        await trio.lowlevel.checkpoint()
        self.look()
        raise KeyError("crash")

    def terminate(self, reason: ak.ExitReason) -> None:
        self.look()


class Broken(ak.Actor):
    def __init__(self, watch: Watch) -> None:
        watch.is_on(self.ctx)
        raise KeyError("not born")


class Whole(Probe):
    """An actor with async init, handle_info and terminate."""

    async def init(self) -> None:
        self.look()
        await trio.lowlevel.checkpoint()
        self.look()
        self.ctx.continue_with(Whole.go_on)

    async def go_on(self) -> None:
        self.look()
        await trio.lowlevel.checkpoint()
        self.look()

    def handle_info(self, message: Any) -> None:
        self.look()
        message.set()

    async def terminate(self, reason: ak.ExitReason) -> None:
        self.look()
        await trio.lowlevel.checkpoint()
        self.look()


METHODS = [
    Probe.sync,
    Probe.at_once,
    Probe.suspends,
    Probe.in_thread,
    Probe.calls,
    Probe.spawns,
    Probe.with_tasks,
    Probe.starts,
]


@pytest.mark.parametrize("method", METHODS)
async def test_current_is_exact_in_every_kind_of_handler(features: Features, method: Any) -> None:
    """Current is set in the actor's code and off in all other code, across awaits, calls, tasks and
    threads.
    """
    async with watched(features) as (node, watch):
        peer = node.spawn(Probe, watch)
        watch.is_off()
        ref = node.spawn(Probe, watch, peer)
        watch.is_off()
        ended: list[str] = []

        async def ask() -> None:
            watch.is_off()
            ended.append(await ref.call(method))
            watch.is_off()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while not ended:
                await trio.lowlevel.checkpoint()
                watch.is_off()
        assert ref.alive
        assert watch.calls > 0


@pytest.mark.parametrize("method", METHODS)
async def test_current_is_exact_when_many_run_at_once(features: Features, method: Any) -> None:
    """The same holds with twenty actors interleaved, some of them killed in the middle."""
    async with watched(features) as (node, watch):
        peer = node.spawn(Probe, watch)
        refs = [node.spawn(Probe, watch, peer) for _ in range(20)]

        async def ask(ref: Any) -> None:
            with contextlib.suppress(ak.CallError):
                await ref.call(method)
            watch.is_off()

        async with trio.open_nursery() as nursery:
            for ref in refs:
                nursery.start_soon(ask, ref)
            await trio.lowlevel.checkpoint()
            for ref in refs[::3]:
                await trio.lowlevel.checkpoint()
                watch.is_off()
                ref.kill()
                watch.is_off()


@pytest.mark.parametrize("method", [Probe.swallows, Probe.crashes, Probe.crashes_later])
async def test_current_is_off_after_a_violent_end(features: Features, method: Any) -> None:
    """Current is off after a crash inline, a crash after a suspension, and a kill that is swallowed
    for a while.
    """
    async with watched(features) as (node, watch):
        ref = node.spawn(Probe, watch)
        with pytest.raises(ak.CalleeDied):
            await ref.call(method)
        watch.is_off()
        await trio.testing.wait_all_tasks_blocked()
        watch.is_off()
        assert not ref.alive


async def test_current_is_exact_in_callbacks(features: Features) -> None:
    """Current is exact in constructor, init, continuation, handle_info and terminate, and in an
    actor whose start fails.
    """
    async with watched(features) as (node, watch):
        with pytest.raises(ak.StartFailed):
            node.spawn(Broken, watch)
        watch.is_off()
        ref = await node.start(Whole, watch)
        watch.is_off()
        assert ref is not None
        event = trio.Event()
        ref.send(event)
        await event.wait()
        ref.stop()
        await node.stopped(ref)
        watch.is_off()


async def test_current_is_exact_in_processes(features: Features) -> None:
    """Current is exact before and after receive, in the process's tasks, in an inline call that it
    makes, and in its cleanup when it is killed.
    """
    async with watched(features) as (node, watch):
        peer = node.spawn(Probe, watch)
        log: list[str] = []

        async def process(ctx: ak.ProcessContext) -> None:
            async def child() -> None:
                watch.is_on(ctx)
                await trio.lowlevel.checkpoint()
                watch.is_on(ctx)

            try:
                watch.is_on(ctx)
                assert await ctx.receive() == "hello"
                watch.is_on(ctx)
                await peer.call(Probe.sync)
                watch.is_on(ctx)
                await peer.call(Probe.suspends)
                watch.is_on(ctx)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(child)
                watch.is_on(ctx)
                log.append("waits")
                await ctx.receive()
            finally:
                watch.is_on(ctx)
                log.append("cleaned up")

        ref = node.spawn(process)
        watch.is_off()
        ref.send("hello")
        while log != ["waits"]:
            await trio.lowlevel.checkpoint()
            watch.is_off()
        ref.kill()
        watch.is_off()
        await node.stopped(ref)
        assert log == ["waits", "cleaned up"]


async def test_the_hook_is_told_of_fatal_ends_too(features: Features) -> None:
    """KeyboardInterrupt from a handler switches current off before it leaves."""

    class Fatal(ak.Actor):
        @ak.cast
        async def now(self, suspend: bool) -> None:
            if suspend:
                await trio.lowlevel.checkpoint()
            raise KeyboardInterrupt

    for suspend in (False, True):
        watch: Any = None
        with pytest.raises(KeyboardInterrupt):
            async with ak.open_node(features=features) as node:
                watch = Watch(node)
                node.spawn(Fatal).cast(Fatal.now, suspend)
                await trio.sleep_forever()
        watch.is_off()


# --- what belongs to whom -------------------------------------------------------------------------


class Host(ak.Actor):
    """Lends its nursery, and calls itself from its tasks."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    @ak.call
    async def lend(self, lent: trio.Event, box: list[Any], give_back: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            box.append(nursery)
            lent.set()
            await give_back.wait()
            nursery.cancel_scope.cancel()

    @ak.call
    def use(self, nursery: trio.Nursery, ran: trio.Event, owner: Any) -> None:
        async def task() -> None:
            self.watch.is_on(owner)
            await trio.lowlevel.checkpoint()
            self.watch.is_on(owner)
            ran.set()

        self.watch.is_on(self.ctx)
        nursery.start_soon(task)
        self.watch.is_on(self.ctx)

    @ak.call
    async def answer(self) -> int:
        return 1

    @ak.call
    async def call_itself_from_a_task(self, deep: bool) -> str:
        caught: list[BaseException] = []

        async def ask() -> None:
            if deep:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask_deep)
            else:
                await ask_deep()

        async def ask_deep() -> None:
            try:
                await self.ctx.ref.call(Host.answer)
            except ak.CallCycle as error:
                caught.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
        assert len(caught) == 1
        return "refused"


@pytest.mark.parametrize("inline", [True, False])
async def test_a_task_belongs_to_the_owner_of_its_nursery(features: Features, inline: bool) -> None:
    """A task in a lent nursery runs as the actor that opened the nursery, whichever actor starts
    the task.
    """
    async with watched(features) as (node, watch):
        owner, user = node.spawn(Host, watch), node.spawn(Host, watch)
        lent, give_back, ran = trio.Event(), trio.Event(), trio.Event()
        box: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(owner.call, Host.lend, lent, box, give_back)
            await lent.wait()
            if inline:
                await user.call(Host.use, box[0], ran, owner)
            else:
                user.cast(Host.use, box[0], ran, owner)
            await ran.wait()
            info = node.process_info(owner)
            assert info is not None
            assert info.tasks == 0
            give_back.set()
        async with trio.open_nursery() as nursery:
            ran = trio.Event()
            await user.call(Host.use, nursery, ran, None)
            await ran.wait()


@pytest.mark.parametrize("deep", [False, True])
async def test_a_call_to_itself_from_a_task_is_found(features: Features, deep: bool, autojump_clock: Any) -> None:
    """CallCycle comes at once, from a child task and from a grandchild."""
    async with watched(features) as (node, watch):
        ref = node.spawn(Host, watch)
        started = trio.current_time()
        assert await ref.call(Host.call_itself_from_a_task, deep) == "refused"
        assert trio.current_time() == started


class Inner(ak.Actor):
    @ak.call
    async def work(self, watch: Watch) -> str:
        watch.is_on(self.ctx)
        await trio.lowlevel.checkpoint()
        watch.is_on(self.ctx)
        return "worked"


class Outer(ak.Actor):
    def __init__(self, watch: Watch, features: Features) -> None:
        self.watch = watch
        self.features = features

    @ak.call
    async def nest(self) -> str:
        async with ak.open_node(features=self.features, name="inner") as node:
            inner_watch = Watch(node)
            ref = node.spawn(Inner)
            for _ in range(3):
                assert await ref.call(Inner.work, inner_watch) == "worked"
                self.watch.is_on(self.ctx)
                inner_watch.is_off()
        self.watch.is_on(self.ctx)
        return "nested"


async def test_a_node_inside_a_handler_of_another_node(features: Features) -> None:
    """Each node knows its own current actor; the inner node's tasks belong to the outer actor."""
    async with watched(features) as (node, watch):
        ref = node.spawn(Outer, watch, features)
        assert await ref.call(Outer.nest) == "nested"
        assert await ref.call(Outer.nest) == "nested"
        watch.is_off()


# --- introspection --------------------------------------------------------------------------------


def names_in(task: trio.lowlevel.Task) -> list[str]:
    return [frame.f_code.co_name for frame, _ in task.iter_await_frames()]


class Sleeper(ak.Actor):
    @ak.cast
    async def outer(self, tasks: list[Any]) -> None:
        await self.middle(tasks)

    async def middle(self, tasks: list[Any]) -> None:
        tasks.append(trio.lowlevel.current_task())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.kid, tasks)
            await trio.sleep_forever()

    async def kid(self, tasks: list[Any]) -> None:
        tasks.append(trio.lowlevel.current_task())
        await self.kid_inner()

    async def kid_inner(self) -> None:
        await trio.sleep_forever()


async def test_the_await_frames_of_suspended_code_can_be_listed(features: Features) -> None:
    """``Task.iter_await_frames`` goes through the runtime's steppers, down to the innermost
    await."""

    async def process(ctx: ak.ProcessContext, tasks: list[Any]) -> None:
        tasks.append(trio.lowlevel.current_task())
        await ctx.receive()

    async with ak.open_node(features=features) as node:
        tasks: list[Any] = []
        node.spawn(Sleeper).cast(Sleeper.outer, tasks)
        await trio.testing.wait_all_tasks_blocked()
        handler, kid = tasks
        names = names_in(handler)
        assert [n for n in names if n in ("outer", "middle", "sleep_forever")] == ["outer", "middle", "sleep_forever"]
        names = names_in(kid)
        assert [n for n in names if n.startswith("kid") or n == "sleep_forever"] == [
            "kid",
            "kid_inner",
            "sleep_forever",
        ]
        tasks.clear()
        node.spawn(process, tasks)
        await trio.testing.wait_all_tasks_blocked()
        names = names_in(tasks[0])
        assert [n for n in names if n in ("process", "receive")] == ["process", "receive"]


async def test_tasks_of_an_actor_are_counted(features: Features) -> None:
    """``process_info`` tells how many tasks there are now; they go with their nursery."""
    async with ak.open_node(features=features) as node:
        ref = node.spawn(Sleeper)
        ref.cast(Sleeper.outer, [])
        await trio.testing.wait_all_tasks_blocked()
        info = node.process_info(ref)
        assert info is not None
        assert info.tasks == 1
        ref.kill()
        await trio.testing.wait_all_tasks_blocked()
        assert not ref.alive
        assert not [task for task in node.engine.holders if node.engine.holders[task].actor is ref]


async def test_what_comes_out_of_a_node_whose_instrument_was_taken_away() -> None:
    """trio drops instruments that raise. Fault: a KeyError in the place of the exception that was
    on its way out.
    """
    with pytest.raises(ValueError, match="on its way out"):
        async with ak.open_node() as node:
            assert node.engine._instrument is not None
            trio.lowlevel.remove_instrument(node.engine._instrument)
            raise ValueError("on its way out")
