"""Mailbox: what waits for an actor, and what happens when there is no room for more.

**Storage.** Two lists, both None while empty, so an empty mailbox costs nothing. Senders append to
``inbox``. Whoever runs the actor takes it whole, reversed, as ``outbox`` and pops from its end. So
the order of arrival is: ``outbox`` from its end to its beginning, then ``inbox`` from its
beginning. ``inbox`` is never an empty list, since the pump takes only None for empty; ``outbox``
may be one until somebody looks. Nobody but this file knows that, with these exceptions for speed,
each of which says so: ``Record.cast``, ``Record.send``, ``CallDoor.call``; the pump
(``life.pump``); a plain birth and an end (``die``); a budgeted record's ``cast`` and ``send``, and
``accept`` of its account, which is C; a census of heaps (``budgets.holdings.held_by``).

**Bound.** ``kind.bound`` messages may wait. The runtime's own (``Notice``) are never refused or
dropped.

**Overflow.** What happens to a message that finds no room is the receiver's choice
(``kind.overflow``):

===============  =============================================  ================================
policy           a cast or send                                 a call
===============  =============================================  ================================
``reject``       is refused: False                              raises MailboxFull
``wait``         is refused: False                              waits for room
``drop_oldest``  is accepted; the oldest becomes a dead letter  is accepted, as a cast
``drop_newest``  becomes a dead letter: True                    raises MailboxFull
===============  =============================================  ================================

``send_wait`` and ``cast_wait`` wait for room whatever the policy is. What there is too little of is
a ``Shortage``: places here, bytes for an actor with a budget. The table holds for both. Every
message that is lost is a dead letter, with a reason (``dead_letters``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from trio.lowlevel import Task

from ...errors import CallCycle, CalleeDied, MailboxFull
from ...heap import clock
from ...reasons import NOPROC
from ..base.activations import way_in
from ..base.trio_internals import WAKE, Trap, caller_is_cancelled, park
from .actor_kind import ActorKind
from .dead_letters import DeadLetterReason
from .envelope import Continuation, FirstMessage, Message, is_sent
from .relations import Relations
from .states import DEAD, IDLE
from .waiting import Party, PendingReply, SenderWaiting, waits_for

__all__ = ["PLACES", "Detached", "Mailbox", "Shortage", "newest_first"]


class Shortage:
    """What a message finds too little of: here, places in the mailbox. See the module's
    docstring."""

    full: DeadLetterReason = DeadLetterReason.MAILBOX_FULL
    nothing_to_drop: DeadLetterReason = DeadLetterReason.FULL_OF_NOTICES
    dropped_newest: DeadLetterReason = DeadLetterReason.DROPPED_NEWEST
    dropped_oldest: DeadLetterReason = DeadLetterReason.DROPPED_OLDEST
    of: str = "mailbox"
    """What is full, for messages."""

    def details(self, mailbox: Mailbox) -> str:
        """How full it is, for the dead letter."""
        return ""

    def make_room(self, mailbox: Mailbox, message: Message) -> bool:
        """Drop the oldest messages until ``message`` fits. False: it does not, and nothing is left
        to drop."""
        return mailbox.drop_oldest_message(self) is not None

    def error(self, mailbox: Mailbox, what: str) -> MailboxFull:
        """What the sender of a call gets."""
        return MailboxFull(
            f"cannot {what} {mailbox.describe()}: its mailbox holds {mailbox.mailbox_length} of "
            f"{mailbox.kind.bound:g} messages; "
            "slow down, raise .with_(mailbox=…), or choose overflow='wait'",
            target=mailbox.describe(),
        )


PLACES: Final = Shortage()

Detached = tuple[list[Message] | None, list[Message] | None]
"""What a mailbox held whose actor has ended."""


class Mailbox(Party):
    """The mailbox of one actor: the first part of its record. See the module's docstring.

    A record is also the ref that users hold, and they forget ``ref.cast``. So no method here has a
    name that a user's message is likely to have: ``ref.put(job)`` must raise AttributeError.
    """

    __slots__ = ("account", "inbox", "kind", "outbox", "relations", "state")

    # The record sets these, in one constructor: a birth is on the hot path too.

    kind: ActorKind[Any]
    """Its bound, its policy, its engine."""
    state: int
    """See ``states``."""
    inbox: list[Message] | None
    outbox: list[Message] | None
    relations: Relations[Any] | None
    """Among them those who wait for room."""
    account: Any
    """What counts the memory of an actor with a budget, its messages too; else None."""

    # What the record adds.

    def make_ready(self) -> None:
        """This idle actor has something to do: see that it is run."""
        raise NotImplementedError

    def task_of_sender(self, what: str) -> Task:
        """The task that asks something of this actor. Raises if it is none of the node's trio
        run."""
        raise NotImplementedError

    def need_relations(self) -> Relations[Any]:
        """Its relations, made on first use."""
        raise NotImplementedError

    def message_fits(self, message: Message) -> bool:
        """May it come in, whatever the number of messages? Without a budget anything may."""
        return True

    def heap_is_full(self, what: str) -> MailboxFull:
        """The error of a sender whose message does not fit into the receiver's budget. This one has
        none: a look at its heap has ended it."""
        return MailboxFull(f"cannot {what} {self.describe()}: it is dead", target=self.describe())

    # --- looking ------------------------------------------------------------------------------

    @property
    def mailbox_length(self) -> int:
        """Messages that wait, exactly."""
        return (0 if self.inbox is None else len(self.inbox)) + (0 if self.outbox is None else len(self.outbox))

    @property
    def has_messages(self) -> bool:
        """Does any message wait?"""
        return bool(self.inbox or self.outbox)

    def message_queues(self) -> list[list[Message]]:
        """The lists that have messages in them, for whoever measures what an actor holds. They stay
        the mailbox's."""
        return [queue for queue in (self.inbox, self.outbox) if queue]

    def next_in_mailbox(self) -> Message | None:
        """The message that is handled next. It stays where it is."""
        if self.outbox:
            return self.outbox[-1]
        return self.inbox[0] if self.inbox else None

    @property
    def in_the_middle(self) -> bool:
        """Is the next message ``init``, or more of the message before? Then a stop waits, and so do
        the system's requests (as in OTP, where they are messages, and a server handles those after
        init and handle_continue)."""
        message = self.next_in_mailbox()
        return type(message) is Continuation or type(message) is FirstMessage

    def validate_mailbox(self) -> None:
        """Raise AssertionError if a rule of the storage is broken. For tests."""
        assert self.inbox is None or self.inbox, f"{self.describe()} has an empty inbox"
        assert self.state != IDLE or self.kind.process or not self.has_messages, f"{self.describe()} is idle"
        assert self.state != DEAD or not self.has_messages, f"{self.describe()} has messages"

    # --- putting ------------------------------------------------------------------------------

    def put_message(self, message: Message) -> None:
        """Add what has been accepted, and see that it is handled. No bound applies."""
        if self.state == DEAD:
            self.refuse_message(message, DeadLetterReason.DEAD)
        elif self.inbox is None:
            if self.state == IDLE:
                self.make_ready()
            self.inbox = [message]
        else:
            self.inbox.append(message)

    def put_first_message(self, message: FirstMessage) -> None:
        """Add it before what the actor has sent to itself. Nothing has been taken yet, and nobody
        is woken."""
        self.inbox = [message, *(self.inbox or ())]

    def put_next_message(self, message: Message) -> None:
        """Make it the next message. Nobody is woken."""
        if self.outbox is None:
            self.outbox = [message]
        else:
            self.outbox.append(message)

    def _enqueue_call(self, message: Message, reply: PendingReply) -> None:
        """Queue a call, or fail it at once. The caller parks on ``reply`` next."""
        caller = reply.caller
        if caller is not None:
            if caller is self or (self.pending is not None and waits_for(self, caller)):
                raise self._cycle(reply, caller)
            reply.remember_caller()
        kind = self.kind
        inbox = self.inbox  # put_message, written out
        if inbox is None:
            if self.state == IDLE:
                self.make_ready()
                self.inbox = [message]
                return
            if self.mailbox_length < kind.bound:
                self.inbox = [message]
                return
        elif self.mailbox_length < kind.bound:
            inbox.append(message)
            return
        self.overflow_of_call(message, reply)

    def _cycle(self, reply: PendingReply, caller: Party) -> CallCycle:
        """The error of a caller that this actor waits for."""
        reply.discard()
        return CallCycle(
            f"{caller.describe()} called itself: the answer would never come; call the method directly, or cast"
            if caller is self
            else f"{caller.describe()} cannot call {self.describe()}, which waits for it: the answer would never "
            "come; use cast, or answer with ak.Later",
            target=self.describe(),
        )

    # --- taking -------------------------------------------------------------------------------

    def take_oldest_message(self) -> Message | None:
        """Remove the oldest message that somebody has sent."""
        outbox, inbox = self.outbox or [], self.inbox or []
        for index in range(len(outbox) - 1, -1, -1):
            if is_sent(outbox[index]):
                return outbox.pop(index)
        for index, message in enumerate(inbox):
            if is_sent(message):
                del inbox[index]
                if not inbox:
                    self.inbox = None
                return message
        return None

    def remove_messages(self, unwanted: Callable[[Message], bool]) -> list[Message]:
        """Remove the messages for which ``unwanted`` holds; it is asked in the order of their
        arrival. Returns them in that order. Call ``refill_mailbox`` when they have been dealt
        with."""
        removed: list[Message] = []
        for queue, order in ((self.outbox, -1), (self.inbox, 1)):
            if queue:
                kept: list[Message] = []
                for message in queue[::order]:
                    (removed if unwanted(message) else kept).append(message)
                queue[:] = kept[::order]  # in place: the pump may hold this very list
        if self.inbox is not None and not self.inbox:
            self.inbox = None
        return removed

    def refill_mailbox(self) -> None:
        """Messages have been taken out of the middle: let in those who wait for room."""
        if self.relations is not None and self.relations.senders:
            self.admit_senders()
            if self.inbox is not None and self.state == IDLE:
                self.make_ready()

    def rewrite_messages(self, change: Callable[[Message], Message]) -> None:
        """Put ``change(message)`` in the place of each message."""
        for queue in (self.inbox, self.outbox):
            if queue:
                queue[:] = map(change, queue)

    def goes_idle(self) -> bool:
        """The message at hand is done. Let in those who wait for room if that was the last one;
        True: nothing is left to handle."""
        if self.outbox:
            return False
        if self.relations is not None and self.relations.senders:
            self.admit_senders()
        if self.inbox is not None:
            return False
        self.outbox = None
        return True

    def detach_messages(self) -> Detached | None:
        """Empty the mailbox of an actor that ends: what was in it, for ``newest_first``; None:
        nothing."""
        detached = (self.inbox, self.outbox) if self.inbox or self.outbox else None
        self.inbox = self.outbox = None
        return detached

    # --- selective receive: a process has looked at what is in its outbox ------------------------

    def gather_messages(self) -> bool:
        """Put what has arrived behind what is left. True: there is something."""
        inbox = self.inbox
        if inbox is not None:
            self.inbox = None
            inbox.reverse()
            self.outbox = inbox + self.outbox if self.outbox else inbox
        if self.outbox:
            return True
        self.outbox = None
        return False

    @property
    def gathered(self) -> int:
        """How many messages ``gather_messages`` has put in order and nobody has taken."""
        return len(self.outbox) if self.outbox else 0

    @property
    def has_arrivals(self) -> bool:
        """Has anything come since ``gather_messages``?"""
        return self.inbox is not None

    @way_in
    def find_message(self, test: Callable[[Any], object] | None, refused: int) -> Message | None:
        """Take the oldest gathered message that passes ``test``, behind the ``refused`` oldest;
        None: there is none. Without a test, the oldest. The test is the user's, and may itself take
        messages: then it begins anew."""
        queue = self.outbox
        if queue and test is None:
            message = queue.pop()
            if not queue:
                self.outbox = None
            return message
        while queue and test is not None:
            size = len(queue)
            for index in range(size - 1 - refused, -1, -1):
                passes = test(queue[index][1][0])
                if self.outbox is not queue or len(queue) != size:
                    queue = self.outbox
                    refused = 0
                    break
                if passes:
                    message = queue.pop(index)
                    if not queue:
                        self.outbox = None
                    return message
            else:
                return None
        return None

    # --- no room ------------------------------------------------------------------------------

    def overflow_mailbox(self, message: Message, shortage: Shortage = PLACES) -> bool:
        """A cast or send finds no room, or nobody. True: accepted after all, or dropped by a policy
        that does not trouble the sender."""
        if self.state == DEAD:
            return self.refuse_message(message, DeadLetterReason.DEAD)
        policy = self.kind.overflow
        if policy == "drop_oldest":
            if shortage.make_room(self, message):
                self.put_message(message)
                return True
            reason, newest = shortage.nothing_to_drop, False
        else:
            newest = policy == "drop_newest"
            reason = shortage.dropped_newest if newest else shortage.full
        # Only for those who listen: in a flood the text would cost more than the refusal.
        self.refuse_message(message, reason, shortage.details(self) if self.kind.engine.events.listened else "")
        return newest

    def overflow_of_call(self, message: Message, reply: PendingReply, shortage: Shortage = PLACES) -> None:
        """A call finds no room. Its caller parks on ``reply``, unless this raises MailboxFull."""
        policy = self.kind.overflow
        if policy == "wait" and self.state not in (IDLE, DEAD):
            self.need_senders()[SenderWaiting.for_call(reply, self, message)] = None
        elif policy != "drop_oldest" or not self.overflow_mailbox(message, shortage):
            reply.discard()
            reply.forget_caller()
            raise shortage.error(self, "call")

    def drop_oldest_message(self, shortage: Shortage) -> Message | None:
        """Give up the oldest message that may be dropped; returns it."""
        oldest = self.take_oldest_message()
        if oldest is not None:
            self.kind.engine.dead_letter(self, oldest, shortage.dropped_oldest)
            if oldest[2] is not None:
                oldest[2].refuse(
                    MailboxFull(f"the call was dropped as the oldest of {self.describe()}'s full {shortage.of}")
                )
        return oldest

    def refuse_message(self, message: Message, reason: DeadLetterReason, details: str = "") -> bool:
        """It is a dead letter. Returns False, what its sender gets."""
        self.kind.engine.dead_letter(self, message, reason, details)
        return False

    # --- those who wait for room ----------------------------------------------------------------

    def need_senders(self) -> dict[SenderWaiting, None]:
        """Who waits for room, in the order of their coming; made on first use."""
        relations = self.need_relations()
        if relations.senders is None:
            relations.senders = {}
        return relations.senders

    def waits_no_more(self, sender: SenderWaiting) -> None:
        """``sender`` does not want its message in any more."""
        relations = self.relations
        if relations is not None and relations.senders is not None:
            relations.senders.pop(sender, None)

    def _has_room(self) -> bool:
        return self.mailbox_length < self.kind.bound and not (self.relations is not None and self.relations.senders)

    async def wait_for_room(self, message: Message) -> None:
        """Put ``message`` in as soon as there is room. Raises CalleeDied, CallCycle, MailboxFull.

        A suspended frame must hold no reference to the message, or the walk counts it as the
        sender's: so no variable holds it, or its arguments, across an await, here or in the
        callers.
        """
        engine = self.kind.engine
        task = self.task_of_sender("send to")
        if caller_is_cancelled(task, engine.features):
            await engine.checkpoint()
        if self.state == DEAD:
            del message
            await engine.checkpoint()  # a loop of attempts must let others run
            raise CalleeDied(self.describe(), NOPROC)
        if self._has_room():
            if self.message_fits(message):
                self.put_message(message)
                del message
                await engine.yield_if_due(task)
                return
            if self.state in (IDLE, DEAD):
                raise self.heap_is_full("send to")
        caller = engine.current
        if caller is not None and waits_for(self, caller):
            raise CallCycle(
                f"{caller.describe()} cannot wait for room in the mailbox of {self.describe()}, which waits for it: "
                "neither would ever drain; use send() and handle its refusal, or a larger mailbox",
                target=self.describe(),
            )
        waiting = SenderWaiting(task, self, caller, message)
        del message
        self.need_senders()[waiting] = None
        got = await park(Trap(waiting.abort))
        waiting.forget_caller()
        if got is not WAKE:
            got.unwrap()
        if waiting.error is not None:
            raise waiting.error

    def admit_senders(self) -> None:
        """There may be room: move in those who wait for it, in their order. Nobody is woken but
        they."""
        relations = self.relations
        senders = None if relations is None else relations.senders
        if senders is None:
            return
        room = self.kind.bound - self.mailbox_length
        while room > 0 and senders:
            waiting = next(iter(senders))
            message = waiting.message
            assert message is not None
            if not self.message_fits(message):
                if self.mailbox_length:
                    return
                del senders[waiting]
                waiting.refuse(self.heap_is_full("send to"))
                continue
            del senders[waiting]
            if waiting.admitted():
                room -= 1
                waiting.message = None
                if self.inbox is None:
                    self.inbox = [message]
                else:
                    self.inbox.append(message)


def newest_first(detached: Detached) -> tuple[Message, ...]:
    """The messages that ``detach_messages`` has taken out."""
    inbox, outbox = detached
    return (*reversed(inbox or ()), *(outbox or ()))


clock.deliver_to("inbox", "outbox")  # ``accept`` of an account, which is C, knows these slots from here
