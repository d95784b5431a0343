"""Learned footprints: what supervised children hold, by kind, and so what the next one will need.

Samples come from two sources.

* **Deaths** of supervised children (``at_death``): what the state held just before it was cleared.
  A walk costs about as much as freeing the same objects. The first ``FIRST`` deaths of each kind
  are measured. Later ones are measured as often as all these walks together take no more than a
  hundredth of the time: every death of a slow crash loop, a few of thousands at once. A walk ends
  after about ``OBJECTS`` objects, or 64 MiB, and such a sample is *truncated*. The pure walk is a
  hundred times slower, so it ends sooner. A child that died of its own heap limit has been measured
  already.
* **Life** (``living``): whenever all actors are walked anyway, in a census or in the sweep of
  budgets.

A process holds everything in its frames. They are measured where it crashes and where it is killed;
of a process that returns nothing is left.

Children of a static supervisor are known by their id too, each on its own (one kind and id under
two supervisors is one child to this table). Those of a dynamic supervisor are known as a kind only.
Supervisors are not measured, since their children are not theirs to hold. Nor is anything that has
no supervisor: a plain spawn pays for one look at a None.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final, TypeVar

from ...heap import walk
from ...heap.clock import nobodys
from ...heap.memory_limit import MemoryLimit
from ...policy.key_table import inert
from ...policy.memory.footprint import Footprint, FootprintLearner
from ...policy.memory.footprint_samples import Samples, kind_of
from ...policy.supervision.child_spec import ChildSpec
from ...reasons import ExitReason, shown
from ..actor.record import Record
from .holdings import on_stack, roots_of

__all__ = ["Footprints"]

IN_C: Final = walk.IMPLEMENTATION == "c"
FIRST: Final = 16 if IN_C else 4
"""This many deaths of each kind are measured, whatever that costs."""

SHARE: Final = 0.01
"""The share of the time that may go into measuring later ones."""

OBJECTS: Final = 100_000 if IN_C else 2_000
"""What either walk visits in some 5 ms."""

SMALLEST: Final = 32
"""Few objects are smaller, in bytes: so a number of bytes bounds a number of objects."""

STEP: Final = 4
"""A walk that met large objects goes on, up to this many times the bytes."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""The largest sample; what holds more is truncated."""

KNOWN: Final = 1_000
"""This many kinds are remembered, and as many children by id. Beyond that the oldest entry is
forgotten."""

K = TypeVar("K")


class Footprints:
    """What one node has learned."""

    def __init__(self) -> None:
        #: By the kind's name.
        self.kinds: dict[str, Samples] = {}
        #: By the kind's name and the child's id.
        self.children: dict[tuple[str, object], Samples] = {}
        #: Passes over the living so far.
        self.passes = 0
        #: Seconds, for what measuring costs; tests give another one.
        self.clock = perf_counter
        #: On that clock: until then later deaths are not measured.
        self.rests_until = 0.0

    # --- whose samples are taken --------------------------------------------------------------

    def of_child(self, spec: ChildSpec[Any], *, by_id: bool) -> Samples | None:
        """Where samples of the children of ``spec`` go; None for supervisors. ``by_id``: the child
        is known on its own too."""
        if spec.kind == "supervisor":
            return None
        kind = self.of_kind(kind_of(spec.start))
        if not by_id:
            return kind
        key = (kind.learner.kind, inert(spec.id))
        return self.children.get(key) or _remember(self.children, key, Samples(FootprintLearner(*key), kind))

    def of_kind(self, kind: str) -> Samples:
        """Where samples of a kind go."""
        return self.kinds.get(kind) or _remember(self.kinds, kind, Samples(FootprintLearner(kind)))

    # --- samples ------------------------------------------------------------------------------

    @nobodys
    def at_death(self, record: Record[Any], reason: ExitReason, *more: object) -> None:
        """``record``, a supervised child, is about to be cleared. ``more``: what else goes with it,
        such as the exception with the frames that have crashed."""
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
            samples.learn(*_measured([*roots_of(record), *more], record.message_queues()))
        except Exception:  # no memory, or no stack: no sample, and no reason not to die
            pass
        ended = self.clock()
        self.rests_until = ended + (ended - began) / SHARE

    @nobodys
    def at_kill(self, record: Record[Any], reason: ExitReason) -> None:
        """A process is about to be cancelled: for the last time its frames are as they were."""
        if isinstance(reason, MemoryLimit) or (record.worker.coro is not None and not on_stack(record)):
            self.at_death(record, reason)

    def begin_pass(self) -> None:
        """All actors are about to be walked."""
        self.passes += 1

    def living(self, record: Record[Any], size: int) -> None:
        """In this pass ``record`` was found to hold ``size`` bytes."""
        samples = record.kind.footprint
        if samples is not None and samples.wants(self.passes):
            samples.learn(size)

    # --- answers ------------------------------------------------------------------------------

    def of(self, what: ChildSpec[Any] | str) -> Footprint | None:
        """What is known of a spec's child, else of its kind; or of the kind with this name."""
        if not isinstance(what, (str, ChildSpec)):
            raise TypeError(
                f'no footprint is kept of {shown(what, 100)}: give a child spec, as ak.child(Room, "lobby"), or the '
                'name of a kind, as "Room"'
            )
        kind = what if isinstance(what, str) else kind_of(what.start)
        samples = None if isinstance(what, str) else self.children.get((kind, inert(what.id)))
        reading = None if samples is None else samples.learner.reading()
        if reading is None and (samples := self.kinds.get(kind)) is not None:
            reading = samples.learner.reading()
        return reading

    def all(self) -> tuple[Footprint, ...]:
        """Everything known: each kind, followed by its children if several are known by id."""
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


def _remember(known: dict[K, Samples], key: K, samples: Samples) -> Samples:
    if len(known) >= KNOWN:
        del known[next(iter(known))]
    known[key] = samples
    return samples


def _measured(roots: Sequence[object], mailbox: Sequence[object]) -> tuple[int, bool]:
    """The bytes that they hold, and whether there are more. A walk can be limited in bytes only. So
    it begins with the fewest bytes that ``OBJECTS`` objects may hold, and goes further as long as
    those that it met were large."""
    limit = OBJECTS * SMALLEST
    while True:
        usage = walk.measure(roots, mailbox, limit=limit)
        if usage.charged <= limit:
            return usage.charged, False
        if usage.objects * STEP > OBJECTS or limit >= MOST_BYTES:
            return usage.charged, True
        limit = min(limit * STEP, MOST_BYTES)
