"""node.from_thread: the way in for real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak

from .kit import Puppet


async def in_thread(function: Callable[[], Any]) -> Any:
    """Run in a thread that is none of trio's."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)
        token.run_sync_soon(done.set)

    thread = threading.Thread(target=run)
    thread.start()
    await done.wait()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def test_cast_send_and_call() -> None:
    """A thread casts, sends and calls, by ref, by name and within a deadline, in the order of its
    requests.
    """
    async with ak.open_node() as node:
        puppet = node.spawn(ak.child(Puppet).with_(name="svc"))
        door = node.from_thread

        def work() -> list[Any]:
            door.cast(puppet, Puppet.note, 1)
            door.send(puppet, 2)
            door.cast(ak.named(Puppet, "svc"), Puppet.note, value=3)
            door.send(ak.named(Puppet, "svc"), 4)
            assert door.call(puppet, Puppet.all_seen_later) == [1, 2, 3, 4]
            assert door.call(ak.named(Puppet, "svc"), Puppet.all_seen) == [1, 2, 3, 4]
            found: list[Any] = door.call(puppet.within(60), Puppet.all_seen)
            return found

        assert await in_thread(work) == [1, 2, 3, 4]


async def test_order_per_thread() -> None:
    """Each thread's messages arrive in the order in which it sent them, whatever the others do."""
    async with ak.open_node() as node:
        puppet = node.spawn(ak.child(Puppet).with_(mailbox=100_000))

        def work(who: int) -> None:
            for n in range(500):
                if n % 2:
                    node.from_thread.send(puppet, (who, n))
                else:
                    node.from_thread.cast(puppet, Puppet.note, (who, n))

        async with trio.open_nursery() as nursery:
            for who in range(4):
                nursery.start_soon(in_thread, lambda who=who: work(who))
        seen = await puppet.call(Puppet.all_seen)
        for who in range(4):
            assert [n for w, n in seen if w == who] == list(range(500))


async def test_errors_reach_the_thread() -> None:
    """A call raises in the thread what it raises anywhere; what is not a message is refused in the
    thread at once.
    """
    async with ak.open_node() as node:
        puppet = node.spawn(Puppet)
        door = node.from_thread

        def refused() -> None:
            with pytest.raises(ak.NotAMessage):
                door.cast(puppet, Puppet.handle_info, 1)
            with pytest.raises(ak.NotAMessage):
                door.call(puppet, Puppet.note, 1)

        def died() -> None:
            with pytest.raises(ak.CalleeDied):
                door.call(puppet, Puppet.all_seen)
            with pytest.raises(ak.CalleeDied):
                door.call(ak.named(Puppet, "nobody"), Puppet.all_seen)
            door.cast(puppet, Puppet.note, 1)

        await in_thread(refused)
        puppet.kill()
        await in_thread(died)
        await trio.testing.wait_all_tasks_blocked()
        assert node.statistics().dead_letters == 1


async def test_from_a_thread_that_an_actor_waits_for() -> None:
    """A worker thread of an actor's handler calls other actors, on the actor's own node and by its
    names.
    """
    async with ak.open_node(name="a") as node, ak.open_node(name="b"):
        helper = node.spawn(ak.child(Puppet).with_(name="helper"))

        async def work(me: Puppet) -> Any:
            door = me.ctx.node.from_thread
            return await trio.to_thread.run_sync(
                lambda: door.call(ak.named(Puppet, "helper"), Puppet.do, lambda other: other.ctx.ref)
            )

        assert await node.spawn(Puppet).call(Puppet.run, work) is helper


async def test_after_the_end_of_the_node() -> None:
    """After a node has ended, sends to it are dead letters and calls raise CalleeDied: a late
    thread harms nothing.
    """
    async with ak.open_node() as node:
        puppet = node.spawn(Puppet)

    def late() -> None:
        node.from_thread.cast(puppet, Puppet.note, 1)
        with pytest.raises(ak.CalleeDied):
            node.from_thread.call(puppet, Puppet.all_seen)

    await in_thread(late)
