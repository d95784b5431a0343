"""Heaps of their own: the small blocks of actors that hold much, on pages that go back when the actor is gone.

CPython's allocator keeps the blocks of everybody side by side, so the memory of a killed actor rarely goes back to the
operating system. The clock's extension can give an account a heap of its own instead, for blocks of up to 512 bytes:
pages of 4 KiB with nobody else's blocks in them (``_heaps.h``). What an actor's death empties is *cold*: free for any
heap, resident until ``purge`` gives it back, which the governor does under pressure. Pages of the dead in which others
still hold blocks (messages, mostly) are *adopted*: the last block frees them.

It takes the extension on 64-bit Linux above CPython's own allocator; ``why_not`` says what is in the way. Actors of
every node that have a ``max_heap_size`` get one when they hold 6 KiB; ``open_node(own_heaps=False)`` opts out, and
``ACTORKIT_OWN_HEAPS=0`` in the environment for the whole process; that is read at import.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import attrs

from . import clock

__all__ = ["HeapStatistics", "decay", "purge", "statistics", "why_not"]

_SWITCH: Final = "ACTORKIT_OWN_HEAPS"
_KEPT_COLD: Final = 256 * 1024
_DECAY_SECONDS: Final = 0.002


@attrs.frozen
class HeapStatistics:
    """All heaps of their own together, in bytes but for the counts.

    Args:
        mapped: address space taken; most of it may never have been touched.
        pages: in pages that have blocks in them, all resident.
        cold: in pages without blocks that are resident: what ``purge`` can give back.
        live: in blocks that are handed out.
        adopted: of ``pages``, those whose account is gone.
        heaps: how many there are, adopted ones included.
        given_back: by ``purge``, since the start.
        refusals: how often the system had no address space for more. Blocks then come from Python's allocator.
    """

    mapped: int = 0
    pages: int = 0
    cold: int = 0
    live: int = 0
    adopted: int = 0
    heaps: int = 0
    given_back: int = 0
    refusals: int = 0

    @property
    def resident(self) -> int:
        """What they take of the process's resident set."""
        return self.pages + self.cold


_wanted: Final = os.environ.get(_SWITCH, "") != "0"
if not _wanted:
    clock.own_heaps(False)


def why_not() -> str | None:
    """None if actors can have heaps of their own in this process; else what is in the way, and the remedy."""
    if clock.WHY_PORTABLE is not None:
        return clock.WHY_PORTABLE
    if not _wanted:
        return f"{_SWITCH}=0 in the environment: unset it"
    if clock.own_heaps():
        return None
    if not sys.platform.startswith("linux"):
        return f"heaps of their own need Linux on x86-64 or ARM64, this is {sys.platform}"
    if clock.heap_statistics()[-1]:
        return "the system refused 32 MiB of address space: raise RLIMIT_AS (ulimit -v)"
    return (
        "somebody else stands before Python's own allocator: unset PYTHONMALLOC and PYTHONDEVMODE, "
        "and start tracemalloc after the node"
    )


def purge(max_seconds: float = 0.01) -> int:
    """Give cold pages back to the operating system. Call it when memory is short: each page that is needed again
    costs a page fault.

    Args:
        max_seconds: how long it may take, more or less. What is left, the next call gives back.

    Returns:
        The bytes by which the resident set has shrunk.

    Example::

        from actorkit.heap import slabs

        freed = own_heaps.purge(max_seconds=0.005)
    """
    return clock.purge(max_seconds)


def statistics(*, live: bool = True) -> HeapStatistics:
    """The figures of this moment.

    Args:
        live: False is cheap however many pages there are; ``live`` is then 0.
    """
    return HeapStatistics(*clock.heap_statistics(live))


def decay() -> int:
    """Give back some of what has stayed cold, if it is more than an eighth of what is in use: a node without a governor
    would else keep all pages that it ever needed at once. Called once a second; takes 2 ms at most. Returns the bytes
    by which the resident set has shrunk."""
    told = statistics(live=False)
    return purge(_DECAY_SECONDS) if told.cold > max(_KEPT_COLD, told.pages // 8) else 0
