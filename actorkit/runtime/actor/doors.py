"""The doors that a governor may stand at: restarts and new work pass through them.

Every automatic restart passes through a *gate*, between the supervisor's decision and the start.
The default gate lets it pass when its backoff is over. A node under memory pressure puts another
gate on ``node.restart_gate``. While a restart waits there, the child shows as ``restarting`` and
can be terminated, and its supervisor serves calls.

*Admission* decides about new work, *memory* answers questions. Both are there only while a governor
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from ...policy.memory.memory_sample import MemoryLevel
    from ...policy.supervision.child_spec import ChildSpec
    from ..base.timers import Timers
    from .memory_data import MemoryData, Receipt

__all__ = ["Admission", "AdmissionCounts", "Memory", "PendingRestart", "RestartGate", "TimerGate"]


class PendingRestart(Protocol):
    """A restart that waits at the gate."""

    def cancel(self) -> object:
        """It is not wanted any more; cancelling twice, or too late, is no error."""


class RestartGate(Protocol):
    """What stands between a supervisor's decision to restart a child and the start."""

    def hold(
        self,
        spec: ChildSpec[object] | None,
        delay: float,
        go: Callable[[], None],
        counts: bool = True,
        key: Hashable = None,
    ) -> PendingRestart:
        """Call ``go`` once, not before ``delay`` seconds have passed, and never from within this
        call.

        Args:
            counts: the child ended by its own doing; False: the node ended it, to free memory.
            key: names the child across its lives.
        """
        ...


@attrs.frozen
class AdmissionCounts:
    """One kind of work: how many are in, were admitted and were refused so far."""

    now: int
    admitted: int
    refused: int


class Admission(Protocol):
    """Whether new work may come in. ``node.admission`` while a governor runs, else None."""

    def admit(self, kind: str, *, exempt: bool = False) -> bool:
        """May one more of this kind begin now? If so, it counts as begun until ``release``.
        ``exempt``: it may in any case, and is only counted."""
        ...

    def release(self, kind: str) -> None:
        """One of this kind has ended."""
        ...

    def capacity(self, kind: str) -> float:
        """How many more of this kind would be admitted now; infinite when nothing bounds them."""
        ...

    def counts(self, kind: str) -> AdmissionCounts:
        """How many of this kind there are, and were."""
        ...

    def slot(self, kind: str) -> AbstractAsyncContextManager[None]:
        """Hold a place for some work, or raise AdmissionRefused."""
        ...


class Memory(Protocol):
    """What one may ask about the node's memory. ``node.memory`` while a governor runs, else
    None."""

    @property
    def level(self) -> MemoryLevel:
        """How short it is."""
        ...

    def data(self) -> MemoryData:
        """How it stood at the last look."""
        ...

    def receipts(self) -> tuple[Receipt, ...]:
        """What the governor did last, and what came of it."""
        ...


class TimerGate:
    """The default gate: it waits until the delay is over."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers

    def hold(
        self,
        spec: ChildSpec[object] | None,
        delay: float,
        go: Callable[[], None],
        counts: bool = True,
        key: Hashable = None,
    ) -> PendingRestart:
        return self._timers.after(delay, go)
