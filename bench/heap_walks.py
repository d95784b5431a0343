"""One side of `python -m bench heap`: walks over the same graphs by turns, and censuses of real
nodes.

    walk GRAPH OBJECTS COLUMN    seconds of one walk, in the mean
    undisturbed GRAPH OBJECTS    the same in C, without what the machine took away
    census ACTORS pure|no        seconds of one census: in C, undisturbed, of node.heap_census(), in
                                 Python if asked for

**Two figures.** The mean is right for ratios: a stall of the machine stalls all columns alike, in
proportion to their work. The mean is CPU time; even so, a throttled or virtual machine takes part
of it away unseen, ten milliseconds at a time. A walk of one millisecond then appears to take either
one or ten. So for the absolute figure the same graph is walked in pieces that fit between two
stalls, in turn, so that they are no warmer in the cache than the whole, and the best times of the
pieces are added up. On a quiet machine both figures should agree.

The collector is off: a walk that makes no garbage must not pay for the garbage of the others.
"""

import gc
import time
import types
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import trio

import actorkit as ak
from actorkit.heap.python import walk as pure_walk
from actorkit.runtime.budgets.holdings import roots_of
from bench.heap_graphs import SHAPES
from bench.worker import questions, say

try:
    from actorkit.heap.c import _walk as c_walk
except ImportError:
    c_walk = None  # type: ignore[assignment]
try:
    from pympler.asizeof import asizeof  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    asizeof = None

NOT_ENTERED = (type, types.ModuleType, types.FunctionType)


def breadth_first(root: object) -> int:
    """The obvious loop: it counts each object once, and ignores what else holds it."""
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
    "C": None if c_walk is None else partial(measured, c_walk),
    "pure": partial(measured, pure_walk),
    "pympler": asizeof,
    "get_referents": breadth_first,
}
REPEATS = {"C": 100}
BLOCKS = 20
ROUNDS_OF_PIECES = 25
ACTORS_A_PIECE = 250


def seconds(work: Callable[[], object], times: int) -> float:
    """The mean of so many runs."""
    start = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - start) / times


def undisturbed(pieces: Sequence[Callable[[], object]]) -> float:
    """The sum of the best times of the pieces."""
    best = [float("inf")] * len(pieces)
    for _ in range(ROUNDS_OF_PIECES):
        for number, work in enumerate(pieces):
            start = time.thread_time()
            work()
            best[number] = min(best[number], time.thread_time() - start)
    return sum(best)


@cache
def graph(name: str, objects: int) -> list[list[Any]]:
    """In blocks, so that parts of the graph can be walked; only this list holds each block."""
    return [SHAPES[name](objects // BLOCKS) for _ in range(BLOCKS)]


def timed_walk(name: str, objects: int, column: str) -> dict[str, object]:
    work = COLUMNS[column]
    assert work is not None
    roots = [graph(name, objects)]
    return {"value": seconds(lambda: work(roots), REPEATS.get(column, 1)), "objects": measured(pure_walk, roots)}


def undisturbed_walk(name: str, objects: int) -> dict[str, object]:
    blocks = graph(name, objects)
    pieces = [partial(measured, c_walk, (block,)) for block in blocks]
    return {"value": undisturbed(pieces), "objects": sum(piece() for piece in pieces)}


class Small(ak.Actor):
    """What a connection's actor might hold: some seven objects."""

    def __init__(self, number: int) -> None:
        self.name = f"actor {number}"
        self.since = number + 0.5
        self.seen = {"first": number + 0.25, "last": number + 0.75}
        self.waiting: deque[object] = deque()


async def census(actors: int, pure: bool) -> dict[str, object]:
    async with ak.open_node() as node:
        for number in range(actors):
            node.spawn(Small, number)
        await node.heap_census()
        gc.collect()
        given = [(roots_of(record), record.message_queues()) for record in node.engine.actors.values()]
        starts = range(0, actors, ACTORS_A_PIECE)
        start = time.thread_time()
        await node.heap_census()
        whole = time.thread_time() - start
        first = given[:100]
        return {
            "node": whole,
            "C": seconds(lambda: c_walk.census(given), 10),
            "undisturbed": undisturbed([partial(c_walk.census, given[n : n + ACTORS_A_PIECE]) for n in starts]),
            "pure": seconds(lambda: pure_walk.census(given), 1) if pure else None,
            "bytes": sum(pure_walk.census(first)) / len(first),
            "objects": sum(measured(pure_walk, (*roots, *mailbox)) for roots, mailbox in first) / len(first),
        }


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
        elif kind == "undisturbed":
            say(**undisturbed_walk(words[0], int(words[1])))
        else:
            say(**trio.run(census, int(words[0]), words[1] == "pure"))
