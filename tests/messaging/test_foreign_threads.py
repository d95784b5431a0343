"""A node is used in its own thread only: another thread is told so before anything changes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.governor.admission import NodeAdmission
from actorkit.policy.memory.admission import AdmissionSettings

from .kit import Puppet, settle

NAME = "poacher"


class Answering(ak.Actor):
    def __init__(self) -> None:
        self.answer = ak.Later[int]()

    @ak.call
    def later(self) -> ak.Later[int]:
        return self.answer


async def waits(ctx: ak.ProcessContext) -> None:
    async for _ in ctx:
        pass


async def in_thread(function: Callable[[], Any]) -> BaseException | None:
    """What ``function`` raises in a thread called NAME, which is none of trio's; trio goes on
    meanwhile.
    """
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, name=NAME)
    thread.start()
    await trio.to_thread.run_sync(thread.join)
    return raised[0]


def driven_by_hand(coroutine: Any) -> None:
    """Runs in a thread without any event loop."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


def driven_by_asyncio(coroutine: Any) -> None:
    async def main() -> None:
        await coroutine

    asyncio.run(main())


def driven_by_trio(coroutine: Any) -> None:
    async def main() -> None:
        with trio.fail_after(5):
            await coroutine

    trio.run(main)


class Things:
    """A node, and one of everything that a thread may lay its hands on."""

    def __init__(self, node: ak.Node) -> None:
        self.node = node
        self.idle: Any = node.spawn(ak.child(Puppet).with_(name="idle"))
        self.budgeted: Any = node.spawn(ak.child(Puppet).with_(max_heap_size="1 MiB"))
        self.process: Any = node.spawn(waits)
        self.answering: Any = node.spawn(Answering)
        self.answer = self.answering.obj.answer
        self.timer = node.send_after(1_000, self.idle, "late")
        self.stream = node.subscribe(ak.ActorExited)

    def seen(self) -> Any:
        """Everything that must be unchanged."""
        node: Any = self.node
        records: list[Any] = [self.idle, self.budgeted, self.process, self.answering]
        return (
            node.statistics(),
            node.engine.busy,
            node.engine.grant,
            node.engine.starting,
            len(node.engine.idle),
            [len(queue) for queue in node.engine.queues],
            [(r.state, r.mailbox_length, r.pending, r.control) for r in records],
            [(r.relations.terminating, r.relations.senders) for r in records if r.relations is not None],
            self.budgeted.account.live if hasattr(self.budgeted.account, "live") else None,
            node.engine.deadlines.pending,
            len(node.engine.events.streams),
            self.answer.wanted,
            trio.lowlevel.current_statistics().tasks_living,
        )


SYNC: dict[str, Callable[[Things], Any]] = {
    "cast": lambda t: t.idle.cast(Puppet.note, 1),
    "cast with keywords": lambda t: t.idle.cast(Puppet.note, value=1),
    "send": lambda t: t.idle.send(1),
    "cast to one with a budget": lambda t: t.budgeted.cast(Puppet.note, 1),
    "keywords to one with a budget": lambda t: t.budgeted.cast(Puppet.note, value=1),
    "send to one with a budget": lambda t: t.budgeted.send(1),
    "send to a process": lambda t: t.process.send(1),
    "stop": lambda t: t.idle.stop(),
    "stop a process": lambda t: t.process.stop(),
    "exit": lambda t: t.idle.exit(ak.Shutdown()),
    "kill": lambda t: t.idle.kill(),
    "spawn": lambda t: t.node.spawn(Puppet),
    "spawn a spec": lambda t: t.node.spawn(ak.child(Puppet).with_(name="other")),
    "spawn a process": lambda t: t.node.spawn(waits),
    "spawn something new": lambda t: t.node.spawn(Answering),
    "shutdown": lambda t: t.node.shutdown(),
    "send_after": lambda t: t.node.send_after(1, t.idle, 1),
    "send_after by name": lambda t: t.node.send_after(1, ak.named(Puppet, "idle"), 1),
    "cancel a timer": lambda t: t.timer.cancel(),
    "answer": lambda t: t.answer.set(1),
    "answer with an error": lambda t: t.answer.fail(ValueError()),
    "subscribe": lambda t: t.node.subscribe(ak.ActorExited),
    "enter a stream": lambda t: t.stream.__enter__(),
    "ctx.spawn": lambda t: t.idle.spawn(Puppet),
    "ctx.link": lambda t: t.idle.link(t.process),
    "ctx.monitor": lambda t: t.idle.monitor(t.process),
    "ctx.register": lambda t: t.process.register("p"),
    "ctx.continue_with": lambda t: t.idle.continue_with(Puppet.note, 1),
    "ctx.idle_timeout": lambda t: setattr(t.idle, "idle_timeout", 1),
}

