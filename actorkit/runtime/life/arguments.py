"""The caller pays: arguments that do not fit a handler are the fault of whoever sent them.

A message that fits pays nothing for this. Nothing is checked before a handler runs. When Python
cannot begin one, it raises TypeError, and the traceback ends in the runtime's own frame: no line of
the handler has run, so no state can be half changed. Only then does the runtime look closely. A
call raises ``BadArguments`` where it was made. A cast becomes a dead letter (``bad_arguments``),
with a warning. The receiver goes on with its next message. A TypeError that is raised *inside* a
handler is a crash, like any other error.

A handler under a decorator begins with the decorator's wrapper. It counts as not begun while only
wrappers have run (``functools.wraps`` tells which those are), and the innermost function is the one
that Python could not begin.

A cast does not carry its sender, since every message would pay for that. Two sorts of casts are
checked as they are sent, and so can name their sender: the first cast of each method to each kind
of actor, which has to look the handler up anyway, and every cast of a method that was once sent
wrongly. Only the first misfit after correct casts has no name to tell.
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
"""How many arguments of a message are shown."""
WRAPPED: Final = ("_terminate", "_carry_on")
"""The runtime's own messages whose first argument is what they run."""


# --- a message, as text --------------------------------------------------------------------------


def head_of(function: Any, args: tuple[Any, ...]) -> str:
    """A message as bounded text: the method, and the first of its arguments."""
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
        """A line of the report: the message, and of a request who made it."""
        try:
            return self._told()
        except Exception as error:  # users' values raised it: the report is worth more than this line
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
        """The message of a handler that has been in an await. Only its frame knows it."""
        tb = self.error.__traceback__
        for _ in range(2):  # the worker's frame, and that of whatever steps the coroutine
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
        """An exception has come out of a handler: settle it, as the sender's fault or as a crash.
        False: draw no more messages of this actor now."""
        if type(error) is TypeError and function is not None:
            try:
                paid = self.sender_pays(record, error, reply, function, args)
            except (MemoryError, RecursionError):  # nobody can tell whose fault it is
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
        """``crashed``, with the message at hand in its report."""
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
        """What the sender gets if the arguments do not fit; None: this has another cause."""
        misfit = misfit_of(error, function, args)
        if misfit is None:
            return None
        innermost, callback = inspect.unwrap(plain(function)), record.kind
        for own in (callback.info, callback.init, callback.terminate):
            if own is not None and innermost is inspect.unwrap(own):
                return None  # the runtime calls this one: the fault is the class's
        return BadArguments(
            f"cannot send {misfit.__qualname__} to {record.describe()}: {bounded(str(error), 300)}; "
            f"beside the method give {parameters_of(misfit)}"
        )

    def sender_pays(self, record: Record[Any], error: BaseException, reply: Any, function: Any, args: Any) -> bool:
        """Is it the sender's fault? Then the sender has been told when this returns."""
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
