"""How fast memory fills, when it will be full at that rate, and when to look again.

Two rates are taken from a short window of samples. The *worst* is the steepest climb from any
sample of the window to the newest: for forecasts, in which a burst that began just now must not be
averaged away. The *mean* is that of the whole window: for judging what a kill freed while other
actors went on filling. Climbs over less than ``span`` seconds do not count, since between two
samples close to each other there is mostly noise.

The next look depends on headroom and rate, as in earlyoom: it is due after a fraction of the time
that is left, between a shortest and a longest wait. A node that stands still may begin to fill the
moment after a look, so the rate is never taken for less than ``assumed``.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

import attrs

from .memory_sample import MemorySample

__all__ = ["FillRate", "LookSettings"]


@attrs.frozen
class LookSettings:
    """How often to look, in seconds.

    Args:
        shortest: never sooner than this after the last look.
        longest: never later.
        share: this part of the time that is left until the limit may pass unseen.
        assumed: bytes a second that the node may begin to take up at any time.
        window: samples older than this say nothing about the rate.
        span: climbs over less than this are noise.
        reaction: how long it takes to act on a look; a limit that is nearer than the next look and
            this is too near.

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
        #: Oldest first: those of the window, and one before it.
        self._samples: deque[MemorySample] = deque()

    def validate(self) -> None:
        """Check what must hold between two calls."""
        assert all(older.now < newer.now for older, newer in pairwise(self._samples))
        assert len({(sample.limit, sample.source, sample.owned) for sample in self._samples}) <= 1

    def note(self, sample: MemorySample) -> None:
        """Another look. With another limit, or another source, the window begins anew: there is no
        slope between two truths."""
        samples = self._samples
        if samples:
            last = samples[-1]
            if (last.limit, last.source, last.owned) != (sample.limit, sample.source, sample.owned):
                samples.clear()
            elif sample.now <= last.now or (len(samples) > 1 and last.now - samples[-2].now < self.settings.span / 2):
                samples.pop()  # the same moment again, or too close to the one before to tell more
        samples.append(sample)
        # One sample older than the window stays, or slow looks would leave nothing to compare with.
        while len(samples) > 2 and samples[1].now < sample.now - self.settings.window:
            samples.popleft()

    def worst(self) -> float:
        """Bytes a second of ``used``, by the steepest recent climb; 0 if it does not climb."""
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
        """Bytes a second by which live bytes (if unknown, what is needed) grew over the window; 0
        if they fell."""
        if not self._samples:
            return 0.0
        oldest, newest = self._samples[0], self._samples[-1]
        if newest.now - oldest.now < self.settings.span:
            return 0.0
        return max(0.0, (gauge(newest) - gauge(oldest)) / (newest.now - oldest.now))

    def time_to_limit(self) -> float:
        """Seconds until ``used`` reaches the limit at the worst rate; inf if it does not climb."""
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
    """The figure by which kills are judged: live bytes if they are known, else what is needed."""
    return sample.needed if sample.live is None else sample.live
