"""What the kernel reports of a control group by itself, as wakes.

Version 2: ``memory.events`` counts how often the group was held at ``high``, ran into ``max``,
killed. When a count changes the file has POLLPRI, until it is read again. For ``max`` that is late,
since the limit has been reached; but it is in time for ``memory.high``, and for reclaim that
succeeded.

Version 1: an eventfd can be registered (``cgroup.event_control``) for a usage in bytes, page cache
included, and calls when that is crossed, up or down. Another can be registered for a level of
reclaim (``memory.pressure_level``); "medium" is when reclaim begins to be hard work. Both also call
when the group goes.

The border to ``wakes``: here is what can call, there is how one waits for all that may.
"""

from __future__ import annotations

import os

from .cgroup import ControlGroup
from .psi import stall_trigger
from .wakes import Wake

__all__ = ["events_file", "pressure_level", "stall_trigger", "usage_threshold"]


def events_file(group: ControlGroup, name: str = "memory.events") -> Wake:
    """Calls when one of the group's counts has changed. Raises OSError when it has no such file."""
    fd = os.open(group.directory / name, os.O_RDONLY | os.O_CLOEXEC)

    def read() -> None:
        os.pread(fd, 4096, 0)

    read()  # the kernel reports changes since the last read
    return Wake(f"{group} {name}", fd, True, read, lambda: os.close(fd))


def _eventfd(group: ControlGroup, name: str, file: str, argument: str) -> Wake:
    directory = group.directory
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        # Both files are needed only while the kernel registers the event.
        with open(directory / file, "rb") as watched, open(directory / "cgroup.event_control", "wb", 0) as control:
            control.write(f"{event} {watched.fileno()} {argument}".encode())
    except OSError:
        os.close(event)
        raise

    def consume() -> None:
        try:
            os.eventfd_read(event)
        except BlockingIOError:
            pass
        if not directory.exists():
            raise OSError("its control group is gone")

    return Wake(f"{group} {name}", event, False, consume, lambda: os.close(event))


def usage_threshold(group: ControlGroup, at: int) -> Wake:
    """Calls when a group of version 1 crosses ``at`` bytes, in either direction. Raises OSError."""
    return _eventfd(group, f"usage {at}", "memory.usage_in_bytes", str(at))


def pressure_level(group: ControlGroup, level: str = "medium") -> Wake:
    """Calls when reclaim in a group of version 1 becomes hard work ("low", "medium" or "critical").
    Raises OSError."""
    return _eventfd(group, f"pressure {level}", "memory.pressure_level", level)
