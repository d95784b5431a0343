"""The restart queue: what a restart costs, and when the node can afford it.

A child that the node has killed for its memory must not come back at once and take it again. So its
restart is held: first until its backoff is over, then until the gate is open and the child's
*predicted footprint* (what such children held when they died) fits into what is free, less a
reserve, less what was let through and cannot have shown in a sample yet.

* The gate is open below KILL. The governor closes and opens it (``GATE``).
* Among restarts of one *size class* (one doubling) a higher priority goes first, and else whoever
  came first. Of all size classes whose first one fits, the class whose first one ranks highest is
  served, so that a large one does not keep out all others. CRITICAL ones are let through as soon as
  they are due: a node does not work without them, whatever its memory.
* Releases are ``stagger`` seconds apart, since a start costs more than a footprint. While ``ample``
  headroom is left, up to ``burst`` of them go at once.

A restart's states and arrows are in ``RESTARTS``.

The backoff is the one of ``backoff``, with its jitter before the clamp, and a rule of its own for
the end of a series of deaths: the child must outlive its last wait *and* the life that ended in the
last death, each by a factor. A child that dies two minutes after each start has not recovered for
having lived two minutes. These deaths are the node's doing. They are counted here, and not by the
supervisor's restart intensity.

Everything is kept in heaps: 10,000 held restarts cost O(log n) each. Cancelled ones are dropped
when their turn comes.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
from collections import deque
from collections.abc import Hashable
from typing import Final

import attrs

from ..supervision.backoff import Backoff
from ..transition import Transition, allows
from .memory_sample import MemorySample, Priority

__all__ = [
    "GATE",
    "RESTARTS",
    "Cancelled",
    "Closed",
    "Gate",
    "GateEvent",
    "GateSettings",
    "Held",
    "Looked",
    "NodeDeaths",
    "Opened",
    "Release",
    "RestartQueue",
    "RestartState",
    "Tick",
]


# --- States --------------------------------------------------------------------------------------


class Gate(enum.Enum):
    """The gate that all restarts share."""

    OPEN = "open"
    CLOSED = "closed"


GATE: Final = (
    Transition(Gate.OPEN, Gate.CLOSED, "the governor has reached KILL (CloseGate)"),
    Transition(Gate.CLOSED, Gate.OPEN, "the governor has left KILL (OpenGate)"),
)
"""When restarts wait for the governor. Being told what is already so is no error."""


class RestartState(enum.Enum):
    """One restart that is held."""

    RESTING = "resting"
    """Its backoff is not over."""
    READY = "ready"
    """It waits for room."""
    RELEASED = "released"
    DROPPED = "dropped"


RESTARTS: Final = (
    Transition(RestartState.RESTING, RestartState.READY, "its delay is over"),
    Transition(RestartState.RESTING, RestartState.RELEASED, "its delay is over, and it is CRITICAL"),
    Transition(
        RestartState.READY,
        RestartState.RELEASED,
        "the gate is open, `stagger` has passed, and it is the first of its size class and fits",
    ),
    Transition(RestartState.RESTING, RestartState.DROPPED, "it is cancelled, or held anew"),
    Transition(RestartState.READY, RestartState.DROPPED, "it is cancelled, or held anew"),
)
"""The life of a held restart. It begins RESTING, if only until the same event has been handled."""


# --- Deaths of one child -------------------------------------------------------------------------


class NodeDeaths:
    """One child's deaths for the node's sake: how long it waits, and what it is predicted to hold.

    Args:
        backoff: how the waits grow.
        predicted: bytes that its next life will probably hold, if that is known already.
        weight: that of the newest footprint in the mean.

    Raises ValueError for another weight than 0 to 1: the author's fault.
    """

    __slots__ = ("_last_life", "backoff", "count", "failures", "predicted", "weight")

    def __init__(self, backoff: Backoff | None = None, predicted: int = 0, weight: float = 0.3) -> None:
        if not 0 < weight <= 1:
            raise ValueError(f"weight={weight!r} of the newest footprint is not a part: give more than 0, at most 1")
        self.backoff = backoff or Backoff(first=0.5, limit=60.0)
        #: Bytes that its next life will probably hold.
        self.predicted = predicted
        self.weight = weight
        #: All of its deaths for the node's sake.
        self.count = 0
        #: Those in the present series.
        self.failures = 0
        #: Seconds that it lived before the last death.
        self._last_life = 0.0

    def note(self, lived: float, footprint: int, fraction: float) -> float:
        """It has been killed after ``lived`` seconds, and held ``footprint`` bytes. Returns the
        seconds to wait before its restart. ``fraction`` is a random number from 0 to 1."""
        spec = self.backoff
        if self.failures and lived >= spec.reset_after * max(spec.base(self.failures), self._last_life):
            self.failures = 0
        self.failures += 1
        self.count += 1
        self._last_life = lived
        old = self.predicted if self.count > 1 or self.predicted else footprint
        self.predicted = round(old + self.weight * (footprint - old))
        wanted = spec.base(self.failures) * (1.0 + spec.jitter * (2.0 * fraction - 1.0))
        return max(0.0, min(spec.limit, wanted))


# --- Events and actions --------------------------------------------------------------------------


@attrs.frozen
class Held:
    """A restart is to wait."""

    now: float
    key: Hashable
    """Names it. If the same key is held twice, the later one counts."""
    kind: str
    """What is restarted, for people."""
    predicted_bytes: int
    delay: float = 0.0
    """Seconds that it waits at least."""
    cause: str = ""
    """Why it waits, for people."""
    priority: int = Priority.NORMAL


@attrs.frozen
class Cancelled:
    """It is not wanted any more: the child was terminated, or its supervisor shuts down."""

    now: float
    key: Hashable


@attrs.frozen
class Looked:
    """The governor has looked."""

    sample: MemorySample

    @property
    def now(self) -> float:
        return self.sample.now


@attrs.frozen
class Closed:
    """The governor's CloseGate: nothing is let through until Opened."""

    now: float


