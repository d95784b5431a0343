"""The own pass: private cycles among what an account has allocated, whatever it shares with the
world."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from actorkit.heap import clock, walk
from actorkit.heap.python import walk as pure_walk
from tests.heap.graphs import build, recipe_of

c_walk: Any = pytest.importorskip("actorkit.heap.c._walk", reason="the extension is not built")

pytestmark = pytest.mark.skipif(not clock.own_heaps(), reason="there are no heaps of their own here")


class Node:
    def __init__(self, parent: Node | None) -> None:
        self.parent = parent
        self.children: list[Node] = []
        if parent is not None:
            parent.children.append(self)


class Actor:
    root: Any
    world: Any


def tree(nodes: int) -> Node:
    root = Node(None)
    level = [root]
    while nodes > 0:
        level = [Node(parent) for parent in level for _ in range(4)]
        nodes -= len(level)
    return root


@pytest.fixture
def account() -> Iterator[clock.Account]:
    clock.install(lambda account, frame: None)
    made = clock.Account()
    made.own_heap = True
    yield made
    clock.enter(None)
    clock.uninstall()


def test_a_tree_with_parents_is_found_beside_a_world(account: clock.Account) -> None:
    world = [{"number": number} for number in range(20_000)]
    actor = Actor()
    clock.enter(account)
    actor.root = tree(2000)
    clock.enter(None)
    actor.world = world
    usage = walk.measure([actor], account=account)
    assert usage.after_gc > 500_000
    assert (usage.unseen, usage.exact) == (0, True)
    assert usage.held == usage.private + usage.after_gc
    assert usage.after_gc == walk.measure([actor], cycles=True).after_gc


def test_what_the_world_holds_is_not_private(account: clock.Account) -> None:
    actor = Actor()
    clock.enter(account)
    actor.root = tree(2000)
    clock.enter(None)
    leaf = actor.root
    while leaf.children:
        leaf = leaf.children[0]
    actor.world = None
    usage = walk.measure([actor], account=account)
    assert usage.after_gc == 0
    assert usage.unseen > 500_000
    assert not usage.exact
    del leaf
    assert walk.measure([actor], account=account).after_gc > 500_000


def test_who_holds_more_than_the_limit_is_measured_to_the_end(account: clock.Account) -> None:
    """No part of a strongly connected structure is a proof."""
    actor = Actor()
    clock.enter(account)
    actor.root = tree(2000)
    clock.enter(None)
    usage = walk.measure([actor], account=account, limit=100_000)
    assert usage.held > 500_000
    assert (usage.unseen, usage.exact) == (0, True)


@pytest.mark.parametrize("seed", range(8))
def test_without_a_heap_both_walks_agree(seed: int) -> None:
    """Up to the cap the result is that of the pass without a cap."""
    graph = build(recipe_of(seed, 200, 10 * (seed % 2), 10))
    gc.collect()
    roots = (graph.root,)
    whole = c_walk.measure(roots, (), (), (), -1, True, 10**6, False)
    for cap in (5, 100, 100_000):
        found = []
        for each in (c_walk, pure_walk):
            *figures, records = each.measure(roots, (), (), (), -1, False, 0, True, None, 10**9, cap)
            assert figures[3] <= whole[3]
            assert figures[3] == whole[3] or figures[8]
            found.append((figures, sorted(records)))
        if cap == 100_000:
            assert found[0] == found[1]
            assert not found[0][0][8]
