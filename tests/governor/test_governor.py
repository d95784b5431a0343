"""The governor at work: real actors, and memory figures that come from the test."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.governor import quota

from .conftest import MIB, Holder, Memory, Watching, level_is, until

L = ak.MemoryLevel
P = ak.Priority


def child(size: int = 0, cls: Any = Holder, **changes: Any) -> ak.ChildSpec[Any]:
    return ak.child(cls, size).with_(**{"restart": "temporary", **changes})


async def start(node: ak.Node, *specs: ak.ChildSpec[Any]) -> list[Any]:
    many = ak.named(ak.DynamicSupervisor, "many")
    return [await many.call(ak.DynamicSupervisor.start_child, spec) for spec in specs]


def open_node(memory: Memory, **options: Any) -> Any:
    return ak.open_node(ak.dynamic_supervisor().with_(name="many"), memory_source=memory.source, **options)


async def test_low_goes_before_normal_before_high_and_critical_never(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_node(memory) as node:
        memory.node = node
        order = [P.CRITICAL, P.HIGH, P.NORMAL, P.LOW]
        refs = await start(node, *[child(15 * MIB, priority=p) for p in order])
        memory.base = 32 * MIB
        await until(lambda: not refs[3].alive)
        assert [ref.alive for ref in refs] == [True, True, True, False]
        memory.base = 60 * MIB
        await until(lambda: not refs[1].alive)
        assert [ref.alive for ref in refs] == [True, False, False, False]
        memory.base = 20 * MIB
        await level_is(node, L.NORMAL)
        assert refs[0].alive


async def test_small_innocents_outlive_a_few_large_ones(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    async with open_node(memory) as node:
        memory.node = node
        crowd = await start(node, *[child(2_000) for _ in range(200)])
        hogs = await start(node, *[child(20 * MIB) for _ in range(4)])
        await until(lambda: not all(hog.alive for hog in hogs))
        await until(lambda: node.memory.level <= L.CONSERVE)
        assert all(ref.alive for ref in crowd)


async def test_victims_reasons_and_events_tell_the_rule(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    async with open_node(memory) as node, node.subscribe(ak.KilledForMemory, ak.MemoryAlarm) as events:
        memory.node = node
        (hog,) = await start(node, child(85 * MIB))
        with trio.fail_after(40):
            alarm = await anext(events)
            kill = await anext(events)
        assert isinstance(alarm, ak.MemoryAlarm)
        assert alarm.standing
        assert isinstance(kill, ak.KilledForMemory)
        assert kill.ref == hog
        assert kill.level >= L.KILL
        assert kill.predicted >= 85 * MIB
        assert "to be freed" in kill.because
        with trio.fail_after(40):
            alarm = await anext(events)
        assert isinstance(alarm, ak.MemoryAlarm)
        assert not alarm.standing


async def test_actors_that_opted_in_are_asked_first_and_may_save_everybody(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_node(memory) as node:
        memory.node = node
        cache, other = await start(node, child(50 * MIB, Watching), child(12 * MIB))
        await until(lambda: memory.live() < 30 * MIB)
        await level_is(node, L.NORMAL)
        told = await cache.call(Watching.heard)
        assert told[0].level >= L.CONSERVE
        assert told[0].please_free > 0
        assert told[-1].level == L.NORMAL
        assert cache.alive
        assert other.alive


async def test_a_node_whose_pages_never_go_back_kills_once_and_recovers(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    memory.sticky = True
    async with open_node(memory) as node:
        memory.node = node
        refs = await start(node, *[child(10 * MIB) for _ in range(8)])
        memory.base = 13 * MIB
        await until(lambda: not all(ref.alive for ref in refs))
        await until(lambda: node.memory.level <= L.CONSERVE)
        alive = sum(ref.alive for ref in refs)
        assert alive >= 5
        await trio.sleep(60)
        assert sum(ref.alive for ref in refs) == alive
        assert node.memory.data().allocated > 90 * MIB
        assert node.memory.data().retained > 10 * MIB


async def test_a_dry_run_decides_and_does_nothing(memory: Memory, autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_node(memory, governor=ak.GovernorSettings(dry_run=True)) as node,
        node.subscribe(ak.KilledForMemory) as kills,
    ):
        memory.node = node
        (hog,) = await start(node, child(84 * MIB))
        with trio.fail_after(40):
            kill = await anext(kills)
        assert kill.dry_run
        assert hog.alive


async def test_all_die_in_a_radius_and_it_is_spared_for_the_sake_of_a_critical_one(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    class Tied(Holder):
        @ak.call
        def tie(self, other: ak.Ref[Any]) -> None:
            self.ctx.link(other)

    async with open_node(memory) as node:
        memory.node = node
        one, two = await start(node, child(30 * MIB, Tied), child(20 * MIB, Tied))
        guarded, guard = await start(node, child(25 * MIB, Tied, priority=P.LOW), child(0, Tied, priority=P.CRITICAL))
        await one.call(Tied.tie, two)
        await guarded.call(Tied.tie, guard)
        memory.base = 20 * MIB
        await until(lambda: not one.alive)
        assert not two.alive
        assert guarded.alive
        assert guard.alive


async def test_killed_children_come_back_when_there_is_room_and_not_before(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_node(memory) as node, node.subscribe(ak.ChildRestarted) as restarts:
        memory.node = node
        await start(node, child(60 * MIB, restart="permanent"))
        memory.base = 35 * MIB
        await until(lambda: len(node.restart_gate) == 1)
        await trio.sleep(60)
        assert len(node.restart_gate) == 1
        infos = await ak.named(ak.DynamicSupervisor, "many").call(ak.DynamicSupervisor.which_children)
        assert [info.state for info in infos] == ["restarting"]
        memory.base = 5 * MIB
        with trio.fail_after(40):
            await anext(restarts)


async def test_a_restart_at_the_gate_is_taken_back_by_terminate_child_and_by_the_end(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_node(memory) as node:
        memory.node = node
        one, two = await start(node, child(30 * MIB, restart="permanent"), child(30 * MIB, restart="permanent"))
        memory.base = 60 * MIB
        await until(lambda: len(node.restart_gate) == 2)
        await ak.named(ak.DynamicSupervisor, "many").call(ak.DynamicSupervisor.terminate_child, one)
        assert len(node.restart_gate) == 1
        assert not two.alive


async def test_new_work_is_refused_while_memory_is_short(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_node(memory) as node:
        memory.node = node
        assert node.admission.capacity("upload") > 0
        async with node.admission.slot("upload"):
            assert node.admission.counts("upload").now == 1
        memory.base = 85 * MIB
        await until(lambda: node.admission.capacity("upload") == 0)
        with pytest.raises(ak.AdmissionRefused, match="no upload is admitted") as refused:
            async with node.admission.slot("upload"):
                raise AssertionError("it was let in")
        assert refused.value.retry_after > 0
        assert node.admission.admit("probe", exempt=True)
        memory.base = 10 * MIB
        await until(lambda: node.admission.capacity("upload") > 0)


async def test_the_node_stops_in_order_when_nothing_helps(
    memory: Memory, autojump_clock: trio.testing.MockClock, tmp_path: Any
) -> None:
    """When the memory is not held by actors, nothing can be freed, so the node ends before the
    kernel ends it.
    """
    path = tmp_path / "report.txt"
    with pytest.raises(ak.NodeOutOfMemory, match="stopped itself") as stopped:
        async with open_node(memory, memory_report=str(path)) as node:
            memory.node = node
            critical, other = await start(node, child(MIB, priority=P.CRITICAL), child(MIB))
            memory.base = 99 * MIB
            await until(lambda: not other.alive)
            assert critical.alive
            await trio.sleep_forever()
    assert stopped.value.exit_status == ak.GovernorSettings().exit_status
    assert "out of memory: the node stops itself" in path.read_text()


async def test_nodes_of_one_run_share_a_governor_which_outlives_the_first(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    async with ak.open_node(ak.dynamic_supervisor().with_(name="many"), memory_source=memory.source) as first:
        second_body = trio.Event()

        async def another() -> None:
            async with ak.open_node(memory_limit="1 GiB", name="second") as second:
                assert second.memory is first.memory
                second_body.set()
                await trio.sleep(2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(another)
            await second_body.wait()
            memory.base = 75 * MIB
            await until(lambda: first.memory.level >= L.CONSERVE)


async def test_a_source_that_fails_does_not_end_the_node(
    memory: Memory, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_node(memory) as node:
        memory.node = node

        caplog.set_level(logging.ERROR, "actorkit")

        def broken() -> int:
            raise OSError("no such file")

        memory.source.used = broken
        await trio.sleep(3)
        memory.source.used = memory.used
        memory.base = 75 * MIB
        await until(lambda: node.memory.level >= L.CONSERVE)
    assert "no such file" in caplog.text


async def test_a_family_over_its_quota_loses_its_least_important_largest_member(
    memory: Memory, autojump_clock: trio.testing.MockClock
) -> None:
    limited = ak.dynamic_supervisor().with_(name="family", memory_quota="10 MiB")
    async with ak.open_node(ak.supervisor(limited, ak.dynamic_supervisor().with_(name="many"))) as node:
        family = ak.named(ak.DynamicSupervisor, "family")
        specs = [child(3 * MIB), child(4 * MIB, priority=P.HIGH), child(2 * MIB), child(3 * MIB, priority=P.LOW)]
        refs = [await family.call(ak.DynamicSupervisor.start_child, spec) for spec in specs]
        (stranger,) = await start(node, child(50 * MIB))
        await until(lambda: not refs[3].alive)
        await trio.sleep(5)
        assert [ref.alive for ref in refs] == [True, True, True, False]
        assert stranger.alive
        shared = bytes(3 * MIB)
        await refs[0].call(Holder.here)
        for ref in refs[:3]:
            ref.obj.held.append(shared)
        del shared
        await until(lambda: not refs[0].alive)
        assert refs[1].alive


async def test_a_quota_that_only_critical_actors_exceed_is_logged_once_until_that_changes(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> int:
        return caplog.text.count("none of them may be ended")

    family = ak.dynamic_supervisor().with_(name="family", memory_quota="1 MiB")
    async with ak.open_node(ak.supervisor(family)):
        many = ak.named(ak.DynamicSupervisor, "family")
        critical = await many.call(ak.DynamicSupervisor.start_child, child(2 * MIB, priority=P.CRITICAL))
        await trio.sleep(30)
        assert logged() == 1
        low = await many.call(ak.DynamicSupervisor.start_child, child(MIB, priority=P.LOW))
        await until(lambda: not low.alive)
        await trio.sleep(30)
        assert logged() == 2, "somebody could be taken meanwhile"
        await critical.call(Holder.let_go)
        await trio.sleep(30)
        await critical.call(Holder.hold, 2 * MIB)
        await trio.sleep(30)
        assert logged() == 3, "it was below its quota meanwhile"
    assert "it loses 0" not in caplog.text


@pytest.mark.parametrize("failure", [MemoryError, RuntimeError, GeneratorExit])
async def test_a_quota_that_cannot_be_looked_at_ends_nobody(
    failure: type[BaseException],
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A quota that cannot be checked is logged and checked again later; other families' quotas
    count all the same.
    """
    failing = 2
    measure = quota.heap_of_all

    def heap_of_all(family: Any, **options: Any) -> Any:
        nonlocal failing
        if failing and any(record.obj.held[0] == b"first" for record in family):
            failing -= 1
            raise failure("no")
        return measure(family, **options)

    monkeypatch.setattr(quota, "heap_of_all", heap_of_all)
    families = [ak.dynamic_supervisor().with_(name=name, memory_quota="1 MiB") for name in ("first", "second")]
    async with ak.open_node(ak.supervisor(*families)) as node:
        refs = []
        for name in ("first", "second"):
            family = ak.named(ak.DynamicSupervisor, name)
            ref = await family.call(ak.DynamicSupervisor.start_child, child(2 * MIB))
            ref.obj.held.insert(0, name.encode())
            refs.append(ref)
        await until(lambda: not refs[1].alive)
        assert refs[0].alive
        await until(lambda: not refs[0].alive)
        assert node.statistics().restarts == 0
    assert not failing
    assert caplog.text.count("could not be looked at") == 2


