"""Timers: messages in the future."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms

from .kit import Puppet, settle


@conforms("TMR-01")
async def test_send_after(node: ak.Node, clock: MockClock) -> None:
    """The message comes after that many seconds and not before, from the host and from an actor."""
    probe, puppet = Probe(node), node.spawn(Puppet)
    started = trio.current_time()
    node.send_after(10, probe.ref, "from the host")
    await puppet.call(Puppet.do, lambda me: me.ctx.send_after(5, probe.ref, "from an actor"))
    assert await probe.receive(within=6) == "from an actor"
    assert trio.current_time() - started == pytest.approx(5)
    assert await probe.receive(within=6) == "from the host"
    assert trio.current_time() - started == pytest.approx(10)


@conforms("TMR-01")
async def test_timers_fire_in_order(node: ak.Node, clock: MockClock) -> None:
    """Timers fire in the order of their times; those of one instant fire in the order in which they
    were made.
    """
    probe = Probe(node)
    for n, seconds in enumerate((3, 1, 2, 1, 0)):
        node.send_after(seconds, probe.ref, (seconds, n))
    await trio.sleep(4)
    assert probe.received == [(0, 4), (1, 1), (1, 3), (2, 2), (3, 0)]


@conforms("TMR-01")
async def test_cancel_returns_the_seconds_left(node: ak.Node, clock: MockClock) -> None:
    """cancel returns the time that was left, or None if the timer has fired or was cancelled
    before; a cancelled timer does not fire.
    """
    probe = Probe(node)
    timer = node.send_after(10, probe.ref, "never")
    assert timer.pending
    await trio.sleep(4)
    assert timer.cancel() == pytest.approx(6)
    assert timer.cancel() is None
    assert not timer.pending
    fired = node.send_after(1, probe.ref, "once")
    await trio.sleep(20)
    assert fired.cancel() is None
    assert probe.received == ["once"]
    assert node.statistics().timers == 0


@conforms("TMR-01")
async def test_a_timer_dies_with_its_actor(node: ak.Node, clock: MockClock) -> None:
    """A timer to an actor ends with that actor, and a timer to a dead actor is never set; neither
    makes a dead letter.
    """
    puppet = node.spawn(Puppet)
    timers = [node.send_after(10, puppet, n) for n in range(100)]
    assert node.statistics().timers == 100
    puppet.kill()
    assert node.statistics().timers == 0
    assert not any(timer.pending for timer in timers)
    late = node.send_after(1, puppet, "x")
    assert late.cancel() is None
    await trio.sleep(20)
    assert node.statistics().dead_letters == 0


async def test_a_timer_outlives_the_one_that_made_it(node: ak.Node, clock: MockClock) -> None:
    """A timer for another actor belongs to the receiver: the actor that made it may end."""
    probe, puppet = Probe(node), node.spawn(Puppet)
    await puppet.call(Puppet.do, lambda me: me.ctx.send_after(5, probe.ref, "x"))
    puppet.kill()
    assert await probe.receive(within=6) == "x"


@conforms("TMR-01")
async def test_a_timer_to_a_name(node: ak.Node, clock: MockClock) -> None:
    """A name is resolved when the timer fires: the holder may have changed; if nobody has the name,
    there is a dead letter.
    """
    ref = ak.named(Puppet, "svc")
    node.spawn(ak.child(Puppet).with_(name="svc")).kill()
    node.send_after(5, ref, "x")
    await trio.sleep(1)
    second = node.spawn(ak.child(Puppet).with_(name="svc"))
    await trio.sleep(5)
    assert await second.call(Puppet.all_seen) == ["x"]
    second.kill()
    node.send_after(1, ref, "y")
    await trio.sleep(2)
    assert node.statistics().dead_letters == 1


@conforms("TMR-01")
@pytest.mark.parametrize("bad", [-1, math.inf, math.nan, "1", None])
async def test_bad_times(node: ak.Node, clock: MockClock, bad: Any) -> None:
    """Negative, infinite and otherwise impossible times raise where they are given."""
    with pytest.raises(ValueError, match="cannot send after"):
        node.send_after(bad, node.spawn(Puppet), "x")


async def test_many_cancelled_timers_are_forgotten(node: ak.Node, clock: MockClock) -> None:
    """Cancelled timers do not pile up until their time, neither in the node nor in their actor."""
    puppet = node.spawn(Puppet)
    for n in range(10_000):
        node.send_after(3_600, puppet, n).cancel()
    record: Any = puppet
    assert len(record.relations.timers) < 100
    assert len(node.engine.timers._heap) < 3_000
    assert node.statistics().timers == 0


async def test_a_timer_wakes_an_idle_process(node: ak.Node, clock: MockClock) -> None:
    """A process receives its timers by receive."""
    probe = Probe(node)

    async def process(ctx: ak.ProcessContext) -> None:
        ctx.send_after(5, ctx.ref, "tick")
        probe.ref.send((await ctx.receive(), trio.current_time()))

    started = trio.current_time()
    node.spawn(process)
    message, when = await probe.receive(tuple, within=10)
    assert (message, when - started) == ("tick", pytest.approx(5))


@conforms("SRV-12")
async def test_idle_timeout(node: ak.Node, clock: MockClock) -> None:
    """SRV-12: IdleTimeout comes after that many seconds without a message, again and again; every
    message starts the count anew.
    """
    log: list[tuple[float, str]] = []
    started = trio.current_time()

    class Idle(ak.Actor):
        def __init__(self) -> None:
            self.ctx.idle_timeout = 10

        @ak.call
        def ping(self) -> None:
            log.append((round(trio.current_time() - started), "ping"))

        @ak.call
        def quiet(self) -> None:
            self.ctx.idle_timeout = None

        def handle_info(self, message: Any) -> None:
            assert message == ak.IdleTimeout(10)
            log.append((round(trio.current_time() - started), "idle"))

    ref = node.spawn(Idle)
    await trio.sleep(6)
    await ref.call(Idle.ping)
    await trio.sleep(25)
    assert log == [(6, "ping"), (16, "idle"), (26, "idle")]
    await ref.call(Idle.quiet)
    await trio.sleep(100)
    assert len(log) == 3
    await settle()
    assert node.statistics().timers == 0


async def test_a_timer_that_is_cancelled_after_its_node(clock: MockClock) -> None:
    """A timer cancelled after its node never fires, and the node's counts stay right."""
    async with ak.open_node() as node:
        timer = node.send_after(10, node.spawn(Puppet), "late")
        other = node.send_after(10, ak.named(Puppet, "nobody"), "late")
    assert timer.cancel() is None, "it went with its actor"
    assert other.cancel() == pytest.approx(10)
    assert node.statistics().timers == 0


async def test_a_cancelled_timer_is_let_go_of(node: ak.Node, clock: MockClock) -> None:
    """An actor's list of timers has only those that are pending: nobody has to search through
    cancelled ones.
    """
    puppet = node.spawn(Puppet)
    record = node.engine.resolve(puppet)
    assert record is not None
    timers = [node.send_after(10, puppet, n) for n in range(50)]
    assert record.relations is not None
    assert record.relations.timers is not None
    for timer in timers[:20]:
        timer.cancel()
    assert list(record.relations.timers) == timers[20:]
    await trio.sleep(11)
    assert not record.relations.timers
