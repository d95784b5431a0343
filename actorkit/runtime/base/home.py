"""Where a node lives: in the thread of its trio run, and in no other.

A node has no locks. Another thread would change tables that trio's thread is in the middle of
changing. And trio does not notice what it is given from outside: a task that is scheduled from
another thread runs when something else wakes trio, or never. So every door that changes what is
scheduled asks for the thread first, before anything is changed. ``docs/design/0017`` says which
interleavings are meant, and where nobody asks.
"""

from __future__ import annotations

from threading import current_thread, get_ident
from typing import Any, Final

__all__ = ["Home"]

DOORS: Final = {
    "cast to": "node.from_thread.cast(ref, method, …)",
    "send to": "node.from_thread.send(ref, message)",
    "call": "node.from_thread.call(ref, method, …)",
}
ANY_OTHER: Final = "have an actor do it, with node.from_thread.call(ref, method, …)"


class Home:
    """The thread in which this was made, and the name of its node for messages."""

    __slots__ = ("ident", "node", "thread")

    def __init__(self, node: str = "") -> None:
        self.node = node
        self.ident = get_ident()
        self.thread = current_thread().name

    def check(self, what: str, whom: Any) -> None:
        """Raise RuntimeError in any other thread. ``whom`` is an actor, or text."""
        if get_ident() != self.ident:
            raise self.refuse(what, whom)

    def refuse(self, what: str, whom: Any) -> RuntimeError:
        """The error for a caller in another thread, or in no task of the node's trio run."""
        target = whom if isinstance(whom, str) else whom.describe()
        if get_ident() == self.ident:
            return RuntimeError(
                f"cannot {what} {target} outside of the trio run of node {self.node!r}: await it in a "
                "task of that run; node.from_thread.cast and send are for anybody"
            )
        return RuntimeError(
            f"cannot {what} {target} from thread {current_thread().name!r}: node {self.node!r} lives in "
            f"thread {self.thread!r}, and nothing was done; from others, {DOORS.get(what, ANY_OTHER)}"
        )
