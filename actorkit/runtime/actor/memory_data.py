"""What one may ask about a node's memory: ``node.memory``."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from ...policy.memory.memory_sample import MemoryLevel, MemorySample
from .ref import Ref

__all__ = ["MemoryData", "Receipt", "Receipts"]


@attrs.frozen
class Receipt:
    """One action of the governor, and what came of it. ``realised``: bytes that it freed, None
    while that is not known; ``duration``: seconds that the node stood still for it; ``failure``:
    why it could not be done, "" if it was."""

    at: float
    action: str
    because: str
    predicted: int | None = None
    realised: int | None = None
    duration: float = 0.0
    dry_run: bool = False
    failure: str = ""


@attrs.frozen
class MemoryData:
    """A node's memory at the governor's last look. ``total`` and ``allocated`` are the limit and
    what is used of it, as in memsup; ``worst`` is the largest actor of the last census, with its
    bytes. Source: memsup:get_memory_data/0."""

    total: int
    allocated: int
    level: MemoryLevel
    source: str
    resident: int
    live: int | None
    worst: tuple[Ref[Any], int] | None

    @property
    def retained(self) -> int | None:
        """Bytes that Python has freed and not given back to the system: the next allocations get
        them. None: it is not known here."""
        return None if self.live is None else max(0, self.resident - self.live)

    @classmethod
    def of(cls, sample: MemorySample, level: MemoryLevel, worst: tuple[Ref[Any], int] | None) -> MemoryData:
        """From the governor's last look."""
        return cls(sample.limit, sample.used, level, sample.source, sample.resident, sample.live, worst)


Receipts = deque[Receipt]
