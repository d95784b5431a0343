"""Both walks find the same objects and the same bytes in the same graphs."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from actorkit.heap import walk as door
from actorkit.heap.python import walk as pure_walk
from tests.heap import graphs
from tests.heap.graphs import KINDS, Recipe, build, recipe_of, recipes

c_walk: Any = pytest.importorskip("actorkit.heap.c._walk", reason="the extension is not built")


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    """Both walks know the adapters that are shipped, even where only the pure walk is in force."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "_in_force", c_walk)
        door._register()
        yield


def both(roots: Sequence[object], mailbox: Sequence[object] = ()) -> tuple[Any, Any]:
    """The figures and the sorted records of each walk."""
    found = []
    for walk in (c_walk, pure_walk):
        *figures, records = walk.measure(tuple(roots), tuple(mailbox), (), (), -1, True, 10**6, True)
        found.append((figures, sorted(records)))
    return found[0], found[1]


def check(recipe: Recipe) -> None:
    graph = build(recipe)
    in_c, pure = both((graph.root,))
    assert in_c == pure


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone(kind: str) -> None:
    for seed in range(5):
        obj = KINDS[kind](random.Random(seed), lambda: [1.5, "x" * 3])
        in_c, pure = both(([obj],))
        assert in_c == pure
        in_c, pure = both((obj,))
        assert in_c == pure


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(recipe=recipes)
def test_random_graphs(recipe: Recipe) -> None:
    check(recipe)


@pytest.mark.parametrize("seed", range(6))
def test_larger_graphs(seed: int) -> None:
    check(recipe_of(seed, 300, 10 * (seed % 2), 10 * (seed % 3)))


@pytest.mark.parametrize("seed", range(4))
def test_mailbox_and_several_roots(seed: int) -> None:
    first = build(recipe_of(seed, 60, 3, 3))
    second = build(recipe_of(seed + 100, 60, 3, 3))
    first.root.other = second.root.items[0]
    in_c, pure = both((first.root, first.root.items), (second.root, second.root.items, second.root))
    assert in_c == pure
    assert in_c[0][1] > 0


def test_census_and_early_stop() -> None:
    found = [build(recipe_of(seed, 40, 2, 2)) for seed in range(10)]
    gc.collect()  # else leftover cycles hold parts of it, and the slower walk sees them go
    actors = [((graph.root,), [graph.root.items]) for graph in found]
    in_c, pure = c_walk.census(actors), pure_walk.census(actors)
    assert in_c == pure
    for bytes_held, (roots, mailbox) in zip(in_c, actors, strict=True):
        for limit in (0, 100, bytes_held // 2, bytes_held - 1):
            for walk in (c_walk, pure_walk):
                state, received, *_ = walk.measure(roots, mailbox, (), (), limit, False, 0, False)
                assert limit < state + received <= bytes_held
        for walk in (c_walk, pure_walk):
            state, received, *_ = walk.measure(roots, mailbox, (), (), bytes_held, False, 0, False)
            assert state + received == bytes_held


def test_size_of() -> None:
    values = [
        7,
        -1,
        10**6,
        10**30,
        "x",
        "y" * 300,
        "é" * 5,
        b"z" * 9,
        1.5,
        None,
        True,
        (),
        (1.25, "q" * 7),
        (1, (2,)),
    ]
    values += [[1.5], {"a": [1.5]}, graphs.Frozen(1.5, "a b"), (10**20,) * 3]
    for value in values:
        assert c_walk.size_of(value) == pure_walk.size_of(value), value
    assert c_walk.size_of(*values) == pure_walk.size_of(*values)
    fresh = (10**20 + len(values), "x" * len(values), 0.5 * len(values), b"y" * len(values))
    assert c_walk.size_of(fresh) == pure_walk.size_of(fresh) == c_walk.size_of(fresh, None)


def test_stop_types_and_adapters() -> None:
    class Handle:
        def __init__(self) -> None:
            self.data = [0.5] * 1000

    class Hiding:
        pass

    hidden = [0.25 + len("x")]
    Hiding.hidden = hidden  # type: ignore[attr-defined]

    def tell(obj: object) -> tuple[int, list[object]]:
        return 1000, [hidden]

    try:
        for walk in (c_walk, pure_walk):
            walk.register((Handle,), ((Hiding, tell),), ())
        for obj in ([Handle(), Handle()], [Hiding(), Hiding()], Handle(), Hiding(), [hidden, Hiding()]):
            in_c, pure = both((obj,))
            assert in_c == pure
    finally:
        import actorkit.heap.walk as door

        door._register()


def test_the_edge_cap_ends_both() -> None:
    graph = build(recipe_of(3, 300, 20, 20))
    for walk in (c_walk, pure_walk):
        figures = walk.measure((graph.root,), (), (), (), -1, True, 10, False)
        assert figures[3:6] == (0, 0, False)
