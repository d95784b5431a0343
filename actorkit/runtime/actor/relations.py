"""What only some actors have: kept out of the record, made on first use.

``Relations``: links, monitors, names, waiting senders, timers. ``ControlLane``: what an actor that is on the stack
must look at when the message at hand is done, before any other message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ...policy.memory.memory_sample import Priority
    from ...policy.supervision.supervision_events import ChildInfo
    from ...reasons import ExitReason
    from ..base.timers import Timer
    from .calls import SenderWaiting
    from .links import Monitor
    from .record import Message, Record

__all__ = ["ControlLane", "Family", "Relations", "children_of"]


class Family(Protocol):
    """What a supervisor says of its children. Nobody else is asked, whatever attributes its object has."""

    def children(self) -> Sequence[Record[Any]]:
        """Those that run."""
        ...

    def child_infos(self) -> Sequence[ChildInfo]:
        """All of them, in start order: also those that are starting, restarting or stopped."""
        ...


class Relations:
    """Relations of one actor with others, each None until the first of its kind. All end with the actor."""

    __slots__ = (
        "at_exit",
        "deferred",
        "family",
        "idle_seconds",
        "idle_timer",
        "kids",
        "links",
        "memory_priority",
        "monitored_by",
        "monitors",
        "name",
        "senders",
        "terminating",
        "timers",
        "traps_exits",
    )

    def __init__(self, traps_exits: bool) -> None:
        self.traps_exits = traps_exits
        self.name: str | None = None
        self.memory_priority: Priority | None = None
        self.links: dict[Record[Any], None] | None = None
        self.monitors: dict[Any, Monitor] | None = None
        self.monitored_by: dict[Any, Monitor] | None = None
        self.senders: dict[SenderWaiting, None] | None = None
        self.deferred: dict[Any, None] | None = None
        self.kids: set[Any] | None = None
        #: Who says which children it has, if it is a supervisor.
        self.family: Family | None = None
        self.timers: dict[Timer, None] | None = None
        self.at_exit: list[Callable[[Record[Any], ExitReason], None]] | None = None
        self.terminating = False
        self.idle_seconds: float | None = None
        self.idle_timer: Timer | None = None

    def call_at_exit(self, callback: Callable[[Record[Any], ExitReason], None]) -> None:
        """Have ``callback(record, reason)`` called when the actor ends, before its links and monitors are told."""
        if self.at_exit is None:
            self.at_exit = []
        self.at_exit.append(callback)


def children_of(record: Record[Any]) -> Sequence[Record[Any]]:
    """The running children of a supervisor; nobody else has any."""
    relations = record.relations
    return () if relations is None or relations.family is None else relations.family.children()


class ControlLane:
    """The control lane of one running actor, in the order in which it is looked at. ``kill``: die now, its awaits are
    cancelled. ``final``: die when the message at hand is done. ``continuations`` belong to that message, and run before
    anything else. ``requests`` are the system's. ``stop``: run ``terminate`` next. ``suspended``: run nothing but
    requests. ``idle``: it has an idle timeout to restart."""

    __slots__ = ("continuations", "final", "idle", "kill", "requests", "stop", "suspended")

    def __init__(self) -> None:
        self.kill: ExitReason | None = None
        self.final: ExitReason | None = None
        self.stop: ExitReason | None = None
        self.continuations: deque[Message] = deque()
        self.requests: deque[Callable[[], None]] = deque()
        self.suspended = False
        self.idle = False

    @property
    def over(self) -> bool:
        """Nothing is left to attend to."""
        return not (
            self.continuations
            or self.requests
            or self.suspended
            or self.idle
            or self.final is not None
            or self.stop is not None
            or self.kill is not None
        )
