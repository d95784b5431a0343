"""What the governor is told: how much memory there is, how much is used, and how much of that is really needed.

Three figures, because any one alone misleads:

* ``used`` of ``limit`` is what the kernel kills for. Of all truths available (process, control groups and their
  ancestors, resource limits, the whole machine) the one with the least headroom is given, and ``source`` names it.
* ``live`` is what Python's allocators have handed out and not got back. After a kill it falls at once.
* ``resident`` is the process's resident set. What is resident but not live is *retained*: freed by Python, not given
  back to the system. A governor that judged its kills by ``used`` alone would see no effect and go on killing.

So a level is entered on ``used``, and left, and effects are judged, on ``needed``: ``used`` without what is retained.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["MemoryLevel", "MemorySample", "Priority"]


class MemoryLevel(enum.IntEnum):
    """How short of memory the node is. Each level does what the lower ones do, and more."""

    NORMAL = 0
    CONSERVE = 1
    """Alarm set; actors that opted in are asked to free; garbage collection, allocator trim."""
    SHED = 2
    """Mailboxes give up sheddable messages; new work is refused."""
    KILL = 3
    """The least important, largest actors are killed until enough is free."""
    EXHAUSTED = 4
    """The reserve is released, all but critical actors are stopped; at last the node stops in order."""


class Priority(enum.IntEnum):
    """Who is given up first when the node runs out of memory. Says nothing about scheduling."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3
    """Never killed for memory's sake, and neither is whoever could not die without it."""


@attrs.frozen
class MemorySample:
    """One look at the node's memory. Sizes in bytes, ``now`` in seconds on the governor's clock."""

    now: float
    limit: int
    used: int
    source: str
    """Whose limit that is, for people: ``"cgroup v1 /a/b"``, ``"RLIMIT_AS"``, ``"system"``."""
    resident: int
    live: int | None = None
    """None: not known here."""
    stalled: float | None = None
    """Percent of the last ten seconds in which some task waited for memory (PSI); None: not known here."""
    owned: bool = True
    """Does ``used`` count this process's pages, so that what is retained is part of it?"""

    @property
    def headroom(self) -> int:
        """What may still be used."""
        return max(0, self.limit - self.used)

    @property
    def retained(self) -> int:
        """Resident, but not live: a later allocation can have it without growing the process."""
        return 0 if self.live is None else max(0, self.resident - self.live)

    @property
    def needed(self) -> int:
        """``used`` without what is retained: what would be in use if all freed pages went back."""
        return max(0, self.used - self.retained) if self.owned else self.used
