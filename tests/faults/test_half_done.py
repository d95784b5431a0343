"""What a refused allocation interrupts in the middle is undone: nothing is half linked, half born
or half called.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.actor import links
from bench.load import raise_descriptor_limit
from bench.soak.invariants import consistent, left
from tests.fault_injector import WHY_NOT, refusing, requests_so_far

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason="needs the extension")


class Idle(ak.Actor):
    trap_exit = True

    @ak.call
    def here(self) -> int:
        return 1

    @ak.call
    async def busy(self, seconds: float) -> None:
        await trio.sleep(seconds)

    @ak.call
    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self, *args)

    @ak.call
    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await function(*args)


def until_refused(function: Callable[[int], object], nth: int = 1) -> int:
    """Call ``function`` with 0, 1, 2, … until growth of its tables is refused for the ``nth`` time;
    return the number of successful calls.
    """
    with refusing(nth) as told:
        for number in range(20_000):
            try:
                function(number)
            except (MemoryError, ak.StartFailed):
                break
    assert told.refused == 1
    return number


async def test_a_link(autojump_clock: Any) -> None:
    async with ak.open_node() as node:
        hub, others = node.spawn(Idle), [node.spawn(Idle) for _ in range(6_000)]
        one, two = node.engine.resolve(hub), [node.engine.resolve(other) for other in others]
        assert one is not None
        for turned in (False, True):
            count = until_refused(
                lambda n, turned=turned: links.link(node.engine, *((two[n], one) if turned else (one, two[n])))  # type: ignore[misc]
            )
            assert list(consistent(node)) == []
            links.link(node.engine, one, two[count])  # type: ignore[arg-type]
            assert list(consistent(node)) == []
            assert one.relations is not None
            one.relations.links = None
            for other in two:
                if other is not None and other.relations is not None:
                    other.relations.links = None


async def test_a_monitor(autojump_clock: Any) -> None:
    async with ak.open_node() as node:
        hub, others = node.spawn(Idle), [node.spawn(Idle) for _ in range(6_000)]
        one, two = node.engine.resolve(hub), [node.engine.resolve(other) for other in others]
        until_refused(lambda n: links.monitor(node.engine, two[n], one, hub))  # type: ignore[arg-type]
        assert list(consistent(node)) == []


async def test_a_birth(autojump_clock: Any) -> None:
    """An actor that cannot be entered among the actors is not linked, named or waited for
    either.
    """
    async with ak.open_node() as node:
        hub = node.spawn(Idle)

        def spawn(self: Idle, number: int) -> None:
            self.ctx.spawn_link(ak.child(Idle).with_(name=f"name {number}"))

        def all_of_them(self: Idle) -> None:
            self.last = until_refused(lambda number: spawn(self, number))  # type: ignore[attr-defined]

        await hub.call(Idle.do, all_of_them)
        assert list(consistent(node)) == []
        hub.kill()
        await trio.sleep(1)
        assert not node.engine.dying
    assert list(left(node)) == []


@pytest.mark.parametrize("nth", range(1, 5))
async def test_a_birth_with_a_budget(autojump_clock: Any, nth: int) -> None:
    """An actor whose budget has no room is not born, and the node can stop. Fault: it stays among
    the living for ever, without an object.
    """
    async with ak.open_node() as node:
        spec = ak.child(Idle).with_(max_heap_size="1 MiB")
        until_refused(lambda _: node.spawn(spec), nth)
        assert list(consistent(node)) == []
        assert all(ref.obj is not None for ref in node.processes())
    assert list(left(node)) == []


async def test_the_forced_look(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A look that has no room for a list of all budgets is taken later. Fault: the sweep ends, and
    the node with it.
    """
    caplog.set_level(logging.ERROR, "actorkit")
    requests = 0
    # The first run does what is done only once. The second counts the requests before the look.
    # Then the next request is refused.
    for first in (0, 0, 1):
        with refusing(first and requests + 1) as told:
            async with ak.open_node() as node:
                refs = [node.spawn(ak.child(Idle).with_(max_heap_size="1 MiB")) for _ in range(9_000)]
                requests = requests_so_far()
                await trio.sleep(4)
                info = node.process_info(refs[0])
                assert info is not None
                assert info.memory is not None
                assert info.memory.private > 0
        assert told.refused == first
    assert "no memory to look at all of its 9000 budgets" in caplog.text


