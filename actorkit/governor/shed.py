"""Shedding: a node that is short of memory gives up messages that wait in mailboxes.

Only messages whose method is declared sheddable are given up. The least important actors lose
theirs first. Within a mailbox the oldest message goes first, since a newer position is worth more
than an older one.

Nothing vanishes silently. Each message that is given up is a dead letter, and a caller that waits
for its answer gets CallShed at once. The runtime's own messages (Down, Exit, timers, ``init``) and
plain sends are never touched.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import attrs

from ..errors import CallShed
from ..runtime.actor.dead_letters import DeadLetterReason
from ..runtime.actor.envelope import Message, function_of, is_sent
from ..runtime.actor.record import Record
from ..runtime.actor.states import DEAD

__all__ = ["Shed", "shed", "shed_mailboxes"]


@attrs.frozen
class Shed:
    """What was given up: the number of messages, and about how many bytes (their arguments, one
    level deep)."""

    messages: int = 0
    bytes: int = 0

    def __add__(self, other: Shed) -> Shed:
        return Shed(self.messages + other.messages, self.bytes + other.bytes)


def shed_mailboxes(records: Iterable[Record[Any]], wanted: int, why: str) -> Shed:
    """Give up messages of about ``wanted`` bytes in the mailboxes of these actors: those of LOW
    actors before those of NORMAL ones, and so on. Of equally important actors the one with the
    longest mailbox comes first."""
    full = [record for record in records if record.kind.handlers.sheddable and record.has_messages]
    full.sort(key=lambda record: (record.memory_priority, -record.mailbox_length))
    given_up = Shed()
    for record in full:
        if given_up.bytes >= wanted:
            break
        given_up += shed(record, wanted - given_up.bytes, why)
    return given_up


def shed(record: Record[Any], wanted: int, why: str) -> Shed:
    """Take sheddable messages of about ``wanted`` bytes out of one mailbox."""
    sheddable = record.kind.handlers.sheddable
    if record.state == DEAD or not sheddable:
        return Shed()
    size = 0

    def given_up(message: Message) -> bool:
        nonlocal size
        if size >= wanted or not is_sent(message) or function_of(message) not in sheddable:
            return False
        size += _size(message)
        return True

    taken = record.remove_messages(given_up)
    for message in taken:
        record.engine.dead_letter(record, message, DeadLetterReason.SHED, why)
        reply = message[2]
        if reply is not None:
            reply.refuse(
                CallShed(
                    f"the call to {record.describe()} was given up before it was handled: {why}; try again later",
                    target=record.describe(),
                )
            )
    if taken:
        record.refill_mailbox()
    return Shed(len(taken), size)


def _size(message: Message) -> int:
    size = 0
    for part in (message, *message[1]):
        try:
            size += sys.getsizeof(part)
        except BaseException:  # a user's __sizeof__ raised: it decides nothing
            pass
    return size
