"""What a field of a spec or of flags may hold: the questions that several fields ask.

Each answers for any object whatever, and raises for none. The error belongs to whoever asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

__all__ = ["choose_from", "is_count", "is_number", "is_one_of"]


def is_number(value: object) -> bool:
    """A real number. bool is an int to Python, but nobody means ``shutdown=True``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def is_count(value: Any, least: int) -> bool:
    """An int of ``least`` or more, or ``math.inf``."""
    return is_number(value) and (isinstance(value, int) or value == math.inf) and value >= least


def is_one_of(value: object, choices: Iterable[str]) -> bool:
    """One of these words."""
    return isinstance(value, str) and value in choices


def choose_from(choices: Iterable[str]) -> str:
    """The remedy for a value that is none of these words."""
    return "give one of " + ", ".join(f'"{choice}"' for choice in choices)
