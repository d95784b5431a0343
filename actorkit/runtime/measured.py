"""The record of an actor with a budget: what comes to it is sized and charged before it is queued.

An actor gets this class when it gets a budget (its record's ``__class__`` is changed), so that sending to the others
costs nothing more. A message that does not fit into what is left of the budget is treated as one that comes to a full
mailbox: refused, waiting, or in the place of the oldest, by the receiver's overflow policy. The runtime's own
messages are exempt, but charged.

A message counts as if its sender let go of it right away; those that wait already count what they are: what several
mailboxes hold is nobody's own. Only a message that is larger than the whole budget is judged by who holds it now: it
can but be meant as shared, a table that is sent to many.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import MailboxFull
from ..heap.walk import size_of
from .budgets import contents_of
from .calls import Reply, SenderWaiting
from .context import Context
from .process import ProcessContext
from .record import DEAD, IDLE, Message, Record

if TYPE_CHECKING:
    from .budgets import Budget

__all__ = ["MeasuredContext", "MeasuredProcess"]

ENVELOPE = 96
"""Bytes of a message's own tuple and its place in a queue."""


class Measured(Record[Any]):
    """See the module's docstring. Mixed into each kind of record."""

    __slots__ = ()

    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> bool:
        template = self.template
        try:
            function = template.known[method]
        except KeyError:
            function = template.handlers[method]
        if kwargs:
            message = (partial(function, **kwargs), args, None)
            kwargs.clear()
            return self._enqueue(message, size_of(*contents_of(message)))
        return self._enqueue((function, args, None), size_of(*args))

    def send(self, message: object, /) -> bool:
        size = size_of(message)
        arguments = (message,)
        del message  # our own variable is not the sender's
        return self._enqueue((self.template.info, arguments, None), size)

    def _enqueue(self, message: Message, size: int) -> bool:
        """As ``cast`` and ``send`` of an actor without a budget, once the bytes fit."""
        account = self.account
        if account is not None and not account.fits(size + ENVELOPE):
            if not account.owner.admits(message, size):
                return self._overflow_of_heap(message, size)
            if self.account is not None:
                account.charge(size + ENVELOPE)
        template = self.template
        inbox, outbox = self.inbox, self.outbox
        if inbox is None:
            state = self.state
            if state == DEAD or (outbox is not None and len(outbox) >= template.bound):
                return self._overflow(message)
            self.inbox = [message]
            if state == IDLE:
                self.make_ready()
            return True
        if len(inbox) + (0 if outbox is None else len(outbox)) >= template.bound:
            return self._overflow(message)
        inbox.append(message)
        return True

    def post(self, message: Message) -> None:
        account = self.account
        if account is not None:
            account.charge(ENVELOPE + size_of(*contents_of(message)))
        super().post(message)

    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        account = self.account
        if account is not None and args and self.state == IDLE:  # inline: it is not queued
            account.charge(size_of(*args))
        return super().call(method, *args, **kwargs)

    # --- what does not fit --------------------------------------------------------------------

    def _fits(self, message: Message) -> bool:
        account = self.account
        if account is None:
            return True
        size = ENVELOPE + size_of(*contents_of(message))
        if account.fits(size):
            return True
        if not account.owner.admits(message, size):
            return False
        account.charge(size)
        return True

    def _overflow_of_heap(self, message: Message, size: int) -> bool:
        """The budget is full. True: accepted after all, or dropped by choice."""
        if self.state == DEAD:
            return self._refuse(message, "dead")
        budget: Budget = self.account.owner
        why = f"its heap is full: {budget.known:,} of {budget.limit.size:,} B"
        overflow = self.template.overflow
        if overflow == "drop_oldest" and self._make_room(message, size):
            self.account.charge(size)
            if self.inbox is None:
                self.inbox = [message]
                if self.state == IDLE:
                    self.make_ready()
            else:
                self.inbox.append(message)
            return True
        self._refuse(message, why)
        return overflow == "drop_newest"

    def _make_room(self, message: Message, size: int) -> bool:
        """Drop the oldest messages until another one fits. False: it does not, with nothing left to drop."""
        freed = 0
        while True:
            oldest = self._take_oldest()
            if oldest is None:
                return False
            freed += ENVELOPE + size_of(*contents_of(oldest))
            self.template.scheduler.dead_letter(self, oldest, "dropped as the oldest of a full heap")
            if oldest[2] is not None:
                oldest[2].refuse(MailboxFull(f"the call was dropped as the oldest in {self.describe()}'s full heap"))
            del oldest
            if freed >= size:
                if self.account is None:
                    return False
                if self.account.owner.admits(message, size):
                    return True
                freed = 0

    def _enqueue_call(self, message: Message, reply: Reply) -> None:
        if self._fits(message):
            super()._enqueue_call(message, reply)
            return
        if self.template.overflow == "wait" and self.state != IDLE:
            reply.remember_caller()
            self.need_senders()[SenderWaiting.for_call(reply, self, message)] = None
        elif self.template.overflow == "drop_oldest" and self._overflow_of_heap(
            message, ENVELOPE + size_of(*contents_of(message))
        ):
            reply.remember_caller()
        else:
            reply.discard()
            reply.forget_caller()
            raise self.heap_is_full("call")

    def heap_is_full(self, what: str) -> MailboxFull:
        account = self.account
        if account is None:
            return MailboxFull(f"cannot {what} {self.describe()}: it is dead", target=self.describe())
        budget: Budget = account.owner
        return MailboxFull(
            f"cannot {what} {self.describe()}: it holds {budget.known:,} of the {budget.limit.size:,} B that "
            f"it may, with "
            f"{self.mailbox_length} messages waiting; send less, slow down, or raise its max_heap_size",
            target=self.describe(),
        )


class MeasuredContext(Measured, Context[Any]):
    """An actor's, with a budget."""

    __slots__ = ()


class MeasuredProcess(Measured, ProcessContext):
    """A process's, with a budget."""

    __slots__ = ()

    def _overflow(self, message: Message) -> bool:
        accepted = super()._overflow(message)
        if accepted and self.state == IDLE:  # it waits for another kind of message
            self.make_ready()
        return accepted
