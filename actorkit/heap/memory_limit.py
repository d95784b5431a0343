"""The exit reason of an actor that held more than it may."""

from __future__ import annotations

import attrs

from ..reasons import ExitReason
from .usage import HeapUsage

__all__ = ["LargestType", "MemoryLimit"]


@attrs.frozen
class LargestType:
    """One type of what an actor held: its name, how many objects, their bytes."""

    name: str
    count: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.name} × {self.count:,}: {self.bytes:,} B"  # noqa: RUF001


@attrs.frozen
class MemoryLimit(ExitReason):
    """The actor held more than its ``max_heap_size``. Abnormal, and its own fault, so its
    supervisor counts the restart.

    ``usage``    what was certainly its own when this was found: the walk stops at the limit, so the
                 actor may have held more (``usage.exact`` is False then)
    ``limit``    the ``max_heap_size``, in bytes
    ``largest``  the types that held the most of it
    """

    usage: HeapUsage
    limit: int
    largest: tuple[LargestType, ...] = ()

    def __str__(self) -> str:
        least = "" if self.usage.exact else "at least "
        held = f"{least}{self.usage.charged:,} B (mailbox: {self.usage.mailbox:,} B)"
        text = f"memory limit: it held {held} of {self.limit:,} B"
        return f"{text}; most of it: {'; '.join(map(str, self.largest))}" if self.largest else text
