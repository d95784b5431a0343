"""System events: a trio task gets them as a stream, an actor as messages."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe

from .kit import Puppet, crash, settle


class Observer(Puppet):
    @ak.call
    def observe(self, *types: type[ak.SystemEvent]) -> None:
        self.ctx.subscribe(*types)

    @ak.call
    def ignore(self) -> None:
        self.ctx.unsubscribe()


async def test_a_stream_gets_what_it_asked_for(node: ak.Node, clock: MockClock) -> None:
    """A stream yields the events of its types and of their subclasses, in order; without types it
    yields all events.
    """
    async with node.subscribe(ak.ActorStarted, ak.ActorExited) as some, node.subscribe() as every:
        puppet = node.spawn(Puppet)
        puppet.cast(Puppet.tell, crash)
        await settle()
        assert [type(e) for e in some.drain()] == [ak.ActorStarted, ak.ActorExited]
        events = every.drain()
    assert [type(e) for e in events] == [ak.ActorStarted, ak.ActorCrashed, ak.ActorExited]
    assert {e.ref for e in events} == {puppet}
    assert events[1].who == "Puppet"
    assert isinstance(events[2], ak.ActorExited)
    assert isinstance(events[2].reason, ak.Crash)


async def test_receive_waits(node: ak.Node, clock: MockClock) -> None:
    """receive and async for wait for the next event, and can be cancelled without losing one."""
    got: list[Any] = []
    async with node.subscribe(ak.ActorExited) as events, trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await events.receive()

        async def read() -> None:
            async for event in events:
                got.append(event.ref)
                if len(got) == 3:
                    break

        nursery.start_soon(read)
        await settle()
        refs = [node.spawn(Puppet) for _ in range(3)]
        for ref in refs:
            ref.kill()
            await settle()
    assert got == refs


async def test_two_readers_of_one_stream(node: ak.Node, clock: MockClock) -> None:
    """Each event goes to one of two readers, and neither of them sleeps on while there is one."""
    got: list[Any] = []
    async with node.subscribe(ak.ActorExited) as events, trio.open_nursery() as nursery:

        async def read() -> None:
            got.append(await events.receive())

        for _ in range(3):
            nursery.start_soon(read)
        await settle()
        for _ in range(3):
            node.spawn(Puppet).kill()
    assert len(got) == 3


async def test_a_stream_that_is_not_read(node: ak.Node, clock: MockClock) -> None:
    """A stream that nobody reads drops its oldest events and counts them; nobody else notices."""
    async with node.subscribe(ak.ActorExited, capacity=3) as events:
        refs = [node.spawn(Puppet) for _ in range(10)]
        for ref in refs:
            ref.kill()
        assert events.dropped == 7
        assert [e.ref for e in events.drain()] == refs[7:]


async def test_a_stream_that_was_left(node: ak.Node, clock: MockClock) -> None:
    """A stream collects nothing after its block, and no event is made when nobody listens."""
    async with node.subscribe() as events:
        pass
    node.spawn(Puppet).kill()
    assert events.drain() == []
    assert not node.engine.events.wanted(ak.ActorExited)


async def test_a_loop_over_events_is_no_busy_loop(node: ak.Node, clock: MockClock) -> None:
    """receive is a checkpoint even when an event is already there."""
    async with node.subscribe(ak.ActorExited) as events:
        for _ in range(3):
            node.spawn(Puppet).kill()
        with trio.CancelScope() as scope:
            scope.cancel()
            await events.receive()
        assert scope.cancelled_caught
        assert len(events.drain()) == 3


async def test_an_actor_subscribes(node: ak.Node, clock: MockClock) -> None:
    """An actor gets events as messages, exempt from its bound, but none about itself, until it
    unsubscribes or ends.
    """
    observer = node.spawn(ak.child(Observer).with_(mailbox=1))
    await observer.call(Observer.observe, ak.ActorExited)
    refs = [node.spawn(Puppet) for _ in range(5)]
    for ref in refs:
        ref.kill()
    await settle()
    assert [m.ref for m in await observer.call(Puppet.all_seen)] == refs
    await observer.call(Observer.observe, ak.ActorStarted)
    extra = node.spawn(Puppet)
    await settle()
    assert [type(m) for m in (await observer.call(Puppet.all_seen))[5:]] == [ak.ActorStarted]
    await observer.call(Observer.ignore)
    extra.kill()
    await settle()
    assert len(await observer.call(Puppet.all_seen)) == 6


async def test_an_actor_subscribes_to_everything(node: ak.Node, clock: MockClock) -> None:
    """Without types an actor gets all events, as a stream does."""
    observer = node.spawn(Observer)
    await observer.call(Observer.observe)
    node.spawn(Puppet).kill()
    await settle()
    assert [type(m) for m in await observer.call(Puppet.all_seen)] == [ak.ActorStarted, ak.ActorExited]


async def test_subscribing_again_and_again(node: ak.Node, clock: MockClock) -> None:
    """Subscribing and unsubscribing again and again leaves nothing behind; a dead subscriber is
    removed.
    """
    observer = node.spawn(Observer)
    for _ in range(100):
        await observer.call(Observer.observe, ak.ActorExited)
        await observer.call(Observer.ignore)
    record: Any = observer
    assert len(record.relations.at_exit) == 1
    await observer.call(Observer.observe, ak.ActorExited)
    observer.kill()
    assert not node.engine.events.actors
    assert not node.engine.events.wanted(ak.ActorExited)


async def test_dead_letters(node: ak.Node, clock: MockClock) -> None:
    """A dead letter names the receiver, the message, its arguments and the reason."""
    puppet = node.spawn(Puppet)
    puppet.kill()
    async with node.subscribe(ak.DeadLetter) as events:
        puppet.cast(Puppet.note, 1)
        (letter,) = events.drain()
    assert isinstance(letter, ak.DeadLetter)
    assert (letter.ref, letter.pid, letter.message, letter.args, letter.why) == (
        puppet,
        puppet.pid,
        "Puppet.note",
        (1,),
        "dead",
    )


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_probe_sees_the_ends(node: ak.Node, clock: MockClock, end: str) -> None:
    """A probe collects events, says what came instead when the expected one does not come, and can
    wait for nothing.
    """
    probe, puppet = Probe(node, name="probe"), node.spawn(Puppet)
    probe.monitor(puppet)
    probe.link(puppet)
    getattr(puppet, end)()
    assert (await probe.receive(ak.Exit)).source is puppet
    with pytest.raises(AssertionError, match="Down"):
        await probe.receive(str)
    with pytest.raises(AssertionError, match="nothing should"):
        await probe.nothing()
    assert [type(m) for m in probe.received] == [ak.Exit, ak.Down]
    assert node.whereis("probe") is probe.ref
    await probe.nothing()


@pytest.mark.parametrize(
    ("capacity", "error"),
    [(0, ValueError), (-1, ValueError), (0.5, TypeError), ("3", TypeError), (None, TypeError), (True, TypeError)],
)
async def test_a_capacity_that_cannot_be_is_refused_at_once(
    node: ak.Node, capacity: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"capacity=.*give a whole number above 0"):
        node.subscribe(ak.DeadLetter, capacity=capacity)