AWAITED: dict[str, Callable[[Things], Any]] = {
    "call": lambda t: t.idle.call(Puppet.all_seen),
    "call of an async method": lambda t: t.idle.call(Puppet.all_seen_later),
    "call within": lambda t: t.idle.within(3).call(Puppet.all_seen),
    "call with keywords": lambda t: t.idle.call(Puppet.do, function=print),
    "call of one with a budget": lambda t: t.budgeted.call(Puppet.do, print),
    "cast_wait": lambda t: t.idle.cast_wait(Puppet.note, 1),
    "send_wait": lambda t: t.idle.send_wait(1),
    "send_wait to a process": lambda t: t.process.send_wait(1),
    "start": lambda t: t.node.start(Puppet),
    "stopped": lambda t: t.node.stopped(t.idle),
    "sys.suspend": lambda t: ak.sys.suspend(t.idle),
}


@pytest.fixture(params=["nobody runs", "somebody waits"])
def somebody_waits(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "somebody waits")


async def refused(somebody_waits: bool, act: Callable[[Things], Any]) -> None:
    """The thread is told what it tried, from where, and what to do instead; nothing has changed,
    and all goes on.
    """
    async with ak.open_node() as node, trio.open_nursery() as nursery:
        things = Things(node)

        async def ask() -> None:
            assert await things.answering.call(Answering.later) == 2

        nursery.start_soon(ask)
        if somebody_waits:
            node.spawn(Puppet).cast(Puppet.begin, lambda _: trio.sleep_forever())
        await settle()
        before = things.seen()
        error = await in_thread(lambda: act(things))
        assert type(error) is RuntimeError, error
        for word in ("from_thread", repr(NAME), f"node {node.name!r}", "MainThread", "cannot "):
            assert word in str(error), error
        assert things.seen() == before
        things.idle.cast(Puppet.note, "well")
        assert await things.idle.call(Puppet.all_seen) == ["well"]
        assert await things.budgeted.call(Puppet.all_seen_later) == []
        things.answer.set(2)


@pytest.mark.parametrize("door", SYNC)
async def test_a_thread_is_told(somebody_waits: bool, door: str) -> None:
    """Whatever wakes, starts, ends or answers something is refused in another thread."""
    await refused(somebody_waits, SYNC[door])


@pytest.mark.parametrize("drive", [driven_by_hand, driven_by_asyncio, driven_by_trio])
@pytest.mark.parametrize("door", AWAITED)
async def test_a_loop_in_a_thread_is_told(somebody_waits: bool, door: str, drive: Callable[[Any], None]) -> None:
    """Operations that are awaited are refused too, whichever loop runs in the thread."""
    await refused(somebody_waits, lambda things: drive(AWAITED[door](things)))


QUEUED: dict[str, Callable[[ak.Node, Any, Any], Any]] = {
    "cast": lambda node, ref, process: ref.cast(Puppet.note, 1),
    "send": lambda node, ref, process: ref.send(1),
    "send to a process": lambda node, ref, process: process.send(1),
}


@pytest.mark.parametrize("door", QUEUED)
async def test_what_only_queues_is_told_in_debug_mode(door: str) -> None:
    """A message that wakes nobody is let pass, since a check would cost too much; debug mode
    checks.
    """
    for debug in (False, True):
        async with ak.open_node(debug=debug) as node:

            async def work(ctx: ak.ProcessContext) -> None:
                await trio.sleep_forever()

            ref: Any = node.spawn(Puppet)
            process: Any = node.spawn(work)
            ref.cast(Puppet.begin, lambda _: trio.sleep_forever())
            await settle()
            error = await in_thread(lambda ref=ref, process=process: QUEUED[door](node, ref, process))
            length = ref.mailbox_length + process.mailbox_length
            if debug:
                assert type(error) is RuntimeError
                assert "from_thread" in str(error)
                assert length == 0
            else:
                assert error is None
                assert length == 1


async def test_debug_mode_changes_nothing_else() -> None:
    """In debug mode messages, names, overflow and tracing work as ever."""
    async with ak.open_node(debug=True) as node:
        ref: Any = node.spawn(ak.child(Puppet).with_(name="x"))
        ref.cast(Puppet.note, 1)
        ref.send(2)
        node.send_after(0, ref, 3)
        node.from_thread.cast(ref, Puppet.note, 4)
        node.from_thread.send(ref, 5)
        await settle()
        assert sorted(await ref.call(Puppet.all_seen)) == [1, 2, 3, 4, 5]
        told: list[Any] = []
        await ak.sys.trace(ref, told.append)
        ref.cast(Puppet.note, 6)
        ref.send(7)
        with pytest.raises(ak.NotAMessage):
            ref.cast(Puppet.handle_info, 1)
        await settle()
        assert [traced.args for traced in told] == [(6,), (7,)]


