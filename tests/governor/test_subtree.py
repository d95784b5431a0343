"""A governor of one subtree applies the ladder to the actors below one supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import permutations
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.actor.record import record_of

from .conftest import MIB, Holder, Watching, until
from .test_governor import child

L, P = ak.MemoryLevel, ak.Priority

TREE = ak.supervisor(
    ak.supervisor(
        ak.dynamic_supervisor().with_(name="inner"), ak.dynamic_supervisor().with_(name="many", id="many")
    ).with_(name="tenants"),
    ak.dynamic_supervisor().with_(name="strangers", id="strangers"),
)


async def start(supervisor: str, *specs: ak.ChildSpec[Any]) -> list[Any]:
    many = ak.named(ak.DynamicSupervisor, supervisor)
    return [await many.call(ak.DynamicSupervisor.start_child, spec) for spec in specs]


def tenants(node: ak.Node) -> ak.Ref[Any]:
    found = node.whereis("tenants")
    assert found is not None
    return found


async def test_the_least_important_of_the_family_goes_and_strangers_stay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        ak.open_node(TREE) as node,
        node.subscribe(ak.KilledForMemory) as kills,
        ak.govern_subtree(tenants(node), "100 MiB") as memory,
    ):
        [stranger] = await start("strangers", child(200 * MIB, priority=P.LOW))
        [critical] = await start("inner", child(30 * MIB, priority=P.CRITICAL))
        normal, low = await start("many", child(30 * MIB), child(20 * MIB, priority=P.LOW))
        await trio.sleep(5)
        assert memory.level == L.SHED
        assert normal.alive
        assert low.alive
        [late] = await start("inner", child(15 * MIB, priority=P.HIGH))
        await until(lambda: not low.alive)
        await until(lambda: memory.level < L.KILL)
        assert [ref.alive for ref in (stranger, critical, normal, late)] == [True] * 4
        kill = await anext(kills)
        assert isinstance(kill, ak.KilledForMemory)
        assert kill.ref == low
        assert "the memory limit of" in kill.because
        first, *rest = kill.table.splitlines()
        assert first.startswith("  killed: ")
        assert len(rest) == 2, "the others below the supervisor that may be killed"
        data = memory.data()
        assert (data.total, data.allocated // MIB) == (100 * MIB, 75)
        assert data.worst is not None
        assert data.worst[0] == normal
        assert {receipt.action for receipt in memory.receipts()} >= {"Kill"}


async def test_what_members_share_counts_once(autojump_clock: trio.testing.MockClock) -> None:
    async with ak.open_node(TREE) as node, ak.govern_subtree(tenants(node), "10 MiB") as memory:
        refs = await start("many", *[child(0) for _ in range(5)])
        shared = bytes(6 * MIB)
        for ref in refs:
            ref.obj.held.append(shared)
        await trio.sleep(3)
        assert memory.data().allocated < MIB, "held from outside too"
        del shared
        await trio.sleep(3)
        assert 6 * MIB < memory.data().allocated < 7 * MIB
        assert memory.level == L.NORMAL


async def test_who_opted_in_is_asked_if_it_belongs_to_the_family(autojump_clock: trio.testing.MockClock) -> None:
    async with ak.open_node(TREE) as node, ak.govern_subtree(tenants(node), "10 MiB") as memory:
        [outside] = await start("strangers", child(MIB, Watching))
        [inside] = await start("inner", child(7 * MIB + 500_000, Watching))
        await trio.sleep(5)
        assert memory.data().allocated < MIB
        assert memory.level == L.NORMAL
        assert (await inside.call(Watching.heard))[0].level == L.CONSERVE
        assert await outside.call(Watching.heard) == []


async def test_members_come_back_when_they_fit_and_others_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with ak.open_node(TREE) as node:
        async with ak.govern_subtree(tenants(node), "10 MiB") as memory:
            keeper, _ = await start("many", child(5 * MIB, priority=P.CRITICAL), child(5 * MIB, restart="permanent"))
            [stranger] = await start("strangers", child(restart="permanent"))
            many, strangers = (ak.named(ak.DynamicSupervisor, name) for name in ("many", "strangers"))
            await trio.sleep(30)
            assert (await many.call(ak.DynamicSupervisor.count_children)).active == 1
            states = [info.state for info in await many.call(ak.DynamicSupervisor.which_children)]
            assert states.count("restarting") == 1
            async with node.subscribe(ak.ChildRestarted) as restarts:
                stranger.kill()
                with trio.fail_after(0.5):
                    await anext(restarts)
            assert (await strangers.call(ak.DynamicSupervisor.count_children)).active == 1
            await keeper.call(Holder.let_go)
            await trio.sleep(30)
            assert (await many.call(ak.DynamicSupervisor.count_children)).active == 2
            assert memory.level < L.SHED
        assert type(node.restart_gate).__name__ == "TimerGate"


async def test_a_dry_run_and_the_end_of_the_supervisor(autojump_clock: trio.testing.MockClock) -> None:
    settings = ak.GovernorSettings(dry_run=True, actions={L.KILL: {"kill"}})
    async with (
        ak.open_node(TREE) as node,
        node.subscribe(ak.KilledForMemory) as kills,
        ak.govern_subtree(tenants(node), "10 MiB", settings=settings) as memory,
    ):
        [hog] = await start("inner", child(11 * MIB))
        with trio.fail_after(10):
            kill = await anext(kills)
        assert isinstance(kill, ak.KilledForMemory)
        assert kill.dry_run
        assert hog.alive
        tenants(node).kill()
        await trio.sleep(10)
        assert memory.over


@pytest.mark.parametrize("how", ["the supervisor ends", "the block is left"])
async def test_at_its_end_it_falls_to_normal_and_says_so_once(how: str, autojump_clock: trio.testing.MockClock) -> None:
    async with ak.open_node(TREE) as node, node.subscribe(ak.MemoryLevelChanged) as levels:
        governed = tenants(node)
        async with ak.govern_subtree(governed, "10 MiB") as memory:
            await start("inner", child(8 * MIB + 500_000, priority=P.CRITICAL, restart="temporary"))
            await until(lambda: memory.level == L.SHED)
            levels.drain()
            if how == "the supervisor ends":
                governed.kill()
                assert memory.over
                data = memory.data()
                assert (data.total, data.allocated, data.level, data.worst) == (10 * MIB, 0, L.NORMAL, None)
                await trio.sleep(5)
        assert memory.over
        assert memory.level == L.NORMAL
        [event] = levels.drain()
        assert isinstance(event, ak.MemoryLevelChanged)
        assert (event.ref, event.level, event.previous) == (governed, L.NORMAL, L.SHED)
        assert "has ended" in event.because


async def test_it_leaves_nothing_at_its_supervisor() -> None:
    async with ak.open_node(TREE) as node:
        relations = record_of(tenants(node)).need_relations()
        before = list(relations.at_exit or ())
        async with ak.govern_subtree(tenants(node), "10 MiB"):
            assert len(relations.at_exit or ()) == len(before) + 1
        assert list(relations.at_exit or ()) == before


async def test_who_can_be_governed() -> None:
    async with ak.open_node(TREE) as node:
        async with ak.govern_subtree(ak.named(ak.DynamicSupervisor, "many"), MIB) as memory:
            assert memory.supervisor is node.whereis("many")
        async with ak.govern_subtree(await node.start(ak.task_supervisor()), MIB):
            pass
        dead = await node.start(ak.dynamic_supervisor())
        assert dead is not None
        dead.kill()
        await node.stopped(dead)
        cases: list[tuple[Any, type[Exception], str]] = [
            (node.spawn(Holder), TypeError, "no supervisor.*max_heap_size"),
            (dead, ValueError, "dead.*whereis"),
            (ak.named(ak.DynamicSupervisor, "nobody"), ValueError, "nobody"),
            ("many", TypeError, "whereis"),
        ]
        for who, error, message in cases:
            with pytest.raises(error, match=message):
                async with ak.govern_subtree(who, MIB):
                    raise AssertionError("it began")


async def test_what_cannot_be(autojump_clock: trio.testing.MockClock) -> None:
    async with ak.open_node(TREE) as node:
        for limit, settings, message in (
            (0, None, "leaves nothing"),
            ("much", None, "much"),
            (MIB, ak.GovernorSettings(), "process as a whole"),
        ):
            with pytest.raises(ValueError, match=message):
                async with ak.govern_subtree(tenants(node), limit, settings=settings):
                    raise AssertionError("it began")


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_blocks_that_overlap_end_in_any_order_and_what_their_gates_hold_is_not_lost(
    order: Sequence[int], autojump_clock: trio.testing.MockClock
) -> None:
    async with ak.open_node(TREE) as node:
        own = node.restart_gate
        blocks = [ak.govern_subtree(tenants(node), "100 MiB") for _ in order]
        gates = [gate for block in blocks if (gate := (await block.__aenter__()).gate) is not None]
        went: list[int] = []
        key = (record_of(tenants(node)).number, "child")
        for number, gate in enumerate(gates):
            gate.set_open(False)
            gate.hold(None, 0.0, partial(went.append, number), counts=False, key=key)
        taken_back = gates[order[0]].hold(None, 0.0, partial(went.append, -1), counts=False, key=key)
        for number in order:
            await blocks[number].__aexit__(None, None, None)
            taken_back.cancel()
            assert went == []
        assert node.restart_gate is own
        await trio.sleep(5)
        assert sorted(went) == [0, 1, 2]


async def test_a_thousand_blocks_each_opened_before_the_last_one_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with ak.open_node(TREE) as node:
        own = node.restart_gate
        [ref] = await start("many", child(restart="permanent"))
        block = ak.govern_subtree(tenants(node), "100 MiB")
        await block.__aenter__()
        for _ in range(1_000):
            another = ak.govern_subtree(tenants(node), "100 MiB")
            await another.__aenter__()
            await block.__aexit__(None, None, None)
            block = another
        await block.__aexit__(None, None, None)
        assert node.restart_gate is own
        ref.kill()
        await trio.sleep(5)
        many = ak.named(ak.DynamicSupervisor, "many")
        assert (await many.call(ak.DynamicSupervisor.count_children)).active == 1
