"""System events: what happened on the node, for whoever asked. Plain data; nothing is made when
nobody listens.

A subscriber is an actor, which gets the events as messages, or an ``EventStream``: a bounded buffer
for a trio task, such as the host's. Events to an actor are exempt from its mailbox's bound. A
stream that nobody reads drops its oldest events and counts them: an observer must never be what
brings the node down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from ...heap.clock import nobodys
from ...heap.usage import HeapUsage
from ...policy.memory.memory_sample import MemoryLevel
from ...reasons import ExitReason, shown
from ..base.home import Home
from .dead_letters import DeadLetterReason
from .pid import Pid
from .ref import Ref

__all__ = [
    "ActorCrashed",
    "ActorExited",
    "ActorStarted",
    "ChildRestarted",
    "DeadLetter",
    "EventStream",
    "Events",
    "HeapLimitPassed",
    "KilledForMemory",
    "MemoryAlarm",
    "MemoryLevelChanged",
    "MemoryReport",
    "SupervisorReport",
    "SystemEvent",
    "Unkillable",
]


@attrs.frozen
class SystemEvent:
    """Base of all: subscribe to it for everything. ``who`` is class and name, as text."""

    ref: Ref[Any] | None
    pid: Pid | None
    who: str


@attrs.frozen
class ActorStarted(SystemEvent):
    """An actor runs (its ``init`` may still be under way)."""


@attrs.frozen
class ActorExited(SystemEvent):
    """An actor has ended."""

    reason: ExitReason = attrs.field(repr=shown)


@attrs.frozen
class ActorCrashed(SystemEvent):
    """A handler raised, or the actor ended itself abnormally. Its exit follows."""

    reason: ExitReason = attrs.field(repr=shown)


@attrs.frozen
class ChildRestarted(SystemEvent):
    """A supervisor has started a child again. ``ref`` is the new life; ``supervisor`` says
    whose."""

    child_id: object = attrs.field(repr=shown)
    supervisor: str


@attrs.frozen
class SupervisorReport(SystemEvent):
    """A supervisor's report: ``kind`` is child_terminated, start_error, shutdown_error, unkillable
    or reached_max_restart_intensity; ``because`` gives rule and numbers."""

    kind: str
    child_id: object = attrs.field(repr=shown)
    reason: ExitReason | None = attrs.field(repr=shown)
    because: str


@attrs.frozen
class DeadLetter(SystemEvent):
    """A message that nobody will handle. ``ref`` is its receiver. ``why`` is text, with the details
    of the case; ``reason`` is the same for programs."""

    message: str
    args: tuple[Any, ...] = attrs.field(repr=shown)
    why: str
    reason: DeadLetterReason = DeadLetterReason.DEAD


@attrs.frozen
class HeapLimitPassed(SystemEvent):
    """An actor holds more than its ``max_heap_size``. It comes once for each time that the limit is
    passed. ``kill``: the actor's end follows."""

    usage: HeapUsage
    limit: int
    kill: bool


@attrs.frozen
class Unkillable(SystemEvent):
    """An actor was cancelled ``seconds`` ago and still runs: it is in a shield, a thread, or
    swallows cancellation."""

    seconds: float


@attrs.frozen
class MemoryLevelChanged(SystemEvent):
    """The node has become shorter of memory, or less short: ``because`` gives rule and numbers.
    ``who`` is the node; of a subtree's governor, ``ref`` and ``who`` are the supervisor, and the
    last event, when the governor ends above NORMAL, says NORMAL."""

    level: MemoryLevel
    previous: MemoryLevel
    because: str


@attrs.frozen
class MemoryAlarm(SystemEvent):
    """Memory is short (``standing``), or is not any more: one event each. Source: memsup's
    system_memory_high_watermark."""

    standing: bool
    because: str


@attrs.frozen
class KilledForMemory(SystemEvent):
    """An actor was ended because the node needed its memory: ``predicted`` bytes, those of its
    radius included. ``dry_run``: it would have been. ``table``: the candidates of its round as they
    were ranked, a line each with what became of it, the first twenty and how many more there
    were."""

    level: MemoryLevel
    predicted: int
    because: str
    dry_run: bool
    table: str = attrs.field(default="", repr=False)


@attrs.frozen
class MemoryReport(SystemEvent):
    """Anything else that operators should know of the governor. ``kind`` is one of ReportKind in
    ``policy.memory.governor_events``."""

    kind: str
    level: MemoryLevel
    because: str


