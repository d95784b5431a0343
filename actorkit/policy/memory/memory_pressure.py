"""What the node says to its actors when it runs out of memory.

One fact, said in two ways. As a *message*, to actors that opted in (``ctx.watch_memory()``): the
node is at ``level``, please free something. As an *exit reason*: the actor was ended, not for what
it did but because the node needed its memory. Its supervisor starts it again when there is room,
and does not count that towards its restart intensity.
"""

from __future__ import annotations

import attrs

from ...reasons import ExitReason
from .memory_sample import MemoryLevel

__all__ = ["MemoryPressure"]


@attrs.frozen
class MemoryPressure(ExitReason):
    """The node is short of memory.

    As a message: an actor that can do without something (caches, buffers, idle connections) lets go
    of it now; at ``MemoryLevel.NORMAL`` the shortage is over. ``please_free``: bytes that are
    missing, from all actors together. An actor that frees nothing is only more likely to be chosen
    later.

    As an exit reason: abnormal; ``because`` says which rule chose this actor, with its numbers.

    Example::

        def handle_info(self, message: object) -> None:
            match message:
                case ak.MemoryPressure(level=level) if level >= ak.MemoryLevel.CONSERVE:
                    self.cache.clear()
    """

    level: MemoryLevel
    please_free: int = 0
    because: str = ""

    def __str__(self) -> str:
        text = f"memory pressure: the node is at {self.level.name}"
        if self.please_free:
            text = f"{text} and lacks {self.please_free:,} B"
        return f"{text}: {self.because}" if self.because else text
