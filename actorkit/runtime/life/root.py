"""The root of a node's tree, and the body of ``open_node`` that it may end.

The root is the one actor whose owner is the node itself. When it ends by itself, the body is
cancelled, and its reason says whether the tree came to its end or failed. How it ends when the node
stops it says nothing about the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ...policy.supervision.restart_window import TOO_MANY_RESTARTS
from ...reasons import ExitReason, Normal, Shutdown

if TYPE_CHECKING:
    from ..actor.record import Record
    from .scheduler import Scheduler

__all__ = ["Body", "Root", "gave_up"]


def gave_up(reason: ExitReason) -> bool:
    """Did the tree fail, rather than end?"""
    if isinstance(reason, Shutdown):
        return reason is TOO_MANY_RESTARTS
    return not isinstance(reason, Normal)


class Body:
    """What the host does inside ``open_node``, while it does it."""

    def __init__(self) -> None:
        #: Its scope, from before the tree starts until the node begins to stop.
        self.scope: trio.CancelScope | None = None

    def cancel(self, reason: str) -> None:
        """End it, if it has not ended."""
        if self.scope is not None:
            self.scope.cancel(reason=reason)


class Root:
    """The root of one node and its owner (see ``actor_kind.Owner``)."""

    def __init__(self, engine: Scheduler, body: Body) -> None:
        self._engine = engine
        self._body = body
        #: The root's record, from its start on. None: there is no tree.
        self.record: Record[Any] | None = None
        #: Why it ended by itself. None: it has not.
        self.reason: ExitReason | None = None
        #: Set when it has ended, and when the node has.
        self.ended = trio.Event()

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        """The root has ended."""
        if not self._engine.stopping:
            self.reason = reason
        self.ended.set()
        self._body.cancel(f"the supervision tree ended: {reason}")

    def companions(self, record: Record[Any]) -> list[Record[Any]]:
        """The root takes nobody along that is not below it."""
        return []
