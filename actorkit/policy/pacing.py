"""When to look at the memory again: the nearer the limit and the faster it comes, the sooner.

The next look comes when, at the worst rate lately seen, a part of the headroom (a quarter) will be gone. Nobody knows
that nothing will happen, so a rate is assumed even in the deepest quiet; that alone makes looks frequent near the
limit, as earlyoom does it, and rare far from it. The wait never leaves ``shortest`` to ``longest``.

A rate is the loss of headroom between two looks, whoever caused it: ourselves, a neighbour in the same control group,
somebody who lowered the limit. Recoveries say nothing about the next burst, so of the recent rates the worst counts.
"""

from __future__ import annotations

import math
from collections import deque

import attrs

from .memory_sample import MemorySample

__all__ = ["PollPace", "Pacing"]


@attrs.frozen
class Pacing:
    """How often to look.

    ``shortest``  seconds between looks at least (> 0)
    ``longest``   seconds between looks at most (>= shortest)
    ``part``      of the headroom that may go between two looks, at the worst rate (0..1)
    ``assumed``   bytes per second that may come out of the blue (> 0)
    ``memory``    seconds for which a rate is remembered (> 0)

    Wrong values raise ValueError.
    """

    shortest: float = 0.02
    longest: float = 1.0
    part: float = 0.25
    assumed: float = 64 * 2**20
    memory: float = 10.0

    def __attrs_post_init__(self) -> None:
        if not 0 < self.shortest <= self.longest < math.inf:
            raise ValueError(
                f"looks {self.shortest!r} to {self.longest!r} s apart: give 0 < shortest <= longest, finite"
            )
        if not 0 < self.part <= 1:
            raise ValueError(f"part={self.part!r}: give a fraction above 0, at most 1")
        if not (0 < self.assumed < math.inf and 0 < self.memory < math.inf):
            raise ValueError(f"assumed={self.assumed!r}, memory={self.memory!r}: give finite numbers above 0")


class PollPace:
    """The pace of one governor's looks. Give each sample to ``next_look``, in the order of their times."""

    __slots__ = ("_last", "_rates", "pacing")

    def __init__(self, pacing: Pacing | None = None) -> None:
        self.pacing = pacing or Pacing()
        self._last: tuple[float, int] | None = None
        self._rates: deque[tuple[float, float]] = deque()

    def next_look(self, sample: MemorySample) -> float:
        """Seconds to wait after this sample before the next."""
        pacing, now, headroom = self.pacing, sample.now, sample.limit - sample.used
        if self._last is None:
            self._last = now, headroom
        elif now > self._last[0]:
            before, had = self._last
            rate = (had - headroom) / (now - before)
            # Only a rate that is worse than all later ones can ever be the worst.
            while self._rates and self._rates[-1][1] <= rate:
                self._rates.pop()
            self._rates.append((now, rate))
            self._last = now, headroom
        oldest = now - pacing.memory
        while self._rates and self._rates[0][0] < oldest:
            self._rates.popleft()
        wait = pacing.part * max(0, headroom) / max(self.fill_rate, pacing.assumed)
        return min(max(wait, pacing.shortest), pacing.longest)

    @property
    def fill_rate(self) -> float:
        """The worst rate at which headroom was lost lately, in bytes per second; 0 if it was not."""
        return max(0.0, self._rates[0][1]) if self._rates else 0.0

    @property
    def time_to_limit(self) -> float:
        """Seconds until the limit is reached at the worst recent rate, from the last sample; inf if nothing is lost."""
        if self._last is None or self.fill_rate == 0:
            return math.inf
        return max(0, self._last[1]) / self.fill_rate
