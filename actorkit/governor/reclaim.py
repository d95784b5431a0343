"""Getting memory back without ending anybody: garbage collection, free pages, the reserve."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from time import perf_counter
from typing import Final

from ..heap import own_heaps

__all__ = ["Reserve", "collect_garbage", "trim_allocator"]


def collect_garbage(live: Callable[[], int | None]) -> tuple[int | None, float]:
    """One full collection. Returns the live bytes that it freed (None: not known here), and how
    long it took."""
    before, began = live(), perf_counter()
    gc.collect()
    seconds = perf_counter() - began
    after = live()
    return (None if before is None or after is None else max(0, before - after)), seconds


def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's. If another allocator was loaded before it, it has another idea of what is free, and
    is left alone."""
    if "alloc" in os.environ.get("LD_PRELOAD", ""):
        return None
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found


_TRIM = _malloc_trim()

PURGE_SECONDS: Final = 0.01
"""One trim purges heaps for this long at most, in seconds; the next one does the rest."""


def trim_allocator(resident: Callable[[], int]) -> tuple[int | None, float]:
    """Give free pages of actors' own heaps, and those of the C library, back to the system. Returns
    the resident bytes that went (None: it cannot be done here), and how long it took.

    Source: malloc_trim(3).
    """
    if _TRIM is None and not own_heaps.statistics(live=False).resident:
        return None, 0.0
    before, began = resident(), perf_counter()
    own_heaps.purge(PURGE_SECONDS)
    if _TRIM is not None:
        _TRIM(0)
    seconds = perf_counter() - began
    return max(0, before - resident()), seconds


class Reserve:
    """Ballast: resident bytes that are given up when nothing else is left, so that supervisors,
    reports and the governor itself can work."""

    def __init__(self, size: int) -> None:
        self.size = size
        #: None: it is given up, or there was no memory for it.
        self._ballast: bytearray | None = None
        self.rebuild()

    @property
    def held(self) -> bool:
        """Is it there?"""
        return self._ballast is not None

    def release(self) -> int:
        """Give it up. Returns the bytes that it held."""
        held, self._ballast = self._ballast, None
        return 0 if held is None else len(held)

    def rebuild(self) -> bool:
        """Take it up again. False: there is no memory for it, and nothing has changed."""
        if self._ballast is None and self.size:
            try:
                ballast = bytearray(self.size)
            except MemoryError:
                return False
            for page in range(0, self.size, 4_096):
                ballast[page] = 1
            self._ballast = ballast
        return True
