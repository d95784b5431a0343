"""Heaps of their own: the small blocks of actors that hold much, on pages that go back when the
actor dies.

CPython's allocator keeps the blocks of all actors side by side, so the memory of a killed actor
rarely goes back to the operating system. The clock's extension can give an account a heap of its
own instead, for blocks of up to 512 bytes: pages of 4 KiB where nobody else has blocks
(``_heaps.h``). Pages that the death of an actor empties are *cold*: free for any heap, and resident
until ``purge`` gives them back, which the governor does under pressure. Pages of a dead actor in
which others still hold blocks (messages, mostly) are *adopted*: they are freed with their last
block.

This needs the extension, on 64-bit Linux, above CPython's own allocator; ``why_not`` says what is
in the way. An actor that has a ``max_heap_size`` gets such a heap when it holds 6 KiB.
``open_node(own_heaps=False)`` opts out for a node, and ``ACTORKIT_OWN_HEAPS=0`` in the environment,
which is read at import, for the whole process.
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
    """The figures of all such heaps together. In bytes, except for ``heaps`` and ``refusals``.

    Args:
        mapped: address space taken; most of it may never have been touched.
        pages: pages that have blocks in them; all of them are resident.
        cold: resident pages without blocks: what ``purge`` can give back.
        live: blocks that are handed out.
        adopted: the part of ``pages`` whose account is gone.
        heaps: how many heaps there are, adopted ones included.
        given_back: what ``purge`` has given back since the start.
        refusals: how often the system had no address space for more. Blocks then come from
            Python's allocator.
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
        """The part of the process's resident set that these heaps take."""
        return self.pages + self.cold


_wanted: Final = os.environ.get(_SWITCH, "") != "0"
if not _wanted:
    clock.own_heaps(False)


def why_not() -> str | None:
    """None if actors can have heaps of their own in this process; otherwise what is in the way, and
    the remedy."""
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
        "another allocator stands in front of Python's own: unset PYTHONMALLOC and PYTHONDEVMODE, "
        "and start tracemalloc after the node"
    )


def purge(max_seconds: float = 0.01) -> int:
    """Give cold pages back to the operating system. Call it when memory is short: each page that is
    needed again costs a page fault.

    Args:
        max_seconds: how long it may take, more or less. The next call gives back what is left.

    Returns:
        The bytes by which the resident set has shrunk.

    Example::

        from actorkit.heap import own_heaps

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
    """Give back some cold pages if they are more than an eighth of those in use; otherwise a node
    without a governor would keep all pages that it ever needed at once. The runtime calls this once
    a second; it takes 2 ms at most. Returns the bytes by which the resident set has shrunk."""
    now = statistics(live=False)
    return purge(_DECAY_SECONDS) if now.cold > max(_KEPT_COLD, now.pages // 8) else 0
