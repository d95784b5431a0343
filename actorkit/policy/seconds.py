"""A number of seconds, as users give it."""

from __future__ import annotations

from ..reasons import shown

__all__ = ["as_seconds"]


def as_seconds(value: object, what: str, *, least: float = 0.0) -> float:
    """``value``, if it is a number of seconds, ``least`` or more. Raises ValueError otherwise: NaN,
    a text or a negative number would fail later, in the task that fires everybody's timers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= least:
        return value
    raise ValueError(f"{what}={shown(value, 100)} is no time: give seconds, {least:g} or more (math.inf: for ever)")
