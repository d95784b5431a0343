"""While memory is short, who grows without a limit is watched, so that cycles show in the ranking.
When it is short no longer, nobody is.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

import actorkit as ak
from actorkit.governor.census import take_census
from actorkit.heap import clock
from actorkit.runtime.budgets import growth, node_budgets
from actorkit.testing import ScriptedMemory

from .conftest import MIB, level_is

pytestmark = [
    pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason="the portable clock counts no allocations"),
    pytest.mark.autojump,
]


class Leaf:
    def __init__(self, parent: Any) -> None:
        self.parent, self.children, self.data = parent, list[Any](), bytes(1000)


class Tree(ak.Actor):
    """Everything that it holds hangs on parent pointers."""

    def __init__(self) -> None:
        self.root = Leaf(None)

    @ak.call
    def grow(self, leaves: int) -> None:
        for _ in range(leaves):
            self.root.children.append(Leaf(self.root))

    @ak.call
    def limit(self) -> ak.HeapLimit | None:
        return self.ctx.max_heap_size


class Short:
    """A node whose memory is short when it is said so."""

    def __init__(self) -> None:
        self.used = 10 * MIB
        self.source = ScriptedMemory(limit=1_000 * MIB, used=lambda: self.used)

    async def now(self, node: ak.Node) -> None:
        self.used = 750 * MIB
        await level_is(node, ak.MemoryLevel.CONSERVE)

    async def no_longer(self, node: ak.Node) -> None:
        self.used = 10 * MIB
        await level_is(node, ak.MemoryLevel.NORMAL)


@pytest.fixture
def short(caplog: pytest.LogCaptureFixture) -> Short:
    caplog.set_level(logging.CRITICAL, "actorkit")
    return Short()


def watched(node: ak.Node) -> set[Any]:
    return set(node.engine.budgets.all)


async def test_who_grows_is_watched_while_memory_is_short(short: Short) -> None:
    """What it held before counts too, and the idle cost nothing."""
    async with ak.open_node(memory_source=short.source) as node:
        hog, *idle = [node.spawn(Tree) for _ in range(200)]
        await hog.call(Tree.grow, 1_000)
        assert watched(node) == set()
        await short.now(node)
        for _ in range(20):
            await hog.call(Tree.grow, 100)
            for ref in idle:
                await ref.call(Tree.grow, 0)
        assert hog in watched(node)
        assert len(watched(node)) < 100
        census = take_census([node.engine.actors.values()], looks=[node.engine.budgets.looks])
        assert census.largest is not None
        assert census.largest[0] is hog
        assert 3.5 * MIB < census.largest[4] < 4.2 * MIB
        node.engine.budgets.validate()
        await short.no_longer(node)
        assert watched(node) == set()
        assert node.engine.step_hook is None, "messages cost what they did"
        for _ in range(20):
            await hog.call(Tree.grow, 100)
        assert watched(node) == set()


async def test_it_has_no_limit_for_anybody(short: Short) -> None:
    """``process_info``, ``ctx.max_heap_size`` and the ranking say that there is none; one that it
    gives itself is in force and stays."""
    async with ak.open_node(memory_source=short.source) as node:
        hog = node.spawn(Tree)
        await short.now(node)
        for _ in range(20):
            await hog.call(Tree.grow, 100)
        assert watched(node) == {hog}
        info = node.process_info(hog)
        assert info is not None
        assert info.max_heap_size is None
        assert info.held_at_most is not None
        assert info.held_at_most > MIB
        assert await hog.call(Tree.limit) is None
        [group] = take_census([node.engine.actors.values()], looks=[node.engine.budgets.looks]).groups
        assert group[2] is False, "it ranks among those without a budget"
        await ak.sys.replace_state(hog, lambda state: state)
        assert node.engine.budgets.change(hog, ak.HeapLimit("64 MiB")) is None  # type: ignore[arg-type]
        await short.no_longer(node)
        assert watched(node) == {hog}
        info = node.process_info(hog)
        assert info is not None
        assert info.max_heap_size == 64 * MIB


async def test_no_more_than_so_many(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    """When many are watched, those that hold little make room."""
    monkeypatch.setattr(node_budgets, "MOST_WATCHED", 10)
    async with ak.open_node(memory_source=short.source) as node:
        churning = [node.spawn(Tree) for _ in range(40)]
        hogs = [node.spawn(Tree) for _ in range(5)]
        await short.now(node)
        for _ in range(40):
            for ref in churning:
                await ref.call(Tree.grow, 5)
            for ref in hogs:
                await ref.call(Tree.grow, 100)
        assert set(hogs) <= watched(node)
        assert len(watched(node)) <= 10


async def test_two_nodes(short: Short) -> None:
    """Each is found on its own node; a node that ends takes nothing away from the other."""
    async with ak.open_node(memory_source=short.source) as one:
        async with ak.open_node(memory_limit="1000 MiB", name="two") as two:
            refs = [one.spawn(Tree), two.spawn(Tree)]
            await short.now(one)
            for _ in range(10):
                for ref in refs:
                    await ref.call(Tree.grow, 300)
            assert watched(one) == {refs[0]}
            assert growth._sampler.nodes
        for _ in range(10):
            await refs[0].call(Tree.grow, 300)
        assert watched(one) == {refs[0]}
    assert not growth._sampler.nodes
