"""The words that a supervision machine and its shell exchange.

The shell tells the machine what has happened, in events. Each has its time ``now``, in monotonic
seconds. The machine answers with what is to be done, in actions, in the order in which they are to
be done. It waits for nothing: whatever takes time is an action, and its outcome comes back as an
event.

* An ``instance`` is an integer that the machine gives to each life of a child. Events of a life
  that it no longer knows are dropped, so the shell need not be careful about late ones.
* A ``ref`` is whatever the shell uses for a running child. The machine compares it and hands it
  back. It must be hashable.
* A ``call`` is whatever the shell uses to answer a caller. Each call gets exactly one answer,
  AnswerCall or FailCall.
* ``because`` says which rule made a decision, with its numbers. It is for people, and takes no
  part in comparisons.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from ...errors import ActorkitError
from ...reasons import ExitReason
from .actor_options import Kind
from .child_spec import ChildSpec, Restart, ShutdownTime
from .supervision_states import ChildState

__all__ = [
    "Action",
    "Begin",
    "CancelRestart",
    "CancelStart",
    "ChildCounts",
    "ChildExited",
    "ChildIgnored",
    "ChildInfo",
    "ChildStartFailed",
    "ChildStarted",
    "Command",
    "CountChildren",
    "DeleteChildCommand",
    "Event",
    "Finished",
    "GetChildSpec",
    "GroupStopTimeout",
    "InitFailed",
    "KillChild",
    "KillTimeout",
    "Query",
    "Ready",
    "AnswerCall",
    "FailCall",
    "ReportChild",
    "ReportKind",
    "RestartChildCommand",
    "RestartDue",
    "ScheduleRestart",
    "StartChild",
    "StartChildCommand",
    "StopRequested",
    "StopChild",
    "StopChildren",
    "StopTimeout",
    "TerminateChildCommand",
    "WhichChild",
    "WhichChildren",
]


def _because() -> Any:
    return attrs.field(default="", eq=False)


# --- Events: life ------------------------------------------------------------------------------


@attrs.frozen
class Begin:
    """The supervisor's own init: start the children. Comes once, before everything else."""

    now: float


@attrs.frozen
class ChildStarted:
    """The child's init succeeded; the child runs as ``ref``."""

    now: float
    instance: int
    ref: object


@attrs.frozen
class ChildIgnored:
    """The child's init said that there is nothing to run. The life is over."""

    now: float
    instance: int


@attrs.frozen
class ChildStartFailed:
    """The child's init failed, timed out or was cancelled. The life is over."""

    now: float
    instance: int
    reason: ExitReason


@attrs.frozen
class ChildExited:
    """A child that had been started has ended, by itself or because it was asked to.

    ``counts`` is False if the node ended it for a reason that is not the child's own, such as to
    free memory. Then its restart does not count towards the restart intensity.
    """

    now: float
    instance: int
    reason: ExitReason
    counts: bool = True


@attrs.frozen
class StopTimeout:
    """A child that was asked to stop (StopChild) has had its time, and has not ended."""

    now: float
    instance: int


@attrs.frozen
class GroupStopTimeout:
    """As StopTimeout, for all of a StopChildren with this ``shutdown``."""

    now: float
    shutdown: ShutdownTime


@attrs.frozen
class KillTimeout:
    """A child that was killed should be gone by now, and is not."""

    now: float
    instance: int


@attrs.frozen
class RestartDue:
    """The time of a ScheduleRestart has come."""

    now: float
    key: object
    ticket: int


@attrs.frozen
class StopRequested:
    """The supervisor is to stop for ``reason``, at once, whatever it is doing."""

    now: float
    reason: ExitReason


# --- Events: administrative calls ---------------------------------------------------------------
#
# ``id`` is the child's id for a static supervisor, and its ref for a dynamic one.


@attrs.frozen
class StartChildCommand:
    """Add a child and start it. The answer is its ref, or None if its init said ignore."""

    now: float
    call: object
    spec: ChildSpec[Any]


@attrs.frozen
class TerminateChildCommand:
    """Stop a child, or give up its pending restart. Replies None."""

    now: float
    call: object
    id: object


@attrs.frozen
class RestartChildCommand:
    """Start a known child that does not run. Replies as StartChildCommand does."""

    now: float
    call: object
    id: object


@attrs.frozen
class DeleteChildCommand:
    """Forget a child that does not run. Replies None."""

    now: float
    call: object
    id: object


@attrs.frozen
class WhichChildren:
    """Replies with a tuple of ChildInfo, in start order."""

    now: float
    call: object


@attrs.frozen
class WhichChild:
    """Replies with one ChildInfo."""

    now: float
    call: object
    id: object


@attrs.frozen
class CountChildren:
    """Replies with ChildCounts."""

    now: float
    call: object


