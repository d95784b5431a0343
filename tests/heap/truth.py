"""A program: does what the walk predicts come true? It builds random graphs, measures each, lets it die, and counts
what is really freed. Prints one JSON list: for each graph the predictions and the truth.

    python -m tests.heap.truth HOOK GRAPHS

A process of its own, since the counting hook cannot be taken out again, and the collector is off.
"""

from __future__ import annotations

import collections
import datetime
import gc
import json
import sys
import types
from pathlib import Path
from typing import Any

from actorkit.heap import walk
from tests.heap.frees import load
from tests.heap.graphs import Graph, build, recipe_of


def fill_freelists() -> None:
    """Freed objects of some types are kept for reuse, up to a number. Fill these lists, so that what is freed
    next is really freed."""
    junk: list[Any] = [[[] for _ in range(300)], [{} for _ in range(300)], [i + 0.1 for i in range(400)]]
    junk.append([tuple([n] * length) for length in range(1, 21) for n in range(2100)])
    junk.append([iter([]) for _ in range(10)])
    junk.append([(lambda: 0).__call__ for _ in range(300)])
    junk.append([len.__call__ for _ in range(300)])
    junk.append([slice(1) for _ in range(3)])
    junk.append([types.MethodType(build, i) for i in range(300)])
    junk.append([collections.deque([1]) for _ in range(40)])
    junk.append([datetime.datetime.now() for _ in range(3)])
    junk.append([{1: i} for i in range(300)])
    junk.append([{"a": i} for i in range(300)])
    junk.append([types.CellType(1) for _ in range(10)])


def judge(hook: Any, graph: Graph) -> dict[str, int]:
    gc.collect(0)  # garbage cycles hold what they refer to
    roots = [graph.root]
    graph.root = None
    fill_freelists()
    usage = walk.measure(roots, cycles=True)
    fill_freelists()
    before = hook.live()
    roots[0] = None
    at_once = hook.live()
    gc.collect(1)
    later = hook.live()
    # The numbers themselves are objects: the first one lives when the second one is made.
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
    for seed in range(3):  # code paths warm up: caches, specialisation
        judge(hook, build(recipe_of(seed, 200, 10, 0)))
    results = []
    for seed in range(graphs):
        size, held, cycles = SHAPES[seed % len(SHAPES)]
        gc.collect()
        results.append(judge(hook, build(recipe_of(1000 + seed, size, held, cycles))))
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
