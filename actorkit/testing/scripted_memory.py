"""A memory that a test tells: what a governor is shown instead of the machine's."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..policy.memory_sample import MemorySample

__all__ = ["ScriptedMemory"]

Figure = int | Callable[[], int]


class ScriptedMemory:
    """A source of samples for ``ak.open_node(memory_source=…)``.

    Each figure is a number of bytes, or a function that is asked at every look; all may be assigned at any time, and
    are seen at the next look, or at once after ``wake``.

    Args:
        limit: what may be used.
        used: what is used of it; also what is resident.
        live: what Python holds of that; None: not known.

    Example::

        memory = ScriptedMemory(limit=1_000_000, used=500_000)
        async with ak.open_node(tree, memory_source=memory) as node:
            memory.used = 950_000
            memory.wake()
    """

    def __init__(self, limit: Figure, used: Figure, live: Figure | None = None) -> None:
        self.limit: Figure = limit
        self.used: Figure = used
        self.live: Figure | None = live
        self.looks = 0
        """How often it was asked."""
        self.closed = False
        self._woken: str | None = None
        self._call = trio.Event()

    def sample(self, now: float, *, fresh: bool = False) -> MemorySample:
        """One look."""
        self.looks += 1
        used = _now(self.used)
        live = None if self.live is None else _now(self.live)
        return MemorySample(now, _now(self.limit), used, "scripted", resident=used, live=live)

    def wake(self, who: str = "the test") -> None:
        """Have the governor look at once, as the kernel can."""
        self._woken = who
        self._call.set()

    async def wait_for_wake(self, timeout: float) -> str | None:
        """Until ``wake``, or for ``timeout`` seconds."""
        with trio.move_on_after(timeout):
            await self._call.wait()
        woken, self._woken, self._call = self._woken, None, trio.Event()
        return woken

    def close(self) -> None:
        """Nothing is asked any more."""
        self.closed = True


def _now(figure: Figure) -> int:
    return figure() if callable(figure) else figure
