"""Own passes for a census: who may hold much more than the first pass has found is looked at again.

A census makes the first pass only, which sees no private cycles. Whoever has an account that says
that much more may be in use is a *suspect* (``walk.census_found``). Its own pass takes time in
proportion to what it has allocated, so a round makes as many as fit into ``SECONDS``, and one at
least. Those that had no turn come first in the next round. Until then what the last own pass has
found stands (``Looks``).

The portable clock counts no allocations, so there each actor that has leftovers is a suspect, those
with the most first. What a suspect's own pass may look into is capped more tightly there
(``FOREIGN_CAP``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from ...heap import clock, walk
from ...heap.usage import HeapUsage
from ..actor.record import Record
from ..actor.states import DEAD
from .budget import Budget
from .findings import Looks
from .holdings import on_stack, roots_of
from .searching import cap_without_counts

__all__ = ["OwnPasses", "measured", "suspects_of"]

SECONDS: Final = 0.002
"""A round begins no other pass after this time."""

FOREIGN_CAP: Final = walk.FOREIGN_CAP if walk.IMPLEMENTATION == "c" else 512
"""So many containers that are not on its own pages are looked into for a suspect."""

FOR_EACH_FOREIGN: Final = 256
"""Of who has this many bytes in use one more such container is looked into: what it held before it
had an account lies on others' pages, and may hold what came later."""

NOBODYS: Final = clock.Account()
"""Stands for the account of an actor that has none: nothing lies on its pages."""


def measured(record: Record[Any], foreign_cap: int = FOREIGN_CAP) -> HeapUsage:
    """Both passes over one actor, at a cost that does not depend on what it shares with others."""
    account = NOBODYS if record.account is None else record.account
    if clock.COUNTS_ALLOCATIONS:
        foreign_cap = max(foreign_cap, (account.own_live + account.large_live) // FOR_EACH_FOREIGN)
    elif isinstance(account.owner, Budget):
        foreign_cap = max(foreign_cap, cap_without_counts(account.owner.limit.size))
    return walk.measure(roots_of(record), record.message_queues(), account=account, foreign_cap=foreign_cap)


def suspects_of(records: Sequence[Record[Any]], found: walk.CensusFound) -> dict[Record[Any], int]:
    """The suspects of a census, with what says how large they may be."""
    if clock.COUNTS_ALLOCATIONS:
        return {records[place]: more for place, more in found.suspects}
    return {record: number for record, number in zip(records, found.leftovers, strict=True) if number > 0}


class OwnPasses:
    """Rounds of own passes on one node. What they find goes to ``looks``."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        #: Suspects that had no turn yet, in the order of their turns.
        self.waiting: deque[Record[Any]] = deque()
        #: Seconds, for what the passes cost; tests give another one.
        self.clock = perf_counter

    def line_up(self, suspects: Mapping[Record[Any], int]) -> None:
        """These are the suspects of a new census. First come those who have waited already, then
        those who may be the largest."""
        waited = [record for record in self.waiting if record in suspects]
        have_waited = set(waited)
        others = [record for record in suspects if record not in have_waited]
        others.sort(key=suspects.__getitem__, reverse=True)
        self.waiting = deque([*waited, *others])

    def round(self, foreign_cap: int = FOREIGN_CAP) -> dict[Record[Any], HeapUsage]:
        """Make the own passes of some of those that wait. Returns what was found."""
        found: dict[Record[Any], HeapUsage] = {}
        until = self.clock() + SECONDS
        while self.waiting and not (found and self.clock() >= until):
            record = self.waiting.popleft()
            if record.state != DEAD and not on_stack(record):
                found[record] = usage = measured(record, foreign_cap)
                self._looks.note(record, usage)
        return found
