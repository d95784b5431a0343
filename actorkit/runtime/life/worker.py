"""Worker: one trio task of the pool, and what any task must offer that carries an actor's handler.

Whoever carries a suspended handler is the record's ``worker`` meanwhile: a task of the pool, a
process's own task, a connection's reader. A kill comes to it as ``interrupt``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import trio
from trio.lowlevel import Abort, Task

from ..actor.record import Record
from ..base.trio_internals import make_trap

__all__ = ["Carrier", "Worker"]


class Carrier(Protocol):
    """What ``record.worker`` is, and what ``engine.holders`` has for a task that runs an actor's
    code."""

    #: Whose code the task runs; None: nobody's.
    @property
    def actor(self) -> Record[Any] | None: ...

    #: The suspended handler.
    coro: Any
    #: Does it hold the pool's token? Only the pool's own workers ever do.
    token: bool

    def interrupt(self) -> None:
        """The actor was killed in an await: cancel that."""


class Worker:
    """One trio task of the pool.

    Args:
        idle: the parked workers; it takes itself out when its task is cancelled.
    """

    __slots__ = (
        "_idle",
        "actor",
        "coro",
        "corrupted",
        "fresh",
        "retire",
        "scope",
        "status",
        "task",
        "token",
        "trap",
    )

    def __init__(self, idle: list[Worker], task: Task) -> None:
        self._idle = idle
        self.task = task
        self.actor: Record[Any] | None = None
        self.coro: Any = None
        self.scope: trio.CancelScope | None = None
        self.status: object = None
        self.token = False
        self.corrupted = False
        self.fresh = False
        self.retire = False
        self.trap = make_trap(self.abort)

    def interrupt(self) -> None:
        """The actor was killed in an await: cancel that."""
        if self.scope is not None:
            self.scope.cancel(reason="its actor was killed")

    def abort(self, _: Callable[[], Any]) -> Abort:
        try:
            self._idle.remove(self)
        except ValueError:
            pass
        return Abort.SUCCEEDED
