"""The process's own limits, as ``ulimit`` and ``setrlimit`` set them.

RLIMIT_AS bounds the address space, RLIMIT_DATA what is private and writable. A request beyond
either fails: Python makes MemoryError of that, and C code that does not check makes worse of it.
RLIMIT_RSS is ignored here, as the kernel has ignored it since Linux 2.4.30. Both count what is
mapped, not what is in memory. A thread's malloc arena takes 64 MiB of address space, so RLIMIT_AS
runs out long before memory does.

The limits are asked for each time, since others may change them (prlimit), and so may we.
"""

from __future__ import annotations

from typing import Any

from .process_memory import ProcessPages
from .reading import LimitSource, Reading

resource: Any
try:
    import resource as _resource

    resource = _resource
except ImportError:  # Windows
    resource = None

__all__ = ["ProcessLimits", "readings"]


def readings(pages: ProcessPages) -> list[Reading]:
    """One reading for each limit that is set, given what the process has mapped."""
    if resource is None:
        return []
    found: list[Reading] = []
    for name, used in (("RLIMIT_AS", pages.mapped), ("RLIMIT_DATA", pages.data)):
        number = getattr(resource, name, None)
        if number is None or used is None:
            continue
        soft, _ = resource.getrlimit(number)
        if soft != resource.RLIM_INFINITY:
            found.append(Reading(name, max(1, soft), used))
    return found


class ProcessLimits(LimitSource):
    """``readings`` as a source of limits."""

    name = "rlimits"

    def readings(self, pages: ProcessPages) -> list[Reading]:
        """See the function of this name."""
        return readings(pages)
