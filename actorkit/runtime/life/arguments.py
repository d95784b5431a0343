"""The caller pays: arguments that do not fit a handler are the fault of whoever sent them, and its end of nobody.

How it works, at no cost to a message that fits. Nothing is checked before a handler runs. When Python cannot begin
one, it raises TypeError, and the traceback ends in the runtime's own frame: no line of the handler has run, so no state
can be half changed. Only then is it looked at closely. A call gets ``BadArguments`` where it was made; a cast becomes a
dead letter (``bad_arguments``), with a warning; the receiver goes on with its next message. A TypeError that is raised
*inside* a handler is a crash, like any other error.

A handler under a decorator has begun with the decorator's wrapper. It counts as not begun while nothing but wrappers
ran (``functools.wraps`` tells which those are) and it is the innermost function that Python could not begin.

Whose cast it was: a cast does not carry its sender, since that would cost every message. The first cast of each method
to each kind of actor is checked where it is sent (it has to look the handler up anyway), and so is every cast of a
method that was once sent wrongly; those name their sender. Only the first misfit after correct
casts cannot.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Final

from ...errors import BadArguments
from ...log import log
from ...reasons import bounded
from ..actor.dead_letters import DeadLetterReason
from ..actor.fitting import misfit_of, parameters_of, plain, sender_now, sender_of
from ..actor.record import Record
from ..actor.reports import render
from .lifecycle import Lifecycle, Starting

__all__ = ["Arguments", "Handling", "head_of"]

SHOWN: Final = 4
"""Arguments that are shown of a message."""
WRAPPED: Final = ("_terminate", "_carry_on")
"""The runtime's own messages whose first argument is what they run."""


# --- a message, as text --------------------------------------------------------------------------


def head_of(function: Any, args: tuple[Any, ...]) -> str:
    """A message for people: the method and the head of its arguments, bounded."""
    if args and getattr(function, "__name__", "") in WRAPPED:
        function, args = args[0], args[1:]
    shown = [render(value, 80) for value in args[:SHOWN]]
    if len(args) > SHOWN:
        shown.append(f"… {len(args) - SHOWN} more")
    while isinstance(function, partial):
        shown += [f"{name}={render(value, 80)}" for name, value in list(function.keywords.items())[:SHOWN]]
        function = function.func
    return bounded(f"{getattr(function, '__qualname__', 'a function')}({', '.join(shown)})", 400)


class Handling:
    """The message whose handler has just raised, for the crash report."""

    __slots__ = ("args", "caller", "error", "function", "inline", "record", "reply")

    def __init__(
        self,
        record: Record[Any],
        error: BaseException,
        reply: Any,
        function: Any,
        args: Any,
        inline: bool,
        caller: Record[Any] | None,
    ) -> None:
        self.record = record
        self.error = error
        self.reply = reply
        self.function = function
        self.args: tuple[Any, ...] = args
        self.inline = inline
        self.caller = caller

    def told(self) -> str:
        """A line of the report: the request, who asked and with what; of other messages the head."""
        try:
            return self._told()
        except Exception as error:  # of what it holds: the report is worth more than this line
            return f"message: it could not be shown ({type(error).__qualname__})"

    def _told(self) -> str:
        head = self._suspended() if self.function is None else head_of(self.function, self.args)
        sender: str | None = None
        if self.inline:  # its caller's task is the one that runs
            sender = sender_now(self.caller)
        elif self.reply is not None and type(self.reply) is not Starting:
            caller, task = self.reply.caller, self.reply.task
            if caller is not None:
                sender = f"{caller.pid} ({caller.started_as})"
            elif task is not None:
                sender = f"task {bounded(task.name, 100)}, outside of any actor"
            else:
                sender = "a caller that has gone"
        return f"message: {head}" if sender is None else f"request: {head} from {sender}"

    def _suspended(self) -> str:
        """Of a handler that had been in an await only the frame knows: the worker keeps no message."""
        tb = self.error.__traceback__
        for _ in range(2):  # the worker, and who steps the coroutine
            tb = None if tb is None else tb.tb_next
        if tb is None:
            return "a handler after an await"
        code = tb.tb_frame.f_code
        values = tb.tb_frame.f_locals
        given = tuple(values[name] for name in code.co_varnames[1 : code.co_argcount] if name in values)
        shown = ", ".join([render(value, 80) for value in given[:SHOWN]])
        return bounded(f"{code.co_qualname}({shown})", 400)


# --- who pays ------------------------------------------------------------------------------------


class Arguments(Lifecycle):
    """See the module's docstring. The scheduler is built on top of it."""

    handling: Handling | None = None

    def failed(self, record: Record[Any], error: BaseException, reply: Any, function: Any, args: Any) -> bool:
        """The pump has got an exception: the sender's fault, or a crash. False: draw no more of its messages now."""
        if type(error) is TypeError and function is not None:
            try:
                paid = self.sender_pays(record, error, reply, function, args)
            except (MemoryError, RecursionError):  # it cannot be told whose fault it is
                paid = False
            if paid:
                return record.control is None or self.attend(record)
        return self.crashed_in(record, error, reply, function, args)

    def crashed_in(
        self,
        record: Record[Any],
        error: BaseException,
        reply: Any,
        function: Any,
        args: Any,
        *,
        inline: bool = False,
        caller: Record[Any] | None = None,
    ) -> bool:
        """``crashed``, with what was being handled for its report."""
        before = self.handling
        try:
            self.handling = Handling(record, error, reply, function, args, inline, caller)
        except (MemoryError, RecursionError):
            self.handling = None
        try:
            return self.crashed(record, error, reply)
        finally:
            self.handling = before

    def bad_arguments(
        self, record: Record[Any], error: BaseException, function: Any, args: tuple[Any, ...]
    ) -> BadArguments | None:
        """What the sender of a message gets whose arguments do not fit; None: they are not why this was raised."""
        misfit = misfit_of(error, function, args)
        if misfit is None:
            return None
        innermost, callback = inspect.unwrap(plain(function)), record.kind
        for own in (callback.info, callback.init, callback.terminate):
            if own is not None and innermost is inspect.unwrap(own):
                return None  # the runtime calls it: the fault is the class's
        return BadArguments(
            f"cannot send {misfit.__qualname__} to {record.describe()}: {bounded(str(error), 300)}; "
            f"beside the method give {parameters_of(misfit)}"
        )

    def sender_pays(self, record: Record[Any], error: BaseException, reply: Any, function: Any, args: Any) -> bool:
        """Is it the sender's fault? Then it has been told when this returns."""
        if type(reply) is Starting:
            return False
        refusal = self.bad_arguments(record, error, function, args)
        if refusal is None:
            return False
        if reply is not None and reply.task is not None:
            reply.refuse(refusal)
            return True
        self.dead_letter(record, (function, args, None), DeadLetterReason.BAD_ARGUMENTS, bounded(str(error), 300))
        sender = sender_of(function) if reply is None else "a caller that has gone"
        if reply is None:
            record.kind.handlers.watch(plain(function))
        log.warning("dead letter: %s; it was %s, sent by %s", refusal, head_of(function, args), sender)
        return True
