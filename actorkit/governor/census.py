"""The census: how large everybody is and how they stand, for the choice of victims.

With the extension the rows are made in C: ``PLAN`` says where a record has what. An actor with
something rare (a coroutine that waits, timers, links, a priority of its own) is looked at in
Python. This takes about ten nanoseconds an object, and a census is needed before another step is
made. In pure Python it takes a hundred times as long. There an actor with a budget counts with what
its last look found and what it has received since, and only the others are walked.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import chain
from typing import Any, Final

from ..heap import walk
from ..policy.memory.candidates import Candidate, Census, Radius
from ..policy.memory.victims import KillCaps
from ..runtime.actor.record import Record, RecordKind, record_of
from ..runtime.actor.states import DEAD, IDLE
from ..runtime.budgets.budget import Budget
from ..runtime.budgets.holdings import heap_of_all, held_by, roots_of
from .radius import is_critical, is_spared, radius_of

__all__ = [
    "PLAN",
    "count",
    "measured_radius",
    "sizes_of",
    "take_census",
]

Row = tuple[list[Any], list[Any], int, bool, int | None]


def _row(record: Record[Any]) -> Row | None:
    if record.state == DEAD or is_critical(record):
        return None
    account = record.account
    limit = None if account is None or account.owner is None else account.owner.limit.size
    return roots_of(record), record.message_queues(), int(record.memory_priority), record.state == IDLE, limit


def _rank_of(kind: RecordKind) -> int | None:
    """The priority of this kind's actors, if they have none of their own. None: never killed for
    memory's sake."""
    priority = kind.options.priority
    return None if is_spared(kind.role, priority) else int(priority)


_SLOTS: Final = {name: getattr(Record, name) for name in dir(Record)}

PLAN: Final = walk.RecordPlan(
    kind=Record,
    held=_SLOTS["obj"],
    queues=(_SLOTS["inbox"], _SLOTS["outbox"]),
    state=_SLOTS["state"],
    idle=IDLE,
    dead=DEAD,
    group=_SLOTS["kind"],
    rank_of=_rank_of,
    account=_SLOTS["account"],
    limit=("owner", "limit", "size"),
    rare=(_SLOTS["worker"], _SLOTS["variables"], _SLOTS["control"], _SLOTS["pending"], _SLOTS["relations"]),
    describe=_row,
)


def sizes_of(records: Iterable[Record[Any]]) -> list[int]:
    """What each would free if it alone died."""
    return walk.census(held_by(records))


def count(census: Census, records: list[Record[Any]], caps: KillCaps | None = None, missing: int = 0) -> None:
    """Enter everybody who may be killed at all, which supervisors and critical actors may not.

    Args:
        census: where.
        records: who.
        caps: enter as many rows as a round by these may want; None: a row for each.
        missing: bytes that such a round is to free.
    """
    best, floor = None, 0
    if caps is not None:
        best, floor = caps.wanted(len(records)), caps.floor(missing, len(records))
    for (rank, idle, budgeted), found in walk.census_rows(records, PLAN, best, floor).items():
        census.add(rank, idle, budgeted, *found)


def measured_radius(key: Hashable) -> Radius | None:
    """Who dies with this actor, and what that frees. None: it dies alone."""
    records = radius_of(record_of(key))
    if len(records) == 1:
        return None
    return Radius(frozenset(records), heap_of_all(records).charged, any(map(is_critical, records)))


def take_census(nodes: Iterable[Iterable[Record[Any]]], caps: KillCaps | None = None, missing: int = 0) -> Census:
    """Everybody on these nodes, or in these groups of actors; see ``count``."""
    census, records = Census(), list(chain.from_iterable(nodes))
    count(census, records if walk.IMPLEMENTATION == "c" else _counted_as_known(census, records), caps, missing)
    return census


def _counted_as_known(census: Census, records: Iterable[Record[Any]]) -> list[Record[Any]]:
    """Enter the actors whose size is known well enough; returns the others."""
    others: list[Record[Any]] = []
    for record in records:
        account = record.account
        budget = None if account is None else account.owner
        if account is None or not isinstance(budget, Budget) or not budget.known:
            others.append(record)
        elif record.state != DEAD and not is_critical(record):
            size, idle, rank = budget.known + account.bytes, record.state == IDLE, int(record.memory_priority)
            row = Candidate(record, rank, idle, size / budget.limit.size, size)
            census.add(rank, idle, True, (row,), 1, size, row)
    return others
