"""Pressure stall information: how much of the time tasks waited for memory.

``some`` is the share of time in which at least one task waited, ``full`` the share in which all
did. The averages are over the last 10, 60 and 300 seconds, and lag by some two seconds. The same
file takes a *trigger*: a length of stall and a window. When tasks have stalled for that long within
the window the kernel calls at once, at most once a window. A trigger needs CAP_SYS_RESOURCE, except
(since Linux 6.4) if its window is a multiple of two seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from .kept_file import KeptFile
from .wakes import Wake

__all__ = ["Stall", "StallFile", "arm_trigger", "stall_trigger"]

_TRIGGERS = (b"some 150000 1000000\0", b"some 300000 2000000\0")
"""15 % of a second, in microseconds; and the same of two seconds, for those who may not have the
first. The kernel overwrites the last byte with NUL, so there must be one to lose."""


@attrs.frozen
class Stall:
    """Percent of the last ten seconds."""

    some: float
    full: float


def _average(text: bytes, kind: bytes) -> float:
    start = text.index(b"avg10=", text.index(kind + b" ")) + len(b"avg10=")
    return float(text[start : text.index(b" ", start)])


class StallFile:
    """Reads one file of stalls: the machine's (``/proc/pressure/memory``) or a group's
    (``memory.pressure``).

    Raises OSError if it cannot be opened; a kernel may have PSI compiled in and switched off.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = KeptFile(path)
        self.path = self._file.path

    def read(self) -> Stall:
        """The stalls now. Raises OSError or ValueError."""
        text = self._file.read()
        return Stall(_average(text, b"some"), _average(text, b"full"))

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()


def arm_trigger(path: str | Path, triggers: tuple[bytes, ...] = _TRIGGERS) -> int:
    """Open the file and arm the first trigger that is permitted; wait for EPOLLPRI on the
    descriptor returned.

    The trigger lives as long as the descriptor. Raises OSError when none is permitted.
    """
    # Each attempt has its own descriptor: the kernel takes one trigger for each.
    for trigger in triggers[:-1]:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, trigger)
        except OSError:
            os.close(fd)
        else:
            return fd
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(fd, triggers[-1])
    except OSError:
        os.close(fd)
        raise
    return fd


def stall_trigger(path: str | Path) -> Wake:
    """Calls when tasks have stalled for memory. Raises OSError when that is not permitted, or not
    there."""
    fd = arm_trigger(path)
    return Wake(f"PSI {path}", fd, True, lambda: None, lambda: os.close(fd), forgets=True)
