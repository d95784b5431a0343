"""The census of all gives the same in C as in Python, whatever is in the slots: what each record
would free, what it reached that did not die, and who may hold more than that.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk

from .test_census_rows import IMPLEMENTATIONS, Account, Entry, Group, Limit, entries, plan, told


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS, ids=lambda module: module.__name__.rpartition(".")[2])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: ModuleType = request.param
    monkeypatch.setattr(walk, "_in_force", module)
    return module


class Telling(Account):
    """An account that says how much may be held."""

    def __init__(self, held_at_most: object) -> None:
        super().__init__(Limit(1))
        self.held_at_most = held_at_most


@pytest.mark.parametrize("seed", range(8))
def test_each_is_what_one_measures_alone(seed: int) -> None:
    records = entries(seed)
    found = walk.census_found(records, plan())
    for place, record in enumerate(records):
        about = told(record)
        if about is None and record.state != 3 and (record.extra is not None or record.waits is not None):
            assert found.held[place] == -1, "the plan's function leaves it out"
        if about is None:
            continue
        usage = walk.measure(*about[:2])
        assert found.held[place] == usage.charged
        assert found.mailbox[place] == usage.mailbox
        assert found.objects[place] == usage.objects
    assert found.suspects == []
    assert found.exact is walk.measure([]).exact


@pytest.mark.parametrize("seed", range(4))
def test_both_find_the_same(seed: int, implementation: ModuleType) -> None:
    records = [record for record in entries(seed) if record.group.rank is not None]
    columns = implementation.census_found(records, plan())
    assert columns == pure_walk.census_found(records, plan())
    assert implementation.census_found([], plan()) == (b"", b"", b"", b"", [], 1)


def test_leftovers() -> None:
    """Containers that are reached and do not die: shared ones, and those in cycles. Shared leaves
    hide nothing."""
    shared, text = [1.5], "a shared text"
    cycle: list[Any] = []
    cycle.append(cycle)
    records = [Entry(Group(1), held) for held in ([2.5], [shared], [text], [cycle, shared], [print, str, plan])]
    del cycle
    assert list(walk.census_found(records, plan()).leftovers) == [0, 1, 0, 2, 2]


def test_suspects() -> None:
    """Who may hold more than was found by 64 KiB and by a quarter. Where nothing was left over,
    nothing can be hidden."""
    shared = [0.5]
    records = [Entry(Group(1), [shared, bytes(1_000_000 + place)]) for place in range(5)]
    for record, more in zip(records, (0, 240_000, 260_000, 10_000_000, None), strict=True):
        record.account = None if more is None else Telling(1_000_000 + more)  # type: ignore[assignment]
    small = [Entry(Group(1), [n + 0.5, shared]) for n in range(2)]
    for record, held_at_most in zip(small, (60_000, 70_000), strict=True):
        record.account = Telling(held_at_most)  # type: ignore[assignment]
    dead = Entry(Group(1), [1.5], state=3)
    dead.account = Telling(10**9)  # type: ignore[assignment]
    odd = Entry(Group(1), [1.5, shared])
    odd.account = Account(None)
    innocent = Entry(Group(1), [1.5])
    innocent.account = Telling(10**9)  # type: ignore[assignment]
    found = walk.census_found([*records, *small, dead, odd, innocent], plan())
    assert [place for place, _ in found.suspects] == [2, 3, 6]
    assert all(
        more == held_at_most - found.held[place]
        for (place, more), held_at_most in zip(found.suspects, (1_260_000, 11_000_000, 70_000), strict=True)
    )


@pytest.mark.parametrize("wrong", [(), (3,), ([], 5), (5, plan()), ([], plan(), 7)])
def test_wrong_arguments(wrong: tuple[Any, ...], implementation: ModuleType) -> None:
    if implementation is not pure_walk:
        with pytest.raises(TypeError):
            implementation.census_found(*wrong)


def test_a_plan_that_fails() -> None:
    def failing(record: object) -> Any:
        raise KeyError(record)

    rare = Entry(Group(1), [1.5])
    rare.extra = [2.5]
    with pytest.raises(KeyError):
        walk.census_found([rare], plan(describe=failing))
    assert walk.census_found([rare], plan()).held[0] > 0