@attrs.frozen
class GetChildSpec:
    """Replies with a ChildSpec."""

    now: float
    call: object
    id: object


Command = StartChildCommand | TerminateChildCommand | RestartChildCommand | DeleteChildCommand
Query = WhichChildren | WhichChild | CountChildren | GetChildSpec
Event = (
    Begin
    | ChildStarted
    | ChildIgnored
    | ChildStartFailed
    | ChildExited
    | StopTimeout
    | GroupStopTimeout
    | KillTimeout
    | RestartDue
    | StopRequested
    | Command
    | Query
)


# --- Actions ------------------------------------------------------------------------------------


@attrs.frozen
class StartChild:
    """Start a child; report ChildStarted, ChildIgnored or ChildStartFailed. ``restart`` is True for
    automatic restarts, False for a first start and for one that somebody asked for."""

    instance: int
    spec: ChildSpec[Any]
    restart: bool


@attrs.frozen
class CancelStart:
    """Kill a child that is still in its init. Report its end as ChildStartFailed (or ChildStarted,
    if that came first), and KillTimeout if there is no end for too long."""

    instance: int
    because: str = _because()


@attrs.frozen
class StopChild:
    """Ask a child to stop, and report StopTimeout after ``shutdown`` seconds if that is finite. For
    "brutal_kill" kill it, and report KillTimeout if it does not end for too long."""

    instance: int
    ref: object
    shutdown: ShutdownTime
    because: str = _because()


@attrs.frozen
class StopChildren:
    """As StopChild, for many children at once, with one timer, which reports GroupStopTimeout. (For
    "brutal_kill": KillTimeout for each child that does not end.) ``group`` has pairs of instance
    and ref."""

    group: tuple[tuple[int, object], ...]
    shutdown: ShutdownTime
    because: str = _because()


@attrs.frozen
class KillChild:
    """Kill a child; report KillTimeout if it does not end for too long."""

    instance: int
    ref: object
    because: str = _because()


@attrs.frozen
class ScheduleRestart:
    """Report RestartDue after ``delay`` seconds. Even a delay of 0 goes through the event loop, so
    that calls are served between two attempts. ``key`` names the child across its lives; ``counts``
    is that of the ChildExited that led to this."""

    key: object
    ticket: int
    delay: float
    because: str = _because()
    counts: bool = attrs.field(default=True, eq=False)


@attrs.frozen
class CancelRestart:
    """The RestartDue of this ``ticket`` is no longer wanted (and is dropped if it comes)."""

    key: object
    ticket: int
    because: str = _because()


@attrs.frozen
class AnswerCall:
    """Answer a call."""

    call: object
    value: object


@attrs.frozen
class FailCall:
    """Answer a call with an exception for its caller."""

    call: object
    error: ActorkitError


ReportKind = Literal[
    "progress",
    "child_terminated",
    "start_error",
    "shutdown_error",
    "reached_max_restart_intensity",
    "unkillable",
]


@attrs.frozen
class ReportChild:
    """Something for the log: a child has started ("progress"), has ended by itself, did not start,
    ended otherwise than it should when it was asked to stop, made the supervisor give up, or cannot
    be killed. ``reason`` is None for "progress" and "unkillable"; ``instance`` and ``ref`` are None
    where there is none."""

    kind: ReportKind
    child_id: object
    reason: ExitReason | None
    because: str = _because()
    instance: int | None = None
    ref: object = None


@attrs.frozen
class Ready:
    """All children have started: the supervisor's own init has succeeded."""


@attrs.frozen
class InitFailed:
    """A child did not start, and those before it have been stopped. The supervisor's own init has
    failed with ``reason``. Only answers to late calls follow; Finished does not."""

    reason: ExitReason
    because: str = _because()


@attrs.frozen
class Finished:
    """All children are gone, and the supervisor ends with ``reason``. Only answers to late calls
    follow."""

    reason: ExitReason
    because: str = _because()


Action = (
    StartChild
    | CancelStart
    | StopChild
    | StopChildren
    | KillChild
    | ScheduleRestart
    | CancelRestart
    | AnswerCall
    | FailCall
    | ReportChild
    | Ready
    | InitFailed
    | Finished
)


# --- Answers ------------------------------------------------------------------------------------


@attrs.frozen
class ChildInfo:
    """A line of ``which_children``. ``ref`` is None where no child runs, ``id`` is None for a child
    of a dynamic supervisor. Lines come in start order; OTP has the newest first."""

    id: object
    ref: object
    state: ChildState
    kind: Kind
    restart: Restart


@attrs.frozen
class ChildCounts:
    """How many children are known, how many of them run, and how many there are of each kind."""

    specs: int
    active: int
    supervisors: int
    workers: int