async def test_names_in_a_thread() -> None:
    """In a thread without a node, a named ref says how to get in; in a thread that has a node, it
    is a ref like any other.
    """
    async with ak.open_node() as node:
        ref: Any = node.spawn(ak.child(Puppet).with_(name="svc"))
        named = ak.named(Puppet, "svc")
        error = await in_thread(lambda: named.cast(Puppet.note, 1))
        assert isinstance(error, ak.NotInsideActor)
        assert "from_thread" in str(error)
        await settle()
        for act in (lambda: named.cast(Puppet.note, 1), named.stop, named.kill):
            with pytest.raises(RuntimeError, match="from_thread"):
                await trio.to_thread.run_sync(act)  # it has the context of the thread that asked
        with pytest.raises(RuntimeError, match="from_thread"):
            await trio.to_thread.run_sync(lambda: ak.named(Puppet, "nobody").cast(Puppet.note, 1))
        assert node.statistics().dead_letters == 0
        assert ref.alive


async def test_tasks_in_a_thread() -> None:
    """A task's handle cannot end the task from another thread."""
    async with ak.open_node() as node:
        jobs: Any = await node.start(ak.task_supervisor())
        task: Any = await jobs.call(ak.TaskSupervisor.run, trio.sleep_forever)
        for act in (task.cancel, lambda: driven_by_hand(task.shutdown())):
            error = await in_thread(act)
            assert type(error) is RuntimeError
            assert "from_thread" in str(error)
        assert not task.done


async def test_admission_in_a_thread() -> None:
    """A place is asked for, and given back, only in the node's thread."""
    async with ak.open_node() as node:
        door = NodeAdmission(node, AdmissionSettings())
        assert door.admit("work")
        for act in (lambda: door.admit("work"), lambda: door.release("work")):
            error = await in_thread(act)
            assert type(error) is RuntimeError
            assert "from_thread" in str(error)
        assert door.counts("work").now == 1


async def test_the_dead_are_dead_in_every_thread() -> None:
    """A ref that outlives its actor is harmless, wherever it is used."""
    async with ak.open_node() as node:
        ref: Any = node.spawn(Puppet)
    assert await in_thread(lambda: ref.cast(Puppet.note, 1)) is None
    for drive in (driven_by_hand, driven_by_asyncio, driven_by_trio):
        error = await in_thread(lambda drive=drive: drive(ref.call(Puppet.all_seen)))
        assert isinstance(error, ak.CalleeDied)


def test_after_the_end_of_trio() -> None:
    """When trio.run has returned, refs, timers and the node itself fail in a clear way."""
    kept: list[Any] = []

    async def main() -> None:
        async with ak.open_node() as node:
            ref: Any = node.spawn(Puppet)
            kept.extend((node, ref, node.send_after(1_000, ref, 1)))

    trio.run(main)
    node, ref, timer = kept
    assert ref.cast(Puppet.note, 1) is False
    assert ref.send(1) is False
    assert not ref.alive
    ref.stop()
    ref.kill()
    assert timer.cancel() is None
    with pytest.raises(ak.CalleeDied):
        driven_by_hand(ref.call(Puppet.all_seen))
    with pytest.raises(ak.CalleeDied):
        driven_by_trio(ref.call(Puppet.all_seen))  # another run in the same thread
    with pytest.raises(ak.NodeStopped):
        node.spawn(Puppet)
    with pytest.raises(trio.RunFinishedError):
        node.from_thread.cast(ref, Puppet.note, 1)


def test_host_of_guest_mode() -> None:
    """Under another loop in the same thread, that loop's callbacks may cast, send, spawn and stop;
    its coroutines may not call, since nothing could wake them.
    """
    seen: list[Any] = []

    async def guest(loop: asyncio.AbstractEventLoop) -> None:
        async with ak.open_node() as node:
            ref: Any = node.spawn(Puppet)
            done = trio.Event()

            def cast() -> None:
                seen.append(ref.cast(Puppet.note, 1))
                seen.append(ref.send(2))
                node.spawn(Puppet).cast(Puppet.note, 3)
                node.send_after(0.001, ref, 3)
                node.from_thread.cast(ref, Puppet.note, 4)
                loop.create_task(call()).add_done_callback(asked)

            async def call() -> None:
                await ref.call(Puppet.all_seen)

            def asked(task: asyncio.Task[None]) -> None:
                seen.append(task.exception())
                done.set()

            for _ in range(3):
                await trio.sleep(0.002)  # trio is waiting for I/O, in a thread
                loop.call_later(0.001, cast)
                await done.wait()
                done = trio.Event()
                while len(ref.obj.seen) < 4:
                    await trio.sleep(0.001)
                assert sorted(ref.obj.seen) == [1, 2, 3, 4]
                ref.obj.seen.clear()
            loop.call_later(0.001, ref.stop)
            await node.stopped(ref)

    async def host() -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            loop,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=ended.set_result,
        )
        (await ended).unwrap()

    asyncio.run(host())
    assert seen[0::3] == seen[1::3] == [True] * 3
    for error in seen[2::3]:
        assert type(error) is RuntimeError
        assert "from_thread" in str(error)
        assert "in a task of that run" in str(error)
