"""What an actor hears when its budget is nearly used up, and when it hears of it.

``HeapLimit(tell=0.8)`` asks for it, so that a cache can evict before its limit ends it. The rule
has a gap, or an actor that stays near the mark would hear of nothing else: it is told once, and
again only after it has fallen a tenth of its limit below the mark.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from .heap_limit import TELL_GAP, HeapLimit

__all__ = ["BudgetPressure", "Telling"]

STEPS: Final = 16
"""An actor that was told is looked at each time that it has allocated this part of its limit, to
find out that it has fallen."""


@attrs.frozen
class BudgetPressure:
    """This actor's own budget is nearly used up: it holds ``used`` of the ``limit`` bytes of its
    ``max_heap_size``. It comes to ``handle_info`` before the next message (a process gets it from
    ``receive``), if the limit says ``tell``. Whoever can do without something lets go of it now.

    Example::

        def handle_info(self, message: object) -> None:
            match message:
                case ak.BudgetPressure(used=used, limit=limit):
                    self.evict(used - limit // 2)
    """

    used: int
    limit: int


@attrs.frozen
class Telling:
    """When an actor is told: when it holds ``at`` bytes; again after it has held less than
    ``again``. ``size``: its limit."""

    size: int
    at: int
    again: int

    @classmethod
    def of(cls, limit: HeapLimit) -> Telling | None:
        """None: it is never told."""
        if not limit.tell:
            return None
        return cls(limit.size, math.ceil(limit.size * limit.tell), math.floor(limit.size * (limit.tell - TELL_GAP)))

    def says(self, used: int, told: bool) -> bool:
        """Is an actor that holds ``used`` bytes to be told now? ``told``: it has been told, and has
        not fallen since."""
        return used >= self.at and not told

    def fell(self, used: int) -> bool:
        """Is that so little that it may be told again?"""
        return used < self.again

    def until_next_look(self, used: int, told: bool) -> int:
        """How much an actor that keeps its limit may allocate before it is looked at again, to be
        told in time."""
        if told:
            return min(self.size - used, self.size // STEPS) + 1
        return max(self.at - used, 1)
