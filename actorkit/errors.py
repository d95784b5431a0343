"""Every exception that actorkit raises on purpose.

Each docstring says when it is raised, whose fault it is and what to do about it. Facts are
attributes (for programs), the message is made from them when it is asked for (for people), so the
layer above may still fill in what the layer below cannot know, such as the supervisor's name.
"""

from __future__ import annotations

from actorkit.reasons import ExitReason, bounded

__all__ = [
    "ActorkitError",
    "ChildAlreadyPresent",
    "ChildAlreadyStarted",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "DuplicateChildId",
    "InvalidChildSpec",
    "InvalidSupervisorFlag",
    "MaxChildrenReached",
    "SpecError",
    "StartFailed",
    "SupervisorError",
    "SupervisorStopping",
]


class ActorkitError(Exception):
    """Base of all exceptions of this package."""


# --- Child specs and supervisors ---------------------------------------------------------------


def _shown(value: object) -> str:
    return bounded(repr(value), 200)


class SpecError(ActorkitError, ValueError):
    """A specification is wrong. The fault is with whoever wrote it; nothing has been started."""


class InvalidChildSpec(SpecError):
    """A field of a child spec has a value that it cannot have. The fault of whoever wrote the
    spec; ``remedy`` says what would be accepted."""

    def __init__(self, field: str, value: object, why: str, remedy: str) -> None:
        super().__init__(field, value, why, remedy)
        self.field = field
        self.value = value
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"child spec: {self.field}={_shown(self.value)}: {self.why}; {self.remedy}"


class DuplicateChildId(SpecError):
    """Two children of one supervisor have the same id. The fault of whoever listed them; give one
    of them an ``id`` of its own."""

    def __init__(self, child_id: object) -> None:
        super().__init__(child_id)
        self.child_id = child_id

    def __str__(self) -> str:
        return f"two children have the id {_shown(self.child_id)}; give one of them an id= of its own"


class InvalidSupervisorFlag(SpecError):
    """A supervisor's flag has a value that it cannot have. The fault of whoever wrote it; the
    message says what would be accepted."""

    def __init__(self, field: str, value: object, why: str) -> None:
        super().__init__(field, value, why)
        self.field = field
        self.value = value
        self.why = why

    def __str__(self) -> str:
        return f"supervisor flag: {self.field}={_shown(self.value)}: {self.why}"


class SupervisorError(ActorkitError):
    """Base of the refusals of a supervisor's administrative calls.

    ``child_id`` is the child in question (for a dynamic supervisor: its ref) and ``state`` what it
    is doing. ``supervisor`` is None until the layer that knows its name or path fills it in.
    """

    supervisor: object = None

    def __init__(self, child_id: object = None, state: str | None = None) -> None:
        super().__init__(child_id, state)
        self.child_id = child_id
        self.state = state

    def problem(self) -> str:
        """What is the matter and what to do, without the supervisor."""
        return "the supervisor refused the call"

    def __str__(self) -> str:
        where = "" if self.supervisor is None else f"{self.supervisor}: "
        return where + self.problem()


class ChildNotFound(SupervisorError):
    """There is no such child: it was never there, was deleted, or was temporary and has ended.
    The caller's view is out of date; ``which_children`` lists what is there. With ``state``
    "temporary" the child is there, but what was asked for (its spec) is not remembered."""

    def problem(self) -> str:
        if self.state == "temporary":
            return f"child {_shown(self.child_id)} is temporary, so its spec was not kept"
        return f"no child {_shown(self.child_id)} here; which_children lists what there is"


class ChildAlreadyStarted(SupervisorError):
    """``start_child`` with the id of a child that runs; ``ref`` is that child. Often no fault at
    all (somebody else was first): use ``ref``. Otherwise give the spec another id."""

    def __init__(self, child_id: object, ref: object) -> None:
        super().__init__(child_id, "running")
        self.args = (child_id, ref)
        self.ref = ref

    def problem(self) -> str:
        return (
            f"child {_shown(self.child_id)} is running already, as {_shown(self.ref)}; "
            "use that one, or give the new one an id of its own"
        )


class ChildAlreadyPresent(SupervisorError):
    """``start_child`` with the id of a child that is known but does not run (``state``). The
    caller's fault; ``restart_child`` starts the known one, ``delete_child`` makes room."""

    def problem(self) -> str:
        return (
            f"child {_shown(self.child_id)} is present already ({self.state}); "
            "restart_child starts it, terminate_child and delete_child make room for another"
        )


class ChildRunning(SupervisorError):
    """The call needs a child that does not run, and this one does (or cannot be killed:
    ``state`` is "unkillable"). The caller's fault; ``terminate_child`` it first. An unkillable
    child is its own author's fault: it never lets the scheduler in."""

    def problem(self) -> str:
        if self.state == "unkillable":
            return (
                f"child {_shown(self.child_id)} was killed and has not ended; "
                "nothing can be done with it until it does"
            )
        return f"child {_shown(self.child_id)} is {self.state}; terminate_child it first"


class ChildRestarting(SupervisorError):
    """The call needs a child that does not run, and this one is about to be restarted. Nobody's
    fault; ``terminate_child`` cancels the restart, then the call can be made again."""

    def problem(self) -> str:
        return f"child {_shown(self.child_id)} is restarting; terminate_child cancels that"


class MaxChildrenReached(SupervisorError):
    """A dynamic supervisor has all the children it may have (``limit``; those starting and
    restarting count). The caller should shed load or try later; or raise ``max_children``."""

    def __init__(self, child_id: object, limit: float) -> None:
        super().__init__(child_id)
        self.args = (child_id, limit)
        self.limit = limit

    def problem(self) -> str:
        return (
            f"child {_shown(self.child_id)} not started: there are {self.limit} children, and "
            f"max_children={self.limit}; try when some have ended, or raise max_children"
        )


class StartFailed(SupervisorError):
    """The child's ``init`` failed with ``reason``. The fault is with the child or its arguments;
    the reason tells. ``start_child`` forgets the spec, ``restart_child`` keeps it."""

    def __init__(self, child_id: object, reason: ExitReason) -> None:
        super().__init__(child_id)
        self.args = (child_id, reason)
        self.reason = reason

    def problem(self) -> str:
        return f"child {_shown(self.child_id)} did not start: {bounded(str(self.reason), 500)}"


class SupervisorStopping(SupervisorError):
    """The supervisor is stopping or has stopped; nothing was done, or what was under way has been
    given up. Nobody's fault; a caller that needs the child asks its supervisor's successor."""

    def problem(self) -> str:
        return (
            f"the supervisor is stopping; nothing more is done for child {_shown(self.child_id)}; "
            "ask again when it has been restarted"
        )
