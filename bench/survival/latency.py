"""Latencies in a logarithmic histogram with steps of 5 %: those of several processes can be added
up.
"""

from __future__ import annotations

import math

GROWTH = math.log(1.05)


def bucket(seconds: float) -> int:
    return round(math.log(max(seconds, 1e-6)) / GROWTH)


def quantile(buckets: dict[int, int], share: float) -> float | None:
    """Seconds, or None without any."""
    left = share * sum(buckets.values())
    for number, count in sorted(buckets.items()):
        left -= count
        if left <= 0:
            return math.exp(number * GROWTH)
    return None
