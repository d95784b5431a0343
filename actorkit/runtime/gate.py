"""The gate that every automatic restart passes through, on its way from decision to start.

The default gate lets each restart pass when its backoff is over. Whoever has reason to hold restarts back (a node under
memory pressure) puts another gate on ``node.restart_gate``; meanwhile the child shows as ``restarting``, can be
terminated, and calls are served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..policy.child_spec import ChildSpec
    from .timers import Timers

__all__ = ["PendingRestart", "RestartGate", "TimerGate"]


class PendingRestart(Protocol):
    """A restart that waits at the gate."""

    def cancel(self) -> object:
        """It is not wanted any more; cancelling twice, or too late, is no error."""


class RestartGate(Protocol):
    """What stands between a supervisor's decision to restart a child and the start."""

    def hold(
        self, spec: ChildSpec[object] | None, delay: float, go: Callable[[], None], counts: bool = True
    ) -> PendingRestart:
        """Call ``go`` once, not before ``delay`` seconds have passed, and never from within this call. ``counts``: the
        child ended by its own doing; False: the node ended it, to free memory."""
        ...


class TimerGate:
    """Waits out the delay, no more."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers

    def hold(
        self, spec: ChildSpec[object] | None, delay: float, go: Callable[[], None], counts: bool = True
    ) -> PendingRestart:
        return self._timers.after(delay, go)
