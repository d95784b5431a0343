"""A small kernel file that is read again and again through one descriptor.

Opening costs more than reading, and it can fail when descriptors are short, which is just when the
answer is wanted most. The kernel makes the content anew for each read from the start. The file of a
control group that is gone answers ENODEV, so nothing stale is ever read.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["KeptFile"]

_AT_MOST = 16_384
"""Longer than any of these files that has a fixed set of lines (memory.stat has some 3 KiB)."""


class KeptFile:
    """A file that is kept open for reading. Opened at once: raises OSError if it cannot be."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """What the file says now. Raises OSError when it is gone or closed."""
        return os.pread(self._fd, _AT_MOST, 0)

    def close(self) -> None:
        """Give the descriptor back. Closing twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
