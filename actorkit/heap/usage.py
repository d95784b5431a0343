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
    ``exact``     False if a figure is an estimate or too low: the walk ended at its limit or at a
                  cap, something is ``unseen``, an adapter failed, frames could not be read, or the
                  interpreter does not tell
    ``after_gc``  private cycles, which only the next collection frees. 0 unless asked for
    ``shared``    reached, but held by others too. 0 unless asked for
    ``unseen``    what the account that was given has in use beyond all that was found: garbage that
                  is not collected yet, or in the hands of others (a cache of a module), or in
                  cycles beyond a cap. 0 if that is 4 KiB or less
    ``elsewhere`` the part of what was found that the account's clock does not count among what it
                  has in use: received from others, or on others' pages. 0 unless an account was
                  given
    """

    private: int
    shared: int
    mailbox: int
    objects: int
    exact: bool
    after_gc: int = 0
    unseen: int = 0
    elsewhere: int = 0

    @property
    def charged(self) -> int:
        """What would be free at once."""
        return self.private + self.mailbox

    @property
    def held(self) -> int:
        """What counts against a budget: all that would be free after a collection."""
        return self.private + self.mailbox + self.after_gc
