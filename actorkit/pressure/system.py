"""What the machine has left, for everybody who runs on it.

What is left is the kernel's own estimate of what can be had without swapping (MemAvailable). But
what is the limit? Not the machine's size: on a laptop that other programs fill to nine tenths, a
node of 50 MB would shed and kill, which would help nobody. The limit reported here is what *this
process* could grow to: what it has and what is left. So a node that is small beside what is left is
at ease, a node that fills the machine gets the machine's size for its limit, and a neighbour that
grows lowers the limit. The headroom, which decides between sources, is the same either way.

Inside a container the kernel's file shows the figures of the host. That is intended: the host can
run out too.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from .kept_file import KeptFile
from .process_memory import ProcessPages
from .reading import LimitSource, Reading

__all__ = ["SystemMemory", "total"]

_FIELD = b"\nMemAvailable:"


def total() -> int:
    """The machine's memory, in bytes."""
    return int(psutil.virtual_memory().total)


class SystemMemory(LimitSource):
    """Reads what the machine has left.

    Args:
        root: where the file system begins, for tests.
    """

    name = "system"

    def __init__(self, root: str | Path = "/") -> None:
        super().__init__(root)
        self._file: KeptFile | None
        try:
            self._file = KeptFile(Path(root, "proc/meminfo"))
        except OSError:
            self._file = None

    def available(self) -> int:
        """Bytes that can be had without swapping. Raises OSError or ValueError when the kernel does
        not say."""
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
        return Reading(self.name, pages.resident + self.available(), pages.resident)

    def readings(self, pages: ProcessPages) -> list[Reading]:
        """The one reading of ``read``."""
        return [self.read(pages)]

    def close(self) -> None:
        """Give the descriptor back."""
        if self._file is not None:
            self._file.close()
