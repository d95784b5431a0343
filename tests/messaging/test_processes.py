"""Processes: a mailbox with selective receive, and the same life as any actor."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe

from .kit import Gate, Puppet, settle

OTHER = ak.Failure("x")


async def test_receive_any_in_order(node: ak.Node, clock: MockClock) -> None:
    """receive() gives the oldest message, whether it was sent before or while the process waits."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        while True:
            got.append(await ctx.receive())

    ref = node.spawn(process)
    for n in range(3):
        assert ref.send(n)
    await settle()
    for n in range(3, 6):
        ref.send(n)
        await settle()
    await ref.send_wait(None)
    await settle()
    assert got == [0, 1, 2, 3, 4, 5, None]


async def test_iteration(node: ak.Node, clock: MockClock) -> None:
    """async for over the context gives every message; leaving the loop leaves nothing behind."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        async for message in ctx:
            if message is None:
                break
            got.append(message)
        got.append(await ctx.receive())

    ref = node.spawn(process)
    for message in (1, 2, None, 3):
        ref.send(message)
    await settle()
    assert got == [1, 2, 3]
    assert not ref.alive


async def test_selective_receive(node: ak.Node, clock: MockClock) -> None:
    """receive by class or predicate takes the oldest message that is wanted; the others stay, in
    order.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        got.append(await ctx.receive(str))
        got.append(await ctx.receive(lambda m: isinstance(m, int) and m > 2))
        got.append(await ctx.receive(str))
        while len(got) < 8:
            got.append(await ctx.receive())

    ref = node.spawn(process)
    for message in (1, 2, "a", 3, 4):
        ref.send(message)
    await settle()
    assert got == ["a", 3]
    assert node.process_info(ref).mailbox == 3  # type: ignore[union-attr]
    ref.send(5)
    ref.send("b")
    ref.send("c")
    await settle()
    assert got == ["a", 3, "b", 1, 2, 4, 5, "c"]


async def test_a_predicate_that_raises(node: ak.Node, clock: MockClock) -> None:
    """A predicate that raises does so in the process, and no message is lost."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        ctx.ref.send(1)
        with pytest.raises(ZeroDivisionError):
            await ctx.receive(lambda m: 1 // 0)
        got.append(await ctx.receive())

    node.spawn(process)
    await settle()
    assert got == [1]


async def test_a_predicate_that_sends(node: ak.Node, clock: MockClock) -> None:
    """A message that the predicate itself sends to its process is seen; the process does not sleep
    on.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        def wanted(message: Any) -> bool:
            if message == "first":
                ctx.ref.send("second")
            return bool(message == "second")

        ctx.ref.send("first")
        got.append(await ctx.receive(wanted))

    node.spawn(process)
    await settle()
    assert got == ["second"]


