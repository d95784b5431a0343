"""What this process has mapped, and what of that is in memory.

On Linux one read of ``/proc/self/statm`` gives all four figures in under a microsecond. Its
resident count is kept per thread and summed now and then, so it may be off by some 64 pages for
each thread. ``smaps_rollup`` is exact and costs a hundred times as much. Elsewhere psutil is asked.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import psutil

from .kept_file import KeptFile

__all__ = ["ProcessMemory", "ProcessPages"]


@attrs.frozen
class ProcessPages:
    """One look at the process, in bytes."""

    mapped: int
    """Address space: what RLIMIT_AS limits."""
    resident: int
    backed_by_files: int
    """Of the resident: code and other mapped files, and shared memory. 0 where it is not known."""
    data: int | None
    """Private and writable, the stack too: what RLIMIT_DATA limits. None where it is not known."""

    @property
    def anonymous(self) -> int:
        """Resident and not backed by a file: heaps, stacks, private maps."""
        return max(0, self.resident - self.backed_by_files)


class ProcessMemory:
    """Reads this process's figures.

    Args:
        root: where the file system begins, for tests.

    A process made by fork must make its own, since the open file still shows the parent.
    """

    def __init__(self, root: str | Path = "/") -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._file: KeptFile | None = None
        self._process: psutil.Process | None = None
        try:
            self._file = KeptFile(Path(root, "proc/self/statm"))
        except OSError:
            self._process = psutil.Process()

    def read(self) -> ProcessPages:
        """The figures now. Raises OSError or ValueError if the kernel's file cannot be read or is
        nonsense."""
        if self._file is None:
            assert self._process is not None
            info = self._process.memory_info()
            return ProcessPages(info.vms, info.rss, 0, None)
        fields = self._file.read().split()
        if len(fields) < 6:
            raise ValueError(f"{self._file.path}: 7 numbers expected, not {fields!r:.80}")
        page = self._page
        return ProcessPages(int(fields[0]) * page, int(fields[1]) * page, int(fields[2]) * page, int(fields[5]) * page)

    def use_psutil(self) -> None:
        """Ask psutil from now on."""
        self.close()
        self._file, self._process = None, psutil.Process()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._file is not None:
            self._file.close()
