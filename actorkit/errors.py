"""Every exception of actorkit.

Each docstring says when it is raised, whose fault it is and what to do about it. Messages name what
was attempted, on whom (pid, name, state), why not, and the remedy. Exceptions hold plain data and
exit reasons only: one that held an actor would keep its state alive.
"""

# Longer than 500 lines because it is one list: every error, whose fault it is, and the remedy.

from __future__ import annotations

from typing import Any, Final

from .reasons import ExitReason, as_reason, bounded, shown, text_of

__all__ = [
    "ActorDead",
    "ActorExit",
    "ActorkitError",
    "AdmissionRefused",
    "AlreadyRegistered",
    "BadArguments",
    "BadKey",
    "CallCycle",
    "CallError",
    "CallShed",
    "CallTimeout",
    "CallbackFailed",
    "CalleeDied",
    "ChildAlreadyPresent",
    "ChildAlreadyStarted",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "DuplicateChildId",
    "InvalidChildSpec",
    "InvalidSupervisorFlag",
    "MailboxFull",
    "MaxChildrenReached",
    "MemoryLimitExceeded",
    "NodeOutOfMemory",
    "NodeStopped",
    "NotAMessage",
    "NotAlive",
    "NotInsideActor",
    "NotJoined",
    "NotRegistered",
    "NotUnique",
    "SpecError",
    "StartFailed",
    "SupervisorError",
    "SupervisorGaveUp",
    "SupervisorStopping",
    "TaskFailed",
    "TaskTimeout",
]


class MadeAgain(BaseException):
    """An exception that can be copied and pickled: it is made again of its data, not by calling its
    class, which may take something else."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return cls.__new__(cls, *args)


class ActorkitError(MadeAgain, Exception):
    """Base of all exceptions of this package."""

    def __repr__(self) -> str:
        # A user's values are among the arguments, and trio asks for this text in the middle of its
        # work.
        return f"{type(self).__name__}({', '.join(shown(arg, 200) for arg in self.args)})"


# --- Messages ----------------------------------------------------------------------------------


class NotAMessage(ActorkitError, TypeError):
    """The sender's fault: the method given to ``call`` or ``cast`` is not a declared message of the
    receiver's class. Decorate it with ``@ak.call`` or ``@ak.cast``, or use ``send``."""


class BadArguments(ActorkitError, TypeError):
    """The sender's fault: the arguments do not fit the method that it named; the message tells what
    would. The receiver has not begun to handle the message, and lives on.
    """


class CallError(ActorkitError):
    """A call got no answer. ``target`` says who was called, as text, and ``method`` what was asked
    of it, where that is known.
    """

    method = ""

    def __init__(self, message: str, *, target: str = "") -> None:
        super().__init__(message)
        self.target: Final = target

    def _asked(self) -> str:
        return f"call of {self.method} " if self.method else "call "


class CalleeDied(CallError):
    """The callee was dead, or died before it answered; ``reason`` is its exit reason (NoProc when
    it was dead already). The callee's fault, or its supervisor's decision: call again when it is
    back.
    """

    def __init__(self, target: str, reason: ExitReason, *, method: str = "") -> None:
        super().__init__(f"got no answer: {target} ended with {text_of(reason)}", target=target)
        self.reason: Final = reason
        self.method = method

    def __str__(self) -> str:
        return self._asked() + super().__str__()


class CallTimeout(CallError):
    """The deadline passed first. The request may still be served; its late reply is dropped.
    Allow more with ``ref.within(seconds)``, or look why the callee is slow."""

    def __str__(self) -> str:
        return self._asked() + super().__str__()


class CallCycle(CallError):
    """The caller's fault: the callee waits, directly or through others, for the caller. Waiting
    would never end, so the call is refused at once. Use ``cast``, or answer later (``ak.Later``).
    """


class MailboxFull(CallError):
    """The receiver's mailbox is at its bound and its overflow policy refuses. Slow down, raise the
    bound (``.with_(mailbox=…)``) or choose ``overflow="wait"``."""


