"""How much each actor of a node holds: one pass over all, in pieces, so that nobody waits long."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ..actor.record import Record
from ..actor.ref import Ref
from ..actor.states import DEAD
from ..budgets.holdings import CHUNK

if TYPE_CHECKING:
    from ..life.scheduler import Scheduler

__all__ = ["ClassHeap", "HeapCensus", "heap_census"]


@attrs.frozen
class ClassHeap:
    """All actors of one class, or processes of one function."""

    label: str
    actors: int
    bytes: int


@attrs.frozen
class HeapCensus:
    """What the actors of a node held."""

    #: Each with its bytes (private and mailbox), in the order of their birth. What several hold
    #: together is in none of them.
    actors: tuple[tuple[Ref[Any], int], ...]
    #: The same by class, the largest first.
    classes: tuple[ClassHeap, ...]

    @property
    def bytes(self) -> int:
        """The sum of all actors."""
        return sum(size for _, size in self.actors)


async def heap_census(engine: Scheduler, *, walk: bool = True) -> HeapCensus:
    """Measure all actors. Others run between pieces of a few hundred, so the figures are not of one
    moment. Without ``walk`` nothing is walked: see ``_known``."""
    records = list(engine.actors.values())
    found = await _walked(engine, records) if walk else _known(engine, records)
    counts: defaultdict[str, int] = defaultdict(int)
    sums: defaultdict[str, int] = defaultdict(int)
    for record, size in found:
        label = record.kind.label
        counts[label] += 1
        sums[label] += size
    classes = [ClassHeap(label, count, sums[label]) for label, count in counts.items()]
    return HeapCensus(tuple(found), tuple(sorted(classes, key=lambda row: -row.bytes)))


def _known(engine: Scheduler, records: list[Record[Any]]) -> list[tuple[Record[Any], int]]:
    """For each actor with a budget: what the last look found, or what its own heap has in use now,
    if that is more."""
    found = []
    for record in records:
        budget = engine.budgets.all.get(record)
        if budget is not None and record.state != DEAD:
            found.append((record, max(budget.known, budget.account.live or 0)))
    return found


async def _walked(engine: Scheduler, records: list[Record[Any]]) -> list[tuple[Record[Any], int]]:
    found: list[tuple[Record[Any], int]] = []
    learned = engine.learned
    learned.begin_pass()
    findings = engine.budgets.looks.census
    findings.begin()
    for first in range(0, len(records), CHUNK):
        piece = [record for record in records[first : first + CHUNK] if record.state != DEAD]
        sizes = findings.count(piece).held.tolist()
        found += zip(piece, sizes, strict=True)
        for record, size in zip(piece, sizes, strict=True):
            if record.kind.footprint is not None:
                learned.living(record, size)
        await trio.lowlevel.checkpoint()
    findings.end()
    return found
