"""Exit signals and links: the whole table of what a signal does, and the cases of the peers'
suites.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms

from .kit import Puppet, Trapper, linked_to, settle

BIG = ak.Failure("x" * 200_000)
OTHER = ak.Failure("die")
REASONS = [ak.NORMAL, ak.KILL, ak.KILLED, OTHER, ak.SHUTDOWN, ak.Shutdown("detail")]


async def link(one: ak.Ref[Puppet], two: ak.Ref[Any]) -> None:
    await one.call(Puppet.do, lambda me: me.ctx.link(two))


async def seen(ref: ak.Ref[Puppet]) -> list[Any]:
    await settle()
    found: list[Any] = await ref.call(Puppet.all_seen)
    return found


def leave(me: Puppet, reason: ak.ExitReason) -> None:
    me.ctx.exit_now(reason)


# --- the table -----------------------------------------------------------------------------------


@conforms("SIG-11")
@pytest.mark.parametrize("reason", REASONS)
async def test_over_a_link_to_one_that_does_not_trap(node: ak.Node, clock: MockClock, reason: ak.ExitReason) -> None:
    """SIG-11: a link carries every reason except Normal, and Kill unchanged: the receiver ends with
    that very reason.
    """
    dying, linked = node.spawn(Puppet), node.spawn(Puppet)
    probe = Probe(node)
    probe.monitor(linked)
    await link(linked, dying)
    dying.cast(Puppet.tell, leave, reason)
    if reason == ak.NORMAL:
        await probe.nothing()
        assert linked.alive
        assert linked_to(node, linked) == 0
    else:
        assert (await probe.receive(ak.Down)).reason == reason


@conforms("SIG-11", "SIG-18")
@pytest.mark.parametrize("reason", REASONS)
async def test_over_a_link_to_one_that_traps(node: ak.Node, clock: MockClock, reason: ak.ExitReason) -> None:
    """SIG-11, SIG-18: an actor that traps exits gets a message for every reason, Normal and Kill
    included, and lives.
    """
    dying, linked = node.spawn(Puppet), node.spawn(Trapper)
    await link(linked, dying)
    dying.cast(Puppet.tell, leave, reason)
    assert await seen(linked) == [ak.Exit(dying, reason)]
    assert linked_to(node, linked) == 0


@conforms("SIG-03", "SIG-16")
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("by", ["host", "actor"])
async def test_exit_of_another_that_does_not_trap(
    node: ak.Node, clock: MockClock, reason: ak.ExitReason, by: str
) -> None:
    """SIG-03, SIG-16: exit(other, Normal) does nothing; Kill ends the other with Killed; any other
    reason ends it with that reason.
    """
    target, sender, probe = node.spawn(Puppet), node.spawn(Puppet), Probe(node)
    probe.link(target)
    if by == "host":
        target.exit(reason)
    else:
        await sender.call(Puppet.do, lambda me: target.exit(reason))
    if reason == ak.NORMAL:
        await probe.nothing()
        assert target.alive
    else:
        assert (await probe.receive(ak.Exit)).reason == (ak.KILLED if reason == ak.KILL else reason)


@conforms("SIG-18")
@pytest.mark.parametrize("reason", REASONS)
async def test_exit_of_another_that_traps(node: ak.Node, clock: MockClock, reason: ak.ExitReason) -> None:
    """SIG-18: a receiver that traps exits gets a message, for Normal too; only Kill cannot be
    trapped.
    """
    target, sender, probe = node.spawn(Trapper), node.spawn(Puppet), Probe(node)
    probe.monitor(target)
    await sender.call(Puppet.do, lambda me: target.exit(reason))
    if reason == ak.KILL:
        assert (await probe.receive(ak.Down)).reason == ak.KILLED
    else:
        assert await seen(target) == [ak.Exit(sender, reason)]


async def test_exit_by_the_host_has_no_source(node: ak.Node, clock: MockClock) -> None:
    """A trapped signal that was not sent by an actor has no source."""
    target = node.spawn(Trapper)
    target.exit(OTHER)
    assert await seen(target) == [ak.Exit(None, OTHER)]


@conforms("SIG-05", "SIG-06", "SIG-16")
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_exit_of_oneself(node: ak.Node, clock: MockClock, reason: ak.ExitReason, asynchronous: bool) -> None:
    """SIG-05, SIG-06: exit(self, R) without trapping ends the actor with R, Normal included; Kill
    becomes Killed.
    """
    target, probe = node.spawn(Puppet), Probe(node)
    probe.monitor(target)

    async def end(me: Puppet) -> None:
        await trio.lowlevel.checkpoint()
        me.ctx.ref.exit(reason)
        await trio.sleep_forever()

    if asynchronous:
        target.cast(Puppet.begin, end)
    else:
        target.cast(Puppet.tell, lambda me: me.ctx.ref.exit(reason))
    assert (await probe.receive(ak.Down)).reason == (ak.KILLED if reason == ak.KILL else reason)


@conforms("SIG-04")
@pytest.mark.parametrize("reason", [ak.NORMAL, OTHER])
async def test_exit_of_oneself_trapping(node: ak.Node, clock: MockClock, reason: ak.ExitReason) -> None:
    """SIG-04: an actor that traps exits and exits itself gets a message, 200 times out of 200."""
    target = node.spawn(Trapper)
    for _ in range(200):
        await target.call(Puppet.do, lambda me: me.ctx.ref.exit(reason))
    assert await seen(target) == [ak.Exit(target, reason)] * 200


# --- reasons -------------------------------------------------------------------------------------


@conforms("SIG-01", "SIG-02")
async def test_big_reasons_arrive_intact(node: ak.Node, clock: MockClock) -> None:
    """SIG-01, SIG-02: a big reason arrives as it is, by the actor's own exit over a link and by
    another's exit; its text is bounded.
    """
    for by_itself in (True, False):
        dying, watcher = node.spawn(Puppet), node.spawn(Trapper)
        await link(watcher, dying)
        if by_itself:
            dying.cast(Puppet.tell, leave, BIG)
        else:
            dying.exit(BIG)
        (message,) = await seen(watcher)
        assert message == ak.Exit(dying, BIG)
        assert message.reason.detail == BIG.detail
    assert len(repr(BIG)) < 5_000
    assert len(str(ak.CalleeDied("x", BIG))) < 5_000


@conforms("SIG-07")
async def test_exit_cannot_be_caught(node: ak.Node, clock: MockClock) -> None:
    """SIG-07: exit(self, R) inside try/except still ends the actor, at its next await at the
    latest.
    """
    target, probe = node.spawn(Puppet), Probe(node)
    probe.monitor(target)

    async def catches(me: Puppet) -> None:
        try:
            me.ctx.ref.exit(OTHER)
            await trio.sleep_forever()
        except BaseException:
            pass

    target.cast(Puppet.begin, catches)
    target.cast(Puppet.note, "not handled")
    assert (await probe.receive(ak.Down)).reason == OTHER


@conforms("SIG-08")
async def test_a_run_time_error_names_the_function(node: ak.Node, clock: MockClock) -> None:
    """SIG-08: an exception becomes a Crash with its type, its text and a bounded traceback of the
    user's frames only.
    """
    target, watcher = node.spawn(Puppet), node.spawn(Trapper)
    await link(watcher, target)

    def faulty(me: Puppet) -> None:
        {}["missing"]  # type: ignore[index]

    target.cast(Puppet.tell, faulty)
    (message,) = await seen(watcher)
    assert (message.reason.type, message.reason.message) == ("KeyError", "'missing'")
    assert "in faulty" in message.reason.traceback
    assert "scheduler.py" not in message.reason.traceback


@conforms("SIG-09")
async def test_signal_and_deadline_at_once(node: ak.Node, clock: MockClock) -> None:
    """SIG-09: a signal and a timeout come in the same instant: the actor ends with the signal's
    reason.
    """
    target, probe = node.spawn(Puppet), Probe(node)
    probe.monitor(target)

    async def waits(me: Puppet) -> None:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    target.cast(Puppet.begin, waits)
    await trio.sleep(1)
    target.exit(OTHER)
    assert (await probe.receive(ak.Down)).reason == OTHER


@conforms("SIG-10")
@pytest.mark.parametrize("second", [ak.KILL, ak.Failure("second"), ak.SHUTDOWN])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_first_reason_counts(
    node: ak.Node, clock: MockClock, second: ak.ExitReason, asynchronous: bool
) -> None:
    """SIG-10: of two exits the first reason wins, even while the actor's code is still
    unwinding.
    """
    target, probe = node.spawn(Puppet), Probe(node)
    probe.monitor(target)

    async def forever(me: Puppet) -> None:
        await trio.sleep_forever()

    if asynchronous:
        target.cast(Puppet.begin, forever)
        await settle()
    target.exit(OTHER)
    target.exit(second)
    assert (await probe.receive(ak.Down)).reason == OTHER
    await probe.nothing()


# --- links ---------------------------------------------------------------------------------------


@conforms("SIG-11")
async def test_spawn_link_and_unlink(node: ak.Node, clock: MockClock) -> None:
    """SIG-11: spawn_link shows at both ends, unlink from the child clears both, and they can link
    again; a death clears all.
    """
    parent = node.spawn(Trapper)
    child = await parent.call(Puppet.do, lambda me: me.ctx.spawn_link(Puppet))
    assert node.process_info(parent).links == (child.pid,)  # type: ignore[union-attr]
    assert node.process_info(child).links == (parent.pid,)  # type: ignore[union-attr]
    await child.call(Puppet.do, lambda me: me.ctx.unlink(parent))
    assert linked_to(node, parent) == linked_to(node, child) == 0
    await link(parent, child)
    await link(parent, child)
    await link(child, parent)
    assert linked_to(node, parent) == linked_to(node, child) == 1
    child.exit(OTHER)
    assert await seen(parent) == [ak.Exit(child, OTHER)]
    assert linked_to(node, parent) == 0


@conforms("SIG-11")
async def test_a_link_to_oneself_is_none(node: ak.Node, clock: MockClock) -> None:
    """SIG-11: link(self) and unlink(self) are allowed and do nothing."""
    puppet = node.spawn(Puppet)
    await link(puppet, puppet)
    assert linked_to(node, puppet) == 0
    await puppet.call(Puppet.do, lambda me: me.ctx.unlink(puppet))
    assert puppet.alive


@conforms("SIG-11")
async def test_a_link_to_the_dead(node: ak.Node, clock: MockClock) -> None:
    """A link to a dead actor, or to a name that nobody has, is a NoProc signal: a message if
    trapped, otherwise the actor's end.
    """
    dead = node.spawn(Puppet)
    dead.kill()
    for target, source in ((dead, dead), (ak.named(Puppet, "nobody"), None)):
        trapper = node.spawn(Trapper)
        await link(trapper, target)
        assert await seen(trapper) == [ak.Exit(source, ak.NOPROC)]
        puppet, probe = node.spawn(Puppet), Probe(node)
        probe.monitor(puppet)
        puppet.cast(Puppet.tell, lambda me, target=target: me.ctx.link(target))
        assert (await probe.receive(ak.Down)).reason == ak.NOPROC


async def test_spawn_link_is_atomic(node: ak.Node, clock: MockClock) -> None:
    """A child that ends in its very first message, or kills itself in its constructor, is already
    linked.
    """

    class Doomed(ak.Actor):
        def init(self) -> ak.Stop:
            return ak.Stop(OTHER)

    class Suicidal(ak.Actor):
        def __init__(self) -> None:
            self.ctx.ref.exit(OTHER)

    for cls in (Doomed, Suicidal):
        parent = node.spawn(Trapper)
        child = await parent.call(Puppet.do, lambda me, cls=cls: me.ctx.spawn_link(cls))
        assert await seen(parent) == [ak.Exit(child, OTHER)]


@conforms("SRV-01")
async def test_a_constructor_that_raises_sends_no_signal(node: ak.Node, clock: MockClock) -> None:
    """SRV-01: a start that fails in the constructor is StartFailed for the parent, and no exit
    signal.
    """

    class Broken(ak.Actor):
        def __init__(self) -> None:
            raise ValueError("broken")

    parent = node.spawn(Trapper)

    def start(me: Puppet) -> None:
        with pytest.raises(ak.StartFailed, match="broken"):
            me.ctx.spawn_link(Broken)

    await parent.call(Puppet.do, start)
    assert await seen(parent) == []
    assert linked_to(node, parent) == 0


@conforms("SIG-12")
async def test_unlink_flushes(node: ak.Node, clock: MockClock) -> None:
    """SIG-12: after unlink no Exit of that link arrives, not even one that is already in the
    mailbox; Exits of other links, and one sent by exit(), stay.
    """
    trapper, one, two = node.spawn(Trapper), node.spawn(Puppet), node.spawn(Puppet)

    async def run(me: Puppet) -> None:
        me.ctx.link(one)
        me.ctx.link(two)
        await one.call(Puppet.do, lambda other: trapper.exit(ak.Failure("sent")))
        one.exit(OTHER)
        two.exit(OTHER)
        await settle()
        assert node.process_info(trapper).mailbox == 3  # type: ignore[union-attr]
        me.ctx.unlink(one)

    await trapper.call(Puppet.run, run)
    assert await seen(trapper) == [ak.Exit(one, ak.Failure("sent")), ak.Exit(two, OTHER)]


@conforms("SIG-12")
async def test_exit_then_unlink(node: ak.Node, clock: MockClock) -> None:
    """SIG-12: after exit(child) directly followed by unlink, nothing comes."""
    trapper = node.spawn(Trapper)

    def run(me: Puppet) -> None:
        child = me.ctx.spawn_link(Puppet)
        child.exit(OTHER)
        me.ctx.unlink(child)

    await trapper.call(Puppet.do, run)
    await trio.sleep(1)
    assert await seen(trapper) == []


@conforms("SIG-14")
async def test_signals_come_after_the_messages_before_them(node: ak.Node, clock: MockClock) -> None:
    """SIG-14: what was sent before an exit signal may be seen, what was sent after it is not; a
    trapped signal keeps its place in the order.
    """
    for _ in range(50):
        sender, target, trapper, probe = node.spawn(Puppet), node.spawn(Puppet), node.spawn(Trapper), Probe(node)
        probe.monitor(target)

        def send(me: Puppet, target: Any = target, trapper: Any = trapper) -> None:
            for to in (target, trapper):
                to.send(1)
                to.exit(OTHER)
                to.send(2)

        await sender.call(Puppet.do, send)
        assert (await probe.receive(ak.Down)).reason == OTHER
        assert await seen(trapper) == [1, ak.Exit(sender, OTHER), 2]


@conforms("SIG-14")
async def test_a_death_is_told_after_what_the_dead_have_sent(node: ak.Node, clock: MockClock) -> None:
    """SIG-14: an actor's messages come before its Exit and its Down."""
    trapper, child = node.spawn(Trapper), node.spawn(Puppet)

    def watch(me: Puppet) -> None:
        me.ctx.link(child)
        me.ctx.monitor(child)

    await trapper.call(Puppet.do, watch)

    def last(me: Puppet) -> None:
        for n in range(100):
            trapper.send(n)
        me.ctx.exit_now(OTHER)

    child.cast(Puppet.tell, last)
    got = await seen(trapper)
    assert got[:100] == list(range(100))
    assert sorted(type(m).__name__ for m in got[100:]) == ["Down", "Exit"]


