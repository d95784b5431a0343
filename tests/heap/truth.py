"""A program: does what the walk predicts come true? It builds random graphs, measures each, lets it
die, and counts what is really freed. It prints one JSON list: for each graph the predictions and
the truth.

    python -m tests.heap.truth HOOK GRAPHS

It needs a process of its own: the counting hook cannot be removed again, and the collector is off.
"""

from __future__ import annotations

import collections
import contextvars
import datetime
import gc
import json
import sys
import types
from pathlib import Path
from typing import Any

from actorkit.heap import walk
from tests.heap.frees import load
from tests.heap.graphs import UNCOUNTED, Graph, build, recipe_of

TUPLE_SIZES = range(1, 8)
TUPLES_KEPT = 2000
TUPLES_A_GRAPH = 100


class Stock:
    """Tuples to free when the freelists must be full: those of tuples are long."""

    def __init__(self, graphs: int) -> None:
        number = TUPLES_KEPT + graphs * TUPLES_A_GRAPH
        self.tuples = {size: [tuple([n] * size) for n in range(number)] for size in TUPLE_SIZES}
        self.use(TUPLES_KEPT)

    def use(self, number: int) -> None:
        for kept in self.tuples.values():
            del kept[-number:]


def fill_freelists() -> None:
    """Fill the lists of freed objects that some types keep for reuse, up to a number, so that what
    is freed next is really freed. For tuples see ``Stock``.
    """
    junk: list[Any] = [[[] for _ in range(150)], [{} for _ in range(150)], [i + 0.1 for i in range(150)]]
    junk.append([iter([]) for _ in range(10)])
    junk.append([slice(1) for _ in range(3)])
    junk.append([types.MethodType(build, i) for i in range(50)])
    junk.append([collections.deque([1]) for _ in range(40)])
    junk.append([datetime.datetime.now() for _ in range(3)])
    junk.append([{"a": i} for i in range(150)])
    junk.append([types.CellType(1) for _ in range(10)])
    junk.append([contextvars.Context() for _ in range(260)])


def judge(hook: Any, graph: Graph, stock: Stock) -> dict[str, int]:
    gc.collect(0)  # garbage cycles hold what they refer to
    roots = [graph.root]
    graph.root = None
    fill_freelists()
    stock.use(TUPLES_A_GRAPH)
    usage = walk.measure(roots, cycles=True)
    fill_freelists()
    before = hook.live()
    roots[0] = None
    at_once = hook.live()
    gc.collect(1)
    later = hook.live()
    # The figures themselves are objects: the first one lives when the second one is made.
    return {
        "private": usage.private,
        "after_gc": usage.after_gc,
        "freed": before - at_once + 32,
        "freed_after_gc": before - later + 64,
        "exact": usage.exact,
    }


SHAPES = [(200, 0, 0), (200, 10, 0), (200, 0, 10), (200, 10, 10), (8, 1, 1)]


def main(hook_path: str, graphs: int) -> None:
    hook = load(Path(hook_path))
    gc.collect()
    gc.disable()
    hook.start()
    stock = Stock(graphs + 3)
    gc.freeze()
    for seed in range(3):  # to warm up code paths: caches, specialisation
        judge(hook, build(recipe_of(seed, 200, 10, 0, UNCOUNTED)), stock)
    results = []
    for seed in range(graphs):
        size, held, cycles = SHAPES[seed % len(SHAPES)]
        results.append(judge(hook, build(recipe_of(1000 + seed, size, held, cycles, UNCOUNTED)), stock))
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
