"""Nothing is left behind: after very many walks there are as many references, blocks and pages as
before.

The default is twenty thousand walks. ``ACTORKIT_WALKS=1000000`` makes more of them, which takes
minutes.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk
from tests.heap.graphs import KINDS, build, recipe_of

try:
    from actorkit.heap.c import _walk
except ImportError:
    IMPLEMENTATIONS = ["python"]
else:
    IMPLEMENTATIONS = ["c", "python"]

pytestmark = pytest.mark.own_process
"""References to shared objects, such as short texts, are counted: no test that ran before may drop
any of these references.
"""

WALKS = int(os.environ.get("ACTORKIT_WALKS", "20000"))
PURE_IS_SLOWER = 50
SENTINELS = (None, True, False, ..., NotImplemented, (), "", b"", 0, 1, int, str, dict, list, tuple, object, deque)


class Hiding:
    """Has memory that no traversal shows."""


class Failing:
    """Has an adapter that fails."""


class Stopped:
    """Is never counted."""


HIDDEN = [[0.5], b"y" * 100]


def tell(obj: object) -> tuple[int, Sequence[object]]:
    return 1000, [*HIDDEN, [0.5]]


def fail(obj: object) -> tuple[int, Sequence[object]]:
    raise LookupError


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    module = _walk if request.param == "c" else pure_walk
    monkeypatch.setattr(walk, "_in_force", module)
    monkeypatch.setattr(walk, "size_of", module.size_of)
    stop_types, adapters = walk._stop_types, dict(walk._adapters)
    walk.adapter(Hiding, tell)
    walk.adapter(Failing, fail)
    walk.stop_at(Stopped)
    yield str(request.param)
    walk._stop_types = stop_types
    walk._adapters.clear()
    walk._adapters.update(adapters)
    walk._register()


def small() -> list[Any]:
    loop: list[Any] = [Hiding()]
    loop.append(loop)
    return [loop, Failing(), Stopped(), 1.5, "x" * 50, {"a": (1, [2.5])}, deque([[0.5]]), {0.5}, int, sys, None, ()]


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check(work: Callable[[], None], times: int, held: Sequence[object]) -> None:
    held = [obj for obj in held if not any(obj is sentinel for sentinel in SENTINELS)]
    for _ in range(max(20, times // 20)):  # caches, specialisation, and malloc's own pages
        work()
    gc.collect()
    counts = [sys.getrefcount(obj) for obj in held]
    sentinels = [sys.getrefcount(obj) for obj in SENTINELS]
    pages, blocks = resident() if Path("/proc/self/statm").exists() else None, sys.getallocatedblocks()
    for _ in range(times):
        work()
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 50
    assert [sys.getrefcount(obj) for obj in held] == counts
    # The interpreter itself takes and drops some references to these.
    moved = [sys.getrefcount(obj) - before for obj, before in zip(SENTINELS, sentinels, strict=True)]
    assert max(map(abs, moved)) < 50, moved
    if pages is not None:
        assert resident() - pages < 512 * 1024


def test_small_graphs(implementation: str) -> None:
    """Walks through each entry point leave nothing of what the walk itself owns for a while: pins,
    temporaries, records, answers.
    """
    roots = small()
    frame = sys._getframe()
    pair = [((roots,), ([1.5],)), ((roots[0],), ())]
    wrong = [((roots,), ([1.5],)), 7]

    def work() -> None:
        walk.measure((roots,), ([1.5],), cycles=True)
        walk.measure((roots,), limit=100)
        walk.measure((roots,), cycles=True, edge_cap=3)
        walk.measure((roots,), frames=(frame,))
        walk.types_of((roots,))
        walk.census(pair)
        with suppress(TypeError, ValueError):
            walk.census(wrong)  # type: ignore[arg-type]
        walk.size_of(roots, 1.5)
        walk.size_of((1, "x"))

    times = WALKS // 10 // (1 if implementation == "c" else PURE_IS_SLOWER)
    check(work, times, [*roots, roots, frame, Hiding, Failing, Stopped, tell, fail, *HIDDEN, HIDDEN, pair])


def test_graphs_of_all_kinds(implementation: str) -> None:
    made = [build(recipe_of(seed, len(KINDS), 5, 5)) for seed in range(3)]
    roots = [graph.root for graph in made]

    def work() -> None:
        for root in roots:
            walk.measure((root,), cycles=True)
        walk.census([((root,), ()) for root in roots])

    times = WALKS // 200 // (1 if implementation == "c" else PURE_IS_SLOWER)
    check(work, times, [*roots, *(obj for graph in made for obj in graph.held)])
