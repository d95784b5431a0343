"""The sender pays: arguments that do not fit a handler are the fault of whoever sent them.

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
        reason: ExitReason | None = None,
    ) -> bool:
        """``crashed``, with the message at hand in its report. ``inline``: the handler ran in the
        task of ``caller``."""
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
