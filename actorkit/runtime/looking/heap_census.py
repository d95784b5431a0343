"""How much each actor of a node holds: one pass over all, in pieces, so that nobody waits long."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ...heap.usage import HeapUsage
from ..actor.record import Record, RecordKind
from ..actor.ref import Ref
from ..actor.states import DEAD
from ..budgets.holdings import CHUNK
from ..budgets.own_passes import FOREIGN_CAP, OwnPasses, suspects_of

if TYPE_CHECKING:
    from ..life.scheduler import Scheduler

__all__ = ["ClassHeap", "HeapCensus", "heap_census"]

SMALL_CAP = min(1024, FOREIGN_CAP)
"""So many containers are looked into for an actor without a budget: nothing tells what it has
allocated itself, and there may be very many of them."""

ROUNDS = 10
"""Rounds of own passes at the end of a census for such actors; the others come in the next one."""


@attrs.frozen
class ClassHeap:
    """All actors of one class, or processes of one function.

    Args:
        label: its name.
        actors: how many there are.
        bytes: what they hold: state, mailboxes and private cycles.
        after_gc: the part of that in private cycles, which only a collection frees.
        unseen: what those with a budget have in use besides, that no pass has found: garbage,
            things in the hands of others, or cycles beyond a cap.
    """

    label: str
    actors: int
    bytes: int
    after_gc: int = 0
    unseen: int = 0


@attrs.frozen
class HeapCensus:
    """What the actors of a node held."""

    #: Each with its bytes (private, mailbox and private cycles), in the order of their birth. What
    #: several hold together is in none of them.
    actors: tuple[tuple[Ref[Any], int], ...]
    #: The same by class, the largest first.
    classes: tuple[ClassHeap, ...]

    @property
    def bytes(self) -> int:
        """The sum of all actors."""
        return sum(size for _, size in self.actors)

    @property
    def after_gc(self) -> int:
        """The part of ``bytes`` in private cycles."""
        return sum(row.after_gc for row in self.classes)

    @property
    def unseen(self) -> int:
        """See ``ClassHeap``."""
        return sum(row.unseen for row in self.classes)


async def heap_census(engine: Scheduler, *, walk: bool = True) -> HeapCensus:
    """Measure all actors. Others run between pieces of a few hundred, so the figures are not of one
    moment. Without ``walk`` nothing is walked: see ``_known``."""
    return await _walked(engine) if walk else _known(engine)


def _known(engine: Scheduler) -> HeapCensus:
    """For each actor with a budget: what the last look has found, and before any look what its
    account says."""
    counted = _Counted()
    looks = engine.budgets.looks
    for record, budget in engine.budgets.all.items():
        if record.state != DEAD:
            found = looks.last(record, budget.found)
            if found is None:
                counted.add([record], [budget.account.held_at_most])
            else:
                counted.add([record], [found.usage.charged])
                counted.correct(record, found.usage)
    return counted.census()


async def _walked(engine: Scheduler) -> HeapCensus:
    counted = _Counted()
    looks, learned = engine.budgets.looks, engine.learned
    learned.begin_pass()
    findings = looks.census
    findings.begin()
    numbers, records = list(engine.actors), list(engine.actors.values())
    suspects: dict[Record[Any], int] = {}
    others: dict[Record[Any], int] = {}
    for first in range(0, len(records), CHUNK):
        piece = records[first : first + CHUNK]
        found = findings.count(piece, numbers[first : first + CHUNK])
        suspects.update(suspects_of(piece, found))
        if any(found.leftovers):
            rows = zip(piece, found.leftovers, strict=True)
            others.update((record, left) for record, left in rows if left and record.account is None)
        sizes = found.held.tolist()
        if -1 in sizes:  # somebody has died meanwhile
            piece = [record for record, size in zip(piece, sizes, strict=True) if size >= 0]
            sizes = [size for size in sizes if size >= 0]
        if counted.add(piece, sizes):
            for record, size in zip(piece, sizes, strict=True):
                if record.kind.footprint is not None:
                    learned.living(record, size)
        await trio.lowlevel.checkpoint()
    findings.end()
    await _look_again(counted, OwnPasses(looks), suspects)
    # The former results of those who have no turn now stand.
    for record in looks.all_cycles():
        if record in others:
            counted.cycles(record, looks.cycles(record))
    await _look_again(counted, engine.budgets.passes_without, others, ROUNDS, SMALL_CAP)
    return counted.census()


async def _look_again(
    counted: _Counted,
    passes: OwnPasses,
    wanted: dict[Record[Any], int],
    rounds: int | None = None,
    cap: int = FOREIGN_CAP,
) -> None:
    """Make the own passes of all of these, or as many rounds of them. Others run in between."""
    passes.line_up(wanted)
    while passes.waiting and rounds != 0:
        for record, usage in passes.round(cap).items():
            counted.correct(record, usage)
        rounds = None if rounds is None else rounds - 1
        await trio.lowlevel.checkpoint()


class _Counted:
    """Sums of a census that is being taken."""

    def __init__(self) -> None:
        self._sizes: dict[Record[Any], int] = {}
        self._counts: Counter[RecordKind] = Counter()
        self._sums: defaultdict[RecordKind, int] = defaultdict(int)
        self._cycles: defaultdict[RecordKind, int] = defaultdict(int)
        self._unseen: defaultdict[RecordKind, int] = defaultdict(int)
        self._cycles_of: dict[Record[Any], int] = {}

    def add(self, records: list[Record[Any]], sizes: list[int]) -> bool:
        """What these hold by the first pass. Is one of them a child whose footprint is learned?"""
        self._sizes.update(zip(records, sizes, strict=True))
        kinds = [record.kind for record in records]
        counts = Counter(kinds)
        self._counts.update(counts)
        sums = self._sums
        if len(counts) == 1:
            sums[kinds[0]] += sum(sizes)
        else:
            for kind, size in zip(kinds, sizes, strict=True):
                sums[kind] += size
        return any(kind.footprint is not None for kind in counts)

    def cycles(self, record: Record[Any], size: int) -> None:
        """Besides, it holds this in private cycles."""
        self._sums[record.kind] += size
        self._sizes[record] += size
        self._cycles[record.kind] += size - self._cycles_of.get(record, 0)
        self._cycles_of[record] = size

    def correct(self, record: Record[Any], usage: HeapUsage) -> None:
        """Both passes have found this of one of them."""
        self._sums[record.kind] += usage.held - self._sizes[record]
        self._sizes[record] = usage.held
        self._cycles[record.kind] += usage.after_gc - self._cycles_of.get(record, 0)
        self._cycles_of[record] = usage.after_gc
        self._unseen[record.kind] += usage.unseen

    def census(self) -> HeapCensus:
        """The whole."""
        rows: dict[str, list[int]] = {}
        for kind, count in self._counts.items():
            row = rows.setdefault(kind.label, [0, 0, 0, 0])
            for place, number in enumerate((count, self._sums[kind], self._cycles[kind], self._unseen[kind])):
                row[place] += number
        classes = [ClassHeap(label, *row) for label, row in rows.items()]
        return HeapCensus(tuple(self._sizes.items()), tuple(sorted(classes, key=lambda row: -row.bytes)))
