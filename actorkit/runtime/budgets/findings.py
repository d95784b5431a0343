"""What looks at actors have found, kept for whoever asks later.

A census (``heap_census``, the sweep) reads the records of actors in C, by ``PLAN``, and its
findings are columns of numbers. They are kept as they are, 40 bytes an actor, until the next census
of the same kind is over. So it costs nothing to remember them, and ``process_info`` can say what an
actor held without a walk. An actor is known by its number, so no dead actor is kept.

A census makes the first pass only, which sees no cycles. What the own pass has found of an actor
stands until the next one, bounded by what the actor's account says that it may hold still.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
import trio

from ...heap import clock, walk
from ...heap.usage import HeapUsage
from ..actor.record import Record
from ..actor.states import DEAD, IDLE
from .holdings import roots_of

__all__ = ["PLAN", "Findings", "Found", "Looks"]

EXPLAINED_FOR: Final = 10.0
"""Seconds for which an own pass explains what its actor may hold, if that does not grow."""

SUSPICIOUS: Final = 64 * 1024
"""Less growth than this is no reason for another own pass."""

_SLOTS: Final = {name: getattr(Record, name) for name in dir(Record)}


def _holdings(record: Record[Any]) -> tuple[list[Any], list[Any], int, bool, None] | None:
    if record.state == DEAD:
        return None
    return roots_of(record), record.message_queues(), 0, record.state == IDLE, None


PLAN: Final = walk.RecordPlan(
    kind=Record,
    held=_SLOTS["obj"],
    queues=(_SLOTS["inbox"], _SLOTS["outbox"]),
    state=_SLOTS["state"],
    idle=IDLE,
    dead=DEAD,
    group=_SLOTS["kind"],
    rank_of=lambda kind: 0,
    account=_SLOTS["account"],
    limit=("owner", "size_told"),
    rare=(_SLOTS["worker"], _SLOTS["variables"], _SLOTS["control"], _SLOTS["pending"], _SLOTS["relations"]),
    describe=_holdings,
)
"""Where a record has what."""


@attrs.frozen
class Found:
    """What one look has found of one actor, and when."""

    usage: HeapUsage
    at: int
    """Nanoseconds on trio's clock, later for each look (``Looks.stamp``). A float would hold a
    page: floats go round by the interpreter's freelist, so it may lie on that of a dead actor."""

    @property
    def age(self) -> float:
        """How many seconds ago that was."""
        return max(0.0, trio.current_time() - self.at / 1e9)


@attrs.frozen
class _Piece:
    """Some actors, in the order of their numbers, and what was found of them at one moment."""

    at: int
    numbers: array[int]
    found: walk.CensusFound

    def of(self, number: int) -> Found | None:
        place = bisect_left(self.numbers, number)
        if place == len(self.numbers) or self.numbers[place] != number:
            return None
        found = self.found
        held, mailbox = found.held[place], found.mailbox[place]
        if held < 0:
            return None
        exact = found.exact and not found.leftovers[place]
        return Found(HeapUsage(held - mailbox, 0, mailbox, found.objects[place], exact), self.at)


class Findings:
    """What the last census of one kind has found."""

    def __init__(self, stamp: Callable[[], int]) -> None:
        self._stamp = stamp
        self._pieces: list[_Piece] = []
        self._being_made: list[_Piece] = []

    def begin(self) -> None:
        """A census begins. The findings of the last one stand until this one is over."""
        self._being_made = []

    def count(self, records: Sequence[Record[Any]], numbers: Sequence[int]) -> walk.CensusFound:
        """The next piece of a census: what these actors hold, in the order of their numbers."""
        found = walk.census_found(records, PLAN)
        if numbers:
            self._being_made.append(_Piece(self._stamp(), array("q", numbers), found))
        return found

    def end(self) -> None:
        """The census is over."""
        self._pieces, self._being_made = self._being_made, []

    def of(self, number: int) -> Found | None:
        """What was found of the actor with this number; None: it was not there."""
        place = bisect_left(self._pieces, number, key=_last_number)
        return None if place == len(self._pieces) else self._pieces[place].of(number)


def _last_number(piece: _Piece) -> int:
    return piece.numbers[-1]


class Looks:
    """What is known of the actors of one node."""

    def __init__(self) -> None:
        #: By the last sweep of those with a budget.
        self.sweep = Findings(self.stamp)
        #: By the last ``heap_census``.
        self.census = Findings(self.stamp)
        #: By both passes, of those that were looked at alone.
        self._alone: WeakKeyDictionary[Record[Any], Found] = WeakKeyDictionary()
        self._stamp = 0

    def stamp(self) -> int:
        """This moment, a nanosecond after the last stamp at least: of two looks at one moment the
        later one counts."""
        self._stamp = max(self._stamp + 1, int(trio.current_time() * 1e9))
        return self._stamp

    def found(self, usage: HeapUsage) -> Found:
        """A look has just found this."""
        return Found(usage, self.stamp())

    def note(self, record: Record[Any], usage: HeapUsage) -> Found:
        """Both passes have just been made over ``record``."""
        found = self._alone[record] = self.found(usage)
        return found

    def last(self, record: Record[Any], *others: Found | None) -> Found | None:
        """What the last look at ``record`` has found; None: there was none. ``others``: looks that
        are kept elsewhere."""
        alone = self._alone.get(record)
        number = record.number
        found = [each for each in (alone, *others, self.sweep.of(number), self.census.of(number)) if each is not None]
        last = max(found, key=_at, default=None)
        if last is None or last is alone or last.usage.after_gc:
            return last
        usage = last.usage
        cycles = self.cycles(record, usage.charged)
        unseen = 0 if record.account is None else record.account.held_at_most - usage.charged - cycles
        if unseen <= walk.TOLD:
            unseen = 0
        return Found(attrs.evolve(usage, after_gc=cycles, unseen=unseen, exact=usage.exact and not unseen), last.at)

    def unexplained(self, suspects: Mapping[Record[Any], int]) -> Mapping[Record[Any], int]:
        """Those whose last own pass is old, or does not account for what they may hold."""
        if not clock.COUNTS_ALLOCATIONS:
            return suspects
        return {record: more for record, more in suspects.items() if not self._explains(record, more)}

    def _explains(self, record: Record[Any], more: int) -> bool:
        alone, account = self._alone.get(record), record.account
        if alone is None or account is None or alone.age > EXPLAINED_FOR:
            return False
        found = alone.usage.after_gc + alone.usage.unseen
        # What others' pages served is counted gross: by itself it is no reason so soon.
        return bool(more - account.elsewhere <= found + max(found // 4, SUSPICIOUS))

    def cycles(self, record: Record[Any], held: int = 0) -> int:
        """The bytes of private cycles that the last own pass has found, if so much may be in use
        besides ``held``."""
        alone, account = self._alone.get(record), record.account
        if alone is None:
            return 0
        usage = alone.usage
        if account is None:
            return usage.after_gc
        # What lies on others' pages came from the interpreter's freelists, which no account counts.
        in_use: int = account.held_at_most + usage.elsewhere - held
        return max(0, min(usage.after_gc, in_use))

    def all_cycles(self) -> dict[Record[Any], tuple[int, int]]:
        """What the last own passes have found of all actors that have some: the bytes of private
        cycles, and ``elsewhere``."""
        usages = [(record, found.usage) for record, found in self._alone.items()]
        return {record: (usage.after_gc, usage.elsewhere) for record, usage in usages if usage.after_gc}


def _at(found: Found) -> int:
    return found.at
