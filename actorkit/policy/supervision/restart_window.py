"""How many restarts there were within the last so many seconds.

A supervisor that restarts its children too often is not helping: it gives up, and lets its own
supervisor try from further up. "Too often" is more than ``max_restarts`` within ``max_seconds``.

The window's far end is inclusive, as in OTP: a restart exactly ``max_seconds`` ago still counts.
OTP counts whole seconds; this keeps the precision that it is given.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ...reasons import Shutdown

__all__ = ["TOO_MANY_RESTARTS", "RestartWindow"]

TOO_MANY_RESTARTS: Final = Shutdown("reached_max_restart_intensity")
"""What a supervisor ends with that gives up. Whoever asks whether one has compares with ``is``."""


class RestartWindow:
    """The restarts of one supervisor. It keeps at most ``max_restarts + 1`` times: with that many
    in the window it has been exceeded, whatever else there was."""

    __slots__ = ("_times", "max_restarts", "max_seconds")

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._times: deque[float] = deque(maxlen=max_restarts + 1)

    def add(self, now: float) -> bool:
        """Count a restart at ``now``, in monotonic seconds; True if that is one too many. Should
        ``now`` step back, it counts as the latest time seen."""
        times = self._times
        if times and now < times[-1]:
            now = times[-1]
        times.append(now)
        oldest = now - self.max_seconds
        while times[0] < oldest:
            times.popleft()
        return len(times) > self.max_restarts

    @property
    def count(self) -> int:
        """How many restarts were in the window at the last ``add``; ``max_restarts + 1`` means that
        many or more."""
        return len(self._times)
