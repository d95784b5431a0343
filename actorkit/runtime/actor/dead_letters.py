"""Why a message is a dead letter: all the reasons there are.

``DeadLetter.reason`` is one of these, for programs; ``DeadLetter.why`` is its ``text``, for people,
with the details of the case.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["DeadLetterReason"]


class DeadLetterReason(StrEnum):
    """Why nobody will handle a message.

    A value is a short text, or an identifier ("dead", "bad_arguments", "shed"). Programs compare
    members; people read ``text``.
    """

    DEAD = "dead"
    """Its receiver was dead when it was sent."""
    RECEIVER_ENDED = "its receiver ended first"
    """It was in the mailbox when its receiver ended."""
    NO_SUCH_NAME = "no actor has this name"
    """It was sent to a name, a key or a partition that leads to nobody."""
    MAILBOX_FULL = "mailbox full"
    """The mailbox is at its bound, and the receiver's policy is to refuse."""
    FULL_OF_NOTICES = "mailbox full of notices"
    """The policy is ``drop_oldest``, and nothing that waits may be dropped."""
    DROPPED_NEWEST = "dropped as the newest of a full mailbox"
    """The policy is ``drop_newest``."""
    DROPPED_OLDEST = "dropped as the oldest of a full mailbox"
    """The policy is ``drop_oldest``: a newer message has taken its place."""
    HEAP_FULL = "its heap is full"
    """It does not fit into what is left of the receiver's memory budget, and was not kept: the
    policy is to refuse or ``drop_newest``, or ``drop_oldest`` could not make enough room."""
    DROPPED_FOR_HEAP = "dropped as the oldest of a full heap"
    """The policy is ``drop_oldest``: a newer message needed its bytes."""
    BAD_ARGUMENTS = "bad_arguments"
    """Its arguments do not fit the handler: the sender's fault."""
    SHED = "shed"
    """It is declared sheddable, and the node was short of memory."""

    def text(self, details: str = "") -> str:
        """The reason for people: the value, then the details of the case. Of what was shed, the
        details alone, which say it."""
        if self is DeadLetterReason.SHED and details:
            return details
        return f"{self.value}: {details}" if details else self.value
