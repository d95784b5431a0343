"""Giving up messages: what a node under memory pressure takes out of mailboxes.

Only messages that their methods declare sheddable, the oldest first (a newer position is worth more than an older one).
Nothing vanishes silently: every one is a dead letter, and whoever waits for its answer gets CallShed at once. Control
messages (Down, Exit, timers, ``init``) and plain sends are never touched.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from ...errors import CallShed
from ..actor.record import DEAD, IDLE, Message, Record

if TYPE_CHECKING:
    from ..life.lifecycle import Lifecycle

__all__ = ["Shed", "shed"]


@attrs.frozen
class Shed:
    """What was given up: how many messages, and about how many bytes (their arguments, one level deep)."""

    messages: int = 0
    bytes: int = 0

    def __add__(self, other: Shed) -> Shed:
        return Shed(self.messages + other.messages, self.bytes + other.bytes)


def shed(lifecycle: Lifecycle, record: Record[Any], wanted: int, why: str) -> Shed:
    """Take sheddable messages out of one mailbox until about ``wanted`` bytes are given up."""
    sheddable = record.kind.handlers.sheddable
    if record.state == DEAD or not sheddable:
        return Shed()
    taken: list[Message] = []
    size = 0
    for queue, order in ((record.outbox, -1), (record.inbox, 1)):
        if not queue or size >= wanted:
            continue
        kept: list[Message] = []
        for message in queue[::order]:
            if size < wanted and type(message) is tuple and _function(message) in sheddable:
                taken.append(message)
                size += _size(message)
            else:
                kept.append(message)
        queue[:] = kept[::order]
    if not taken:
        return Shed()
    if record.inbox is not None and not record.inbox:
        record.inbox = None
    for message in taken:
        lifecycle.dead_letter(record, message, why)
        reply = message[2]
        if reply is not None:
            reply.refuse(
                CallShed(
                    f"the call to {record.describe()} was given up before it was handled: {why}; try again later",
                    target=record.describe(),
                )
            )
    if record.relations is not None and record.relations.senders:
        record.admit_senders()
        if record.inbox is not None and record.state == IDLE:
            record.make_ready()
    return Shed(len(taken), size)


def _function(message: Message) -> Any:
    function = message[0]
    while isinstance(function, partial):
        function = function.func
    return function


def _size(message: Message) -> int:
    size = 0
    for part in (message, *message[1]):
        try:
            size += sys.getsizeof(part)
        except BaseException:  # of a __sizeof__ of the user's: it decides nothing
            pass
    return size
