"""The message that was being handled when a handler raised, as text for people."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ...reasons import bounded
from ..actor.fitting import sender_now
from ..actor.record import Record
from ..actor.reports import render

__all__ = ["Handling", "head_of"]

SHOWN: Final = 4
"""How many arguments of a message are shown."""
WRAPPED: Final = ("_terminate", "_carry_on")
"""The runtime's own messages whose first argument is what they run."""


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
        """A line of the report: the message, and for a request who made it."""
        try:
            return self._told()
        except Exception as error:  # users' values raised it: the report is worth more than this line
            return f"message: it could not be shown ({type(error).__qualname__})"

    def _told(self) -> str:
        head = self._suspended() if self.function is None else head_of(self.function, self.args)
        sender: str | None = None
        if self.inline:  # its caller's task is the one that runs
            sender = sender_now(self.caller)
        elif self.reply is not None:
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