class CallShed(CallError):
    """The callee lives, but the node is short of memory and gave up this call, which is declared
    sheddable, before it was handled. Nobody's fault: try again later, or do without.
    """


class ActorDead(ActorkitError):
    """A bound method or a saved instance outlived its actor and was used. The holder's fault: keep
    the ref (``self.ctx.ref``) and send to it instead.
    """


class NotInsideActor(ActorkitError):
    """``ctx`` was used from outside the actor that it belongs to. The caller's fault: only an
    actor's own handlers, tasks and processes may use its context; others hold its ref.
    """


class AlreadyRegistered(ActorkitError):
    """The name (or the unique key of a registry) is taken by a living actor, or this actor has a
    name already. ``holder`` says by whom.
    """

    def __init__(self, name: object, holder: str) -> None:
        super().__init__(f"cannot register {_shown(name)}: it is held by {holder}; choose another, or stop the holder")
        self.name: Final = name
        self.holder: Final = holder


# --- Registries and groups ---------------------------------------------------------------------


class BadKey(ActorkitError):
    """A key's own code, its ``__hash__`` or ``__eq__``, raised where the key was looked up. The
    fault of whoever wrote its class: only the call that brought it fails, and nothing is changed.
    ``holder`` tells with whose key it was being compared, if it was: that one may be to blame as
    well.
    """

    def __init__(self, key: str, holder: str | None, error: BaseException) -> None:
        while_what = "hashing it" if holder is None else f"comparing it with the key of {bounded(holder, 200)}"
        super().__init__(
            f"cannot use {key} as a key: {while_what} raised {type(error).__qualname__}: {text_of(error, 300)}; "
            "give a key whose __hash__ and __eq__ cannot fail: a string, a number, a tuple of those"
        )
        self.holder: Final = holder


class NotAlive(ActorkitError):
    """A living actor of this node was needed, and ``target`` is none: it is dead, elsewhere, or no
    ref at all. The caller's fault if it gave something else than a ref of this node; an actor may
    also just have ended, and then there is nothing to do.
    """

    def __init__(self, purpose: str, target: str, why: str) -> None:
        super().__init__(
            f"cannot {purpose}: {bounded(target, 200)}: {why}; give the ref of a living actor of this node"
        )
        self.target: Final = target


class NotRegistered(ActorkitError):
    """``update_value`` of a key that ``target`` does not hold. The caller's fault, or its entry
    went when it ended: register first.
    """

    def __init__(self, key: object, target: str) -> None:
        super().__init__(f"{bounded(target, 200)} does not hold the key {_shown(key)}; register it first")
        self.key: Final = key
        self.target: Final = target


class NotUnique(ActorkitError):
    """What needs one holder per key was asked of a registry with duplicate keys. The caller's
    fault: use ``lookup`` or ``dispatch``, or make the registry with keys="unique".
    """

    def __init__(self, registry: str, what: str) -> None:
        super().__init__(
            f"{what} needs a key to have one holder, and registry {registry!r} has duplicate keys; use lookup "
            f"or dispatch, or make "
            'the registry with keys="unique"'
        )
        self.registry: Final = registry


class NotJoined(ActorkitError):
    """``leave`` of a group that ``target`` is not a member of. The caller's fault: it leaves more
    often than it has joined, or after ``target`` has ended.
    """

    def __init__(self, group: object, target: str) -> None:
        super().__init__(
            f"{bounded(target, 200)} is not a member of the group {_shown(group)}; each leave needs a join of its own"
        )
        self.group: Final = group
        self.target: Final = target


# --- Tasks -------------------------------------------------------------------------------------


class TaskFailed(ActorkitError):
    """A task ended without a result; ``reason`` is its exit reason: Crash when its function raised,
    Killed or Shutdown when somebody ended it. The fault is the function's, or a decision of whoever
    ended it.

    From a task stream it says which item it belongs to: ``item`` is what the source gave, ``index``
    its position, from 0; both are None for a task that was started alone.
    """

    def __init__(self, task: str, reason: ExitReason, *, item: object = None, index: int | None = None) -> None:
        super().__init__(f"task {task} ended without a result: {text_of(reason, 500)}")
        self.task: Final = task
        self.reason: Final = reason
        self.item: Final = item
        self.index: Final = index

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.index is None else f"{text}; it was for item {self.index}: {shown(self.item, 200)}"


