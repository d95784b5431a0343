"""The exit reason of an actor that held more than it may."""

from __future__ import annotations

import attrs

from ..reasons import ExitReason
from .usage import HeapUsage

__all__ = ["LargestType", "MemoryLimit", "shares_of"]


@attrs.frozen
class LargestType:
    """One type of what an actor held: its name, how many objects, their bytes."""

    name: str
    count: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.name} × {self.count:,}: {self.bytes:,} B"  # noqa: RUF001


def shares_of(usage: HeapUsage, waiting: int | None = None, large_live: int = 0) -> str:
    """Where what an actor holds lies, for messages to people.

    Args:
        waiting: how many messages are in its mailbox.
        large_live: bytes of the large blocks that it has allocated and that are alive.
    """
    messages = "" if waiting is None else f" in {waiting:,} message{'' if waiting == 1 else 's'}"
    text = f"mailbox {usage.mailbox:,} B{messages}, private {usage.private:,} B"
    if usage.after_gc:
        text += f", private cycles {usage.after_gc:,} B"
    if usage.shared:
        text += f", shared {usage.shared:,} B"
    return f"{text}; {large_live:,} B live in large blocks of its own" if large_live else text


@attrs.frozen
class MemoryLimit(ExitReason):
    """The actor held more than its ``max_heap_size``. Abnormal, and its own fault, so its
    supervisor counts the restart.

    ``usage``       what was certainly its own when this was found: the walk stops at the limit, so
                    the actor may have held more (``usage.exact`` is False then)
    ``limit``       the ``max_heap_size``, in bytes
    ``largest``     the types that held the most of it
    ``holder``      who held it: pid, class and name
    ``large_live``  bytes of the large blocks that it had allocated and that were alive; 0 if that
                    is not known
    """

    usage: HeapUsage
    limit: int
    largest: tuple[LargestType, ...] = ()
    holder: str = ""
    large_live: int = 0

    def __str__(self) -> str:
        usage = self.usage
        counted = usage.charged + usage.after_gc + usage.shared
        least = "" if usage.exact else "at least "
        text = (
            f"memory limit: {self.holder or 'it'} held {least}{counted:,} B, and its "
            f"max_heap_size is {self.limit:,} B ({shares_of(usage, None, self.large_live)})"
        )
        if self.largest:
            text += f"; most of it: {'; '.join(map(str, self.largest))}"
        return f"{text}; let it hold less, or raise its max_heap_size"
