"""ControlLane: what an actor whose code is on the stack must look at before its next message.

A running actor cannot be ended, stopped or looked into at once. What is asked of it meanwhile is
noted here, and looked at when the message at hand is done (``attend``), in the order of the fields
below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ...reasons import ExitReason
from .envelope import Message

__all__ = ["ControlLane"]


class ControlLane:
    """The control lane of one actor, made on first use."""

    __slots__ = ("ahead", "continuations", "final", "idle", "kill", "requests", "stop", "suspended")

    def __init__(self) -> None:
        #: end now: its awaits have been cancelled
        self.kill: ExitReason | None = None
        #: end when the message at hand is done
        self.final: ExitReason | None = None
        #: more of the message at hand: before anything else
        self.continuations: deque[Message] = deque()
        #: the system's requests (``ak.sys``)
        self.requests: deque[Callable[[], None]] = deque()
        #: run ``terminate`` next
        self.stop: ExitReason | None = None
        #: hear this before the next message
        self.ahead: Message | None = None
        #: run nothing but requests
        self.suspended = False
        #: there is an idle timeout to restart
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
            or self.ahead is not None
            or self.kill is not None
        )
