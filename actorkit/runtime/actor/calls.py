"""Calls that wait: the pending reply, its deadline, answers that come later, and cycles of waiting.

1. A pending ``Reply`` sits in the newest of some twenty dicts; one timer rotates them and fails what is left in the
   oldest. A deadline so costs one insertion and one removal, no time stamp and no cancel scope. The timer sleeps while
   no call is pending.
2. Whoever answers first wins: ``task`` is None from then on, and a late or second answer is dropped.
3. Every wait of an actor (for a reply, for room in a mailbox) hangs in the ``pending`` chain of its record. Who waits
   for whom is so a graph that can be walked before a new wait begins: a wait that would close a cycle is refused
   (``waits_for``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from trio.lowlevel import Abort, Task, reschedule

from ...errors import CalleeDied, CallError, CallTimeout
from ...reasons import ExitReason, shown
from ..base.trio_internals import WAKE

if TYPE_CHECKING:
    from ..base.timers import Timers
    from .record import Message, Record

__all__ = ["Deadlines", "Later", "Reply", "SenderWaiting", "waits_for"]

T = TypeVar("T")


class Waiting:
    """A link in the chain of what an actor waits for."""

    __slots__ = ("callee", "caller", "next", "task")

    task: Task | None
    callee: Record[Any]
    caller: Record[Any] | None
    next: Waiting | None

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


class Reply(Waiting):
    """Somebody waits for an answer. See rules 1 and 2 above."""

    __slots__ = ("bucket", "error", "later", "value")

    def __init__(self, task: Task, callee: Record[Any], caller: Record[Any] | None) -> None:
        self.task = task
        self.callee = callee
        self.caller = caller
        self.next = None
        self.bucket: dict[Reply, None] | None = None
        self.error: BaseException | None = None
        self.later: Later[Any] | SenderWaiting | None = None
        self.value: Any = None

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

    def __init__(self, task: Task, callee: Record[Any], caller: Record[Any] | None, message: Message) -> None:
        self.task = task
        self.callee = callee
        self.caller = caller
        self.next = None
        self.message: Message | None = message
        self.reply: Reply | None = None
        self.error: CallError | None = None
        self.remember_caller()

    @classmethod
    def for_call(cls, reply: Reply, callee: Record[Any], message: Message) -> SenderWaiting:
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

    def _forget(self, _: Reply | None) -> None:
        """Nobody wants it in any more: do not pin the message."""
        relations = self.callee.relations
        if relations is not None and relations.senders is not None:
            relations.senders.pop(self, None)


def waits_for(callee: Record[Any], caller: Record[Any]) -> bool:
    """Does ``callee`` wait for ``caller``, directly or through others, or is it the same?

    A process with tasks of its own is not followed: one of them may be receiving.
    """
    seen = {callee}
    todo = [callee]
    while todo:
        record = todo.pop()
        if record.kind.process and record.relations is not None and record.relations.kids:
            continue
        if record is caller:
            return True
        link = record.pending
        while link is not None:
            target = link.callee
            if target is caller:
                return True
            if target.pending is not None and target not in seen:
                seen.add(target)
                todo.append(target)
            link = link.next
    return False


class Later(Generic[T]):
    """An answer that comes later, from wherever it is ready. Return it from a ``@ak.call`` method; the caller gets
    ``T``.

    Use it to answer from another message, task or actor without blocking this one. The caller's deadline goes on; if
    this actor ends first, the caller gets CalleeDied. The first answer counts, others are dropped. One ``Later`` may be
    returned to several callers: all get its answer.

    Source: gen_server:reply/2 after ``{noreply, State}``.

    Example::

        @ak.call
        def next_job(self) -> ak.Later[Job]:
            answer = ak.Later[Job]()
            self.waiting.append(answer)         # … and in another message: answer.set(job)
            return answer
    """

    __slots__ = ("_done", "_error", "_replies", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._replies: dict[Any, Record[Any]] | None = None

    @property
    def wanted(self) -> bool:
        """Is somebody still waiting? False when answered, timed out, or the caller was cancelled."""
        return not self._done and (self._replies is None or bool(self._replies))

    def set(self, value: T) -> None:
        """Answer with ``value``. Raises TypeError for this very Later: it would never be answered."""
        if value is self:
            raise TypeError("cannot answer a Later with itself: nobody would ever be answered")
        if not self._done:
            self._check()
            self._value = value
            self._done = True
            self._settle()

    def fail(self, error: Exception) -> None:
        """Answer by raising ``error`` in the caller. It should hold plain data: it is handed over as it is. Raises
        TypeError for what is no Exception: only that can be raised there, and ends nobody but its caller."""
        if not isinstance(error, Exception):
            raise TypeError(f"cannot answer with {shown(error, 100)}: fail takes an Exception, which the caller gets")
        if not self._done:
            self._check()
            self._error = error
            self._done = True
            self._settle()

    def _check(self) -> None:
        """Somebody waits already: answering reschedules a task."""
        for owner in (self._replies or {}).values():
            owner.kind.scheduler.home.check("answer a call to", owner)
            return

    def _attach(self, reply: Any, owner: Record[Any]) -> None:
        """``owner`` has returned this as its answer to ``reply``, whose caller is parked, or will be if this is not
        done yet."""
        if self._done:
            self._answer(reply)
        elif owner.alive:
            replies = self._replies
            if replies is None:
                replies = self._replies = {}
            replies[reply] = owner
            reply.later = self
            if reply.caller is not None:
                reply.forget_caller()  # the callee is free, so waiting for it blocks nobody's turn
            relations = owner.need_relations()
            if relations.deferred is None:
                relations.deferred = {}
            relations.deferred[reply] = None
        else:
            reply.fail(owner.kind.scheduler.last_reason)

    def _settle(self) -> None:
        for reply in list(self._replies or ()):
            self._forget(reply)
            reply.later = None
            self._answer(reply)

    def _answer(self, reply: Any) -> None:
        if self._error is not None:
            reply.refuse(self._error)
        else:
            reply.ok(self._value)

    def _forget(self, reply: Any) -> None:
        owner = self._replies.pop(reply, None) if self._replies is not None else None
        if owner is not None and owner.relations is not None and owner.relations.deferred is not None:
            owner.relations.deferred.pop(reply, None)


class Deadlines:
    """The default deadline of calls; see rule 1."""

    BUCKETS: Final = 20

    def __init__(self, timers: Timers, seconds: float) -> None:
        self.timers = timers
        self.seconds = seconds
        self.armed = False
        self.newest: dict[Reply, None] = {}
        self.buckets: deque[dict[Reply, None]] = deque([{} for _ in range(self.BUCKETS)] + [self.newest])

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
