"""When an actor is told that its budget is nearly used up, and when it is told again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorkit.policy.memory.budget_pressure import STEPS, Telling
from actorkit.policy.memory.heap_limit import HeapLimit


def rule(size: int, tell: float) -> Telling:
    made = Telling.of(HeapLimit(size, tell=tell))
    assert made is not None
    return made


def told(telling: Telling, held: list[int]) -> list[int]:
    """What an actor is told that holds so much at one look after the other."""
    was_told, heard = False, []
    for used in held:
        if telling.fell(used):
            was_told = False
        if telling.says(used, was_told):
            was_told = True
            heard.append(used)
    return heard


def test_at_the_mark_and_again_after_a_fall() -> None:
    """The mark itself counts. The gap is a tenth of the limit, and its lower end does not count."""
    assert told(rule(1000, 0.8), [799, 800, 900, 999, 700, 800, 699, 799, 801]) == [800, 801]
    assert told(rule(1000, 1), [999, 1000, 899, 1000]) == [1000, 1000]


@pytest.mark.parametrize("tell", [None, False])
def test_who_is_never_told(tell: Any) -> None:
    assert Telling.of(HeapLimit(1000, tell=tell)) is None


@given(st.integers(1, 2**40), st.floats(0.11, 1), st.lists(st.floats(0, 1.5), max_size=50))
def test_between_two_it_has_fallen(size: int, tell: float, parts: list[float]) -> None:
    """Fault: the gap is forgotten, or what is told is below the mark."""
    telling = rule(size, tell)
    held = [int(size * part) for part in parts]
    was_told, low = False, 0
    for used in held:
        low = min(low, used)
        if telling.fell(used):
            was_told = False
        if telling.says(used, was_told):
            assert used >= size * tell
            assert not was_told
            assert low == 0 or low < size * (tell - 0.1)
            was_told, low = True, used


@given(st.integers(1, 2**40), st.floats(0.11, 1), st.floats(0, 1), st.booleans())
def test_the_next_look_comes_in_time(size: int, tell: float, part: float, was_told: bool) -> None:
    """Nobody passes the mark, or the limit, without a look; and no look follows the one before at
    once."""
    telling = rule(size, tell)
    used = int(size * part)
    left = telling.until_next_look(used, was_told)
    assert left >= 1
    if was_told:
        assert left <= size // STEPS + 1
        assert used + left <= size + 1
    else:
        assert used + left <= max(telling.at, used + 1)


@pytest.mark.parametrize("tell", [True, "0.8", [0.8]])
def test_what_is_no_number(tell: Any) -> None:
    with pytest.raises(TypeError, match="tell="):
        HeapLimit(10, tell=tell)


@pytest.mark.parametrize("tell", [0, 0.1, -0.5, 1.01, 80, float("nan"), float("inf")])
def test_what_is_no_part_of_a_limit(tell: float) -> None:
    with pytest.raises(ValueError, match="no part of its size"):
        HeapLimit(10, tell=tell)


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [
        (None, 0.8, 0.8),
        (0.5, 0.8, 0.5),
        (False, 0.8, False),
        (None, None, None),
        (0.9, None, 0.9),
        (None, False, False),
    ],
)
def test_the_node_s_default_is_inherited(own: Any, default: Any, expected: Any) -> None:
    """False is an answer of its own: never, whatever the node says."""
    made = HeapLimit(100, tell=own).over(HeapLimit(7, tell=default))
    assert made.tell == expected
    assert made.over(HeapLimit(7, tell=default)).tell == expected