class TaskTimeout(TaskFailed):
    """An item of a task stream took longer than ``item_timeout`` allows; its task has been killed.
    Allow more, or look why it is slow; ``on_timeout="kill_task"`` yields this in the item's place
    and goes on.
    """

    def __init__(
        self, task: str, reason: ExitReason, seconds: float, *, item: object = None, index: int | None = None
    ) -> None:
        super().__init__(task, reason, item=item, index=index)
        self.args = (f"task {task} had no result within {seconds:g} s and was killed; allow more with item_timeout",)
        self.seconds: Final = seconds


# --- Child specs and supervisors ---------------------------------------------------------------


def _shown(value: object) -> str:
    return shown(value, 200)


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
                f"child {_shown(self.child_id)} was killed and has not ended; nothing can be done with it until it does"
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
        return f"child {_shown(self.child_id)} did not start: {text_of(self.reason, 500)}"


class SupervisorStopping(SupervisorError):
    """The supervisor is stopping or has stopped; nothing was done, or what was under way has been
    given up. Nobody's fault; a caller that needs the child asks its supervisor's successor."""

    def problem(self) -> str:
        return (
            f"the supervisor is stopping; nothing more is done for child {_shown(self.child_id)}; "
            "ask again when it has been restarted"
        )


# --- Life --------------------------------------------------------------------------------------


class ActorExit(MadeAgain):
    """How ``ctx.exit(reason)`` unwinds a handler. Not for catching: a handler that catches it goes
    on living, as OTP's ``catch exit(…)`` does. Raises TypeError for what is no exit reason.
    """

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(reason)
        self.reason: Final = as_reason(reason, "end an actor")

    def __repr__(self) -> str:
        return f"ActorExit({shown(self.reason)})"

    def __str__(self) -> str:
        return text_of(self.reason)


class MemoryLimitExceeded(MadeAgain):
    """Raised in an actor's own code when its heap is over its limit: ``usage`` and ``limit`` in
    bytes; the text names the actor, and says where its bytes lie. The actor's fault, or its limit
    is too small. Not for catching, though ``finally`` blocks run: the verdict stands, so that an
    actor that goes on is interrupted again.
    """

    def __init__(self, who: str, usage: int, limit: int, shares: str = "") -> None:
        super().__init__(
            f"{bounded(who, 200)} holds {usage:,} B, and its max_heap_size is {limit:,} B"
            f"{f' ({shares})' if shares else ''}; let it hold less, or raise its max_heap_size"
        )
        self.usage: Final = usage
        self.limit: Final = limit


class CallbackFailed(ActorkitError):
    """A function that was given to an actor to run (``sys.replace_state``,
    ``Registry.update_value``) raised. Its author's fault; the actor keeps its state and goes on.
    """


class NodeStopped(ActorkitError):
    """The node is stopping or has stopped: nothing new is started on it."""


class AdmissionRefused(ActorkitError):
    """The node has no room for this work now: too many are in, they come too fast, or memory is
    short. Nobody's fault. Tell whoever asked to come again after ``retry_after`` seconds.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after: Final = retry_after


class NodeOutOfMemory(ActorkitError):
    """Out of ``open_node``: the node has stopped itself, in order, because nothing that its
    governor could do brought memory back, and the kernel would have killed the process next.
    ``exit_status`` is what the process should end with (``ak.run`` does), so that whoever started
    it can tell this from a crash. Something outside the actors holds the memory, or the limit is
    too low for what is critical: the report says what was tried.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status: Final = exit_status


class SupervisorGaveUp(ActorkitError):
    """Raised out of ``open_node``: the tree's root supervisor ended abnormally or passed its
    restart intensity. ``reason`` is its exit reason. The fault is in the children that kept
    failing: their reports come before this.
    """

    def __init__(self, message: str, reason: ExitReason) -> None:
        super().__init__(message)
        self.reason: Final = reason
