"""ScriptedMemory: a node's memory as a test wants it, in the place of the real source."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from ..policy.memory.memory_sample import MemorySample

__all__ = ["ScriptedMemory"]


Figure = int | Callable[[], int]
"""Bytes, or a function that returns them and is called for every sample."""


class ScriptedMemory:
    """A memory source that reports whatever it is set to. Give it to
    ``ak.open_node(memory_source=…)``, to see what a governor does.

    Set ``used``, ``limit``, ``live``, ``resident`` and ``stalled`` at any time; the next sample has
    them. Or give ``steps``: each sample takes the next one, and the last one stays. Nothing moves
    by itself, so a test must also say what a kill has freed.

    Args:
        limit: bytes; an int, or a function that is called for every sample. The same goes for
            ``used``, ``live`` and ``resident``.
        used: bytes.
        live: bytes; None: not known, so nothing is assumed to be retained.
        resident: bytes; None: the same as ``used``.
        stalled: percent; None: not known.
        steps: values of ``used``, or whole samples, whose ``now`` is replaced.

    Example::

        memory = ScriptedMemory(limit=100_000_000, used=50_000_000)
        memory.used = 95_000_000
        memory.wake()
    """

    def __init__(
        self,
        limit: Figure = 2**30,
        used: Figure = 0,
        *,
        live: Figure | None = None,
        resident: Figure | None = None,
        stalled: float | None = None,
        steps: Iterable[int | MemorySample] = (),
    ) -> None:
        self.limit: Figure = limit
        self.used: Figure = used
        self.live: Figure | None = live
        self.resident: Figure | None = resident
        self.stalled = stalled
        self.source = "scripted"
        self.owned = True
        self.samples: list[MemorySample] = []
        """All samples so far, in order."""
        self.closed = False
        self._steps = list(steps)
        self._wakes: list[str] = []
        self._news = trio.lowlevel.ParkingLot()

    def sample(self, now: float, *, fresh: bool = False) -> MemorySample:
        """The next step, or what the attributes say. ``now``: seconds; ``fresh`` changes nothing
        here."""
        step = self._steps.pop(0) if self._steps else None
        if isinstance(step, MemorySample):
            self.limit, self.used, self.source, self.owned = step.limit, step.used, step.source, step.owned
            self.resident, self.live, self.stalled = step.resident, step.live, step.stalled
        elif step is not None:
            self.used = step
        used = _now(self.used)
        sample = MemorySample(
            now=now,
            limit=_now(self.limit),
            used=used,
            source=self.source,
            resident=used if self.resident is None else _now(self.resident),
            live=None if self.live is None else _now(self.live),
            stalled=self.stalled,
            owned=self.owned,
        )
        self.samples.append(sample)
        return sample

    async def wait_for_wake(self, timeout: float) -> str | None:
        """Wait for ``wake`` and return its name; None after ``timeout`` seconds of trio's clock."""
        with trio.move_on_after(timeout):
            await trio.lowlevel.checkpoint()
            while not self._wakes:
                await self._news.park()
        return self._wakes.pop(0) if self._wakes else None

    def wake(self, name: str = "scripted") -> None:
        """Wake the governor, as the kernel would. Each call ends one wait, which may come later."""
        self._wakes.append(name)
        self._news.unpark_all()

    def close(self) -> None:
        """Set ``closed``."""
        self.closed = True


def _now(figure: Figure) -> int:
    return figure() if callable(figure) else figure
