"""The figures of one walk."""

from __future__ import annotations

import attrs

__all__ = ["HeapUsage", "OwnHeap"]


@attrs.frozen
class OwnHeap:
    """An actor's pages of its own, at this moment; counted, not walked.

    ``live``      bytes of small blocks that it has allocated there and that are still in use, by whomever
    ``resident``  what the pages take: about what goes back to the system when it dies
    """

    live: int
    resident: int


@attrs.frozen
class HeapUsage:
    """What some objects, usually an actor's, hold in memory. In bytes of allocator blocks.

    ``private``   would be free at once if the roots died now, without the mailbox
    ``mailbox``   would be free besides, if the mailbox died too
    ``objects``   how many objects these two are
    ``exact``     False if a figure is less than the truth, or an estimate: a walk that ended at its
                  limit, a second pass that ended at its cap on edges, an adapter that failed,
                  frames that could not be read, an interpreter that does not tell
    ``after_gc``  private cycles: free after the next collection only. 0 unless asked for
    ``shared``    reached, but held by others too. 0 unless asked for
    """

    private: int
    shared: int
    mailbox: int
    objects: int
    exact: bool
    after_gc: int = 0

    @property
    def charged(self) -> int:
        """What counts against a budget."""
        return self.private + self.mailbox
