"""The process's own limits, as ``ulimit`` and ``setrlimit`` set them.

RLIMIT_AS bounds the address space and RLIMIT_DATA what is private and writable; a request beyond either fails, which
Python turns into MemoryError, and C code that does not check into worse. RLIMIT_RSS is ignored, as the kernel has
ignored it since Linux 2.4.30. Both count what is mapped, not what is in memory: a thread's malloc arena counts with
64 MiB of address space for RLIMIT_AS, so that one runs out long before memory does.

The limits are asked for each time: others may change them (prlimit), and so may we.
"""

from __future__ import annotations

from typing import Any

from .process_memory import ProcessPages
from .reading import Reading

resource: Any
try:
    import resource as _resource

    resource = _resource
except ImportError:  # Windows
    resource = None

__all__ = ["readings"]


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
