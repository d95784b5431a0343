"""A sample of the tools that ``python -m tests.prove.tools`` tries."""

from __future__ import annotations

import pytest

from tests.prove.tools import SAMPLE, Combination, combinations, tried

ALL = {combination.name: combination for combination in combinations()}


@pytest.mark.parametrize("name", SAMPLE)
def test_the_program_is_right_under(name: str) -> None:
    """The program is right through calls, a kill in the middle of a message, a restart and
    a stop.
    """
    combination = ALL[name]
    if combination.missing:
        pytest.skip(combination.missing)
    assert tried(combination) == ""


def test_names_are_told_apart() -> None:
    assert len(ALL) == len(combinations())


def test_what_is_wrong_is_said() -> None:
    """A program that fails is reported, and so is one that says nothing."""
    assert "No module named tests.prove.nothing" in tried(Combination("", module=("tests.prove.nothing",)))
    assert "exit status 0" in tried(
        Combination("", module=("tests.prove.tools",), tools="no such tool", options=("-h",))
    )
