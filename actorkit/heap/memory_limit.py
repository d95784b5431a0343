"""The exit reason of an actor that held more than it may."""

from __future__ import annotations

import attrs

from ..reasons import ExitReason
from .usage import HeapUsage

__all__ = ["LargestType", "MemoryLimit"]


@attrs.frozen
class LargestType:
    """One line of what an actor held: a type, how many objects of it, their bytes."""

    name: str
    count: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.name} × {self.count:,}: {self.bytes:,} B"  # noqa: RUF001


@attrs.frozen
class MemoryLimit(ExitReason):
    """The actor held more than its ``max_heap_size``. Abnormal: its own fault, so its supervisor counts the restart.

    ``usage`` is what was certainly its own when it was found out: the walk stops at the limit, so the truth may be
    more (``usage.exact`` is False then). ``largest``: the types that held the most of it.
    """

    usage: HeapUsage
    limit: int
    largest: tuple[LargestType, ...] = ()

    def __str__(self) -> str:
        least = "" if self.usage.exact else "at least "
        held = f"{least}{self.usage.charged:,} B (mailbox: {self.usage.mailbox:,} B)"
        text = f"memory limit: it held {held} of {self.limit:,} B"
        return f"{text}; most of it: {'; '.join(map(str, self.largest))}" if self.largest else text