@conforms("SIG-15")
@pytest.mark.parametrize("length", [1, 2, 9, 10, 3_000])
@pytest.mark.parametrize("way", ["by another", "by itself", "exit_now"])
async def test_kill_over_chains(node: ak.Node, clock: MockClock, length: int, way: str) -> None:
    """SIG-15: exit(Kill) at the far end of a chain arrives as Killed; exit_now(Kill) arrives as
    Kill; however long the chain.
    """
    chain = [node.spawn(Puppet) for _ in range(length)]
    for one, two in zip(chain, chain[1:], strict=False):
        await link(one, two)
    probe = Probe(node)
    probe.link(chain[0])
    far = chain[-1]
    if way == "by another":
        far.kill()
    elif way == "by itself":
        far.cast(Puppet.tell, lambda me: me.ctx.ref.kill())
    else:
        far.cast(Puppet.tell, leave, ak.KILL)
    assert (await probe.receive(ak.Exit)).reason == (ak.KILL if way == "exit_now" else ak.KILLED)
    assert not any(ref.alive for ref in chain)


async def test_a_ring_of_links(node: ak.Node, clock: MockClock) -> None:
    """When actors are linked in a circle, each of them ends once."""
    ring = [node.spawn(Puppet) for _ in range(10)]
    for one, two in zip(ring, ring[1:] + ring[:1], strict=True):
        await link(one, two)
    before = node.statistics().exited
    ring[3].exit(OTHER)
    await settle()
    assert node.statistics().exited == before + 10


