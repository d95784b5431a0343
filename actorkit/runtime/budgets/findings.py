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
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
import trio

from ...heap import walk
from ...heap.usage import HeapUsage
from ..actor.record import Record
from ..actor.states import DEAD, IDLE
from .holdings import roots_of

__all__ = ["PLAN", "Findings", "Found", "Looks"]

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
    limit=("owner", "limit", "size"),
    rare=(_SLOTS["worker"], _SLOTS["variables"], _SLOTS["control"], _SLOTS["pending"], _SLOTS["relations"]),
    describe=_holdings,
)
"""Where a record has what."""


@attrs.frozen
class Found:
    """What one look has found of one actor, and when."""

    usage: HeapUsage
    at: int
    """Nanoseconds on trio's clock. A float that is kept would hold a page: floats go round by the
    interpreter's freelist, so it may lie on the page of an actor that is dead."""

    @classmethod
    def now(cls, usage: HeapUsage) -> Found:
        """It was found just now."""
        return cls(usage, _now())

    @property
    def age(self) -> float:
        """How many seconds ago that was."""
        return (_now() - self.at) / 1e9


def _now() -> int:
    return int(trio.current_time() * 1e9)


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

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._being_made: list[_Piece] = []

    def begin(self) -> None:
        """A census begins. The findings of the last one stand until this one is over."""
        self._being_made = []

    def count(self, records: Sequence[Record[Any]]) -> walk.CensusFound:
        """The next piece of a census: what these actors hold, in the order of their birth."""
        found = walk.census_found(records, PLAN)
        numbers = array("q", [record.number for record in records])
        if numbers:
            self._being_made.append(_Piece(_now(), numbers, found))
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
        self.sweep = Findings()
        #: By the last ``heap_census``.
        self.census = Findings()
        #: By both passes, of those that were looked at alone.
        self._alone: WeakKeyDictionary[Record[Any], Found] = WeakKeyDictionary()

    def note(self, record: Record[Any], usage: HeapUsage) -> None:
        """Both passes have just been made over ``record``."""
        self._alone[record] = Found.now(usage)

    def last(self, record: Record[Any], *others: Found | None) -> Found | None:
        """What the last look at ``record`` has found; None: there was none. ``others``: looks that
        are kept elsewhere."""
        alone = self._alone.get(record)
        number = record.number
        found = [each for each in (alone, self.sweep.of(number), self.census.of(number), *others) if each is not None]
        return max(found, key=_at, default=None)


def _at(found: Found) -> int:
    return found.at
