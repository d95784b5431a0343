"""A message that does not fit into its receiver's budget is refused, whichever ref or door it comes
through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import actorkit as ak

from .conftest import KIB, MIB, Ends
from .test_arrivals import Slow

Send = Callable[[ak.Node, Any, int], Awaitable[None]]
"""Sends a message of so many bytes that nobody else holds."""


# --- refs: each leads to the receiver, which is registered as "slow" ------------------------------


async def direct(ends: Ends, slow: Any) -> Any:
    return slow


async def by_name(ends: Ends, slow: Any) -> Any:
    return ak.named(Slow, "slow")


async def by_a_registry(ends: Ends, slow: Any) -> Any:
    ends.node.spawn(ak.registry(name="names"))
    await ak.named(ak.Registry, "names").call(ak.Registry.register, slow, "key")
    return ak.via(Slow, "names", "key")


REFS = [direct, by_name, by_a_registry]


# --- doors ----------------------------------------------------------------------------------------


async def cast(node: ak.Node, ref: Any, size: int) -> None:
    ref.cast(Slow.take, bytes(size))


async def cast_by_keyword(node: ak.Node, ref: Any, size: int) -> None:
    ref.cast(Slow.take, what=bytes(size))


async def send(node: ak.Node, ref: Any, size: int) -> None:
    ref.send(bytes(size))


async def send_wait(node: ak.Node, ref: Any, size: int) -> None:
    await ref.send_wait(bytes(size))


async def cast_wait(node: ak.Node, ref: Any, size: int) -> None:
    await ref.cast_wait(Slow.take, bytes(size))


async def call(node: ak.Node, ref: Any, size: int) -> None:
    await ref.call(Slow.take, bytes(size))


async def call_by_keyword(node: ak.Node, ref: Any, size: int) -> None:
    await ref.call(Slow.take, what=bytes(size))


async def call_within(node: ak.Node, ref: Any, size: int) -> None:
    await ref.within(3600).call(Slow.take, bytes(size))


async def a_timer(node: ak.Node, ref: Any, size: int) -> None:
    node.send_after(0, ref, bytes(size))


async def an_actors_timer(node: ak.Node, ref: Any, size: int) -> None:
    class Sender(ak.Actor):
        @ak.call
        def start(self) -> None:
            self.ctx.send_after(0, ref, bytes(size))

    await node.spawn(Sender).call(Sender.start)


async def a_thread_casts(node: ak.Node, ref: Any, size: int) -> None:
    await trio.to_thread.run_sync(lambda: node.from_thread.cast(ref, Slow.take, bytes(size)))


async def a_thread_casts_by_keyword(node: ak.Node, ref: Any, size: int) -> None:
    await trio.to_thread.run_sync(lambda: node.from_thread.cast(ref, Slow.take, what=bytes(size)))


async def a_thread_sends(node: ak.Node, ref: Any, size: int) -> None:
    await trio.to_thread.run_sync(lambda: node.from_thread.send(ref, bytes(size)))


async def a_thread_calls(node: ak.Node, ref: Any, size: int) -> None:
    await trio.to_thread.run_sync(lambda: node.from_thread.call(ref, Slow.take, bytes(size)), abandon_on_cancel=True)


async def a_thread_calls_within(node: ak.Node, ref: Any, size: int) -> None:
    await trio.to_thread.run_sync(
        lambda: node.from_thread.call(ref.within(3600), Slow.take, what=bytes(size)), abandon_on_cancel=True
    )


DOORS: list[Send] = [
    cast,
    cast_by_keyword,
    send,
    send_wait,
    cast_wait,
    call,
    call_by_keyword,
    call_within,
    a_timer,
    an_actors_timer,
    a_thread_casts,
    a_thread_casts_by_keyword,
    a_thread_sends,
    a_thread_calls,
    a_thread_calls_within,
]
WAITING = (send_wait, cast_wait)


async def check(ends: Ends, slow: Any, what_it_saw: Any, ref: Any, door: Send, opened: trio.Event) -> None:
    errors = 0

    async def one(size: int) -> None:
        nonlocal errors
        try:
            await door(ends.node, ref, size)
        except ak.MailboxFull:
            errors += 1

    def settled() -> int:
        relations = slow.relations
        waiting = 0 if relations is None or relations.senders is None else len(relations.senders)
        return errors + ends.node.statistics().dead_letters + int(slow.mailbox_length) + waiting

    async def arrives(size: int) -> None:
        """Until it is in the mailbox, refused, or waits for room."""
        before = settled()
        nursery.start_soon(one, size)
        while settled() == before:
            await trio.lowlevel.checkpoint()
        info = ends.node.process_info(slow, walk=True)
        assert info is not None
        assert info.memory is not None
        assert info.memory.charged <= MIB
        assert slow.mailbox_length <= 3

    async with trio.open_nursery() as nursery:
        if door not in WAITING:  # it would wait before all others
            await arrives(3 * MIB)
            assert slow.mailbox_length == 0
        for _ in range(8):
            await arrives(300 * KIB)
        await arrives(3 * MIB)
        assert slow.mailbox_length == 3
        assert slow.alive
        opened.set()
    wanted = 8 if door in WAITING else 3
    while what_it_saw.seen < wanted:
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    assert what_it_saw.seen == wanted
    assert slow.alive


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("find", REFS)
async def test_each_ref_and_each_door(ends: Ends, find: Any, door: Send) -> None:
    """Of eight messages of 300 KiB, three fit into 1 MiB. One of 3 MiB does not fit at all, whether
    it comes before or after them. The receiver lives, and has got three; all eight, if their
    senders wait for room."""
    slow: Any = ends.node.spawn(ak.child(Slow).with_(max_heap_size=MIB, name="slow"))
    ref = await find(ends, slow)
    slow.cast(Slow.begin)
    await trio.testing.wait_all_tasks_blocked()
    await check(ends, slow, slow.obj, ref, door, slow.obj.opened)


@pytest.mark.parametrize("door", DOORS)
async def test_a_partition(ends: Ends, door: Send) -> None:
    """The same through ``ak.partitioned``."""
    spec = ak.child(Slow).with_(max_heap_size=MIB)
    ends.node.spawn(ak.partition_supervisor(spec, name="parts", partitions=1))
    await trio.testing.wait_all_tasks_blocked()
    ref = ak.partitioned(Slow, "parts", "key")
    [slow] = [one for one in ends.node.processes() if one.kind.cls is Slow]  # type: ignore[attr-defined]
    slow.cast(Slow.begin)
    await trio.testing.wait_all_tasks_blocked()
    await check(ends, slow, slow.obj, ref, door, slow.obj.opened)  # type: ignore[attr-defined]


@pytest.mark.parametrize("door", [send, a_timer, an_actors_timer, a_thread_sends])
@pytest.mark.parametrize("named", [False, True])
async def test_a_process(ends: Ends, named: bool, door: Send) -> None:
    """The same for a process, which gets what is sent."""
    opened = trio.Event()

    class Got:
        seen = 0

    async def reader(ctx: ak.ProcessContext) -> None:
        await opened.wait()
        async for _ in ctx:
            Got.seen += 1

    process: Any = ends.node.spawn(ak.child(reader).with_(max_heap_size=MIB, name="slow"))
    await trio.testing.wait_all_tasks_blocked()
    ref: Any = ak.named(Slow, "slow") if named else process
    await check(ends, process, Got, ref, door, opened)