async def test_trap_exit_can_be_changed(node: ak.Node, clock: MockClock) -> None:
    """trap_exit begins as the class says, and the actor itself can change it."""
    puppet = node.spawn(Puppet)
    await puppet.call(Puppet.do, lambda me: setattr(me.ctx, "trap_exit", True))
    puppet.exit(OTHER)
    assert await seen(puppet) == [ak.Exit(None, OTHER)]
    assert node.process_info(puppet).trap_exit  # type: ignore[union-attr]
    await puppet.call(Puppet.do, lambda me: setattr(me.ctx, "trap_exit", False))
    puppet.exit(OTHER)
    assert not puppet.alive


async def test_terminate_is_not_run_by_untrapped_signals(node: ak.Node, clock: MockClock) -> None:
    """An exit signal that is not trapped ends an actor without terminate; a stop and a crash run
    it.
    """
    log: list[ak.ExitReason] = []

    class Ends(Puppet):
        def terminate(self, reason: ak.ExitReason) -> None:
            log.append(reason)

    for end in (
        lambda r: r.exit(OTHER),
        lambda r: r.kill(),
        lambda r: r.cast(Puppet.tell, lambda me: me.ctx.ref.exit(OTHER)),
    ):
        end(node.spawn(Ends))
        await settle()
    assert log == []
    node.spawn(Ends).stop(ak.Shutdown("x"))
    node.spawn(Ends).cast(Puppet.tell, leave, OTHER)
    await settle()
    assert log == [ak.Shutdown("x"), OTHER]


async def test_a_callback_at_death_that_sends_signals(node: ak.Node, clock: MockClock) -> None:
    """An actor that exits others while it is told of a death: each is told once, in the order of
    the deaths.
    """
    probe = Probe(node)
    a, b, c = (node.spawn(Puppet) for _ in range(3))
    await link(a, b)
    await link(a, c)
    await link(b, c)
    for ref in (a, b, c):
        probe.monitor(ref)
    a.exit(OTHER)
    await settle()
    assert [m.ref for m in probe.received] == [a, b, c]
