"""The census: how large everybody is and how they stand, for the choice of victims.

With the extension the rows are made in C: ``PLAN`` says where a record has what. An actor with
something rare (a coroutine that waits, timers, links, a priority of its own) is looked at in
Python. This takes about ten nanoseconds an object, and a census is needed before another step is
made. In pure Python it takes a hundred times as long. There an actor with a budget counts with what
its last look found and what it has received since, and only the others are walked.

Everybody ranks by what a death and a collection would free: what the first pass finds, and private
cycles that an own pass has found. What an account has in use besides (``unseen``) ranks nowhere:
it may be a module's cache that the actor has filled, and its death would not free that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

from ..heap import walk
from ..policy.memory.candidates import Candidate, Census, Radius
from ..policy.memory.victims import KillCaps
from ..runtime.actor.record import Record, RecordKind, record_of
from ..runtime.actor.states import DEAD, IDLE
from ..runtime.budgets import findings
from ..runtime.budgets.budget import Budget
from ..runtime.budgets.findings import Looks
from ..runtime.budgets.holdings import heap_of_all, held_by, roots_of
from ..runtime.budgets.own_passes import OwnPasses
from .radius import is_critical, is_spared, radius_of

__all__ = [
    "PLAN",
    "count",
    "cycles_of",
    "measured_radius",
    "sizes_of",
    "take_census",
]

Row = tuple[list[Any], list[Any], int, bool, int | None]


def _row(record: Record[Any]) -> Row | None:
    if record.state == DEAD or is_critical(record):
        return None
    account = record.account
    limit = None if account is None or account.owner is None else account.owner.size_told
    return roots_of(record), record.message_queues(), int(record.memory_priority), record.state == IDLE, limit


def _rank_of(kind: RecordKind) -> int | None:
    """The priority of this kind's actors, if they have none of their own. None: never killed for
    memory's sake."""
    priority = kind.options.priority
    return None if is_spared(kind.role, priority) else int(priority)


PLAN: Final = findings.PLAN._replace(rank_of=_rank_of, describe=_row)
"""Where a record has what, for the ranking."""


def sizes_of(records: Sequence[Record[Any]], looks: Looks) -> list[int]:
    """What each would free if it alone died, after a collection."""
    sizes, known = walk.census(held_by(records)), looks.all_cycles()
    return [
        size + looks.cycles(record, size) if record in known else size
        for record, size in zip(records, sizes, strict=True)
    ]


def cycles_of(records: Iterable[Record[Any]], looks: Looks) -> int:
    """The bytes of private cycles that the last own passes have found of these."""
    known = looks.all_cycles()
    return sum(looks.cycles(record) for record in records if record in known) if known else 0


def count(
    census: Census,
    records: list[Record[Any]],
    caps: KillCaps | None = None,
    missing: int = 0,
    looks: Sequence[Looks] = (),
) -> None:
    """Enter everybody who may be killed at all, which supervisors and critical actors may not.

    Private cycles count, as far as they are known. Who may hold much more than that is looked at
    again first, for the time of one round of own passes.

    Args:
        census: where.
        records: who.
        caps: enter as many rows as a round by these may want; None: a row for each.
        missing: bytes that such a round is to free.
        looks: what is known of those records.
    """
    best, floor = None, 0
    if caps is not None:
        best, floor = caps.wanted(len(records)), caps.floor(missing, len(records))
    known, suspects = _known_cycles(looks), list[tuple[int, int]]()
    groups = walk.census_rows(records, PLAN, best, floor, cycles=known, suspects=suspects if looks else None)
    if suspects and _look_again({records[place]: more for place, more in suspects}, known, looks):
        groups = walk.census_rows(records, PLAN, best, floor, cycles=_known_cycles(looks))
    for (rank, idle, budgeted), found in groups.items():
        census.add(rank, idle, budgeted, *found)


def _known_cycles(looks: Iterable[Looks]) -> dict[Any, tuple[int, int]]:
    return {record: known for each in looks for record, known in each.all_cycles().items()}


def _look_again(suspects: dict[Record[Any], int], known: dict[Any, tuple[int, int]], looks: Iterable[Looks]) -> bool:
    """Make own passes. Is anything found that was not known?"""
    news = False
    for each in looks:
        ours = {record: more for record, more in suspects.items() if record.engine.budgets.looks is each}
        passes = OwnPasses(each)
        passes.line_up(each.unexplained(ours))
        news |= any(usage.after_gc != known.get(record, (0, 0))[0] for record, usage in passes.round().items())
    return news


def measured_radius(key: Hashable) -> Radius | None:
    """Who dies with this actor, and what that frees. None: it dies alone."""
    records = radius_of(record_of(key))
    if len(records) == 1:
        return None
    size = heap_of_all(records).charged + cycles_of(records, records[0].engine.budgets.looks)
    return Radius(frozenset(records), size, any(map(is_critical, records)))


def take_census(
    nodes: Iterable[Iterable[Record[Any]]],
    caps: KillCaps | None = None,
    missing: int = 0,
    looks: Sequence[Looks] = (),
) -> Census:
    """Everybody on these nodes, or in these groups of actors; see ``count``."""
    census, records = Census(), list(chain.from_iterable(nodes))
    count(census, records if walk.IMPLEMENTATION == "c" else _counted_as_known(census, records), caps, missing, looks)
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
            most = budget.size_told
            row = Candidate(record, rank, idle, size / most if most else None, size)
            census.add(rank, idle, most is not None, (row,), 1, size, row)
    return others
