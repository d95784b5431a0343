"""Waiting: the pending reply of a call, a message that waits for room, deadlines, and cycles of
waiting.

1. A ``PendingReply`` sits in the newest of some twenty dicts; one timer rotates them and fails what
   is left in the oldest. So a deadline costs one insertion and one removal, no time stamp and no
   cancel scope. The timer sleeps while no call is pending.
2. The first answer wins: ``task`` is None from then on, and a late or second answer is dropped.
3. Every wait of an actor (for a reply, for room in a mailbox) hangs in the ``pending`` chain of its
   record. So who waits for whom is a graph that can be walked before a new wait begins: a wait that
   would close a cycle is refused (``waits_for``).

The two actors of a wait are known here as ``Party`` only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from trio.lowlevel import Abort, Task, reschedule

from ...errors import CalleeDied, CallError, CallTimeout
from ...reasons import ExitReason
from ..base.timers import Timers
from ..base.trio_internals import WAKE
from .envelope import Message
from .later import Answerer, Later
from .pid import Pid

__all__ = ["Deadlines", "Party", "PendingReply", "SenderWaiting", "Waiting", "waits_for"]


class Party(Answerer):
    """One of the two actors of a wait: what is asked of either. A record is one."""

    __slots__ = ("pending",)

    pending: Waiting | None
    """What it waits for: the newest wait, which leads to the others."""

    @property
    def pid(self) -> Pid:
        """Its identity, for messages."""
        raise NotImplementedError

    @property
    def started_as(self) -> str:
        """Its class and name, for messages."""
        raise NotImplementedError

    @property
    def mailbox_length(self) -> int:
        """How many messages wait in its mailbox."""
        raise NotImplementedError

    @property
    def may_receive_meanwhile(self) -> bool:
        """Has it tasks of its own, one of which may be receiving while another waits?"""
        raise NotImplementedError

    def describe(self) -> str:
        """Pid, class, name and state, for messages."""
        raise NotImplementedError

    def waits_no_more(self, sender: SenderWaiting) -> None:
        """``sender`` does not want to put its message into this mailbox any more."""
        raise NotImplementedError


class Waiting:
    """A link in the chain of what an actor waits for."""

    __slots__ = ("callee", "caller", "next", "task")

    task: Task | None
    """Who is woken; None: nobody, or not any more."""
    callee: Party
    """For whom it waits."""
    caller: Party | None
    """The actor that waits; None: a task of the host's, or an actor that does not count as
    waiting."""
    next: Waiting | None
    """The caller's next older wait."""

    def remember_caller(self) -> None:
        caller = self.caller
        if caller is not None:
            self.next = caller.pending
            caller.pending = self

    def forget_caller(self) -> None:
        caller = self.caller
        if caller is None:
            return
        self.caller = None
        if caller.pending is self:
            caller.pending = self.next
        else:
            link = caller.pending
            while link is not None and link.next is not self:
                link = link.next
            if link is not None:
                link.next = self.next
        self.next = None


class PendingReply(Waiting):
    """Somebody waits for an answer. See rules 1 and 2 above.

    ``bucket``: the dict of ``Deadlines`` that it is in. ``later``: from where its answer will come,
    or what waits for room in its place. ``value`` and ``error``: the answer.
    """

    __slots__ = ("bucket", "error", "later", "value")

    def __init__(
        self, task: Task, callee: Party, caller: Party | None, bucket: dict[PendingReply, None] | None = None
    ) -> None:
        self.task = task
        self.callee = callee
        self.caller = caller
        self.next = None
        self.bucket = bucket
        self.error: BaseException | None = None
        self.later: Later[Any] | SenderWaiting | None = None
        self.value: Any = None
        if bucket is not None:
            bucket[self] = None  # here, since a table that grows in this file is nobody's (see ``heap.clock``)

    def ok(self, value: Any) -> None:
        task = self.task
        if task is None:
            return
        if type(value) is Later:
            value._attach(self, self.callee)
            return
        self.task = None
        bucket = self.bucket
        if bucket is not None:
            bucket.pop(self, None)
        self.value = value
        reschedule(task, WAKE)

    def promised(self, later: Later[Any] | None) -> None:
        """The answer comes from ``later``; until then the callee is free, so this wait blocks
        nobody's turn."""
        self.later = later
        if later is not None and self.caller is not None:
            self.forget_caller()

    def fail(self, reason: ExitReason) -> None:
        """The callee ended, with ``reason``."""
        if self.task is not None:
            self.refuse(CalleeDied(self.callee.describe(), reason))

    def refuse(self, error: BaseException) -> None:
        task = self.task
        if task is not None:
            self.discard()
            self.error = error
            reschedule(task, WAKE)

    def expire(self, seconds: float) -> None:
        self.refuse(
            CallTimeout(
                f"to {self.callee.describe()} had no answer within {seconds:g} s "
                f"({self.callee.mailbox_length} messages in its mailbox); allow more with ref.within(seconds)",
                target=self.callee.describe(),
            )
        )

    def discard(self) -> None:
        """Nobody waits any more."""
        self.task = None
        if self.bucket is not None:
            self.bucket.pop(self, None)
        if self.later is not None:
            self.later._forget(self)
            self.later = None

    def abandoned(self) -> None:
        """It was never waited for: the call itself has failed, for want of memory or of stack."""
        self.discard()
        self.forget_caller()

    def abort(self, _: Callable[[], Any]) -> Abort:
        """The caller was cancelled; a late reply will be dropped."""
        self.discard()
        return Abort.SUCCEEDED


