"""The census and `process_info` see what hides in cycles: trees with parent pointers, closures that
hold themselves, generators, tracebacks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.heap import walk
from actorkit.runtime.actor.record import record_of
from actorkit.runtime.budgets.own_passes import SECONDS, OwnPasses

from .conftest import needs_the_extension

KIB = 1024
MIB = 1024 * KIB


class Leaf:
    def __init__(self, parent: Leaf | None) -> None:
        self.parent, self.data = parent, bytes(1000)
        self.children: list[Leaf] = []


def tree(size: int) -> Any:
    root = Leaf(None)
    for _ in range(size // 1240):
        root.children.append(Leaf(root))
    return root


def linked_list(size: int) -> Any:
    last: dict[str, Any] = {"data": bytes(1000)}
    first = last
    for _ in range(size // 1248):
        last["next"] = {"data": bytes(1000), "last": last}
        last = last["next"]
    return first


def closure(size: int) -> Any:
    data = [bytes(1000) for _ in range(size // 1056)]

    def function() -> int:
        return len(data) + (function is None)

    return function


def generator(size: int) -> Any:
    def steps(holder: list[Any]) -> Iterator[int]:
        data = [bytes(1000) for _ in range(size // 1056)]
        yield len(data)
        yield len(holder)

    holder: list[Any] = []
    holder.append(steps(holder))
    next(holder[0])
    return holder


def traceback(size: int) -> Any:
    def fail() -> None:
        data = [bytes(1000) for _ in range(size // 1056)]
        raise ValueError(len(data))

    try:
        fail()
    except ValueError as error:
        kept = error
        return [kept, kept.__traceback__]


MAKERS = [tree, linked_list, closure, generator, traceback]


class Holder(ak.Actor):
    def __init__(self, make: Callable[[int], Any] | None = None, size: int = 0) -> None:
        self.held = None if make is None else make(size)

    @ak.call
    def hold(self, make: Callable[[int], Any] | None, size: int = 0) -> None:
        self.held = None if make is None else make(size)


class Grower(ak.Actor):
    def __init__(self) -> None:
        self.root = Leaf(None)

    @ak.call
    def grow(self, size: int) -> None:
        for _ in range(max(1, size // 1240)):
            self.root.children.append(Leaf(self.root))


def spawn(node: ak.Node, *args: Any, limit: str | None = "64 MiB") -> ak.Ref[Holder]:
    return node.spawn(ak.child(Holder, *args).with_(max_heap_size=limit))


def held(node: ak.Node, ref: ak.Ref[Any], *, walk: bool = False) -> int:
    info = node.process_info(ref, walk=walk)
    assert info is not None
    return 0 if info.memory is None else info.memory.held


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("limit", [None, "64 MiB"])
async def test_process_info_walk_sees_them(make: Any, limit: str | None) -> None:
    async with ak.open_node() as node:
        ref = spawn(node, make, 2 * MIB, limit=limit)
        assert 1.9 * MIB < held(node, ref, walk=True) < 2.3 * MIB
        assert 1.9 * MIB < held(node, ref) < 2.3 * MIB


@needs_the_extension
@pytest.mark.parametrize("make", MAKERS)
async def test_the_census_sees_them(make: Any) -> None:
    """Those in cycles count as others do, and the census says which part they are."""
    async with ak.open_node() as node:
        refs = [spawn(node, make, size) for size in (0, 200 * KIB, 2 * MIB)]
        plain = spawn(node, bytes, 300 * KIB)
        census = await node.heap_census()
        sizes = dict(census.actors)
        assert [round(sizes[ref] / MIB, 1) for ref in refs] == [0.0, 0.2, 2.0]
        [row] = census.classes
        assert row.actors == 4
        assert row.bytes == census.bytes == sum(sizes.values())
        assert 2.1 * MIB < row.after_gc == census.after_gc < 2.5 * MIB
        assert row.unseen == census.unseen < 0.1 * MIB
        for ref in (*refs, plain):
            assert held(node, ref) == sizes[ref]


@needs_the_extension
async def test_the_sweep_sees_them(autojump_clock: Any) -> None:
    """Without anybody's asking, a second later."""
    async with ak.open_node() as node:
        ref = spawn(node, tree, 2 * MIB)
        await trio.sleep(1.5)
        info = node.process_info(ref)
        assert info is not None
        assert info.memory is not None
        assert info.memory.private < 10 * KIB
        assert 1.9 * MIB < info.memory.after_gc < 2.3 * MIB
        assert info.memory_age is not None
        assert 0.4 < info.memory_age < 0.6
        await ref.call(Holder.hold, None)
        assert held(node, ref) < 2.3 * MIB
        census = await node.heap_census()
        assert census.after_gc == 0, "what it let go is garbage, and no cycle of its own"