async def test_cancellation_loses_nothing(node: ak.Node, clock: MockClock) -> None:
    """A receive that times out, or is cancelled in the very step in which a message comes, loses no
    message.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        for _ in range(2_000):
            with trio.move_on_after(0.5):
                got.append(await ctx.receive(int))
        while len(got) < 1_000:
            got.append(await ctx.receive(int))

    ref = node.spawn(process)
    ref.send("unwanted")
    for n in range(1_000):
        ref.send(n)
        await trio.sleep(0.5)
    await trio.sleep(2_000)
    assert got == list(range(1_000))


async def test_two_tasks_cannot_receive_at_once(node: ak.Node, clock: MockClock) -> None:
    """A second receive of one process raises BusyResourceError; the first goes on."""
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        async with trio.open_nursery() as nursery:

            async def first() -> None:
                got.append(await ctx.receive())

            nursery.start_soon(first)
            await settle()
            with pytest.raises(trio.BusyResourceError, match="another task"):
                await ctx.receive()
            ctx.ref.send("x")

    ref = node.spawn(process)
    await node.stopped(ref)
    assert got == ["x"]


async def test_kill_in_receive(node: ak.Node, clock: MockClock) -> None:
    """A kill ends a process in receive, in any await, and before it has begun; finally blocks run;
    monitors hear Killed.
    """
    log: list[str] = []
    probe = Probe(node)

    async def receives(ctx: ak.ProcessContext) -> None:
        try:
            await ctx.receive()
        finally:
            log.append("unwound")

    async def sleeps(ctx: ak.ProcessContext) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    for function in (receives, sleeps):
        for begun in (True, False):
            ref = node.spawn(function)
            probe.monitor(ref)
            if begun:
                await settle()
            ref.kill()
            assert (await probe.receive(ak.Down)).reason == ak.KILLED
    assert log == ["unwound"]
    assert node.statistics().actors == 1


async def test_its_end_and_its_crash(node: ak.Node, clock: MockClock) -> None:
    """A process ends with Normal when its function returns, with Crash when the function raises,
    and with its own reason by exit_now.
    """
    probe = Probe(node)

    async def returns(ctx: ak.ProcessContext) -> int:
        return 7

    async def raises(ctx: ak.ProcessContext) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("process")

    async def exits(ctx: ak.ProcessContext) -> None:
        await trio.lowlevel.checkpoint()
        try:
            ctx.exit_now(OTHER)
        except Exception:
            pass

    async def exits_in_task(ctx: ak.ProcessContext) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exits, ctx)

    async def stops(ctx: ak.ProcessContext) -> None:
        ctx.stop(ak.Shutdown("enough"))
        await trio.sleep_forever()

    expected = {returns: ak.NORMAL, exits: OTHER, exits_in_task: OTHER, stops: ak.Shutdown("enough")}
    for function, reason in expected.items():
        probe.monitor(node.spawn(function))
        assert (await probe.receive(ak.Down)).reason == reason
    probe.monitor(node.spawn(raises))
    crash = (await probe.receive(ak.Down)).reason
    assert isinstance(crash, ak.Crash)
    assert crash.type == "ValueError"


async def test_links_to_and_from(node: ak.Node, clock: MockClock) -> None:
    """A process links and is linked, dies of a link, and takes linked actors along, like any actor;
    spawn_link too.
    """
    probe = Probe(node)

    async def waits(ctx: ak.ProcessContext) -> None:
        await ctx.receive()

    one, two, puppet = node.spawn(waits), node.spawn(waits), node.spawn(Puppet)
    await puppet.call(Puppet.do, lambda me: me.ctx.link(one))
    for ref in (one, puppet):
        probe.monitor(ref)
    one.exit(OTHER)
    assert [(await probe.receive(ak.Down)).reason for _ in range(2)] == [OTHER, OTHER]

    async def parent(ctx: ak.ProcessContext) -> None:
        child = ctx.spawn_link(waits)
        ctx.link(two)
        probe.ref.send(child)
        await ctx.receive()

    ref = node.spawn(parent)
    child = await probe.receive(lambda m: isinstance(m, ak.Ref))
    for each in (ref, child, two):
        probe.monitor(each)
    child.kill()
    assert {(await probe.receive(ak.Down)).reason for _ in range(3)} == {ak.KILLED}


async def test_trapping_exits(node: ak.Node, clock: MockClock) -> None:
    """With ctx.trap_exit a process receives Exit; a stop is an Exit then too, and Kill still ends
    it.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        ctx.trap_exit = True
        while True:
            got.append(await ctx.receive(ak.Exit))

    ref, sender = node.spawn(process), node.spawn(Puppet)
    await settle()
    await sender.call(Puppet.do, lambda me: ref.exit(OTHER))
    ref.stop(ak.SHUTDOWN)
    await settle()
    assert got == [ak.Exit(sender, OTHER), ak.Exit(None, ak.SHUTDOWN)]
    ref.kill()
    await settle()
    assert not ref.alive


async def test_it_has_no_declared_messages(node: ak.Node, clock: MockClock) -> None:
    """cast and call are refused at the sender, and a process has nothing to continue with."""

    async def process(ctx: ak.ProcessContext) -> None:
        with pytest.raises(TypeError, match="is a process"):
            ctx.continue_with(process)
        await ctx.receive()

    ref: Any = node.spawn(process)
    await settle()
    assert ref.alive
    with pytest.raises(ak.NotAMessage):
        ref.cast(Puppet.note, 1)
    with pytest.raises(ak.NotAMessage):
        await ref.call(Puppet.all_seen)


@pytest.mark.parametrize("policy", ["reject", "wait", "drop_oldest", "drop_newest"])
@pytest.mark.parametrize("selective", [False, True])
async def test_bounded_mailboxes(node: ak.Node, clock: MockClock, policy: Any, selective: bool) -> None:
    """The bound and the policies are those of any actor, even while the process waits for something
    else.
    """
    got: list[Any] = []

    async def process(ctx: ak.ProcessContext) -> None:
        if selective:
            await ctx.receive(ak.IdleTimeout)
        else:
            await trio.sleep(10)
        while True:
            got.append(await ctx.receive())

    ref = node.spawn(ak.child(process).with_(mailbox=3, overflow=policy))
    await settle()
    assert [ref.send(n) for n in range(5)] == [True] * 3 + [policy.startswith("drop")] * 2
    assert node.process_info(ref).mailbox == 3  # type: ignore[union-attr]
    assert node.statistics().dead_letters == 2
    async with trio.open_nursery() as nursery:
        for n in range(5, 8):
            nursery.start_soon(ref.send_wait, n)
            await settle()
        with trio.move_on_after(1):
            await ref.send_wait("cancelled")
        assert node.process_info(ref).mailbox == 3  # type: ignore[union-attr]
        if selective:
            node.send_after(0, ref, ak.IdleTimeout(0))
    await settle()
    assert got == ([2, 3, 4] if policy == "drop_oldest" else [0, 1, 2]) + [5, 6, 7]


