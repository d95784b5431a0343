"""The census's rows: what C reads is what Python would report, for actors in every state."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.governor.census import PLAN, take_census
from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk

from .conftest import Holder

P = ak.Priority


class Busy(Holder):
    @ak.call
    async def wait(self, kept: bytes) -> None:
        await trio.sleep(100)

    @ak.call
    def rise(self, priority: ak.Priority) -> None:
        self.ctx.priority = priority

    @ak.call
    def tie(self, other: ak.Ref[Any]) -> None:
        self.ctx.link(other)
        self.ctx.send_after(50, self.ctx.ref, [bytes(500)])


def flat(groups: walk.CensusGroups) -> dict[Any, tuple[Any, ...]]:
    return {row[0]: tuple(row[1:]) for rows, *_ in groups.values() for row in rows}


async def test_rows_are_the_same_in_c_and_in_python(autojump_clock: trio.testing.MockClock) -> None:
    tree = ak.supervisor(
        ak.child(Holder, 10).with_(name="critical", priority=P.CRITICAL), ak.dynamic_supervisor().with_(name="many")
    )
    async with ak.open_node(tree) as node, trio.open_nursery() as nursery:
        many = ak.named(ak.DynamicSupervisor, "many")
        specs = [
            ak.child(Busy, 1_000 * n).with_(priority=P(n % 3), max_heap_size=None if n % 2 else "1 MiB")
            for n in range(12)
        ]
        refs = [await many.call(ak.DynamicSupervisor.start_child, spec) for spec in specs]
        nursery.start_soon(refs[0].call, Busy.wait, bytes(300))
        nursery.start_soon(refs[1].call, Busy.wait, bytes(400))
        await refs[2].call(Busy.tie, refs[3])
        await refs[4].call(Busy.rise, P.HIGH)
        await refs[5].call(Busy.rise, P.CRITICAL)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            refs[0].cast(Busy.hold, 700)
        records = list(node.processes())
        told = flat(walk.census_rows(records, PLAN))
        assert told == flat(pure_walk.census_rows(records, PLAN, None, 0))
        assert set(told) == set(refs) - {refs[5]}
        assert told[refs[4]][0] == P.HIGH
        assert told[refs[0]][:2] == (P.LOW, False)
        assert told[refs[2]][:2] == (P.HIGH, True)
        assert told[refs[6]][2] == told[refs[6]][3] / 2**20
        assert told[refs[7]][2] is None
        whole = take_census([node.engine.actors.values()])
        if walk.IMPLEMENTATION == "c":
            assert {row[0]: tuple(row[1:]) for row in whole} == told
            assert whole.bytes == sum(row[-1] for row in told.values())
        else:  # those with a budget are not walked
            assert {row[0] for row in whole} == set(told)
        nursery.cancel_scope.cancel()


async def test_without_the_walk_in_c_budgets_know_enough(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """Without the walk in C, actors with a budget are ranked by the last look and by what has come
    since; those without one are walked.
    """
    async with ak.open_node() as node:
        budgeted = node.spawn(ak.child(Holder, 50_000).with_(max_heap_size="1 MiB", priority=P.LOW))
        free = node.spawn(Holder, 20_000)
        await trio.sleep(2)  # a sweep has looked
        before = dict(flat(walk.census_rows(list(node.processes()), PLAN)))
        monkeypatch.setattr(walk, "IMPLEMENTATION", "python")
        rows = {row[0]: tuple(row[1:]) for row in take_census([node.engine.actors.values()])}
        assert rows[free][:4] == before[free]
        rank, idle, over, size, _ = rows[budgeted]
        assert (rank, idle) == (P.LOW, True)
        assert over == size / 2**20
        assert 50_000 <= size <= 55_000
