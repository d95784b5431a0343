"""A program: is it freed what the walk predicts, if there are cycles? It builds random graphs in an
account with a heap of its own, some of them beside objects of another account and with parts that
others hold. It measures each, lets it die, collects, and compares what the allocators say. A graph
for which that is wrong is printed. Where it says it has got to, it can go on another time.

    python -m tests.heap.own_truth FIRST_SEED GRAPHS [KIND …]

It needs a process of its own, since the collector is off. The truth comes from the clock's figures:
blocks on the pages of both accounts, and their ledgers. Each collection empties the interpreter's
free lists, so what is built is on own pages, and what is freed is really given back.
"""

from __future__ import annotations

import gc
import random
import sys
from typing import Any

import attrs

from actorkit.heap import clock, walk
from actorkit.heap.c import _walk as c_walk
from tests.heap.cyclic import CYCLIC
from tests.heap.graphs import KINDS, UNCOUNTED

ALL = {f"cyclic {name}": kind for name, kind in CYCLIC.items()} | {
    name: kind for name, kind in KINDS.items() if name not in UNCOUNTED
}
PRIVATE, AFTER_GC = 0, 2
"""The groups of counted objects that are predicted to be freed."""
OWN_ONLY = {"cyclic class", "cyclic executed", "cyclic module", "cyclic named tuple"}
"""Classes, code and modules are private only to who made them."""


class Actor:
    pass


def built(rng: random.Random, kinds: list[str], others: list[Any]) -> list[Any]:
    """Some objects of these kinds, which refer to each other and to the others."""
    pool: list[Any] = []

    def pick() -> Any:
        chance = rng.random()
        if pool and chance < 0.5:
            return rng.choice(pool[-30:])
        if others and chance < 0.55:
            return rng.choice(others)
        return [rng.random(), rng.randrange(10**4, 10**6), f"x{rng.random()}", 7, b"y" * rng.randrange(300)][
            rng.randrange(5)
        ]

    for _ in range(rng.randrange(5, 60)):
        pool.append(ALL[rng.choice(kinds)](rng, pick))
    return pool


def in_use(*accounts: clock.Account) -> int:
    return sum(account.own_live + account.large_live for account in accounts)


@attrs.frozen
class Judged:
    """One graph: what was predicted, what was freed by death and collection, how many containers
    were predicted that still live, and what the pass without a cap finds."""

    seed: int
    predicted: int
    in_cycles: int
    freed: int
    false: int
    own: int
    unbounded: int

    @property
    def right(self) -> bool:
        error = abs(self.predicted - self.freed)
        return error <= max(512, self.freed / 100) and self.false == 0 and self.own >= self.unbounded


def judge(seed: int, kinds: list[str]) -> Judged:
    rng = random.Random(seed)
    account, other = clock.Account(), clock.Account()
    account.own_heap = other.own_heap = True
    gc.collect()
    outside: list[Any] = []
    if rng.random() < 0.3:
        clock.enter(other)
        outside = built(rng, [kind for kind in kinds if kind not in OWN_ONLY], [])[:8]
    gc.collect()
    clock.enter(account)
    pool = built(rng, kinds, outside)
    actor: Any = Actor()
    actor.pool = rng.sample(pool, max(1, len(pool) // 3))
    clock.enter(None)
    held = [each for each in pool if rng.random() < 0.05] if rng.random() < 0.6 else []
    if rng.random() < 0.5:
        held += outside
    del pool, outside
    gc.collect()
    roots = [actor]
    del actor
    whole = walk.measure(roots, cycles=True, edge_cap=10**7, account=account)
    private, _, _, after_gc, _, _, _, surplus, _, records = measured(roots, account)
    predicted = {address for address, _, group in records if group in (PRIVATE, AFTER_GC)}
    del records
    before = in_use(account, other)
    roots.clear()
    gc.collect()
    freed = before - in_use(account, other)
    false = 0
    for each in gc.get_objects():
        false += id(each) in predicted
    own = private + after_gc
    return Judged(seed, own + surplus, after_gc, freed, false, own, whole.held)


def measured(roots: list[Any], account: clock.Account) -> Any:
    """The figures of both passes, and each object that was counted. ``surplus`` is by how much the
    clock makes more of large blocks."""
    return c_walk.measure(roots, (), (), (), -1, False, 0, 1, account, sys.maxsize, walk.FOREIGN_CAP)


def main(first: int, graphs: int, kinds: list[str]) -> int:
    clock.install(lambda account, frame: None)
    if not clock.own_heaps():
        raise SystemExit("there are no heaps of their own here")
    gc.collect()
    gc.disable()
    for seed in range(20):  # to warm up code paths: caches, specialisation
        judge(-1 - seed, kinds)
    gc.freeze()
    wrong = in_cycles = 0
    for seed in range(first, first + graphs):
        found = judge(seed, kinds)
        in_cycles += found.in_cycles > 0
        if not found.right:
            wrong += 1
            print(found, flush=True)
        if seed % 500 == 499:
            print(f"up to seed {seed}: {wrong} wrong", flush=True)
    print(f"{graphs} graphs, {in_cycles} with private cycles, {wrong} wrong; go on at seed {first + graphs}")
    return 1 if wrong or in_cycles < graphs // 2 else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(ALL)))
