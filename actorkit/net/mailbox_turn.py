"""A reader's turn in the mailbox of its actor, for when the actor is busy.

How it works. A connection's reader runs its actor's handlers in its own task when the actor is
idle. Otherwise it posts what is to be run into the mailbox, like a call without an answer, and
parks until that has been handled, or the actor has died.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio.lowlevel import Abort, Task, reschedule

from ..reasons import ExitReason
from ..runtime.actor.record import Record
from ..runtime.actor.states import DEAD
from ..runtime.base.trio_internals import WAKE, Trap, park

__all__ = ["run_by_mailbox"]


async def run_by_mailbox(record: Record[Any], task: Task, function: Any, args: tuple[Any, ...]) -> None:
    """Have the actor run ``function`` when it comes to it, and wait for that in ``task``, the
    current one."""
    while record.state != DEAD:
        turn = MailboxTurn(task)
        record.post_notice((function, args, turn))
        got = await park(Trap(turn.abort))
        if got is not WAKE:
            got.unwrap()
        if not turn.refused:
            return


class MailboxTurn:
    """A message of the reader's own. This takes the place of its caller."""

    __slots__ = ("caller", "later", "refused", "task")

    def __init__(self, task: Task) -> None:
        self.task: Task | None = task
        self.refused = False
        self.caller = None
        self.later = None

    def ok(self, value: object) -> None:
        task, self.task = self.task, None
        if task is not None:
            reschedule(task, WAKE)

    def fail(self, reason: ExitReason) -> None:
        self.ok(None)

    def refuse(self, error: Exception) -> None:
        """A full mailbox with ``drop_oldest`` threw it out. What the peer sent must not be dropped,
        so the reader asks again."""
        self.refused = True
        self.ok(None)

    def abort(self, _: Callable[[], Any]) -> Abort:
        self.task = None
        return Abort.SUCCEEDED