async def test_room_by_a_flush(node: ak.Node, clock: MockClock) -> None:
    """A sender that waits for room is let in when a task of the process makes room by flushing a
    Down.
    """
    got: list[Any] = []
    other = node.spawn(Puppet)
    flush = trio.Event()

    async def process(ctx: ak.ProcessContext) -> None:
        monitor = ctx.monitor(other)

        async def flusher() -> None:
            await flush.wait()
            ctx.demonitor(monitor, flush=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher)
            got.append(await ctx.receive(str))

    ref = node.spawn(ak.child(process).with_(mailbox=1))
    await settle()
    other.kill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.send_wait, "let in")
        await settle()
        assert got == []
        flush.set()
    await settle()
    assert got == ["let in"]


async def test_a_flood_does_not_starve_others(clock: MockClock) -> None:
    """A process that always has a message still lets trio run others when its slice is over."""
    count = at_last_pass = 0

    async def process(ctx: ak.ProcessContext) -> None:
        nonlocal count
        ctx.ref.send(0)
        while count - at_last_pass < 1_000:  # it starves others: it must end for the test to say so
            count += 1
            ctx.ref.send(await ctx.receive())

    async with ak.open_node(slice_seconds=1e-9) as node:
        ref = node.spawn(process)
        for _ in range(100):
            at_last_pass = count
            await trio.lowlevel.checkpoint()
        assert ref.alive
        assert count > 50
        ref.kill()
        while ref.alive:
            await trio.lowlevel.checkpoint()


async def test_calling_from_a_process(node: ak.Node, clock: MockClock) -> None:
    """A process calls as an actor does, inline and waiting; an actor that waits for room in its
    mailbox is part of a cycle.
    """
    got: list[Any] = []
    puppet = node.spawn(Puppet)

    async def process(ctx: ak.ProcessContext) -> None:
        got.append(await puppet.call(Puppet.all_seen))
        got.append(await puppet.call(Puppet.all_seen_later))

        async def back(me: Puppet) -> None:
            await ctx.ref.send_wait(1)
            with pytest.raises(ak.CallCycle):
                await ctx.ref.send_wait(2)

        await puppet.call(Puppet.run, back)
        with pytest.raises(ak.CallCycle):
            await ctx.ref.send_wait(3)
        got.append(await ctx.receive())

    ref = node.spawn(ak.child(process).with_(mailbox=1))
    await settle()
    assert got == [[], [], 1]
    assert not ref.alive


async def test_a_process_with_tasks_may_wait_for_its_own_room(node: ak.Node, clock: MockClock) -> None:
    """One task of a process receives what another of its tasks sends: that is not a cycle."""
    got: list[int] = []

    async def process(ctx: ak.ProcessContext) -> None:
        async def produce() -> None:
            for n in range(50):
                await ctx.ref.send_wait(n)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            while len(got) < 50:
                got.append(await ctx.receive())

    node.spawn(ak.child(process).with_(mailbox=2))
    await settle()
    assert got == list(range(50))


async def test_processes_as_children(clock: MockClock) -> None:
    """A process is a child like any other: it is restarted when it fails, left alone when it is
    transient and done, and stopped with the tree.
    """
    log: list[str] = []

    async def worker(ctx: ak.ProcessContext, name: str) -> None:
        log.append(f"{name} begins")
        try:
            match await ctx.receive():
                case "crash":
                    raise ValueError
        finally:
            log.append(f"{name} ends")

    tree = ak.supervisor(
        ak.child(worker, "a").with_(name="a"),
        ak.child(worker, "b").with_(name="b", restart="transient"),
        strategy="one_for_one",
    )
    async with ak.open_node(tree) as node:
        await settle()
        ak.named(ak.Process, "a").send("crash")
        ak.named(ak.Process, "b").send("done")
        await settle()
        assert node.whereis("a") is not None
        assert node.whereis("b") is None
        assert node.statistics().restarts == 1
    assert log.count("a begins") == log.count("a ends") == 2
    assert log.count("b begins") == log.count("b ends") == 1


async def test_left_open_nursery(node: ak.Node, clock: MockClock) -> None:
    """A process that ends with a nursery open crashes, and its tasks end with it."""
    probe = Probe(node)

    async def process(ctx: ak.ProcessContext) -> None:
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()
        nursery.start_soon(trio.sleep_forever)

    probe.monitor(node.spawn(process))
    reason = (await probe.receive(ak.Down)).reason
    assert isinstance(reason, ak.Crash)


async def test_a_gate_called_by_many_processes(node: ak.Node, clock: MockClock) -> None:
    """Many processes wait for one actor at once; each gets its answer."""
    ref = node.spawn(Gate)
    probe = Probe(node)

    async def process(ctx: ak.ProcessContext, n: int) -> None:
        ref.cast(Gate.note, n)
        probe.ref.send(await ref.call(Gate.count))

    for n in range(50):
        node.spawn(process, n)
    await settle()
    assert len(probe.received) == 50
    assert max(probe.received) == 50
