"""Every exception of actorkit. Each docstring says whose fault it is and what helps.

Messages name what was attempted, on whom (pid, name, state), why not, and the remedy. Exceptions
hold plain text and exit reasons only: an exception that held an actor would keep its state alive.
"""

from __future__ import annotations

from typing import Final

from .reasons import ExitReason

__all__ = [
    "ActorDead",
    "ActorExit",
    "ActorkitError",
    "AlreadyRegistered",
    "CallCycle",
    "CallError",
    "CallTimeout",
    "CalleeDied",
    "CallbackFailed",
    "MailboxFull",
    "NodeStopped",
    "NotAMessage",
    "NotInsideActor",
    "StartFailed",
    "SupervisorGaveUp",
]


class ActorkitError(Exception):
    """Base of everything that actorkit raises for its users to catch."""


# --- messaging ------------------------------------------------------------------------------------


class NotAMessage(ActorkitError, TypeError):
    """The sender's fault: the method given to ``call`` or ``cast`` is not a declared message of the
    receiver's class. Decorate it with ``@ak.call`` or ``@ak.cast``, or use ``send``."""


class CallError(ActorkitError):
    """A call got no answer. ``target`` says who was called, as text."""

    def __init__(self, message: str, *, target: str = "") -> None:
        super().__init__(message)
        self.target: Final = target


class CalleeDied(CallError):
    """The callee was dead, or died before it answered; ``reason`` is its exit reason (NoProc when it
    was dead already). The callee's fault, or its supervisor's decision: call again when it is back."""

    def __init__(self, target: str, reason: ExitReason, *, method: str = "") -> None:
        asked = f"call of {method} " if method else "call "
        super().__init__(f"{asked}got no answer: {target} ended with {reason}", target=target)
        self.reason: Final = reason


class CallTimeout(CallError):
    """The deadline passed first. The request may still be served; its late reply is dropped.
    Allow more with ``ref.within(seconds)``, or look why the callee is slow."""


class CallCycle(CallError):
    """The caller's fault: the callee waits, directly or through others, for the caller. Waiting would
    never end, so the call is refused at once. Use ``cast``, or answer later (``ak.Later``)."""


class MailboxFull(CallError):
    """The receiver's mailbox is at its bound and its overflow policy refuses. Slow down, raise the
    bound (``.with_(mailbox=…)``) or choose ``overflow="wait"``."""


class ActorDead(ActorkitError):
    """A bound method or a saved instance outlived its actor and was used. The holder's fault: keep the
    ref (``self.ctx.ref``) and send to it instead."""


class NotInsideActor(ActorkitError):
    """``ctx`` was used from outside the actor that it belongs to. The caller's fault: only an actor's own
    handlers, tasks and processes may use its context; others hold its ref."""


class AlreadyRegistered(ActorkitError):
    """The name is taken by a living actor, or this actor has a name already. ``holder`` says by whom."""

    def __init__(self, name: object, holder: str) -> None:
        super().__init__(f"cannot register the name {name!r}: it is held by {holder}; choose another, or stop the holder")
        self.name: Final = name
        self.holder: Final = holder


# --- life -----------------------------------------------------------------------------------------


class StartFailed(ActorkitError):
    """The actor did not come up: its constructor or ``init`` raised, stopped, returned something that
    is not allowed, or took too long. ``reason`` tells. ``child_id`` names a supervisor's child."""

    def __init__(self, what: object, reason: ExitReason) -> None:
        super().__init__(f"{what} did not start: {reason}")
        self.child_id: Final = what
        self.reason: Final = reason


class ActorExit(BaseException):
    """How ``ctx.exit(reason)`` unwinds a handler. Not for catching: a handler that catches it goes on
    living, as OTP's ``catch exit(…)`` does."""

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class CallbackFailed(ActorkitError):
    """The function given to ``sys.replace_state`` raised. The actor keeps its state."""


class NodeStopped(ActorkitError):
    """The node is stopping or has stopped: nothing new is started on it."""


class SupervisorGaveUp(ActorkitError):
    """Raised out of ``open_node``: the tree's root supervisor ended abnormally or passed its restart
    intensity. ``reason`` is its exit reason. The fault is in the children that kept failing: their
    reports come before this."""

    def __init__(self, message: str, reason: ExitReason) -> None:
        super().__init__(message)
        self.reason: Final = reason
