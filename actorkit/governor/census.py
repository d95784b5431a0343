"""Everybody's size and standing, for whoever chooses victims.

The walk in C takes some ten nanoseconds an object, and whoever needs a census needs it before another step is made. In
pure Python it takes a hundred times as long, so there others run in between, and take what they take meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

import trio

from ..heap import walk
from ..policy.victims import Candidate, Radius
from ..runtime.budgets import mailbox_of, roots_of
from ..runtime.radius import is_critical, radius_of
from ..runtime.record import DEAD, IDLE, Record

__all__ = ["TAKES_CENSUS_AT_ONCE", "candidates", "measured_radius", "sizes_of", "take_census_in_pieces"]

TAKES_CENSUS_AT_ONCE: Final = walk.IMPLEMENTATION == "c"

PIECE: Final = 16
"""Actors measured in one go; then others run."""


def sizes_of(records: Iterable[Record[Any]]) -> list[int]:
    """What each would free if it alone died."""
    return walk.census([(roots_of(record), mailbox_of(record)) for record in records])


def candidates(records: Iterable[Record[Any]]) -> list[Candidate]:
    """One row for each that may be killed at all; supervisors and the critical are left out."""
    alive = [record for record in records if record.state != DEAD and not is_critical(record)]
    return [
        Candidate(record, record.memory_priority, record.state == IDLE, _over(record, size), size)
        for record, size in zip(alive, sizes_of(alive), strict=True)
    ]


def _over(record: Record[Any], size: int) -> float | None:
    account = record.account
    limit = 0 if account is None or account.owner is None else account.owner.limit.size
    return size / limit if limit else None


def measured_radius(key: Hashable) -> Radius | None:
    """Who dies with it, measured as one root set: what they share with each other only is freed too. None: nobody."""
    assert isinstance(key, Record)
    records = radius_of(key)
    if len(records) == 1:
        return None
    roots = [root for record in records for root in roots_of(record)]
    queues = [queue for record in records for queue in mailbox_of(record)]
    return Radius(frozenset(records), walk.measure(roots, queues).charged, any(map(is_critical, records)))


async def take_census_in_pieces(records: Callable[[], list[Record[Any]]]) -> list[Candidate]:
    """All candidates, a few at a time."""
    everybody = records()
    rows: list[Candidate] = []
    for first in range(0, len(everybody), PIECE):
        if first:
            await trio.lowlevel.checkpoint()
        rows += candidates(everybody[first : first + PIECE])
    return rows
