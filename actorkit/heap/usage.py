"""How much some objects hold in memory: figures of the walk and of the clock."""

from __future__ import annotations

import attrs

__all__ = ["HeapUsage", "OwnHeap"]


@attrs.frozen
class OwnHeap:
    """The pages of an actor's own heap, at this moment; counted, not walked.

    ``live``      bytes of small blocks that it has allocated there and that are still in use, by
                  anybody
    ``resident``  bytes of these pages: about what goes back to the system when the actor dies
    """

    live: int
    resident: int


@attrs.frozen
class HeapUsage:
    """What some objects, usually an actor's, hold in memory. In bytes of allocator blocks.

    ``private``   free at once if the roots died now, without the mailbox
    ``mailbox``   free in addition if the mailbox died too
    ``objects``   the number of objects in these two
    ``exact``     False if a figure is an estimate or too low: the walk ended at its limit, the
                  second pass at its cap on edges, an adapter failed, frames could not be read, or
                  the interpreter does not tell
    ``after_gc``  private cycles, which only the next collection frees. 0 unless asked for
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
