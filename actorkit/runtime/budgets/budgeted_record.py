"""The record of an actor with a budget: what comes to it is sized and charged before it is queued.

An actor gets this class when it gets a budget (its record's ``__class__`` is changed), so that sending to the others
costs nothing more. A message that does not fit into what is left of the budget is treated as one that comes to a full
mailbox: refused, waiting, or in the place of the oldest, by the receiver's overflow policy. The runtime's own
messages are exempt, but charged. While a record has this class it has an account; with the budget, or the actor, the
class goes too, which may be in the middle of what is here: a look can end the actor. Hence ``Measured.method(self)``.

A message counts as if its sender let go of it right away; those that wait already count what they are: what several
mailboxes hold is nobody's own. Only a message that is larger than the whole budget is judged by who holds it now: it
can but be meant as shared, a table that is sent to many.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import MailboxFull
from ...heap.clock import ENVELOPE
from ..actor.calls import Reply, SenderWaiting, waits_for
from ..actor.context import Context
from ..actor.record import DEAD, IDLE, QUEUED, Message, Record
from ..life.process import ProcessContext
from .budget import contents

if TYPE_CHECKING:
    from .budget import Budget

__all__ = ["MeasuredContext", "MeasuredProcess"]


class Measured(Record[Any]):
    """See the module's docstring. Mixed into each kind of record."""

    __slots__ = ()

    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> bool:
        kind = self.kind
        try:
            function = kind.known[method]
        except (KeyError, TypeError):
            function = kind.checked_cast(method, args, kwargs)
        if kwargs:
            function = partial(function, **kwargs)
            kwargs.clear()  # it is not the sender's
            return self._enqueue((function, args, None))
        if self.inbox is None and not kind.scheduler.busy:
            kind.scheduler.home.check("cast to", self)  # before it is charged
        accepted = self.account.accept(self, function, args)
        if accepted:
            return True
        if accepted is None:  # it is the first
            if self.state == IDLE:
                self.state = QUEUED
                kind.runq.append(self)
                scheduler = kind.scheduler
                if not scheduler.busy:
                    scheduler.wake()
            return True
        return self._enqueue((function, args, None))

    def send(self, message: object, /) -> bool:
        if self.inbox is None and not self.kind.scheduler.busy:
            self.kind.scheduler.home.check("send to", self)
        arguments = (message,)
        del message  # our own variable is not the sender's
        accepted = self.account.accept(self, self.kind.info, arguments)
        if accepted:
            return True
        if accepted is None:
            if self.state == IDLE:
                self.make_ready()
            return True
        return self._enqueue((self.kind.info, arguments, None))

    def _enqueue(self, message: Message) -> bool:
        if self.state == IDLE:
            self.kind.scheduler.home.check("send to", self)
        full = self.mailbox_length >= self.kind.bound
        if full and self.kind.overflow != "drop_oldest":
            return self._overflow(message)  # it is not charged, since it does not come in
        if not self._fits(message):
            return Measured._overflow_of_heap(self, message)
        if full or self.state == DEAD:
            return self._overflow(message)
        super().post(message)
        return True

    def post(self, message: Message) -> None:
        self._charge(contents(message))
        super().post(message)

    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        if args and self.state == IDLE:  # inline: it is not queued
            self.kind.scheduler.home.check("call", self)
            self._charge(args)
        return super().call(method, *args, **kwargs)

    def _charge(self, arguments: tuple[Any, ...]) -> None:
        """It comes in, whether it fits or not."""
        account = self.account
        if not account.receive(arguments):
            account.charge(ENVELOPE + account.owner.size_of(arguments))

    # --- what does not fit --------------------------------------------------------------------

    def _fits(self, message: Message) -> bool:
        return self.account.receive(contents(message)) or self._squeezed_in(message)

    def _squeezed_in(self, message: Message) -> bool:
        """The bound says that it does not fit: does it, looked at closely?"""
        account = self.account
        arguments = contents(message)
        budget: Budget = account.owner
        size = ENVELOPE + budget.size_of(arguments)
        del arguments
        if not (account.measured and account.fits(size)):
            if not budget.admits(message, size):
                return False
            account.charge(size)
        return True

    def _overflow_of_heap(self, message: Message) -> bool:
        """The budget is full. True: accepted after all, or dropped by choice."""
        if self.state == DEAD:
            return self._refuse(message, "dead")
        budget: Budget = self.account.owner
        why = f"its heap is full: {budget.known:,} of {budget.limit.size:,} B"
        overflow = self.kind.overflow
        if overflow == "drop_oldest" and Measured._make_room(self, message):
            Record.post(self, message)
            return True
        self._refuse(message, why)
        return overflow == "drop_newest"

    def _make_room(self, message: Message) -> bool:
        """Drop the oldest messages until another one fits, and charge it. False: it does not, with nothing left to
        drop."""
        budget: Budget = self.account.owner
        size = ENVELOPE + budget.size_of(contents(message))
        freed = 0
        while True:
            oldest = self._take_oldest()
            if oldest is None:
                return False
            freed += ENVELOPE + budget.size_of(contents(oldest))
            self.kind.scheduler.dead_letter(self, oldest, "dropped as the oldest of a full heap")
            if oldest[2] is not None:
                oldest[2].refuse(MailboxFull(f"the call was dropped as the oldest in {self.describe()}'s full heap"))
            del oldest
            if freed >= size:
                if self.account is None:
                    return False
                if budget.admits(message, size):
                    self.account.charge(size)
                    return True
                freed = 0

    def _enqueue_call(self, message: Message, reply: Reply) -> None:
        if self._fits(message):
            super()._enqueue_call(message, reply)
            return
        caller = reply.caller
        if caller is not None and (self is caller or (self.pending is not None and waits_for(self, caller))):
            raise self._cycle(reply, caller)
        if self.kind.overflow == "wait" and self.state not in (IDLE, DEAD):
            reply.remember_caller()
            self.need_senders()[SenderWaiting.for_call(reply, self, message)] = None
        elif self.kind.overflow == "drop_oldest" and Measured._overflow_of_heap(self, message):
            reply.remember_caller()
        else:
            reply.discard()
            reply.forget_caller()
            raise self.heap_is_full("call")

    def heap_is_full(self, what: str) -> MailboxFull:
        budget: Budget = self.account.owner
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

    def send(self, message: object, /) -> bool:
        arguments = (message,)
        del message
        return self._enqueue((self.kind.info, arguments, None))

    def _overflow(self, message: Message) -> bool:
        accepted = super()._overflow(message)
        if accepted and self.state == IDLE:  # it waits for another kind of message
            self.make_ready()
        return accepted
