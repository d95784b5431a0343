"""How fast memory fills, when it will be full at that rate, and when to look again.

Of a short window of samples two rates are told. The *worst* is the steepest climb from any sample of the window to the
newest: for forecasts, where a burst that began just now must not be averaged away. The *mean* goes over the whole
window: for judging what a kill freed while others went on filling. Climbs over less than ``span`` seconds are not
looked at, since between two samples that lie next to each other there is mostly noise.

When to look again follows from headroom and rate, as in earlyoom: a fraction of the time that is left, between a
shortest and a longest wait. A node that stands still may begin to fill the moment after a look, so a rate of at least
``assumed`` is reckoned with.
"""

from __future__ import annotations

import math
from collections import deque

import attrs

from actorkit.policy.memory.memory_sample import MemorySample

__all__ = ["FillRate", "LookSettings"]


@attrs.frozen
class LookSettings:
    """How often to look, in seconds.

    Args:
        shortest: never sooner than this after the last look.
        longest: never later.
        share: of the time that is left until the limit, this part may pass unseen.
        assumed: bytes a second that the node may begin to take up at any time.
        window: samples older than this say nothing about the rate.
        span: climbs over less than this are noise.
        reaction: what acting on a look takes; a limit that is nearer than that and the next look is too near.

    Raises ValueError for values that contradict each other: the author's fault.
    """

    shortest: float = 0.002
    longest: float = 1.0
    share: float = 0.25
    assumed: float = 400e6
    window: float = 2.0
    span: float = 0.1
    reaction: float = 0.05

    def __attrs_post_init__(self) -> None:
        if not 0 < self.shortest <= self.longest < math.inf:
            raise ValueError(f"looks need 0 < shortest <= longest, not {self.shortest!r} and {self.longest!r} s")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share!r} of the time that is left is none: give more than 0, at most 1")
        if not (self.assumed >= 0 and self.reaction >= 0 and 0 < self.span <= self.window):
            raise ValueError(
                f"assumed={self.assumed!r} B/s, reaction={self.reaction!r} s, span={self.span!r} s, "
                f"window={self.window!r} s: give at least 0, and 0 < span <= window"
            )


class FillRate:
    """The samples of the last moments."""

    __slots__ = ("_samples", "settings")

    def __init__(self, settings: LookSettings | None = None) -> None:
        self.settings = settings or LookSettings()
        self._samples: deque[MemorySample] = deque()

    def note(self, sample: MemorySample) -> None:
        """Another look. Another limit, or another source, begins anew: between two truths there is no slope."""
        samples = self._samples
        if samples:
            last = samples[-1]
            if (last.limit, last.source, last.owned) != (sample.limit, sample.source, sample.owned):
                samples.clear()
            elif sample.now <= last.now or (len(samples) > 1 and last.now - samples[-2].now < self.settings.span / 2):
                samples.pop()  # the same moment, seen again; or one too close to the one before to tell more
        samples.append(sample)
        # One older than the window stays, else slow looks would leave nothing to compare with.
        while len(samples) > 2 and samples[1].now < sample.now - self.settings.window:
            samples.popleft()

    def worst(self) -> float:
        """Bytes a second of ``used``, by the steepest recent climb; 0 while it does not climb."""
        if not self._samples:
            return 0.0
        newest, span = self._samples[-1], self.settings.span
        return max(
            (
                (newest.used - older.used) / (newest.now - older.now)
                for older in self._samples
                if newest.now - older.now >= span and newest.used > older.used
            ),
            default=0.0,
        )

    def mean(self) -> float:
        """Bytes a second by which live bytes (if unknown, what is needed) grew over the window; 0 if they fell."""
        if not self._samples:
            return 0.0
        oldest, newest = self._samples[0], self._samples[-1]
        if newest.now - oldest.now < self.settings.span:
            return 0.0
        return max(0.0, (gauge(newest) - gauge(oldest)) / (newest.now - oldest.now))

    def time_to_limit(self) -> float:
        """Seconds until ``used`` reaches the limit at the worst rate; inf while it does not climb."""
        worst = self.worst()
        return self._samples[-1].headroom / worst if worst > 0 else math.inf

    def look_after(self, longest: float = math.inf) -> float:
        """Seconds from the newest sample to the next one."""
        settings = self.settings
        longest = max(settings.shortest, min(settings.longest, longest))
        rate = max(self.worst(), settings.assumed)
        if not self._samples or rate <= 0:
            return longest
        return min(longest, max(settings.shortest, settings.share * self._samples[-1].headroom / rate))


def gauge(sample: MemorySample) -> int:
    """What kills are judged by: live bytes where they are known, else what is needed."""
    return sample.needed if sample.live is None else sample.live