@attrs.frozen
class Opened:
    """The governor's OpenGate."""

    now: float


@attrs.frozen
class Tick:
    """The time asked for with ``wake_at`` has come."""

    now: float


GateEvent = Held | Cancelled | Looked | Closed | Opened | Tick


@attrs.frozen
class Release:
    """This restart may go ahead. Comes at most once for each Held."""

    key: Hashable
    because: str = attrs.field(default="", eq=False)


@attrs.frozen
class GateSettings:
    """What the gate lets through.

    Args:
        reserve: part of the limit that restarts never fill.
        stagger: seconds between two releases, at least.
        burst: releases at once, at most.
        ample: they go at once only while this part of the limit stays free beyond the reserve.
        settle: seconds after which what was let through shows in the samples.

    Raises ValueError for values that cannot be: the author's fault.
    """

    reserve: float = 0.1
    stagger: float = 0.02
    burst: int = 20
    ample: float = 0.25
    settle: float = 2.0

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.reserve < 1 or not 0 <= self.ample <= 1:
            raise ValueError(f"reserve={self.reserve!r} and ample={self.ample!r} are parts of the limit: give 0 to 1")
        if not 0 <= self.stagger < math.inf or not 0 <= self.settle < math.inf or self.burst < 1:
            raise ValueError(
                f"stagger={self.stagger!r} s, settle={self.settle!r} s, burst={self.burst!r}: give times of at least "
                "0, and at least one release"
            )


# --- The gate ------------------------------------------------------------------------------------


@attrs.define(eq=False)
class _Waiting:
    held: Held
    serial: int
    state: RestartState = RestartState.RESTING

    def become(self, state: RestartState) -> None:
        assert allows(RESTARTS, self.state, state), f"no arrow leads from {self.state} to {state}"
        self.state = state

    @property
    def dropped(self) -> bool:
        return self.state is RestartState.DROPPED


# The serial is unique, so a comparison never gets as far as the third item.
_Heap = list[tuple[float, int, _Waiting]]


