"""Messages with cycles are charged."""

from __future__ import annotations

from typing import Any

import pytest

from actorkit.heap import clock, walk
from actorkit.heap.python import walk as pure_walk

c_walk: Any = pytest.importorskip("actorkit.heap.c._walk", reason="the extension is not built")

WALKS = pytest.mark.parametrize("sizer", [c_walk, pure_walk], ids=["c", "python"])


def linked(number: int) -> list[dict[str, Any]]:
    """A list whose only element is the first of so many linked nodes."""
    first = last = {"previous": None}  # type: dict[str, Any]
    for value in range(number - 1):
        node = {"previous": last, "value": value + 0.5}
        last["next"] = last = node
    return [first]


@WALKS
def test_a_list_of_nodes_is_charged_in_full(sizer: Any) -> None:
    message = linked(1000)
    charged = sizer.size_of(message)
    assert charged == walk.measure([message], cycles=True).held
    assert charged > 100_000


@WALKS
def test_what_others_hold_is_not_charged(sizer: Any) -> None:
    message = linked(1000)
    node = message[0]["next"]
    assert sizer.size_of(message) < 1000
    del node


def family(number: int) -> list[dict[str, Any]]:
    parent: dict[str, Any] = {}
    parent["children"] = [{"parent": parent} for _ in range(number)]
    return [parent]


@WALKS
def test_a_long_list_of_nodes_with_parents(sizer: Any) -> None:
    assert sizer.size_of(family(2000)) > 200_000


@WALKS
def test_what_is_shared_is_not_looked_into_each_time(sizer: Any) -> None:
    """The number of messages until the next look doubles, up to 4,096. Until then nobody notices
    that the others have let go."""
    message = linked(10)
    kept = message[0]["next"]
    for _ in range(100):
        assert sizer.size_of(message) < 200
    del kept
    unnoticed = 0
    while sizer.size_of(message) < 200:
        unnoticed += 1
    assert 2 <= unnoticed <= 128
    assert sizer.size_of(message) > 1000


@pytest.fixture
def account() -> clock.Account:
    return clock.Account()


@pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason="the portable clock does not tell")
def test_too_many_cycles_are_not_charged_but_noted(account: clock.Account) -> None:
    walk.size_messages()
    assert account.receive((linked(1000),))
    assert account.bytes > 100_000
    assert account.foreign_due
    assert not account.due
    before = account.bytes
    assert account.receive((linked(20_000),))
    assert account.bytes - before < 1000
    assert account.foreign_due
    assert account.due
