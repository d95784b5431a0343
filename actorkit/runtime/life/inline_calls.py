"""Inline calls: what ``Record.call`` asks for when a callee has run in its caller's task.

A synchronous handler of an idle actor runs inside ``call``. Its crash is the callee's all the same,
and whatever it leaves open in its caller's task is closed. A loop of such calls must not keep
trio's other tasks waiting: when the pass has used up its slice, the caller waits for its next turn
(``turns``).
"""

from __future__ import annotations

from typing import Any

from trio.lowlevel import checkpoint

from ...errors import CalleeDied
from ...reasons import Crash
from ..actor.record import Record
from ..actor.states import IDLE
from ..base.trio_internals import fatal_leaf, is_fatal
from ..base.turns import Turns
from .node_settings import NodeSettings
from .sender_pays import SenderPays

__all__ = ["InlineCalls"]


class InlineCalls(SenderPays, Turns):
    """See the module's docstring."""

    def __init__(self, settings: NodeSettings, incarnation: int) -> None:
        super().__init__(settings, incarnation)
        Turns.__init__(self)
        self.slice_ns = int(settings.slice_seconds * 1e9)

    def inline_crash(self, callee: Record[Any], error: BaseException, function: Any, args: Any) -> BaseException:
        """A synchronous handler raised in its caller's task. Returns what the caller gets.

        The crash is the callee's, and the caller gets CalleeDied; KeyboardInterrupt and SystemExit
        it gets as they are. If the handler could not begin with the caller's arguments, that is the
        caller's fault alone.
        """
        if type(error) is TypeError:
            try:
                refusal = self.bad_arguments(callee, error, function, args)
            except MemoryError:  # it cannot be told whose fault it is
                refusal = None
            if refusal is not None:
                if callee.control is None and not callee.has_messages:
                    callee.state = IDLE
                else:
                    self.after_inline(callee)
                return refusal
        reason = self.reason_of(callee, error, 1)
        if self.crashed_in(callee, error, None, function, args, inline=True, caller=self.current, reason=reason):
            self.requeue(callee)
        if is_fatal(error):  # as through every other door; whoever called hears of it besides
            self.leave(error)
            return fatal_leaf(error)
        return CalleeDied(callee.describe(), reason, method=getattr(function, "__qualname__", ""))

    def left_scope_open(self, callee: Record[Any]) -> BaseException:
        """An inline handler left a scope open in its caller's task. Returns what the caller
        gets."""
        target = callee.describe()
        why = "its handler left a cancel scope open in its caller's task: leave it in the message that opened it"
        self.repairs += 1
        self.blame(callee, why)
        return CalleeDied(target, Crash("RuntimeError", why))

    def after_inline(self, callee: Record[Any]) -> None:
        """A message or a signal came while the callee ran."""
        if callee.control is None or self.attend(callee):
            self.requeue(callee)

    def received(self, value: object) -> None:
        """The current actor has got an answer: what nobody else holds of it counts as the actor's
        from now on."""
        current = self.current
        account = None if current is None else current.account
        if account is not None and not account.receive((value,)):
            account.charge(account.owner.size_of((value,)))

    async def checkpoint(self) -> None:
        """Let trio run others; raises Cancelled if the task is cancelled."""
        await checkpoint()
