"""The machine: what is left for everybody.

The kernel's own estimate of what can be had without swapping (MemAvailable) is what is left. But what is the limit?
Not the machine's size: a laptop that is nine tenths full of other programs would make a node of 50 MB shed and kill,
which would help nobody. The limit told here is what *this process* could grow to: what it has and what is left. So a
node that is small beside what is left is at ease, one that fills the machine is told the machine's size, and a
neighbour that grows lowers the limit. The headroom, which decides between sources, is the same either way.

Inside a container the kernel's file shows the host's figures. That is meant: the host can run out, too.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from .kept_file import KeptFile
from .process_memory import ProcessPages
from .reading import Reading

__all__ = ["SystemMemory", "total"]

_FIELD = b"\nMemAvailable:"


def total() -> int:
    """The machine's memory, in bytes."""
    return int(psutil.virtual_memory().total)


class SystemMemory:
    """Reads what the machine has left.

    Args:
        root: where the file system begins, for tests.
    """

    def __init__(self, root: str | Path = "/") -> None:
        self._file: KeptFile | None
        try:
            self._file = KeptFile(Path(root, "proc/meminfo"))
        except OSError:
            self._file = None

    def available(self) -> int:
        """Bytes that can be had without swapping. Raises OSError or ValueError when nobody tells."""
        if self._file is None:
            return int(psutil.virtual_memory().available)
        text = self._file.read()
        start = text.find(_FIELD)
        if start < 0:
            raise ValueError(f"{self._file.path} has no MemAvailable")
        start += len(_FIELD)
        number, unit = text[start : text.index(b"\n", start)].split()
        if unit != b"kB":
            raise ValueError(f"{self._file.path}: MemAvailable in {unit!r}, not in kB")
        return int(number) * 1024

    def read(self, pages: ProcessPages) -> Reading:
        """What this process could grow to, and what it has. Raises as ``available`` does."""
        return Reading("system", pages.resident + self.available(), pages.resident)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._file is not None:
            self._file.close()
