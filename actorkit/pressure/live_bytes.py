"""How much of what is resident is retained: freed by Python, and not given back to the system.

Why. CPython's small-object allocator gives an arena of 1 MiB back when its last block is freed,
which rarely happens, and malloc keeps what lies below its top. So after a kill the resident set
hardly moves, and whoever judged by it would kill again. What was freed is free all the same: the
next allocations get it.

Exactly. The C library counts what malloc has handed out and what it keeps (``mallinfo2``). pymalloc
keeps no count of bytes, but it can walk its pools and print what is in use in each size class:
``_PyObject_DebugMallocStats``, the function behind ``sys._debugmallocstats``. It takes any stream,
and is given one in memory. That visits one cache line in each 16 KiB: 15 µs for a fresh
interpreter, 50 µs for each 100 MB. The allocation clock hooks pymalloc while there are budgets, but
knows how to let it print all the same.

By estimate. pymalloc prints nothing when anything else hooks it, such as tracemalloc. What is left
is the number of blocks in use (``sys.getallocatedblocks``). When that is at a new height, arenas
are as full as they get: so what they hold is their size, and the mean block follows. Below that
height blocks are counted with that mean. The size of the arenas is what is anonymous and resident,
is not malloc's, and was not there at the start.

The actors' own heaps count their pages exactly. These are neither allocator's, so the estimate
leaves them out. A page with one block in it belongs to its owner alone, and nobody else can have
what is free there: so it counts as live, whole.

Never too much. Retained bytes that do not exist would end an alarm early, so the lower of two
bounds is taken: what the allocators say is free, and what is resident beyond everything in use. The
first would be too much after ``malloc_trim``, which leaves malloc's count as it was. The second
would be too much where memory is mapped past both allocators.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import attrs

from ..heap import clock, own_heaps
from ..heap.interpreter.versions import WHY_UNKNOWN
from .process_memory import ProcessPages

ctypes: Any
try:
    import ctypes as _ctypes

    ctypes = _ctypes
except ImportError:  # an interpreter built without it
    ctypes = None

__all__ = ["LiveGauge", "MallocBytes", "SmallBlocks", "malloc_bytes", "small_blocks"]

_SHARE = 0.02
"""The share of the time that walks of pools may take. Between walks what is retained is assumed to
stay the same."""

_SMALLEST, _LARGEST = 16, 512
"""The bytes of a block that pymalloc serves itself."""

_MALLINFO2 = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


@attrs.frozen
class SmallBlocks:
    """pymalloc: the size of its arenas, and how much of that is handed out, in bytes."""

    arenas: int
    handed_out: int


@attrs.frozen
class MallocBytes:
    """malloc: what is handed out, and what it keeps for later (maybe not resident), in bytes."""

    handed_out: int
    kept: int


def _malloc_reader() -> Callable[[], MallocBytes] | None:
    if ctypes is None or not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):  # musl, or glibc before 2.33: its counters wrap at 2 GiB
        return None

    function.restype = type("Mallinfo2", (ctypes.Structure,), {"_fields_": [(n, ctypes.c_size_t) for n in _MALLINFO2]})

    def read() -> MallocBytes:
        info = function()
        return MallocBytes(info.uordblks + info.hblkhd, info.fordblks)

    return read


def _pymalloc_printer() -> Callable[[], bytes] | None:
    if ctypes is None or WHY_UNKNOWN is not None:
        return None
    try:
        # Through pythonapi the GIL is kept, so no pool changes meanwhile.
        print_to = ctypes.pythonapi._PyObject_DebugMallocStats
        libc = ctypes.CDLL(None)
        open_memstream, fclose, free = libc.open_memstream, libc.fclose, libc.free
    except (OSError, AttributeError):
        return None
    print_to.argtypes = [ctypes.c_void_p]
    open_memstream.restype = ctypes.c_void_p
    open_memstream.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    fclose.argtypes = free.argtypes = [ctypes.c_void_p]

    def printed() -> bytes:
        start, length = ctypes.c_void_p(), ctypes.c_size_t()
        stream = open_memstream(ctypes.byref(start), ctypes.byref(length))
        if not stream:
            return b""
        print_to(stream)
        fclose(stream)
        text: bytes = ctypes.string_at(start, length.value) if start else b""
        free(start)
        return text

    return printed


_malloc = _malloc_reader()
_pymalloc = _pymalloc_printer()


def malloc_bytes() -> MallocBytes | None:
    """What malloc has handed out and keeps; None where the C library does not say."""
    return None if _malloc is None else _malloc()


def small_blocks() -> SmallBlocks | None:
    """What pymalloc has and has handed out; None if it does not say, as when something hooks it."""
    text = clock.pymalloc_report() or (b"" if _pymalloc is None else _pymalloc())
    try:
        return SmallBlocks(_printed(text, b"bytes/arena"), _printed(text, b"\n# bytes in allocated blocks"))
    except ValueError:
        return None


def _printed(text: bytes, label: bytes) -> int:
    """The number at the end of the line with this label."""
    start = text.index(b"=", text.index(label)) + 1
    return int(text[start : text.index(b"\n", start)].replace(b",", b""))


class _Estimate:
    """pymalloc's figures from the number of blocks, when it does not give them itself."""

    def __init__(self) -> None:
        #: Anonymous and resident, and neither allocator's.
        self._elsewhere = 0
        #: What pymalloc gave last, and how many blocks were in use then.
        self._first = SmallBlocks(0, 0)
        self._first_blocks = 0
        #: The most blocks in use since, and the size of the arenas at that time.
        self._most_blocks = 0
        self._most_arenas = 0
        #: Bytes of a block that came since.
        self._mean = 0.0

    def calibrate(self, exact: SmallBlocks, malloc: MallocBytes, pages: ProcessPages) -> None:
        """While pymalloc gives its figures: note them, and what is neither allocator's."""
        self._elsewhere = max(0, pages.anonymous - exact.arenas - malloc.handed_out - malloc.kept)
        self._first, self._most_arenas = exact, exact.arenas
        self._first_blocks = self._most_blocks = sys.getallocatedblocks()
        self._mean = exact.handed_out / max(1, self._first_blocks)

    def read(self, malloc: MallocBytes, pages: ProcessPages) -> SmallBlocks:
        blocks = sys.getallocatedblocks()
        if not blocks:  # PYTHONMALLOC=malloc
            return SmallBlocks(0, 0)
        arenas = max(0, pages.anonymous - self._elsewhere - malloc.handed_out - malloc.kept)
        if blocks > self._most_blocks:
            # Not less than before: after malloc_trim not all that malloc says it keeps is resident.
            self._most_blocks, self._most_arenas = blocks, max(arenas, self._most_arenas)
            grown = (self._most_arenas - self._first.arenas) / (blocks - self._first_blocks)
            self._mean = min(max(grown, _SMALLEST), _LARGEST)
        # The interpreter's own blocks are larger than most programs' and stay: not averaged in.
        handed_out = max(0, self._first.handed_out + int((blocks - self._first_blocks) * self._mean))
        # Whatever grows without more blocks is not pymalloc's.
        return SmallBlocks(max(handed_out, min(arenas, self._most_arenas)), handed_out)


