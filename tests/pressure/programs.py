"""Programs that fill memory, each in its own way."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

_random = random.Random(1)


def tuples() -> list[Any]:
    """Small blocks of much the same size."""
    return [(str(i), float(i)) for i in range(150_000)]


def buffers() -> list[Any]:
    """Blocks that pymalloc does not serve."""
    return [bytes(2048) for _ in range(15_000)]


def mixed() -> list[Any]:
    """A bit of everything."""
    kinds: list[Callable[[int], Any]] = [
        lambda i: {"n": i, "s": str(i) * 20},
        lambda i: [i] * 30,
        str,
        lambda i: bytearray(3000),
    ]
    return [_random.choice(kinds)(i) for i in range(40_000)]


PROGRAMS = {"tuples": tuples, "buffers": buffers, "mixed": mixed}
