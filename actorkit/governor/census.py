"""Everybody's size and standing, for whoever chooses victims.

Rows are made in C where there is C: ``PLAN`` says where a record has what. An actor with something rare (a coroutine
that waits, timers, links, a priority of its own) is looked at in Python. That takes some ten nanoseconds an object, and
whoever needs a census needs it before another step is made. In pure Python it takes a hundred times as long, so there
others run in between, and take what they take meanwhile.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import chain
from typing import Any, Final

import trio

from ..heap import walk
from ..policy.memory_sample import Priority
from ..policy.victims import Census, Radius
from ..runtime.budgets import mailbox_of, roots_of
from ..runtime.radius import is_critical, radius_of
from ..runtime.record import DEAD, IDLE, Record
from ..runtime.template import Template

__all__ = [
    "PLAN",
    "TAKES_CENSUS_AT_ONCE",
    "count",
    "measured_radius",
    "sizes_of",
    "take_census",
    "take_census_in_pieces",
]

TAKES_CENSUS_AT_ONCE: Final = walk.IMPLEMENTATION == "c"

PIECE: Final = 16
"""Actors measured in one go; then others run."""

Told = tuple[list[Any], list[Any], int, bool, int | None]


def _told(record: Record[Any]) -> Told | None:
    if record.state == DEAD or is_critical(record):
        return None
    account = record.account
    limit = None if account is None or account.owner is None else account.owner.limit.size
    return roots_of(record), mailbox_of(record), int(record.memory_priority), record.state == IDLE, limit


def _rank_of(template: Template) -> int | None:
    """Of actors without a priority of their own. None: never killed for memory's sake (see ``is_critical``)."""
    if template.kind == "supervisor" or template.memory_priority is Priority.CRITICAL:
        return None
    return int(template.memory_priority)


_SLOTS: Final = vars(Record)

PLAN: Final = walk.RecordPlan(
    kind=Record,
    held=_SLOTS["obj"],
    queues=(_SLOTS["inbox"], _SLOTS["outbox"]),
    state=_SLOTS["state"],
    idle=IDLE,
    dead=DEAD,
    group=_SLOTS["template"],
    rank_of=_rank_of,
    account=_SLOTS["account"],
    limit=("owner", "limit", "size"),
    rare=(_SLOTS["worker"], _SLOTS["variables"], _SLOTS["attention"], _SLOTS["pending"], _SLOTS["extra"]),
    told=_told,
)


def sizes_of(records: Iterable[Record[Any]]) -> list[int]:
    """What each would free if it alone died."""
    return walk.census([(roots_of(record), mailbox_of(record)) for record in records])


def count(census: Census, records: list[Record[Any]]) -> None:
    """Take up a row for each that may be killed at all; supervisors and the critical are left out."""
    for (rank, idle, budgeted), (rows, size, largest) in walk.census_rows(records, PLAN).items():
        census.add(rank, idle, budgeted, rows, size, largest)


def measured_radius(key: Hashable) -> Radius | None:
    """Who dies with it, measured as one root set: what they share with each other only is freed too. None: nobody."""
    assert isinstance(key, Record)
    records = radius_of(key)
    if len(records) == 1:
        return None
    roots = [root for record in records for root in roots_of(record)]
    queues = [queue for record in records for queue in mailbox_of(record)]
    return Radius(frozenset(records), walk.measure(roots, queues).charged, any(map(is_critical, records)))


def take_census(nodes: Iterable[Iterable[Record[Any]]]) -> Census:
    """Everybody's row."""
    census = Census()
    count(census, list(chain.from_iterable(nodes)))
    return census


async def take_census_in_pieces(nodes: Iterable[Iterable[Record[Any]]]) -> Census:
    """Everybody's row, a few at a time."""
    everybody = list(chain.from_iterable(nodes))
    census = Census()
    for first in range(0, len(everybody), PIECE):
        if first:
            await trio.lowlevel.checkpoint()
        count(census, everybody[first : first + PIECE])
    return census