class LiveGauge:
    """Measures how much of the resident set is live, that is, not retained.

    Args:
        clock: gives seconds, for the cost of a look.
        small: reads pymalloc; another function may know more.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        small: Callable[[], SmallBlocks | None] = small_blocks,
    ) -> None:
        self._clock = clock
        self._small = small
        self._estimate = _Estimate()
        #: What the last look found; None: it cannot be known here.
        self._retained: int | None = None
        #: When the next look may come, by the clock.
        self._not_before = -1.0
        #: Did pymalloc give its figures itself at the last look?
        self.exact = False

    def read(self, pages: ProcessPages, *, fresh: bool = False) -> int | None:
        """Live bytes: code, stacks and everything else that is resident, without what is retained.
        None: it cannot be known here.

        ``fresh``: look at once, even if the cost of the last look would have us wait; after a kill,
        when it matters.
        """
        began = self._clock()
        if fresh or began >= self._not_before:
            self._retained = self._look(pages)
            took = self._clock() - began
            self._not_before = began + took / _SHARE
        return None if self._retained is None else max(0, pages.resident - self._retained)

    def _look(self, pages: ProcessPages) -> int | None:
        malloc = malloc_bytes()
        if malloc is None or sys.implementation.name != "cpython":
            return None
        small = self._small()
        heaps = own_heaps.statistics(live=False)
        others = attrs.evolve(pages, resident=max(0, pages.resident - heaps.resident))
        self.exact = small is not None
        if small is not None:
            self._estimate.calibrate(small, malloc, others)
        else:
            small = self._estimate.read(malloc, others)
        free = small.arenas - small.handed_out + malloc.kept + heaps.cold
        beyond = pages.resident - pages.backed_by_files - small.handed_out - malloc.handed_out - heaps.pages
        return max(0, min(free, beyond))