def checked_types(types: tuple[Any, ...]) -> tuple[type[SystemEvent], ...]:
    """``types``, if all are classes of events; else TypeError, here and not later, in the stack of
    whoever emits."""
    for one in types:
        if not isinstance(one, type) or SystemEvent not in type.mro(one):
            raise TypeError(
                f"cannot subscribe to {shown(one, 100)}: it is no class of system events; give some such as "
                "ak.ActorExited, or none for all"
            )
    return types


def checked_capacity(capacity: object) -> int:
    """``capacity``, if it is a whole number above 0. Otherwise TypeError or ValueError, here and
    not with each event."""
    if not isinstance(capacity, int) or isinstance(capacity, bool):
        raise TypeError(
            f"capacity={shown(capacity, 100)} is no number of events: give a whole number above 0, or leave it out"
        )
    if capacity < 1:
        raise ValueError(
            f"capacity={capacity}: no event could wait to be read; give a whole number above 0, or leave it out"
        )
    return capacity


class EventStream:
    """Events for a trio task: ``async for event in stream``. Leave its ``with`` block to
    unsubscribe."""

    def __init__(self, events: Events, types: tuple[type[SystemEvent], ...], capacity: int) -> None:
        self._events = events
        self._types = checked_types(types)
        self._capacity = checked_capacity(capacity)
        self._buffer: deque[SystemEvent] = deque()
        self._waiting = trio.Event()
        self.dropped = 0

    def __enter__(self) -> EventStream:
        self._events.home.check("subscribe to", "system events")
        self._events.streams.append(self)
        self._events.recount()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.home.check("unsubscribe from", "system events")
        self._events.streams.remove(self)
        self._events.recount()

    async def __aenter__(self) -> EventStream:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    @property
    def types(self) -> tuple[type[SystemEvent], ...]:
        """What it gets."""
        return self._types

    def put(self, event: SystemEvent) -> None:
        """Add an event; the oldest goes when the buffer is full."""
        if len(self._buffer) >= self._capacity:
            self._buffer.popleft()
            self.dropped += 1
        self._buffer.append(event)
        self._waiting.set()

    async def receive(self) -> SystemEvent:
        """The next event, in order."""
        await trio.lowlevel.checkpoint()
        while not self._buffer:
            if self._waiting.is_set():
                self._waiting = trio.Event()
            await self._waiting.wait()
        return self._buffer.popleft()

    def drain(self) -> list[SystemEvent]:
        """All that is there now, without waiting."""
        events = list(self._buffer)
        self._buffer.clear()
        return events

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> SystemEvent:
        return await self.receive()


class Events:
    """Who wants which events on one node.

    Args:
        home: the thread that may subscribe; None: this one.
        failed: called with what a delivery raises.
    """

    def __init__(self, home: Home | None, failed: Callable[[BaseException], None]) -> None:
        self.home = Home() if home is None else home
        self._failed = failed
        self.streams: list[EventStream] = []
        self.actors: dict[Any, tuple[type[SystemEvent], ...]] = {}
        self.listened = False
        self._wanted: dict[type[SystemEvent], bool] = {}
        self._all: tuple[type[SystemEvent], ...] = ()

    def recount(self) -> None:
        self._wanted.clear()
        self._all = tuple(t for s in self.streams for t in s.types) + tuple(
            t for ts in self.actors.values() for t in ts
        )
        self.listened = bool(self._all)

    def wanted(self, kind: type[SystemEvent]) -> bool:
        """Does anybody listen? Ask before making an event."""
        if not self._all:
            return False
        answer = self._wanted.get(kind)
        if answer is None:
            answer = self._wanted[kind] = issubclass(kind, self._all)
        return answer

    @nobodys
    def emit(self, event: SystemEvent) -> None:
        """Deliver it to those who want it. A delivery that raises ends nothing: the event has
        happened, whether or not somebody could be told."""
        for stream in self.streams:
            try:
                if isinstance(event, stream.types):
                    stream.put(event)
            except BaseException as error:
                self._failed(error)
        for record, types in list(self.actors.items()):
            try:
                if isinstance(event, types) and event.ref is not record:
                    record.post_info(event)
            except BaseException as error:
                self._failed(error)

    @nobodys
    def subscribe(self, record: Any, types: tuple[type[SystemEvent], ...]) -> None:
        """Send these events to an actor, until it ends or unsubscribes."""
        checked_types(types)
        relations = record.need_relations()
        if self._ended not in (relations.at_exit or ()):
            relations.call_at_exit(self._ended)
        self.actors[record] = types
        self.recount()

    def _ended(self, record: Any, _: ExitReason) -> None:
        self.unsubscribe(record)

    def unsubscribe(self, record: Any) -> None:
        if self.actors.pop(record, None) is not None:
            self.recount()
