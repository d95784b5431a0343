"""Sizes and heap limits as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorkit.policy.memory.heap_limit import HeapLimit, as_heap_limit, bytes_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (17, 17),
        ("17", 17),
        ("1 B", 1),
        ("256 KiB", 262_144),
        ("256kib", 262_144),
        ("64 kB", 64_000),
        (" 1.5 GiB ", 1_610_612_736),
        (".5 MiB", 524_288),
        ("2TB", 2 * 10**12),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "1 KiBi", "1 2", "-1", "1e3", "1 µB", "99999999 TiB", -1, 2**62])
def test_what_is_no_size(text: int | str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        bytes_of(text)


@pytest.mark.parametrize("value", [None, 1.5, True, b"1", [1]])
def test_what_is_not_even_written_as_one(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a size"):
        bytes_of(value)


@given(st.integers(0, 2**61), st.sampled_from(["", " B"]))
def test_text_means_what_it_says(size: int, unit: str) -> None:
    if size < 2**53:
        assert bytes_of(f"{size}{unit}") == size


def test_wrong_knobs() -> None:
    with pytest.raises(TypeError, match="kill='yes'"):
        HeapLimit(10, kill="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="below its size"):
        HeapLimit(10, hard=9)


def test_the_system_s_knobs() -> None:
    """The system's options have OTP's defaults. Source: erlang:system_flag(max_heap_size, …): kill
    and log are on, shared is not counted.
    """
    assert HeapLimit(100).over(None) == HeapLimit(100, True, True, False, 150)


knobs = st.sampled_from([True, False, None])


@given(st.tuples(knobs, knobs, knobs), st.none() | st.tuples(knobs, knobs, knobs))
def test_what_is_left_open_is_inherited(own: Any, inherited: Any) -> None:
    default = None if inherited is None else HeapLimit(7, *inherited)
    made = HeapLimit(100, *own).over(default)
    assert made.size == 100
    for n, (name, system) in enumerate([("kill", True), ("log", True), ("include_shared", False)]):
        open_ = inherited is None or inherited[n] is None
        expected = own[n] if own[n] is not None else system if open_ else inherited[n]
        assert getattr(made, name) is expected
    assert made.over(default) == made


def test_what_max_heap_size_takes() -> None:
    limit = HeapLimit(5)
    assert as_heap_limit(None) is None
    assert as_heap_limit(limit) is limit
    assert as_heap_limit("1 KiB") == HeapLimit(1024)


def test_a_hard_cap_of_ones_own() -> None:
    """A hard cap of one's own is at least the size, and is kept as it is. Fault: it is always one
    and a half times the size.
    """
    assert HeapLimit(100, hard=100).over(None).hard == 100
    assert HeapLimit(100, hard=120).over(HeapLimit(7, hard=9)).hard == 120
    assert HeapLimit(2**62 - 1).over(None).hard == 2**62 - 1, "there is no larger size"
