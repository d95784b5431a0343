"""What only some actors have to do with others: kept out of the record, made on first use.

Links, monitors, a name taken later, senders that wait for room, answers that are owed, timers,
tasks of its own. All of it ends with the actor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from trio.lowlevel import Task

from ...policy.memory.memory_sample import Priority
from ...policy.supervision.supervision_events import ChildInfo
from ...reasons import ExitReason
from ..base.timers import Timer
from .later import Asker
from .notices import MonitorId
from .ref import Ref
from .waiting import Party, SenderWaiting

__all__ = ["Family", "Monitor", "OwnTask", "Relations"]

R = TypeVar("R", bound=Party)
R_co = TypeVar("R_co", bound=Party, covariant=True)


class Family(Protocol[R_co]):
    """What a supervisor says of its children. Nobody else is asked, whatever attributes its object
    has."""

    def children(self) -> Sequence[R_co]:
        """Those that run."""
        ...

    def child_infos(self) -> Sequence[ChildInfo]:
        """All of them, in start order: also those that are starting, restarting or stopped."""
        ...


class OwnTask(Protocol):
    """A task in one of the actor's own nurseries."""

    @property
    def task(self) -> Task:
        """trio's."""
        ...

    @property
    def coro(self) -> Any:
        """The coroutine that the task steps."""
        ...


class Monitor(Generic[R]):
    """One monitor, known at both ends."""

    __slots__ = ("id", "ref", "target", "watcher")

    def __init__(self, id: MonitorId, watcher: R, target: R, ref: Ref[object]) -> None:
        self.id = id
        self.watcher = watcher
        self.target = target
        self.ref = ref
        """What was given to ``monitor``: the target, or a ref that led to it."""


class Relations(Generic[R]):
    """What one actor has to do with others; each is None until the first of its kind."""

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
        #: the name that ``ctx.register`` took
        self.name: str | None = None
        #: its own priority under memory pressure, if it has set one
        self.memory_priority: Priority | None = None
        #: the other ends of its links
        self.links: dict[R, None] | None = None
        #: the monitors that it has set, and those that others have set on it
        self.monitors: dict[MonitorId, Monitor[R]] | None = None
        self.monitored_by: dict[MonitorId, Monitor[R]] | None = None
        #: who waits for room in its mailbox, in the order of their coming
        self.senders: dict[SenderWaiting, None] | None = None
        #: whom it owes an answer that is not in its mailbox any more: they fail when it ends
        self.deferred: dict[Asker, None] | None = None
        #: the tasks in its own nurseries
        self.kids: set[OwnTask] | None = None
        #: who says which children it has, if it is a supervisor
        self.family: Family[R] | None = None
        #: timers that go with it, and the message of each
        self.timers: dict[Timer, tuple[object]] | None = None
        #: called at its end, in this order
        self.at_exit: list[Callable[[R, ExitReason], None]] | None = None
        #: ``terminate`` is its next message, or is running
        self.terminating = False
        self.idle_seconds: float | None = None
        self.idle_timer: Timer | None = None

    def call_at_exit(self, callback: Callable[[R, ExitReason], None]) -> None:
        """Have ``callback(record, reason)`` called when the actor ends, before its links and
        monitors are told."""
        if self.at_exit is None:
            self.at_exit = []
        self.at_exit.append(callback)

    def forget_at_exit(self, callback: Callable[[R, ExitReason], None]) -> None:
        """Take back one ``call_at_exit``. Nothing happens if it has been called already."""
        if self.at_exit is not None and callback in self.at_exit:
            self.at_exit.remove(callback)
