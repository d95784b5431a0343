"""The walk in pure Python: the same functions as in C (``heap/c/_walk.c``), with the same results.

``passes`` does the work. ``__all__`` is what both have; the stub of the extension takes its names
and types from here.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from operator import itemgetter
from types import FrameType
from typing import Any, ClassVar, Final, TypeAlias

from ..interpreter.memory import IMMORTAL
from ..record_plan import CensusGroups, CensusRow, FoundColumns, RecordPlan
from .passes import MAILBOX, Followed, Observer, PureWalk, WalkOver, getrefcount
from .type_facts import Adapter, TypeRegistry, facts_of, known_facts

__all__ = ["census", "census_found", "census_rows", "measure", "passes_made", "register", "size_of"]

CountedObject: TypeAlias = tuple[int, int, int]
"""(address, bytes, group) of an object that was counted."""
Figures: TypeAlias = tuple[
    int, int, int, int, int, bool, int, int, bool, list[CountedObject] | dict[type, tuple[int, int]] | None
]
"""(private, mailbox, objects, after_gc, shared, exact, elsewhere, surplus, capped, objects or
types)"""
BY_TYPE: Final = 2
"""The value of ``record`` that asks for the count and bytes of each type."""
SUSPICIOUS: Final = 64 * 1024
"""A record that may hold this many bytes more than was found is a suspect, if that is more than a
quarter."""


def measure(
    roots: Sequence[object],
    mailbox: Sequence[object],
    frames: tuple[FrameType, ...],
    stacks: tuple[int, ...],
    limit: int,
    cycles: bool,
    edge_cap: int,
    record: int,
    account: object = None,
    enough: int = 0,
    foreign_cap: int = 0,
    /,
) -> Figures:
    """See ``walk.measure``. A negative ``limit`` is none. ``record``: 1 for a row for each object,
    ``BY_TYPE`` for the count and bytes of each type. The own pass is made if the first one has
    found less than ``enough``."""
    records: list[CountedObject] | None = [] if record and record != BY_TYPE else None
    sums: dict[type, tuple[int, int]] = {}
    observer: Observer | None = None
    if record == BY_TYPE:

        def add(obj: object, size: int, group: int, parent: object) -> None:
            count, sum_ = sums.get(type(obj), (0, 0))
            sums[type(obj)] = count + 1, sum_ + size

        observer = add
    elif records is not None:
        append = records.append

        def note(obj: object, size: int, group: int, parent: object) -> None:
            append((id(obj), size, group))

        observer = note

    Followed.first_passes += 1
    walk = PureWalk(limit, observer)
    state: int | None = None
    try:
        walk.drop(roots)
        state = walk.bytes
        walk.drop(mailbox, MAILBOX)
        if cycles:
            walk.limit = -1
            walk.find_cycles(edge_cap)
        elif walk.bytes < enough and walk.leftovers():
            Followed.own_passes += 1
            walk.find_cycles(sys.maxsize, foreign_cap)
    except WalkOver:
        walk.exact = False
        if state is None:
            state = walk.bytes
    exact = walk.exact and not frames
    counted = sums if record == BY_TYPE else records
    elsewhere = 0 if account is None else walk.bytes + walk.after_gc
    return (
        state,
        walk.bytes - state,
        walk.objects,
        walk.after_gc,
        walk.shared,
        exact,
        elsewhere,
        0,
        walk.capped,
        counted,
    )


def census(actors: Sequence[tuple[Sequence[object], Sequence[object]]], /) -> list[int]:
    """See ``walk.census``."""
    result = []
    for roots, mailbox in actors:
        walk = PureWalk()
        walk.drop(roots)
        walk.drop(mailbox, MAILBOX)
        result.append(walk.bytes)
    return result


def census_found(records: Sequence[object], plan: RecordPlan, /) -> FoundColumns:
    """See ``walk.census_found``. The plan's function describes every record."""
    rows: list[tuple[int, int, int, int]] = []
    suspects: list[tuple[int, int]] = []
    exact = True
    for at, record in enumerate(records):
        described = plan.describe(record)
        if described is None:
            rows.append((-1, 0, 0, 0))
            continue
        roots, mailbox, *_ = described
        walk = PureWalk()
        walk.drop(roots)
        state = walk.bytes
        walk.drop(mailbox, MAILBOX)
        exact = exact and walk.exact
        leftovers = len(walk.leftovers())
        rows.append((walk.bytes, walk.bytes - state, walk.objects, leftovers))
        if leftovers and (more := _may_hold(record, plan) - walk.bytes) > max(SUSPICIOUS, walk.bytes // 4):
            suspects.append((at, more))
    held, received, objects, left = (array("q", column).tobytes() for column in zip(*rows, strict=True)) if rows else (
        b"", b"", b"", b"")  # fmt: skip
    return held, received, objects, left, suspects, exact


def _may_hold(record: object, plan: RecordPlan) -> int:
    return int(getattr(getattr(record, plan.account.__name__, None), "held_at_most", 0))


def census_rows(
    records: Sequence[object],
    plan: RecordPlan,
    best: int | None,
    floor: int,
    cycles: dict[Any, tuple[int, int]] | None,
    suspects: list[tuple[int, int]] | None,
    /,
) -> CensusGroups:
    """See ``walk.census_rows``. The plan's function describes every record."""
    groups: dict[tuple[int, bool, bool], list[CensusRow]] = {}
    for at, record in enumerate(records):
        described = plan.describe(record)
        if described is None:
            continue
        roots, mailbox, rank, idle, limit = described
        walk = PureWalk()
        walk.drop(roots)
        walk.drop(mailbox, MAILBOX)
        size = walk.bytes
        if cycles and record in cycles:
            most = _may_hold(record, plan)
            known, elsewhere = cycles[record]
            size += max(0, min(known, most + elsewhere - size)) if most else known
        if (
            suspects is not None
            and walk.leftovers()
            and (more := _may_hold(record, plan) - size) > max(SUSPICIOUS, size // 4)
        ):
            suspects.append((at, more))
        if size:
            over = size / limit if limit else None
            groups.setdefault((rank, idle, bool(limit)), []).append((record, rank, idle, over, size))
    return {
        key: (_best_of(rows, best, floor), len(rows), sum(row[4] for row in rows), max(rows, key=itemgetter(4)))
        for key, rows in groups.items()
    }


def _best_of(rows: list[CensusRow], best: int | None, floor: int) -> list[CensusRow]:
    """The rows that rank first, of the large and of the small ones, in their old order; the earlier
    of equals."""
    if best is None or best >= len(rows):
        return rows
    order = sorted(range(len(rows)), key=lambda at: (rows[at][3] or 0.0, rows[at][4]), reverse=True)
    large = [at for at in order if rows[at][4] >= floor]
    small = [at for at in order if rows[at][4] < floor]
    return [rows[at] for at in sorted(large[:best] + small[:best])]


def size_of(*objects: object) -> int:
    """See ``walk.size_of``."""
    total = 0
    for obj in objects:
        facts = facts_of(type(obj))
        if facts.leads_nowhere:
            if not getrefcount(obj) & IMMORTAL:
                total += facts.size(obj)
        elif not facts.never:
            break
    else:
        if len(objects) < 2 or len(set(map(id, objects))) == len(objects):
            return total
    walk = PureWalk()
    walk.drop(objects)
    leftovers = walk.leftovers()
    if [obj for obj in leftovers if not _KnownShared.has(obj)]:
        walk.find_cycles(sys.maxsize, MESSAGE_CAP)
        for obj in leftovers:
            _KnownShared.note(obj, walk.is_shared(obj))
    return walk.bytes + walk.after_gc


MESSAGE_CAP: Final = 4096
"""So many containers are looked into for cycles in a message."""


class _KnownShared:
    """What was shared when a message was last sized: see ``_known_shared.h``."""

    trusted: ClassVar[dict[int, tuple[int, int, int]]] = {}
    """By address: that of the type; for so many messages; for so many more."""

    @classmethod
    def has(cls, obj: object) -> bool:
        known, trusted, left = cls.trusted.get(id(obj), (0, 0, 0))
        if known != id(type(obj)) or not left:
            return False
        cls.trusted[id(obj)] = known, trusted, left - 1
        return True

    @classmethod
    def note(cls, obj: object, shared: bool) -> None:
        known, trusted, _ = cls.trusted.pop(id(obj), (0, 0, 0))
        if not shared:
            return
        trusted = min(2 * trusted, 4096) if known == id(type(obj)) else 1
        cls.trusted[id(obj)] = id(type(obj)), trusted, trusted
        if len(cls.trusted) > 64:
            del cls.trusted[next(iter(cls.trusted))]


def passes_made() -> tuple[int, int]:
    """See ``walk.passes_made``."""
    return Followed.first_passes, Followed.own_passes


def register(
    stop_types: tuple[type, ...],
    adapters_by_type: tuple[tuple[type, Adapter], ...],
    adapters_by_name: tuple[tuple[bytes, Adapter], ...],
    /,
) -> None:
    """Replace what is registered."""
    TypeRegistry.stop_types = stop_types
    TypeRegistry.by_type = adapters_by_type
    TypeRegistry.by_name = adapters_by_name
    known_facts.clear()
