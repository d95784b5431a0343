"""Is a series of samples flat? This is the rule of the soak's verdict, apart from what it is
applied to.

Only the second half of the samples counts: in the first, caches, freelists and tables grow to their
size. A line of least squares is fitted to the second half. The series is flat if that line rises
over the whole half by no more than the tolerance, a fraction of the half's mean, plus an absolute
grain below which no rise can be measured. A falling series is flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

TOLERANCES: Final = {
    # name: (part of the mean, grain)
    "rss": (0.03, 2 * 2**20),
    "live": (0.03, 1 * 2**20),
    "objects": (0.01, 2_000),
    "records": (0.0, 50),
    "actors": (0.0, 0),
    "tasks": (0.0, 0),
    "timers": (0.0, 5),
    "descriptors": (0.0, 0),
}


def rise(values: Sequence[float]) -> float:
    """How much the line of least squares through the samples rises from the first to the last."""
    n = len(values)
    if n < 2:
        return 0.0
    middle, mean = (n - 1) / 2, sum(values) / n
    slope = sum((x - middle) * (y - mean) for x, y in enumerate(values)) / sum((x - middle) ** 2 for x in range(n))
    return slope * (n - 1)


def second_half(values: Sequence[float]) -> Sequence[float]:
    return values[len(values) // 2 :]


def not_flat(name: str, values: Sequence[float]) -> str | None:
    """None if the series is flat, else what is wrong."""
    half = second_half(values)
    if len(half) < 3:
        return None
    part, grain = TOLERANCES[name]
    allowed = part * sum(half) / len(half) + grain
    risen = rise(half)
    if risen <= allowed + 1e-9:
        return None
    return f"{name} rises by {risen:,.0f} over the last {len(half)} samples; {allowed:,.0f} are allowed"
