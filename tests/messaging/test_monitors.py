"""Monitors: they go one way, each is separate, and each gives one Down."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms

from .kit import Puppet, Trapper, settle

OTHER = ak.Failure("frop")


async def watch(watcher: ak.Ref[Puppet], target: ak.Ref[Any]) -> ak.MonitorId:
    found: ak.MonitorId = await watcher.call(Puppet.do, lambda me: me.ctx.monitor(target))
    return found


async def unwatch(watcher: ak.Ref[Puppet], monitor: ak.MonitorId, *, flush: bool = False) -> bool:
    found: bool = await watcher.call(Puppet.do, lambda me: me.ctx.demonitor(monitor, flush=flush))
    return found


async def seen(ref: ak.Ref[Puppet]) -> list[Any]:
    await settle()
    found: list[Any] = await ref.call(Puppet.all_seen)
    return found


@conforms("MON-10", "MON-12")
@pytest.mark.parametrize("reason", [ak.NORMAL, ak.SHUTDOWN, ak.KILL, OTHER, ak.Failure("x" * 100_000)])
async def test_down_has_the_reason(node: ak.Node, clock: MockClock, reason: ak.ExitReason) -> None:
    """MON-10, MON-12: Down carries the real reason, big ones intact; its ref is the one that was
    given to monitor.
    """
    watcher, target = node.spawn(Puppet), node.spawn(Puppet)
    monitor = await watch(watcher, target)
    target.cast(Puppet.tell, lambda me: me.ctx.exit_now(reason))
    assert await seen(watcher) == [ak.Down(monitor, target, reason)]


@conforms("MON-10", "MON-16", "MON-17")
async def test_monitoring_the_dead(node: ak.Node, clock: MockClock) -> None:
    """MON-10, MON-16: monitoring a dead actor, or a name that nobody has, gives NoProc at once; so
    does a second monitor after the death.
    """
    watcher, target = node.spawn(Puppet), node.spawn(Puppet)
    target.kill()
    nobody = ak.named(Puppet, "nobody")
    ids = [await watch(watcher, ref) for ref in (target, target, nobody)]
    assert await seen(watcher) == [ak.Down(i, r, ak.NOPROC) for i, r in zip(ids, (target, target, nobody), strict=True)]


@conforms("MON-10")
async def test_monitoring_by_name(node: ak.Node, clock: MockClock) -> None:
    """MON-10: a name is resolved once, when the monitor is made, and stays what Down shows."""
    watcher, target = node.spawn(Puppet), node.spawn(ak.child(Puppet).with_(name="svc"))
    ref = ak.named(Puppet, "svc")
    monitor = await watch(watcher, ref)
    target.kill()
    node.spawn(ak.child(Puppet).with_(name="svc"))
    await settle()
    assert await seen(watcher) == [ak.Down(monitor, ref, ak.KILLED)]


@conforms("MON-10")
async def test_spawn_monitor(node: ak.Node, clock: MockClock) -> None:
    """MON-10: spawn_monitor makes both; a start that fails raises."""
    watcher = node.spawn(Puppet)
    target, monitor = await watcher.call(Puppet.do, lambda me: me.ctx.spawn_monitor(Puppet))
    target.exit(OTHER)
    assert await seen(watcher) == [ak.Down(monitor, target, OTHER)]


@conforms("MON-08")
async def test_every_monitor_is_separate(node: ak.Node, clock: MockClock) -> None:
    """MON-08: of four monitors on one actor, the one that is taken back is silent; the others get a
    Down each, in order.
    """
    watcher, target = node.spawn(Puppet), node.spawn(Puppet)
    ids = [await watch(watcher, target) for _ in range(4)]
    assert await unwatch(watcher, ids[1], flush=True)
    target.kill()
    assert [m.monitor for m in await seen(watcher)] == [ids[0], ids[2], ids[3]]


@conforms("MON-08", "MON-09")
async def test_demonitor_with_the_down_in_the_mailbox(node: ak.Node, clock: MockClock) -> None:
    """MON-08, MON-09: once the Down is queued, demonitor returns False and leaves it, unless flush
    removes it, and only it.
    """
    watcher, target = node.spawn(Puppet), node.spawn(Puppet)
    ids = [await watch(watcher, target) for _ in range(3)]

    async def run(me: Puppet) -> list[bool]:
        target.kill()
        await settle()
        return [me.ctx.demonitor(ids[0], flush=True), me.ctx.demonitor(ids[1]), me.ctx.demonitor(ids[0], flush=True)]

    assert await watcher.call(Puppet.run, run) == [False, False, False]
    assert [m.monitor for m in await seen(watcher)] == ids[1:]


@conforms("MON-09", "MON-18", "MON-06")
async def test_demonitor_says_whether_a_down_comes(node: ak.Node, clock: MockClock) -> None:
    """MON-09, MON-18: True means that no Down comes, False that it has come or is queued; 200 times
    in each order.
    """
    for n in range(200):
        watcher, target = node.spawn(Puppet), node.spawn(Puppet)
        monitor = await watch(watcher, target)
        if n % 2:
            target.kill()
        armed = await unwatch(watcher, monitor)
        target.kill()
        assert armed == (len(await seen(watcher)) == 0) == (n % 2 == 0)


@conforms("MON-02", "MON-04", "MON-17")
async def test_only_the_owner_may_demonitor(node: ak.Node, clock: MockClock) -> None:
    """MON-02, MON-04, MON-17: a demonitor by another actor returns False and removes nothing."""
    watcher, stranger, target = (node.spawn(Puppet) for _ in range(3))
    monitor = await watch(watcher, target)
    assert await unwatch(stranger, monitor, flush=True) is False
    target.stop()
    assert await seen(watcher) == [ak.Down(monitor, target, ak.NORMAL)]


@conforms("MON-05", "MON-06")
async def test_unknown_and_old_monitors(node: ak.Node, clock: MockClock) -> None:
    """MON-05, MON-06: demonitor of an unknown or used monitor is not an error."""
    watcher, target = node.spawn(Puppet), node.spawn(Puppet)
    monitor = await watch(watcher, target)
    assert await unwatch(watcher, monitor) is True
    assert await unwatch(watcher, monitor) is False
    assert await unwatch(watcher, ak.MonitorId(99)) is False


@conforms("MON-03")
async def test_bad_targets_are_refused(node: ak.Node, clock: MockClock) -> None:
    """MON-03: monitoring what is not a ref raises in the actor that asks."""
    watcher = node.spawn(Puppet)

    def run(me: Puppet) -> None:
        for bad in ([], (1, 2, 3), 7, "name", None):
            with pytest.raises(TypeError):
                me.ctx.monitor(bad)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                me.ctx.link(bad)  # type: ignore[arg-type]

    await watcher.call(Puppet.do, run)


@conforms("MON-06", "MON-17")
async def test_monitoring_oneself(node: ak.Node, clock: MockClock) -> None:
    """MON-06, MON-17: monitoring oneself makes no entry and no message."""
    puppet, probe = node.spawn(Puppet), Probe(node)
    probe.monitor(puppet)
    monitor = await watch(puppet, puppet)
    info = node.process_info(puppet)
    assert info is not None
    assert info.monitors == ()
    assert len(info.monitored_by) == 1
    assert await unwatch(puppet, monitor) is False
    puppet.kill()
    await settle()
    assert len(probe.received) == 1


@conforms("MON-13", "MON-17")
async def test_the_tables_of_both_ends(node: ak.Node, clock: MockClock) -> None:
    """MON-13: monitors and monitored_by are right after monitor, after demonitor, and after the end
    of either actor.
    """
    watcher, target = node.spawn(Puppet), node.spawn(Puppet)

    def tables() -> tuple[Any, Any]:
        near, far = node.process_info(watcher), node.process_info(target)
        return near and near.monitors, far and far.monitored_by

    monitor = await watch(watcher, target)
    assert tables() == ((target.pid,), (watcher.pid,))
    await unwatch(watcher, monitor)
    assert tables() == ((), ())
    await watch(watcher, target)
    target.kill()
    assert tables() == ((), None)
    target = node.spawn(Puppet)
    await watch(watcher, target)
    watcher.kill()
    assert tables() == (None, ())
    record: Any = target
    assert not record.relations.monitored_by


@conforms("MON-14")
async def test_many_monitors_in_both_directions(node: ak.Node, clock: MockClock) -> None:
    """MON-14: mixed monitors in both directions are taken back in any order: the lists equal the
    sets, and are empty at the end.
    """
    one, two = node.spawn(Puppet), node.spawn(Puppet)
    shuffler = random.Random(7)
    for order in itertools.islice(itertools.permutations(range(5)), 40):
        made = [(one, two) if shuffler.random() < 0.5 else (two, one) for _ in range(5)]
        ids = [await watch(a, b) for a, b in made]
        for index in order:
            watcher, _ = made[index]
            assert await unwatch(watcher, ids[index])
    for ref in (one, two):
        info = node.process_info(ref)
        assert info is not None
        assert info.monitors == info.monitored_by == ()


@conforms("MON-01")
async def test_a_watcher_that_is_ended_by_the_one_it_watches(node: ak.Node, clock: MockClock) -> None:
    """MON-01: a monitored actor exits its watcher while it dies itself: both end, and nobody
    crashes.
    """
    watcher, target, probe = node.spawn(Puppet), node.spawn(Puppet), Probe(node)
    await watch(watcher, target)
    probe.monitor(watcher)

    def both(me: Puppet) -> None:
        watcher.exit(OTHER)
        me.ctx.exit_now(OTHER)

    target.cast(Puppet.tell, both)
    assert (await probe.receive(ak.Down)).reason == OTHER
    assert node.statistics().crashes == 1


@conforms("MON-15")
async def test_the_name_is_free_when_down_arrives(node: ak.Node, clock: MockClock) -> None:
    """MON-15: when the Down of a named actor arrives, its name can be registered again at once."""
    target = node.spawn(ak.child(Puppet).with_(name="taken"))
    took: list[bool] = []

    class Heir(Puppet):
        def handle_info(self, message: Any) -> None:
            self.ctx.register("taken")
            took.append(True)

    heir = node.spawn(Heir)
    await watch(heir, target)
    target.kill()
    assert node.whereis("taken") is None
    await settle()
    assert took == [True]
    assert node.whereis("taken") is heir


async def test_down_does_not_end_anybody(node: ak.Node, clock: MockClock) -> None:
    """A monitor is not a link: the watcher of a crash lives, whether it traps exits or not."""
    for cls in (Puppet, Trapper):
        watcher, target = node.spawn(cls), node.spawn(Puppet)
        await watch(watcher, target)
        target.exit(OTHER)
        assert [type(m) for m in await seen(watcher)] == [ak.Down]


@conforms("MON-16")
async def test_the_incarnation_is_part_of_the_pid(node: ak.Node, clock: MockClock) -> None:
    """MON-16: an actor of a former node is dead to a watcher: NoProc comes at once, and its pid is
    never one of this node's.
    """
    async with ak.open_node() as former:
        old = former.spawn(Puppet)
        await trio.lowlevel.checkpoint()
    watcher = node.spawn(Puppet)
    monitor = await watch(watcher, old)
    assert await seen(watcher) == [ak.Down(monitor, old, ak.NOPROC)]
    assert old.pid not in {ref.pid for ref in node.processes()}
