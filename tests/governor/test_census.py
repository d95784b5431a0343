"""The census's rows: what C reads is what Python would report, for actors in every state."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.governor.census import PLAN, measured_radius, take_census
from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk
from actorkit.runtime.actor.record import record_of

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
        assert told == flat(pure_walk.census_rows(records, PLAN, None, 0, None, None))
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


class Leaf:
    def __init__(self, parent: Any) -> None:
        self.parent, self.children, self.data = parent, list[Any](), bytes(1000)


class Tree(ak.Actor):
    """Everything that it holds hangs on parent pointers."""

    def __init__(self, leaves: int) -> None:
        self.root: Leaf | None = Leaf(None)
        self.root.children = [Leaf(self.root) for _ in range(leaves)]

    @ak.call
    def join(self, other: ak.Ref[Any]) -> None:
        self.ctx.link(other)


@pytest.mark.skipif(walk.IMPLEMENTATION != "c", reason="in Python those with a budget are not walked")
async def test_what_hides_in_cycles_ranks_as_any_other() -> None:
    """Private cycles that an own pass has found count; a round of own passes is made for those who
    may hold much more, and what a module's cache holds ranks nowhere.
    """
    async with ak.open_node() as node:
        specs = [ak.child(Tree, n).with_(max_heap_size="64 MiB") for n in (10, 200, 1_000)]
        small, middle, large = (node.spawn(spec) for spec in specs)
        plain = node.spawn(ak.child(Holder, 500_000).with_(max_heap_size="64 MiB"))
        looks = [node.engine.budgets.looks]

        def sizes() -> dict[Any, int]:
            return {row[0]: row[4] for row in take_census([node.engine.actors.values()], looks=looks)}

        rows = sizes()
        assert sorted(rows, key=rows.__getitem__) == [small, middle, plain, large]
        assert 1_200_000 < rows[large] < 1_300_000
        assert 240_000 < rows[middle] < 260_000
        made = walk.passes_made()[1]
        assert sizes() == rows
        assert walk.passes_made()[1] == made, "they are explained"
        await small.call(Tree.join, large)
        radius = measured_radius(small)
        assert radius is not None
        assert radius.keys == {small, large}
        assert radius.bytes > 1_200_000


@pytest.mark.skipif(walk.IMPLEMENTATION != "c", reason="in Python those with a budget are not walked")
async def test_a_cycle_that_was_let_go_ranks_no_longer() -> None:
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Tree, 1_000).with_(max_heap_size="64 MiB"))
        looks = node.engine.budgets.looks
        info = node.process_info(ref, walk=True)
        assert info is not None
        assert info.memory is not None
        assert info.memory.after_gc > 1_200_000
        await ak.sys.replace_state(ref, lambda state: {**state, "root": None})
        gc.collect()
        assert looks.cycles(record_of(ref)) < 50_000
        assert take_census([node.engine.actors.values()], looks=[looks]).bytes < 50_000
