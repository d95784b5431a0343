"""Learned footprints: what supervised children hold, by kind, so that it is known what the next one will need.

Samples come from two sources.

* **Deaths** of supervised children (``at_death``): what the state held just before it was cleared. A walk costs about
  what freeing the same objects costs. It is made for the first 16 deaths of each, then as often as all these walks take
  no more than a hundredth of the time: for every death of a slow crash loop, for a few of thousands at once. It ends
  after about ``OBJECTS`` objects, or 64 MiB: such a sample is *truncated*. The pure walk is a hundred times slower, so
  it ends sooner. A child that died of its own heap limit has been measured for that.
* **Life** (``living``): whenever all actors are walked anyway, at a census or at the sweep of budgets. A pass gives no
  kind more than ``PER_PASS`` samples, from other ones each time; or 10,000 connections would drown all deaths.

A process holds everything in its frames. They are measured where it crashes, and where it is killed; of one that
returns there is nothing left.

A kind is what is started: a class or a function, by its qualified name. Children of a static supervisor are also known
by their id, each on its own (one kind and id under two supervisors is one child to this table); those of a dynamic one
only as a kind. Supervisors are not measured, since their children are not theirs to hold, nor is anything without a
supervisor: a plain spawn pays one look at a None.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ...heap import walk
from ...heap.memory_limit import MemoryLimit
from ...policy.memory.footprint import Footprint, FootprintLearner
from ...policy.supervision.child_spec import ChildSpec
from ...reasons import shown
from .roots import mailbox_of, on_stack, roots_of

if TYPE_CHECKING:
    from ...reasons import ExitReason
    from ..actor.record import Record

__all__ = ["Footprints", "Samples", "kind_of"]

IN_C: Final = walk.IMPLEMENTATION == "c"
FIRST: Final = 16 if IN_C else 4
"""So many deaths of each are measured, whatever it costs."""

SHARE: Final = 0.01
"""Of the time that may go into measuring later ones."""

OBJECTS: Final = 100_000 if IN_C else 2_000
"""What either walk looks at in some 5 ms."""

SMALLEST: Final = 32
"""Few objects are smaller, in bytes: so many objects hold at least so much."""

STEP: Final = 4
MOST_BYTES: Final = 64 * 1024 * 1024
PER_PASS: Final = 8
KNOWN: Final = 1_000
"""Kinds to know, and children by id besides; beyond that, the one that has been known for the longest is forgotten."""

K = TypeVar("K")


def kind_of(start: Any) -> str:
    """The name of what is started: the class's or the function's."""
    while isinstance(start, functools.partial):
        start = start.func
    start = getattr(start, "__origin__", start)
    return getattr(start, "__qualname__", None) or type(start).__qualname__


class Samples:
    """Takes the samples of one kind, or of one child, which are samples of its kind too."""

    __slots__ = ("deaths", "learner", "living", "of_kind", "passed", "stride", "taken")

    def __init__(self, learner: FootprintLearner, of_kind: Samples | None = None) -> None:
        self.learner = learner
        self.of_kind = of_kind
        self.deaths = 0
        self.passed = 0
        self.living = 0
        self.stride = 1
        self.taken = 0

    def learn(self, size: int, truncated: bool = False) -> None:
        """One held so much."""
        self.learner.learn(size, truncated=truncated)
        if self.of_kind is not None:
            self.of_kind.learner.learn(size, truncated=truncated)

    def wants(self, number: int) -> bool:
        """Is the next one that lives to be learned from, in the pass of this number?"""
        if self.passed != number:
            self.stride = -(-self.living // PER_PASS) or 1
            self.living = self.taken = 0
            self.passed = number
        self.living += 1
        if self.taken >= PER_PASS or (self.living + number) % self.stride:
            return False
        self.taken += 1
        return True


class Footprints:
    """What one node has learned."""

    def __init__(self) -> None:
        self.kinds: dict[str, Samples] = {}
        self.children: dict[tuple[str, object], Samples] = {}
        self.passes = 0
        self.clock = perf_counter
        self.rests_until = 0.0

    # --- who is measured ----------------------------------------------------------------------

    def of_child(self, spec: ChildSpec[Any], *, by_id: bool) -> Samples | None:
        """Where samples of the children of ``spec`` go; None for supervisors. ``by_id``: it is known on its own too."""
        if spec.kind == "supervisor":
            return None
        kind = self.of_kind(kind_of(spec.start))
        if not by_id:
            return kind
        key = (kind.learner.kind, _named(spec.id))
        return self.children.get(key) or _remember(
            self.children, key, Samples(FootprintLearner(kind.learner.kind, spec.id), kind)
        )

    def of_kind(self, kind: str) -> Samples:
        """Where samples of a kind go."""
        return self.kinds.get(kind) or _remember(self.kinds, kind, Samples(FootprintLearner(kind)))

    # --- samples ------------------------------------------------------------------------------

    def at_death(self, record: Record[Any], reason: ExitReason, *more: object) -> None:
        """``record``, a supervised child, is about to be cleared. ``more``: what else goes with it, such as the
        exception with the frames that have crashed."""
        samples = record.kind.footprint
        if samples is None:
            return
        if isinstance(reason, MemoryLimit):
            samples.learn(reason.usage.charged, not reason.usage.exact)
            return
        samples.deaths += 1
        began = self.clock()
        if samples.deaths > FIRST and began < self.rests_until:
            return
        try:
            samples.learn(*_measured([*roots_of(record), *more], mailbox_of(record)))
        except Exception:  # no memory, or no stack: no sample, and no reason not to die
            pass
        ended = self.clock()
        self.rests_until = ended + (ended - began) / SHARE

    def at_kill(self, record: Record[Any], reason: ExitReason) -> None:
        """A process is going to be cancelled: its frames are as they were for the last time."""
        if isinstance(reason, MemoryLimit) or (record.worker.coro is not None and not on_stack(record)):
            self.at_death(record, reason)

    def begin_pass(self) -> None:
        """All are going to be walked."""
        self.passes += 1

    def living(self, record: Record[Any], size: int) -> None:
        """``record`` holds so much, in this pass."""
        samples = record.kind.footprint
        if samples is not None and samples.wants(self.passes):
            samples.learn(size)

    # --- answers ------------------------------------------------------------------------------

    def of(self, what: ChildSpec[Any] | str) -> Footprint | None:
        """What is known of a spec's child, else of its kind; or of the kind of this name."""
        kind = what if isinstance(what, str) else kind_of(what.start)
        samples = None if isinstance(what, str) else self.children.get((kind, _named(what.id)))
        reading = None if samples is None else samples.learner.reading()
        if reading is None and (samples := self.kinds.get(kind)) is not None:
            reading = samples.learner.reading()
        return reading

    def all(self) -> tuple[Footprint, ...]:
        """All that is known: each kind, and behind it its children if there are several that are known by id."""
        ids: dict[str, list[Footprint]] = {}
        for samples in self.children.values():
            if (reading := samples.learner.reading()) is not None:
                ids.setdefault(reading.kind, []).append(reading)
        found = []
        for samples in self.kinds.values():
            if (reading := samples.learner.reading()) is not None:
                own = ids.get(reading.kind, ())
                found += [reading, *(own if len(own) > 1 else ())]
        return tuple(found)


def _named(child_id: object) -> object:
    """A child's id, in a table of ours: as text, if it has code of its own that would run here."""
    return child_id if type(child_id) in (str, bytes, int, float, bool) else shown(child_id, 200)


def _remember(known: dict[K, Samples], key: K, samples: Samples) -> Samples:
    if len(known) >= KNOWN:
        del known[next(iter(known))]
    known[key] = samples
    return samples


def _measured(roots: Sequence[object], mailbox: Sequence[object]) -> tuple[int, bool]:
    """Bytes, and whether there are more. The walk can be limited in bytes only, so it begins with the fewest that
    ``OBJECTS`` objects may hold, and goes further as long as those it met were large."""
    limit = OBJECTS * SMALLEST
    while True:
        usage = walk.measure(roots, mailbox, limit=limit)
        if usage.charged <= limit:
            return usage.charged, False
        if usage.objects * STEP > OBJECTS or limit >= MOST_BYTES:
            return usage.charged, True
        limit = min(limit * STEP, MOST_BYTES)