class SenderWaiting(Waiting):
    """A message that waits for room in a full mailbox, and its sender with it."""

    __slots__ = ("error", "message", "reply")

    def __init__(self, task: Task, callee: Party, caller: Party | None, message: Message) -> None:
        self.task = task
        self.callee = callee
        self.caller = caller
        self.next = None
        self.message: Message | None = message
        self.reply: PendingReply | None = None
        self.error: CallError | None = None
        self.remember_caller()

    @classmethod
    def for_call(cls, reply: PendingReply, callee: Party, message: Message) -> SenderWaiting:
        """A call waits for room: its sender parks on the reply, so there is nobody to wake here."""
        waiting = cls.__new__(cls)
        waiting.task = None
        waiting.callee = callee
        waiting.caller = None
        waiting.next = None
        waiting.message = message
        waiting.reply = reply
        waiting.error = None
        reply.later = waiting
        return waiting

    def admitted(self) -> bool:
        """There is room: is the message still wanted? Wakes its sender."""
        reply = self.reply
        if reply is not None:
            reply.later = None
            return reply.task is not None
        task = self.task
        if task is None:
            return False
        self.task = None
        reschedule(task, WAKE)
        return True

    def fail(self, reason: ExitReason) -> None:
        """The receiver ended first."""
        if self.reply is not None:
            self.reply.fail(reason)
        else:
            self.refuse(CalleeDied(self.callee.describe(), reason))

    def refuse(self, error: CallError) -> None:
        """It will never come in."""
        if self.reply is not None:
            self.reply.later = None
            self.reply.refuse(error)
            return
        task = self.task
        if task is not None:
            self.task = None
            self.error = error
            reschedule(task, WAKE)

    def abort(self, _: Callable[[], Any]) -> Abort:
        self.task = None
        self._forget(None)
        return Abort.SUCCEEDED

    def _forget(self, _: PendingReply | None) -> None:
        """Nobody wants it in any more: do not pin the message."""
        self.callee.waits_no_more(self)


def waits_for(callee: Party, caller: Party) -> bool:
    """Does ``callee`` wait for ``caller``, directly or through others, or is it the same?

    A process with tasks of its own is not followed: one of them may be receiving.
    """
    seen = {callee}
    todo = [callee]
    while todo:
        party = todo.pop()
        if party.may_receive_meanwhile:
            continue
        if party is caller:
            return True
        link = party.pending
        while link is not None:
            target = link.callee
            if target is caller:
                return True
            if target.pending is not None and target not in seen:
                seen.add(target)
                todo.append(target)
            link = link.next
    return False


class Deadlines:
    """The default deadline of calls; see rule 1."""

    BUCKETS: Final = 20

    def __init__(self, timers: Timers, seconds: float) -> None:
        self.timers = timers
        self.seconds = seconds
        self.armed = False
        self.newest: dict[PendingReply, None] = {}
        self.buckets: deque[dict[PendingReply, None]] = deque([{} for _ in range(self.BUCKETS)] + [self.newest])

    def arm(self) -> None:
        self.timers.after(self.seconds / self.BUCKETS, self._rotate)
        self.armed = True

    def _rotate(self) -> None:
        self.armed = False
        oldest = self.buckets.popleft()
        for reply in list(oldest):
            reply.expire(self.seconds)
        oldest.clear()
        self.newest = oldest
        self.buckets.append(oldest)
        if any(self.buckets):
            self.arm()

    @property
    def pending(self) -> int:
        """How many calls wait with the default deadline."""
        return sum(map(len, self.buckets))