class RestartQueue:
    """All restarts of a node that wait for memory."""

    def __init__(self, settings: GateSettings | None = None) -> None:
        self.settings = settings or GateSettings()
        #: May restarts go ahead?
        self.gate = Gate.OPEN
        #: Numbers for restarts, in the order in which they come.
        self._serials = itertools.count()
        #: The restarts that are held, RESTING or READY.
        self._known: dict[Hashable, _Waiting] = {}
        #: The RESTING ones, by when they are due. Dropped ones may still be among them.
        self._resting: _Heap = []
        #: The READY ones by size class; in each by priority, then by age. The same is true of
        #: dropped ones.
        self._ready: dict[int, _Heap] = {}
        #: What was let through and may not show in the samples yet: when, and bytes.
        self._promised: deque[tuple[float, int]] = deque()
        #: The sum of these bytes.
        self._promised_bytes = 0
        #: The last look; None before the first.
        self._sample: MemorySample | None = None
        #: When the next release may be, after the last one.
        self._not_before = -math.inf
        #: The latest time that any event brought.
        self._now = -math.inf

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def handle(self, event: GateEvent) -> list[Release]:
        """Take note of ``event``; returns the restarts that may go ahead, in that order."""
        self._now = max(self._now, event.now)
        match event:
            case Held():
                self._forget(event.key)
                waiting = self._known[event.key] = _Waiting(event, next(self._serials))
                heapq.heappush(self._resting, (event.now + max(0.0, event.delay), waiting.serial, waiting))
            case Cancelled(key=key):
                self._forget(key)
            case Looked(sample=sample):
                self._sample = sample
                while self._promised and self._promised[0][0] <= sample.now - self.settings.settle:
                    self._promised_bytes -= self._promised.popleft()[1]
            case Closed():
                self._set_gate(Gate.CLOSED)
            case Opened():
                self._set_gate(Gate.OPEN)
            case _:
                assert isinstance(event, Tick)
        return self._release()

    def room(self) -> int:
        """Bytes that restarts may use now; 0 before the first look and while the gate is closed."""
        sample = self._sample
        if sample is None or self.gate is Gate.CLOSED:
            return 0
        reserve = math.ceil(self.settings.reserve * sample.limit)
        # By what is needed: freed pages that the process still has are there for the next child.
        return max(0, sample.limit - sample.needed - reserve - self._promised_bytes)

    @property
    def wake_at(self) -> float | None:
        """When a Tick is wanted, since time alone may let something through then; None: only
        another event may."""
        _shed_dropped(self._resting)
        times = [self._resting[0][0]] if self._resting else []
        if self._next(self.room()) is not None:
            times.append(max(self._not_before, self._now))
        return min(times, default=None)

    def validate(self) -> None:
        """Check what must hold between two events."""
        heaps = [self._resting, *self._ready.values()]
        for heap in heaps:
            assert all(heap[(n - 1) // 2] < heap[n] for n in range(1, len(heap))), "a heap is out of order"
        found = [entry[2] for heap in heaps for entry in heap if not entry[2].dropped]
        assert sorted(waiting.serial for waiting in found) == sorted(each.serial for each in self._known.values())
        assert all(self._known[waiting.held.key] is waiting for waiting in found)
        assert all(entry[2].state is not RestartState.READY for entry in self._resting)
        assert all(entry[2].state is not RestartState.RESTING for heap in heaps[1:] for entry in heap)
        assert all(at > self._now for at, _, waiting in self._resting if not waiting.dropped), "one is overdue"
        assert self._promised_bytes == sum(size for _, size in self._promised)

    def _set_gate(self, gate: Gate) -> None:
        if gate is not self.gate:
            assert allows(GATE, self.gate, gate)
            self.gate = gate

    def _forget(self, key: Hashable) -> None:
        waiting = self._known.pop(key, None)
        if waiting is None:
            return
        waiting.become(RestartState.DROPPED)
        # Most of those that are cancelled are far from their turn: a shutdown would leave the heaps
        # full of them.
        held = len(self._resting) + sum(map(len, self._ready.values()))
        if held > 64 and held > 2 * len(self._known):
            for heap in (self._resting, *self._ready.values()):
                heap[:] = [entry for entry in heap if not entry[2].dropped]
                heapq.heapify(heap)

    def _release(self) -> list[Release]:
        released: list[Release] = []
        while self._resting and self._resting[0][0] <= self._now:
            waiting = heapq.heappop(self._resting)[2]
            if waiting.dropped:
                continue
            held = waiting.held
            if held.priority >= Priority.CRITICAL:
                released.append(self._let_through(waiting, "CRITICAL: not kept waiting for memory"))
            else:
                waiting.become(RestartState.READY)
                heap = self._ready.setdefault(held.predicted_bytes.bit_length(), [])
                heapq.heappush(heap, (-held.priority, waiting.serial, waiting))
        if self._sample is None or self._now < self._not_before:
            return released
        for _ in range(self.settings.burst):
            room = self.room()
            heap_or_none = self._next(room)
            if heap_or_none is None:
                break
            waiting = heapq.heappop(heap_or_none)[2]
            released.append(
                self._let_through(
                    waiting,
                    f"{waiting.held.predicted_bytes:,} bytes predicted fit into the {room:,} that restarts may take "
                    f"({self._sample.source})",
                )
            )
            self._not_before = self._now + self.settings.stagger
            if self.room() < self.settings.ample * self._sample.limit:
                break
        return released

    def _next(self, room: int) -> _Heap | None:
        """The size class whose turn it is: its first one fits. None: nothing fits."""
        best: _Heap | None = None
        if room > 0:
            for heap in self._ready.values():
                _shed_dropped(heap)
                if heap and heap[0][2].held.predicted_bytes <= room and (best is None or heap[0] < best[0]):
                    best = heap
        return best

    def _let_through(self, waiting: _Waiting, because: str) -> Release:
        held = waiting.held
        waiting.become(RestartState.RELEASED)
        self._promised.append((self._now, held.predicted_bytes))
        self._promised_bytes += held.predicted_bytes
        del self._known[held.key]
        return Release(held.key, f"{held.kind} waited {self._now - held.now:.3g} s ({held.cause}); {because}")


def _shed_dropped(heap: _Heap) -> None:
    while heap and heap[0][2].dropped:
        heapq.heappop(heap)
