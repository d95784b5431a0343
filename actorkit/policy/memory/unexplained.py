"""What a walk does not explain of what an actor may hold, and what is worth doing about it.

An account bounds what its actor holds (``held_at_most``). The first pass of a walk finds less if
there are cycles, garbage that is not collected yet, or things in the hands of others, such as a
cache of a module. The own pass tells cycles from the rest; a collection tells garbage from what is
*abroad*. Both cost time, so neither follows from a difference that cannot matter, and both keep
pace: what is found abroad stays there, and must not be searched for again and again.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FEW", "TimeShare", "calls_for_collection", "is_hidden", "is_news"]

FEW: Final = 4 * 1024
"""So many bytes need no explanation, however small the limit is."""
COLLECTED_FROM: Final = 64 * 1024
"""For less than this nothing is collected."""
SHARE: Final = 0.05
"""Searches take no more than this share of the time."""


def is_hidden(at_most: int, found: int, mark: int) -> bool:
    """Is so much unexplained of an actor that holds ``at_most``, and of which ``found`` bytes were
    found, that it matters for the mark that it is looked at for?"""
    return at_most - found > max(mark // 8, FEW)


def is_news(in_use: int, before: int, limit: int) -> bool:
    """Is so much more in use unexplained than ``before``, the last time, that it is looked for
    whatever that costs?"""
    return in_use > before + max(limit // 8, FEW)


def calls_for_collection(unseen: int, abroad: int, limit: int) -> bool:
    """Is what both passes have not seen worth a collection? ``abroad``: what the last collection
    has left of it."""
    return unseen > max(limit // 2, COLLECTED_FROM) and unseen > abroad + limit // 4


class TimeShare:
    """Lets something be done for a share of the time only. Times are in nanoseconds, given by the
    caller."""

    def __init__(self, share: float = SHARE) -> None:
        self._pause = 1 / share - 1
        self._free_at = 0

    def allows(self, now: int) -> bool:
        """May it be done now?"""
        return now >= self._free_at

    def took(self, began: int, ended: int) -> None:
        """It was done."""
        self._free_at = ended + int((ended - began) * self._pause)