class Line(ak.StreamActor):
    def received(self, line: bytes) -> None:
        self.write(line + b"\n")


async def test_connections_are_admitted_as_what_they_are_and_refused_while_memory_is_short(
    memory: Memory, mock_clock: trio.testing.MockClock
) -> None:
    """A connection's kind is its class, whose footprints are learned, and not the name of its
    acceptor.
    """
    door = ak.tcp_listener(ak.child(Line), host="127.0.0.1", port=0, max_line=100, refusal=b"later\n", name="door")
    async with ak.open_node(ak.supervisor(door), memory_source=memory.source) as node:
        memory.node = node
        [(host, port)] = await ak.named(ak.Listener, "door").call(ak.Listener.addresses)
        async with await trio.open_tcp_stream(host, port) as served:
            await served.send_all(b"hello\n")
            assert await served.receive_some() == b"hello\n"
            assert node.admission.counts("Line").now == 1
            memory.base = 81 * MIB
            while node.admission.capacity("Line") > 0:
                mock_clock.jump(0.5)  # the governor looks
                await trio.testing.wait_all_tasks_blocked()
            async with await trio.open_tcp_stream(host, port) as refused:
                assert await refused.receive_some() == b"later\n"
            assert node.admission.counts("Line").refused == 1
            await served.send_all(b"still\n")
            assert await served.receive_some() == b"still\n"
