"""What the governor knows of memory: how much there is, is used, and is really needed.

Three figures, because any one alone misleads:

* ``used`` of ``limit`` is what the kernel kills for. There may be several limits (of the process,
  of control groups and their ancestors, of resource limits, of the whole machine). A sample has the
  one with the least headroom, and ``source`` names it.
* ``live`` is what Python's allocators have handed out and not got back. After a kill it falls at
  once.
* ``resident`` is the process's resident set. What is resident but not live is *retained*: freed by
  Python, not given back to the system. A governor that judged its kills by ``used`` alone would see
  no effect and go on killing.

So a level is entered on ``used``. It is left, and effects are judged, on ``needed``: ``used``
without what is retained.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["MemoryLevel", "MemorySample", "Priority"]


class MemoryLevel(enum.IntEnum):
    """How short of memory the node is. At each level the governor does what it does at the lower
    ones, and more."""

    NORMAL = 0
    CONSERVE = 1
    """The alarm is set; actors that opted in are asked to free something; garbage is collected, and
    the allocator trimmed."""
    SHED = 2
    """Mailboxes give up sheddable messages; new work is refused."""
    KILL = 3
    """The least important, largest actors are killed until enough is free."""
    EXHAUSTED = 4
    """The reserve is released; all but critical actors are stopped; at last the node stops in
    order."""


class Priority(enum.IntEnum):
    """Who is given up first when the node runs out of memory. It says nothing about scheduling."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3
    """Never killed for memory's sake, and neither is an actor whose death would take it along."""


@attrs.frozen
class MemorySample:
    """One look at the node's memory. Sizes in bytes, ``now`` in seconds on the governor's clock."""

    now: float
    limit: int
    used: int
    source: str
    """Whose limit it is, for people: ``"cgroup v1 /a/b"``, ``"RLIMIT_AS"``, ``"system"``."""
    resident: int
    live: int | None = None
    """None: not known here."""
    stalled: float | None = None
    """Percent of the last ten seconds in which some task waited for memory (PSI); None: not known
    here."""
    owned: bool = True
    """Does ``used`` include this process's pages, and so what is retained?"""

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
