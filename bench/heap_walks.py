"""One side of `python -m bench heap`: walks over the same graphs by turns, and censuses of real nodes.

    walk GRAPH OBJECTS COLUMN    seconds of one walk
    census ACTORS COLUMN         seconds of one census

CPU time is what counts: a walk waits for nothing, and a throttled machine would otherwise be in the figure. The
collector is off, since a walk that makes no garbage must not pay for the others.
"""

import functools
import gc
import statistics
import time
import types
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import trio

import actorkit as ak
from actorkit.heap import pure_walk, walk
from actorkit.runtime.budgets import mailbox_of, roots_of
from bench.heap_graphs import SHAPES
from bench.worker import questions, say

try:
    from actorkit.heap import _walk as c_walk
except ImportError:
    c_walk = None  # type: ignore[assignment]
try:
    from pympler.asizeof import asizeof  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    asizeof = None

NOT_ENTERED = (type, types.ModuleType, types.FunctionType)


def breadth_first(root: object) -> int:
    """What one writes first: each object once, nothing said of who else holds it."""
    seen, level, objects = {id(root)}, [root], 0
    while level:
        objects += len(level)
        following = []
        for referent in gc.get_referents(*level):
            if id(referent) not in seen and not isinstance(referent, NOT_ENTERED):
                seen.add(id(referent))
                following.append(referent)
        level = following
    return objects


def measured(module: Any, roots: Sequence[object]) -> int:
    return int(module.measure(roots, (), (), (), -1, False, 0, False)[2])


COLUMNS: dict[str, Callable[[list[Any]], object] | None] = {
    "C": None if c_walk is None else functools.partial(measured, c_walk),
    "pure": functools.partial(measured, pure_walk),
    "pympler": asizeof,
    "get_referents": breadth_first,
}
REPEATS = {"C": 15}


def seconds(work: Callable[[], object], times: int) -> float:
    """The median of so many."""
    took = []
    for _ in range(times):
        start = time.thread_time()
        work()
        took.append(time.thread_time() - start)
    return statistics.median(took)


@functools.cache
def graph(name: str, objects: int) -> list[Any]:
    return [SHAPES[name](objects)]


def timed_walk(name: str, objects: int, column: str) -> dict[str, object]:
    work = COLUMNS[column]
    if work is None:
        return {"value": None}
    roots = graph(name, objects)
    return {"value": seconds(lambda: work(roots), REPEATS.get(column, 1)), "objects": measured(pure_walk, roots)}


class Small(ak.Actor):
    """What a connection's actor might hold: some seven objects."""

    def __init__(self, number: int) -> None:
        self.name = f"actor {number}"
        self.since = number + 0.5
        self.seen = {"first": number + 0.25, "last": number + 0.75}
        self.waiting: deque[object] = deque()


async def census(actors: int, column: str) -> dict[str, object]:
    module = pure_walk if column == "pure" else walk._force
    async with ak.open_node() as node:
        for number in range(actors):
            node.spawn(Small, number)
        await node.heap_census()
        gc.collect()
        given = [(roots_of(record), mailbox_of(record)) for record in node.actors.values()]
        if column != "node":
            took = seconds(lambda: module.census(given), 1 if column == "pure" else 7)
            return {"value": took, "bytes": sum(module.census(given)) / len(given)}
        times = []
        for _ in range(3):
            start = time.thread_time()
            found = await node.heap_census()
            times.append(time.thread_time() - start)
        return {"value": statistics.median(times), "bytes": found.bytes / len(found.actors)}


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    gc.disable()
    say(columns=[name for name, work in COLUMNS.items() if work], pympler=installed("pympler"))
    for kind, *words in questions():
        if kind == "walk":
            say(**timed_walk(words[0], int(words[1]), words[2]))
        else:
            say(**trio.run(census, int(words[0]), words[1]))
