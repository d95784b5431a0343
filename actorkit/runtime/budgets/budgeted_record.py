"""The record of an actor with a budget: a message is sized and charged before it is queued.

A record gets its budgeted class (``BUDGETED``) with its budget, by a change of ``__class__``, so
that sending to other actors costs nothing more. While it has that class it has an account. It loses
both with the budget, or when it dies, and that may happen in the middle of a method here, since a
look can end the actor. So after a look (``message_fits``, ``admits``) only methods of the plain
record are called, and the account is asked for anew.

A message that does not fit into what is left of the budget is treated like one that comes to a full
mailbox. The receiver's overflow policy decides: the message is refused, waits, or takes the place
of the oldest. The runtime's own messages are charged but never refused.

A message counts as if its sender let go of it at once. Messages in mailboxes count as they are:
what several mailboxes hold is nobody's own. Only a message that is larger than the whole budget is
judged by who holds it now. Such a message is assumed to be shared: a table that is sent to many.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, TypeVar

from ...errors import MailboxFull
from ...heap.clock import ENVELOPE
from ..actor.dead_letters import DeadLetterReason
from ..actor.envelope import Message, Notice
from ..actor.mailbox import Mailbox, Shortage
from ..actor.record import Record, RecordEngine
from ..actor.states import DEAD, IDLE, QUEUED
from ..actor.waiting import PendingReply, waits_for
from ..base.timers import Timer
from .budget import Budget
from .holdings import contents

__all__ = ["BUDGETED", "PLAIN", "BudgetedRecord", "budgeted"]

B = TypeVar("B", bound="BudgetedRecord")


class BudgetedRecord(Record[Any]):
    """See the module's docstring. It is mixed into each kind of record."""

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
        if self.inbox is None and not kind.engine.busy:
            kind.engine.home.check("cast to", self)  # before it is charged
        accepted = self.account.accept(self, function, args)
        if accepted:
            return True
        if accepted is None:  # it is the first
            if self.state == IDLE:
                self.state = QUEUED
                kind.runq.append(self)
                engine = kind.engine
                if not engine.busy:
                    engine.wake()
            return True
        return self._enqueue((function, args, None))

    def send(self, message: object, /) -> bool:
        if self.inbox is None and not self.kind.engine.busy:
            self.kind.engine.home.check("send to", self)
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

    def cast_packed(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        kind = self.kind
        try:
            function = kind.known[method]
        except (KeyError, TypeError):
            function = kind.checked_cast(method, args, kwargs)
        if kwargs:
            function = partial(function, **kwargs)
            kwargs.clear()
        return self._enqueue((function, args, None))

    def send_packed(self, arguments: tuple[object]) -> bool:
        return self._enqueue((self.kind.info, arguments, None))

    def _enqueue(self, message: Message) -> bool:
        if self.state == IDLE:
            self.kind.engine.home.check("send to", self)
        full = self.mailbox_length >= self.kind.bound
        if full and self.kind.overflow != "drop_oldest":
            return self.overflow_mailbox(message)  # it does not come in, so it is not charged
        if not self.message_fits(message):
            return self.overflow_mailbox(message, BYTES)
        if full or self.state == DEAD:
            return self.overflow_mailbox(message)
        self.put_message(message)
        return True

    def post_notice(self, message: Message) -> None:
        self._charge(contents(message))
        self.put_message(message)

    def post_timed(self, arguments: tuple[object]) -> None:
        message = Notice((self.kind.info, arguments, None))
        if self.message_fits(message):
            self.put_message(message)
        else:
            self.overflow_mailbox(message, BYTES)

    def post_after(self, engine: RecordEngine, seconds: float, arguments: tuple[object]) -> Timer:
        if engine.current is self:  # what it sends itself is there already
            self._charge(arguments)
        else:
            message = Notice((self.kind.info, arguments, None))
            if not self.message_fits(message):
                dead = self.state == DEAD
                self.refuse_message(message, DeadLetterReason.DEAD if dead else BYTES.full, BYTES.details(self))
                return Timer.fired(engine.timers)
        return Record.post_after(self, engine, seconds, arguments)

    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        if args and self.state == IDLE:  # inline: it is not queued
            self.kind.engine.home.check("call", self)
            self._charge(args)
        return super().call(method, *args, **kwargs)

    def _charge(self, arguments: tuple[Any, ...]) -> None:
        """A message with these arguments comes in, whether it fits or not."""
        account = self.account
        if not account.receive(arguments):
            account.charge(ENVELOPE + account.owner.size_of(arguments))

    # --- what does not fit --------------------------------------------------------------------

    def message_fits(self, message: Message) -> bool:
        return self.account.receive(contents(message)) or self._squeezed_in(message)

    def _squeezed_in(self, message: Message) -> bool:
        """The bound says that the message might not fit: does it, when it is measured?"""
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

    def _enqueue_call(self, message: Message, reply: PendingReply) -> None:
        if self.message_fits(message):
            super()._enqueue_call(message, reply)
            return
        caller = reply.caller
        if caller is not None and (caller is self or (self.pending is not None and waits_for(self, caller))):
            raise self._cycle(reply, caller)
        reply.remember_caller()
        self.overflow_of_call(message, reply, BYTES)

    def heap_is_full(self, what: str) -> MailboxFull:
        return BYTES.error(self, what)


class _Bytes(Shortage):
    """A message finds too few bytes left in its receiver's budget. The shortage of places is
    ``mailbox``'s."""

    full = nothing_to_drop = dropped_newest = DeadLetterReason.HEAP_FULL
    dropped_oldest = DeadLetterReason.DROPPED_FOR_HEAP
    of = "heap"

    def details(self, mailbox: Mailbox) -> str:
        budget = budget_of(mailbox)
        if budget is None:
            return ""
        return f"{budget.rejected:,} B do not fit: {budget.known:,} of {budget.limit.size:,} B are used"

    def make_room(self, mailbox: Mailbox, message: Message) -> bool:
        """Drop the oldest messages until this one fits, and charge it. Nothing is dropped for a
        message that cannot fit even into an empty heap."""
        budget = budget_of(mailbox)
        if budget is None:
            return False
        size = ENVELOPE + budget.size_of(contents(message))
        wanted = size
        if size > budget.limit.size:  # what others hold of it does not count
            if budget.exceeded_by(message):
                return False
            wanted = budget.limit.size // 16  # not a look for each message
        freed = 0
        while True:
            oldest = mailbox.drop_oldest_message(self)
            if oldest is not None:
                freed += ENVELOPE + budget.size_of(contents(oldest))
            elif not freed:
                return False
            if freed >= wanted or oldest is None:
                del oldest
                if budget_of(mailbox) is None:
                    return False
                if budget.admits(message, size):
                    budget.account.charge(size)
                    return True
                freed = 0

    def error(self, mailbox: Mailbox, what: str) -> MailboxFull:
        budget = budget_of(mailbox)
        if budget is None:  # a look at its heap has ended it
            return Mailbox.heap_is_full(mailbox, what)
        return MailboxFull(
            f"cannot {what} {mailbox.describe()}: a message of {budget.rejected:,} B does not fit, since it holds "
            f"{budget.known:,} of the {budget.limit.size:,} B of its max_heap_size ({budget.shares()}); "
            "send less, slow down, or raise its max_heap_size",
            target=mailbox.describe(),
        )


BYTES: Final = _Bytes()


def budget_of(mailbox: Mailbox) -> Budget | None:
    """Its budget; None if a look has ended the actor meanwhile."""
    return None if mailbox.account is None else mailbox.account.owner


# --- which record becomes what -------------------------------------------------------------------

BUDGETED: Final[dict[type[Record[Any]], type[BudgetedRecord]]] = {}
"""What a plain record's class becomes with a budget. Each kind of record enters its own by
``budgeted``."""

PLAIN: Final[dict[type[Record[Any]], type[Record[Any]]]] = {}
"""The way back."""


def budgeted(cls: type[B]) -> type[B]:
    """Enter a class that mixes ``BudgetedRecord`` into one kind of record: that record becomes this
    one with a budget. The two must have the same slots."""
    _, plain = cls.__bases__
    BUDGETED[plain] = cls
    PLAIN[cls] = plain
    return cls
