"""sys: look into a running actor, suspend it, follow what it handles. For debugging and for
operators.

Requests overtake the mailbox. An idle, queued or suspended actor serves a request at once; an actor
that is handling a message serves it when that message is done. The caller gets CalleeDied for a
dead actor, and CallTimeout when the actor stays in its handler for the default deadline of calls.
Tracing and statistics cost nothing while off: an actor that is watched gets a kind of its own,
whose handlers report first.

For class actors only: a process has no gap between messages in which it could be looked at. Source:
OTP, sys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, TypeVar, cast

import attrs
import trio
from trio.lowlevel import current_task

from ...errors import CallbackFailed, CallCycle, CalleeDied, NotAMessage
from ...log import log as _log  # ak.sys.log is OTP's name for something else
from ...reasons import NOPROC, shown, text_of
from ..actor.actor_kind import ActorKind
from ..actor.dispatch import HandlerTable, InlineTable
from ..actor.envelope import Message
from ..actor.record import Record, RecordKind
from ..actor.ref import Ref
from ..actor.reports import render_state
from ..actor.states import DEAD, QUEUED, RUNNING, SUSPENDED
from ..actor.waiting import PendingReply, waits_for
from ..base.activations import way_in
from ..base.interrupts import interruptible
from ..base.trio_internals import fatal_leaf, is_fatal
from .introspection import ProcessInfo, process_info

__all__ = [
    "Statistics",
    "Status",
    "Traced",
    "get_state",
    "get_statistics",
    "get_status",
    "no_trace",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "trace",
]

R = TypeVar("R")


@attrs.frozen
class Status:
    """``get_status``: what the node knows of the actor, and its state as its ``format_status``
    shows it, as bounded text."""

    info: ProcessInfo
    state: str


@attrs.frozen
class Traced:
    """One message that an actor begins to handle. ``message`` is the method's qualified name,
    ``send`` for what ``handle_info`` gets."""

    ref: Ref[Any]
    message: str
    args: tuple[Any, ...]


@attrs.frozen
class Statistics:
    """``start_time`` (on trio's clock) is when counting began; ``messages_in`` what the actor has
    begun to handle since."""

    start_time: float
    current_time: float
    messages_in: int


async def get_state(ref: Ref[Any]) -> dict[str, Any]:
    """The actor's attributes by name, slots included. It is a shallow copy: the values are the
    actor's own objects. Source: sys:get_state/1."""
    return await _ask(ref, "get_state", _attributes)


async def replace_state(ref: Ref[Any], function: Callable[[dict[str, Any]], Mapping[str, Any]]) -> dict[str, Any]:
    """Give the actor the attributes that ``function`` makes of those it has; returns them. An
    attribute that is missing from the result is deleted.

    For repairs in a running system. Raises CallbackFailed when ``function`` raises, or its result
    cannot be set; the actor keeps its old state then. Source: sys:replace_state/2.
    """

    def replace(record: Record[Any]) -> dict[str, Any]:
        old = _attributes(record)
        try:
            new = _on_its_account(record, lambda: _replace(record, interruptible(function), old))
        except BaseException as error:
            _set_attributes(record, old)
            if is_fatal(error):
                raise fatal_leaf(error)
            raise CallbackFailed(
                f"replacing the state of {record.describe()} raised {type(error).__qualname__}: "
                f"{text_of(error, 500)}; it keeps its old state"
            ) from error
        return new

    return await _ask(ref, "replace_state", replace)


async def get_status(ref: Ref[Any]) -> Status:
    """What the actor is and does, and its state as text of bounded length. Source:
    sys:get_status/1."""

    def look(record: Record[Any]) -> Status:
        info = process_info(cast(Any, record.engine), record)
        assert info is not None
        return Status(info, render_state(record))

    return await _ask(ref, "get_status", look)


async def suspend(ref: Ref[Any]) -> None:
    """Let the actor handle nothing but the requests of this module until ``resume``. Messages and
    calls wait in its mailbox. It can still be stopped, shut down and killed. To suspend it twice is
    to suspend it once. Source: sys:suspend/1."""
    await _ask(ref, "suspend", _suspend)


async def resume(ref: Ref[Any]) -> None:
    """Let a suspended actor go on. Does nothing to an actor that is not suspended. Source:
    sys:resume/1."""
    await _ask(ref, "resume", _resume)


async def trace(ref: Ref[Any], callback: Callable[[Traced], object]) -> None:
    """Call ``callback`` with each message that the actor begins to handle; those that are queued
    already count too.

    The callback runs in the actor's turn, must not block, and replaces an earlier one. If it
    raises, that is logged and tracing ends. Calls to a traced actor do not run inline. Source:
    sys:trace/2.
    """
    await _ask(ref, "trace", lambda record: _watch(record, trace=interruptible(callback)))


async def no_trace(ref: Ref[Any]) -> None:
    """End ``trace``."""
    await _ask(ref, "no_trace", lambda record: _watch(record, trace=None))


async def statistics(ref: Ref[Any], on: bool) -> None:
    """Count the actor's messages from now on, beginning at 0; or stop counting. Source:
    sys:statistics/2."""
    await _ask(ref, "statistics", lambda record: _watch(record, counter=_Counter() if on else None))


async def get_statistics(ref: Ref[Any]) -> Statistics | None:
    """What ``statistics(ref, True)`` has counted; None if counting is off."""

    def look(record: Record[Any]) -> Statistics | None:
        kind = record.kind
        counter = kind.counter if isinstance(kind, WatchedKind) else None
        if counter is None:
            return None
        return Statistics(counter.since, trio.current_time(), counter.messages)

    return await _ask(ref, "get_statistics", look)


# --- the request ---------------------------------------------------------------------------------


async def _ask(ref: Ref[Any], what: str, serve: Callable[[Record[Any]], R]) -> R:
    """Run ``serve(record)`` between two messages of the actor."""
    if isinstance(ref, Ref):
        ref.check_thread(f"ask sys.{what} of")
    await trio.lowlevel.checkpoint()
    if not isinstance(ref, Ref):
        raise NotAMessage(f"sys.{what} is for class actors, and {shown(ref, 200)} is none")
    record: Record[Any] | None = ref.resolve()
    if record is None or record.state == DEAD:
        raise CalleeDied(repr(ref) if record is None else record.describe(), NOPROC, method=f"sys.{what}")
    if record.kind.process:
        raise NotAMessage(f"sys.{what} is for class actors, and {shown(ref, 200)} is none")
    record.check_thread(f"ask sys.{what} of")
    if _between_messages(record):
        return serve(record)
    engine = record.engine
    caller = engine.current
    if caller is not None and waits_for(record, caller):
        raise CallCycle(
            f"{caller.describe()} cannot ask sys.{what} of {record.describe()}: requests are served when the message "
            "at hand is done, and that message waits for whoever asks",
            target=record.describe(),
        )
    reply = PendingReply(current_task(), record, caller)
    record.owe(reply)
    outcome: list[R] = []

    def serve_now() -> None:
        record.owe_no_more(reply)
        if reply.task is None:
            return
        try:
            outcome.append(serve(record))
        except BaseException as error:  # the function is the caller's, and so is what it raises
            reply.refuse(error)
        else:
            reply.ok(None)

    record.need_control().requests.append(serve_now)
    deadlines = engine.deadlines
    reply.bucket = deadlines.newest
    reply.bucket[reply] = None
    if not deadlines.armed:
        deadlines.arm()
    reply.remember_caller()
    try:
        await record.wait_for_answer(reply, f"sys.{what}")
    finally:
        record.owe_no_more(reply)
    return outcome[0]


def _between_messages(record: Record[Any]) -> bool:
    """False for an actor that is on the stack or in an await, and if its next message is ``init``,
    ``terminate`` or a continuation."""
    if record.state == RUNNING or (record.relations is not None and record.relations.terminating):
        return False
    return not record.in_the_middle


# --- state ---------------------------------------------------------------------------------------


def _replace(record: Record[Any], function: Callable[[dict[str, Any]], Mapping[str, Any]], old: Any) -> dict[str, Any]:
    new = dict(function(dict(old)))
    _set_attributes(record, new)
    return new


def _on_its_account(record: Record[Any], serve: Callable[[], R]) -> R:
    """What is made for the actor by whoever asks is the actor's. It is looked at when all is
    done."""
    engine = record.engine
    hook = engine.step_hook
    if hook is None:
        return serve()
    hook(record)
    try:
        return serve()
    finally:
        hook(engine.current)


def _attributes(record: Record[Any]) -> dict[str, Any]:
    obj = record.obj
    state = {}
    for name in record.kind.slot_names:
        try:
            state[name] = object.__getattribute__(obj, name)
        except AttributeError:
            pass
    state.update(getattr(obj, "__dict__", ()))
    return state


def _set_attributes(record: Record[Any], state: Mapping[str, Any]) -> None:
    obj = record.obj
    for name in _attributes(record):
        if name not in state:
            object.__delattr__(obj, name)
    for name, value in state.items():
        object.__setattr__(obj, name, value)


# --- suspension ----------------------------------------------------------------------------------


def _suspend(record: Record[Any]) -> None:
    record.need_control().suspended = True
    if record.state == QUEUED:
        try:
            record.kind.runq.remove(record)
        except ValueError:
            pass
    if record.state != RUNNING:
        record.state = SUSPENDED


def _resume(record: Record[Any]) -> None:
    control = record.control
    if control is None or not control.suspended:
        return
    control.suspended = False
    if control.over:
        record.control = None
    if record.state == SUSPENDED:
        record.engine.requeue(record)


# --- watching ------------------------------------------------------------------------------------


class _Counter:
    def __init__(self) -> None:
        self.since = trio.current_time()
        self.messages = 0


class WatchedKind(RecordKind):
    """The kind of one actor that is traced or counted: its handlers report, then run."""

    __slots__ = ("counter", "original", "report")

    def __init__(self, original: RecordKind) -> None:
        for name in ActorKind.__slots__:
            setattr(self, name, getattr(original, name))
        self.original = original
        self.report: Callable[[Traced], object] | None = None
        self.counter: _Counter | None = None
        self.handlers = _Watching(self)
        self.known = self.handlers.known
        self.inline = _NeverInline(self.handlers)
        self.info = self.watching(original.info)

    def watching(self, function: Any) -> Any:
        """``function``, with a report before it."""

        @way_in
        def reported(obj: Any, *args: Any, **kwargs: Any) -> Any:
            if self.counter is not None:
                self.counter.messages += 1
            if self.report is not None:
                self._report(obj.ctx, function, args)
            return function(obj, *args, **kwargs)

        return wraps(function)(reported) if not isinstance(function, partial) else wraps(function.func)(reported)

    def _report(self, record: Record[Any], function: Any, args: tuple[Any, ...]) -> None:
        report = self.report
        assert report is not None
        if isinstance(function, partial):
            function = function.func
        is_info = function is self.original.info
        hook = record.engine.step_hook
        try:
            if hook is not None:  # what the callback keeps is not the actor's
                hook(None)
            report(Traced(record, "send" if is_info else getattr(function, "__qualname__", repr(function)), args))
        except BaseException as error:
            if is_fatal(error):
                record.engine.leave(error)
            _log.exception("a trace callback of %s raised; its tracing ends", record.describe())
            _watch(record, trace=None)
        finally:
            if hook is not None:
                hook(record)


class _Watching(HandlerTable):
    """The handler table of a watched actor."""

    __slots__ = ("kind",)

    def __init__(self, kind: WatchedKind) -> None:
        super().__init__(kind.cls)
        self.kind = kind

    def __missing__(self, method: Any) -> Callable[..., Any]:
        function = self.kind.watching(self.kind.original.handlers[method])
        self[method] = function
        return function  # type: ignore[no-any-return]


class _NeverInline(InlineTable):
    __slots__ = ()

    def __missing__(self, method: Any) -> None:
        super().__missing__(method)  # refuses what is no call
        self[method] = None


_KEEP: Any = object()


def _watch(record: Record[Any], *, trace: Any = _KEEP, counter: Any = _KEEP) -> None:
    """Change what is reported of the actor's messages. When nothing is, it gets its own kind
    back."""
    kind = record.kind
    if isinstance(kind, WatchedKind):
        watched = kind
    elif trace is None or counter is None:
        return
    else:
        watched = WatchedKind(kind)
    if trace is not _KEEP:
        watched.report = trace
    if counter is not _KEEP:
        watched.counter = counter
    if watched.report is None and watched.counter is None:
        record.kind = watched.original
    elif kind is not watched:
        record.kind = watched

        def change(message: Message) -> Message:
            function, args, reply = message
            if isinstance(function, partial) or function is kind.info or function in kind.handlers.values():
                same: Any = type(message)
                return cast(Message, same((watched.watching(function), args, reply)))
            return message

        record.rewrite_messages(change)