@pytest.mark.parametrize("within", [None, 5.0])
async def test_a_call(autojump_clock: Any, within: float | None) -> None:
    """The caller goes on, and the deadline of the call that was not made wakes nobody."""
    async with ak.open_node() as node:
        callee = node.spawn(ak.child(Idle).with_(mailbox=100_000))
        with trio.move_on_after(1):
            await callee.call(Idle.busy, 100)
        for _ in range(8_000):
            callee.cast(Idle.busy, 0)
        outcomes: list[str] = []

        async def call() -> None:
            ref = callee if within is None else callee.within(within)
            try:
                await ref.call(Idle.busy, 0)
            except MemoryError:
                outcomes.append("refused")
                await trio.sleep(20)  # the call's deadline must not end this
                outcomes.append("slept")
            except ak.CallTimeout:
                outcomes.append("late")

        async with trio.open_nursery() as nursery:
            for _ in range(400):
                nursery.start_soon(call)
            with refusing(1) as told:
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
        assert told.refused == 1
        assert (outcomes.count("refused"), outcomes.count("slept"), outcomes.count("late")) == (1, 1, 399)
        assert node.engine.deadlines.pending == 0
        callee.kill()


async def started(ctx: ak.ProcessContext) -> None:
    await trio.sleep(100)


@pytest.mark.parametrize("nth", range(1, 8))
async def test_processes(autojump_clock: Any, nth: int) -> None:
    """A process that some table has no room for ends, and the others go on. Fault: the node ends;
    or it never does, since a process that nobody runs counts as alive.
    """
    with refusing(nth) as told:
        async with ak.open_node() as node:
            for _ in range(1_500):
                with contextlib.suppress(MemoryError, ak.StartFailed):
                    node.spawn(started)
                await trio.lowlevel.checkpoint()
            await trio.sleep(1)
            assert list(consistent(node)) == []
            assert len(list(node.processes())) >= 1_498
    assert told.refused == (nth <= told.seen)
    assert list(left(node)) == []


class Quiet(ak.StreamActor):
    pass


@pytest.mark.parametrize("nth", range(1, 8))
async def test_connections(nth: int) -> None:
    """A connection that has no room is closed, and the others are served. If the listener itself
    has no room, it ends and is started again.
    """
    count = 1_500
    raise_descriptor_limit(2 * count + 200)
    with refusing(nth) as told:
        async with ak.open_node(ak.supervisor(ak.tcp_listener(Quiet, port=0, name="listener"))) as node:
            listener = ak.named(ak.Listener, "listener")
            [address] = await listener.call(ak.Listener.addresses)
            with contextlib.ExitStack() as peers, contextlib.suppress(ConnectionRefusedError):
                for _ in range(count):
                    peers.enter_context(socket.create_connection(address))
                    await trio.lowlevel.checkpoint()
                with trio.fail_after(20):
                    while (await listener.call(ak.Listener.counts))[0] + node.statistics().exited < count:
                        await trio.lowlevel.checkpoint()
                assert (await listener.call(ak.Listener.counts))[0] >= count - 2
            assert list(consistent(node)) == []
    assert list(left(node)) == []


async def test_a_timer(autojump_clock: Any) -> None:
    """A timer that could not be entered does not fire."""
    async with ak.open_node() as node:
        actor = node.spawn(Idle)
        made = until_refused(lambda number: node.send_after(50, actor, number))
        assert node.statistics().timers == made


async def test_a_call_from_a_full_stack(autojump_clock: Any) -> None:
    """The caller goes on, too, when a call fails in the middle because the stack is full."""

    async def down(callee: ak.Ref[Idle]) -> None:
        try:
            await down(callee)
        except RecursionError:
            await callee.call(Idle.busy, 0.1)

    async def often(callee: ak.Ref[Idle]) -> str:
        for _ in range(3):
            try:
                await down(callee)
            except RecursionError:
                pass
        await trio.sleep(20)
        return "fine"

    async with ak.open_node() as node:
        caller, callee = node.spawn(Idle), node.spawn(Idle)
        assert await caller.within(100).call(Idle.run, often, callee) == "fine"
        assert node.engine.deadlines.pending == 0


async def test_a_stop(autojump_clock: Any) -> None:
    """A node that cannot list its actors when it stops tries again, instead of leaving its workers
    waiting for ever.
    """
    with trio.fail_after(1_000):
        async with ak.open_node() as node:
            for _ in range(9_000):
                node.spawn(Idle)
            await node.spawn(Idle).call(Idle.busy, 0.1)
            with refusing(1) as told:
                node.shutdown()
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(node.engine.stop.run, None)
    assert told.refused == 1
    assert list(left(node)) == []
