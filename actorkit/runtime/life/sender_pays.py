"""The sender pays: arguments that do not fit a handler are the fault of whoever sent them, and the
end of nobody.

How it works, at no cost to a message that fits. Nothing is checked before a handler runs. When
Python cannot begin one, it raises TypeError, and the traceback ends in the runtime's own frame: no
line of the handler has run, so no state can be half changed. Only then is it looked at closely. A
call gets ``BadArguments`` where it was made; a cast becomes a dead letter, with a warning; the
receiver goes on with its next message. A TypeError that is raised *inside* a handler is a crash,
like any other error.

A handler under a decorator has begun with the decorator's wrapper. It counts as not begun while
nothing but wrappers ran (``functools.wraps`` tells which those are) and it is the innermost
function that Python could not begin.

Whose cast was it? A cast does not carry its sender, since that would cost every message. The first
cast of each method to each kind of actor is checked where it is sent (it has to look the handler up
anyway), and so is every cast of a method that was once sent wrongly; those name their sender. Only
the first misfit after correct casts cannot.
"""

from __future__ import annotations

import inspect
from typing import Any

from ...errors import BadArguments
from ...log import log
from ...reasons import ExitReason, bounded
from ..actor.dead_letters import DeadLetterReason
from ..actor.fitting import misfit_of, parameters_of, plain, sender_of
from ..actor.record import Record
from .after_message import AfterMessage
from .handling import Handling, head_of
from .init_outcome import Starting
from .node_settings import NodeSettings

__all__ = ["SenderPays"]


class SenderPays(AfterMessage):
    """See the module's docstring."""

    def __init__(self, settings: NodeSettings, incarnation: int) -> None:
        super().__init__(settings, incarnation)
        #: The message whose handler has just raised.
        self.handling: Handling | None = None

    def failed(self, record: Record[Any], error: BaseException, reply: Any, function: Any, args: Any) -> bool:
        """The pump has got an exception: the sender's fault, or a crash. False: draw no more of its
        messages now."""
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
        reason: ExitReason | None = None,
    ) -> bool:
        """``crashed``, with what was being handled for its report. ``inline``: in the task of
        ``caller``."""
        before = self.handling
        try:
            asker = None if type(reply) is Starting else reply  # nobody has called ``init``
            self.handling = Handling(record, error, asker, function, args, inline, caller)
        except (MemoryError, RecursionError):
            self.handling = None
        try:
            return self.crashed(record, error, reply, reason)
        finally:
            self.handling = before

    def bad_arguments(
        self, record: Record[Any], error: BaseException, function: Any, args: tuple[Any, ...]
    ) -> BadArguments | None:
        """What the sender of a message gets whose arguments do not fit; None: they are not why this
        was raised."""
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
