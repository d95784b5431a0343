"""Collecting the garbage of one account, however old it is."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actorkit.heap import clock
from actorkit.heap.clock import Account

pytestmark = pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason=f"portable clock: {clock.WHY_PORTABLE}")


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    clock.install(lambda account, activation: account.reset())
    gc.collect()
    gc.freeze()  # collections of the test are quick
    gc.disable()  # and there are no others
    try:
        if not clock.own_heaps():
            pytest.skip("no heaps of their own here")
        yield
    finally:
        gc.enable()
        gc.unfreeze()
        clock.enter(None)
        clock.uninstall()


def owner() -> Account:
    account = Account()
    account.own_heap = True
    assert account.own_heap
    return account


def within(account: Account | None, function: Callable[[], Any]) -> Any:
    previous = clock.enter(account)
    try:
        return function()
    finally:
        clock.enter(previous)


class Node:
    def __init__(self, parent: Node | None) -> None:
        self.parent = parent
        self.children: list[Node] = []
        self.table: dict[int, Node | None] = dict.fromkeys(range(3), parent)


class Wide:
    """It has a large tuple, whose block is in the ledger."""

    def __init__(self) -> None:
        self.row = (self,) * 200
        self.more = (self, *self.row)


def tree(number: int) -> Node:
    nodes = [Node(None)]
    for _ in range(number):
        parent = nodes[len(nodes) // 3]
        nodes.append(Node(parent))
        parent.children.append(nodes[-1])
    return nodes[0]


def wide(number: int) -> list[Wide]:
    return [Wide() for _ in range(number)]


def classes(number: int) -> list[type]:
    return [type(f"Made{index}", (), {"index": index}) for index in range(number)]


def generators(number: int) -> list[Any]:
    def endless(box: list[Any]) -> Iterator[Any]:
        while True:
            yield box

    made = []
    for _ in range(number):
        box: list[Any] = []
        box.append(endless(box))
        next(box[0])
        made.append(box)
    return made


@pytest.mark.parametrize("make", [tree, wide, classes, generators])
def test_old_garbage_goes_and_all_else_stays(make: Callable[[int], Any]) -> None:
    account, other = owner(), owner()
    ours, theirs = within(account, lambda: make(300)), within(other, lambda: make(300))
    kept = within(account, lambda: make(100))
    lone = Node(None)
    lone.parent = lone
    watched = weakref.ref(lone)
    for _ in range(3):
        gc.collect()  # all of it is old now
    before, others = account.own_live + account.large_live, other.own_live + other.large_live
    del ours, lone
    gc.collect(1)
    assert account.own_live + account.large_live > before * 0.9  # a young collection frees nothing
    before = account.own_live + account.large_live
    freed = clock.collect_own(account)
    assert freed > before * 0.6
    assert account.own_live + account.large_live == before - freed
    assert other.own_live + other.large_live > others * 0.9
    assert watched() is not None  # garbage, too, but not the account's
    assert clock.collect_own(account) < 1000  # what is alive stays
    gc.collect()
    assert watched() is None
    assert account.own_live + account.large_live > before * 0.15
    del kept, theirs


def test_it_frees_what_a_full_collection_would() -> None:
    """Random graphs, some of whose objects were made elsewhere."""
    choose = random.Random(3)
    missed = total = 0
    for _ in range(40):
        account = owner()
        made: list[Any] = []

        def grow(made: list[Any] = made, number: int = choose.randrange(20, 400)) -> None:
            for _ in range(number):
                kind = choose.randrange(5)
                other = choose.choice(made) if made else None
                new: Any = [{0: other}, [other], Node(other), ([other], {}), ({1: [other]}, [])][kind]
                holder: Any = other[1] if isinstance(other, tuple) else other  # in a cycle with what it holds
                if isinstance(holder, list):
                    holder.append(new)
                elif isinstance(holder, dict):
                    holder[len(holder)] = new
                elif isinstance(holder, Node):
                    holder.children.append(new)
                made.append(new)

        within(account, grow)
        grow()
        within(account, grow)
        for _ in range(3):
            gc.collect()
        nodes = [weakref.ref(node) for node in made if isinstance(node, Node)]
        total += len(nodes)
        del made, grow
        gc.collect(1)
        assert clock.collect_own(account) > 0
        missed += sum(node() is not None for node in nodes)
        gc.collect()
        assert not any(node() for node in nodes)
    assert total > 2000
    assert missed == 0


def test_finalisers_run_in_nobody_s_account_and_a_collection_in_one_does_nothing() -> None:
    account = owner()
    seen: list[Any] = []

    class Final:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            seen.append((clock.current(), clock.collect_own(account)))

    watched = within(account, lambda: [weakref.ref(Final()) for _ in range(10)])
    clock.enter(account)
    clock.collect_own(account)
    assert clock.current() is account
    clock.enter(None)
    assert all(reference() is None for reference in watched)
    assert seen == [(None, 0)] * 10


def test_an_account_without_anything_of_its_own() -> None:
    assert clock.collect_own(Account()) == 0
    with pytest.raises(TypeError, match="an Account"):
        clock.collect_own(None)  # type: ignore[arg-type]


def test_the_lists_of_the_collector_are_whole_afterwards() -> None:
    account = owner()
    kept = within(account, lambda: tree(2000))
    before = len(gc.get_objects())
    for _ in range(5):
        gc.collect()
        clock.collect_own(account)
        gc.collect(0)
    after = [len(gc.get_objects(generation=number)) for number in range(3)]
    assert abs(sum(after) - before) < 200
    assert kept.children