@pytest.mark.parametrize("limit", [64 * KIB, 512 * KIB, pytest.param(4 * MIB, marks=needs_the_extension)])
async def test_sweeps_do_not_forgive_slow_growth_in_cycles(autojump_clock: Any, limit: int) -> None:
    """Each sweep counts anew what was allocated since. What the first pass does not see must not be
    forgotten by that: an actor that adds a little to its cycle each second ends at its limit.
    Without the extension some hundred kilobytes are found, and no more.
    """
    async with ak.open_node() as node:
        ref = node.spawn(ak.child(Grower).with_(max_heap_size=ak.HeapLimit(limit, log=False)))
        grown = 0
        with pytest.raises(ak.CalleeDied):
            while grown < 3 * limit:
                await ref.call(Grower.grow, limit // 16)
                grown += limit // 16
                await trio.sleep(1)
        assert 0.7 * limit < grown < 1.4 * limit


@needs_the_extension
async def test_a_round_takes_two_milliseconds() -> None:
    """The largest come first; those that had no turn are the first in the next round, and the
    former results stand."""
    async with ak.open_node() as node:
        refs = [spawn(node, tree, number * 100 * KIB) for number in range(1, 8)]
        records = [record_of(ref) for ref in refs]
        passes = OwnPasses(node.engine.budgets.looks)
        ticks = itertools.count(step=SECONDS / 2)
        passes.clock = lambda: next(ticks)
        suspects = {record: number for number, record in enumerate(records)}
        turns = []
        for _ in range(4):
            passes.line_up(suspects)
            turns.append([records.index(record) for record in passes.round()])
        assert turns == [[6, 5], [4, 3], [2, 1], [0, 6]]
        assert all(90 * KIB * number < held(node, ref) for number, ref in enumerate(refs, 1))


@needs_the_extension
async def test_passes_that_are_made(autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is explained is not looked at again for ten seconds, and who cannot hide anything never
    is."""
    async with ak.open_node() as node:
        for _ in range(500):
            spawn(node, bytes, 200 * KIB)
        suspect = spawn(node, tree, 2 * MIB)
        made = walk.passes_made()[1]
        await trio.sleep(8.5)
        assert walk.passes_made()[1] == made + 1
        await suspect.call(Holder.hold, tree, 4 * MIB)
        await trio.sleep(1)
        assert walk.passes_made()[1] == made + 2
        assert held(node, suspect) > 3.9 * MIB
        await trio.sleep(11)
        assert walk.passes_made()[1] == made + 3


async def test_without_a_budget_small_cycles_are_seen() -> None:
    """There is nothing that says what an actor has allocated itself, so the census looks into a few
    hundred containers for each."""
    async with ak.open_node() as node:
        small, large = spawn(node, tree, 50 * KIB, limit=None), spawn(node, tree, 8 * MIB, limit=None)
        sizes = dict((await node.heap_census()).actors)
        assert 45 * KIB < sizes[small] < 60 * KIB
        assert sizes[large] < 10 * KIB
        info = node.process_info(large)
        assert info is not None
        assert info.memory is not None
        assert not info.memory.exact
        assert held(node, large, walk=True) > 7.9 * MIB
        assert dict((await node.heap_census()).actors)[small] == sizes[small]
