"""What may come of ``init``: the actor runs, is not needed, refuses, fails, or is late.

``init`` is an actor's first message. ``Starting`` stands in the place of its caller, takes what it
returns, and tells whoever waits for the start: a supervisor, or ``node.start``. If the actor ends
because of what ``init`` returned, they are told in that end, when its name is free again. Source:
gen_server, init/1; proc_lib:start_link/3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...reasons import NORMAL, BadReturn, Crash, ExitReason, as_reason, shown
from ..actor.later import Later
from ..actor.record import Record
from ..actor.states import DEAD, RUNNING

if TYPE_CHECKING:
    from ..base.timers import Timer

__all__ = ["IGNORE", "Starting", "Stop", "Watcher"]

Watcher = Callable[[Record[Any], ExitReason | None, bool], None]
"""Hears of the outcome of a start: ``watcher(record, reason, ignored)``. A reason: the start
failed. ``ignored``: the actor is not needed."""


class _Ignore:
    """Returned by ``init``: this actor is not needed. It ends with Normal; its supervisor keeps the
    spec."""

    def __repr__(self) -> str:
        return "ak.IGNORE"


IGNORE: Final = _Ignore()


class Stop:
    """Returned by ``init``: do not start, for ``reason``. Raises TypeError for what is no exit
    reason.

    Example::

        def init(self) -> object:
            return None if self.path.exists() else ak.Stop(ak.Failure("no such path"))
    """

    __slots__ = ("reason",)

    def __init__(self, reason: ExitReason) -> None:
        self.reason = as_reason(reason, "refuse a start")


class Starting:
    """Takes the outcome of ``init``, in the place of a caller."""

    __slots__ = ("caller", "ignored", "later", "reason", "record", "task", "timer", "watcher")

    def __init__(self, record: Record[Any], watcher: Watcher | None) -> None:
        self.record = record
        self.watcher = watcher
        #: Ends an ``init`` that takes too long.
        self.timer: Timer | None = None
        #: As in a caller; ``init`` has none, and what is not None counts as one that still waits.
        self.task = self
        self.caller = None
        #: What ``init`` has answered with, if its answer comes later.
        self.later: Later[Any] | None = None
        #: It has returned ``IGNORE``.
        self.ignored = False
        #: Why the actor ends, if ``init`` has said so.
        self.reason: ExitReason | None = None

    def ok(self, value: object) -> None:
        """``init`` has returned ``value``."""
        if value is None:
            self._tell(None, False)
        elif isinstance(value, Later):
            value._attach(self, self.record)
        elif value is IGNORE:
            self.ignored = True
            self._end(NORMAL)
        elif isinstance(value, Stop):
            self._end(value.reason)
        else:
            where = f"{self.record.kind.label}.init, which must return None, ak.IGNORE or ak.Stop(reason)"
            self._end(BadReturn(where, shown(value, 200)))

    def promised(self, later: Later[Any] | None) -> None:
        """``init`` has answered with ``later``."""
        self.later = later

    def fail(self, reason: ExitReason) -> None:
        """The actor has ended, by what ``init`` returned or otherwise."""
        if self.ignored:
            self._tell(None, True)
        else:
            self._tell(reason if self.reason is None else self.reason, False)

    def refuse(self, error: Exception) -> None:
        """The later answer is an exception; or the message was dropped."""
        self._end(Crash.from_exception(error))

    def _end(self, reason: ExitReason) -> None:
        """End the actor without ``terminate``, as OTP's init does."""
        record = self.record
        self.reason = reason
        if record.state == DEAD:
            self.fail(reason)
            return
        record.owe(self)
        if record.state == RUNNING:
            record.need_control().final = reason
        else:
            record.kind.engine.die(record, reason)

    def _tell(self, reason: ExitReason | None, ignored: bool) -> None:
        if self.timer is not None:
            self.timer.cancel()
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher(self.record, reason, ignored)
