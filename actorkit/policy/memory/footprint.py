"""Footprints: what actors of one kind held, and so what the next one will need.

Whoever lets an actor in, or starts one again, while memory is short must know its size before it
exists. The best witness is its own kind: those that live and those that died. Two figures are
learned from their sizes, in a constant amount of memory:

* The **EWMA** (exponentially weighted moving average) says what is usual. ``ALPHA`` is 1/8, as for
  the smoothed round-trip time of TCP, a similar task: adapt within about ten samples, and let no
  single one count for much.
* The **high quantile** says what to reserve. With the mean, every second actor would need more than
  was put aside for it. With the maximum, one giant of last week would keep everybody out.

The quantile is that of the last ``WINDOW`` samples, exact by nearest rank. The alternative, P²
(Jain and Chlamtac 1985), has half the state and sees the whole past, but never forgets it, and it
is at its worst where sizes come in a few clusters, as actors' sizes do. A node under another load
than yesterday's must learn anew: so 64 samples, of which the fourth largest is the 0.95 quantile.
As an estimate for the kind, that is below its 0.75 quantile less than once in ten thousand
readings.

Source: RFC 6298, section 2 (alpha, and that the first sample is the first average).
"""

from __future__ import annotations

import math
from array import array
from typing import Final, overload

import attrs

from ...reasons import shown

__all__ = ["ALPHA", "QUANTILE", "WINDOW", "Footprint", "FootprintLearner"]

ALPHA: Final = 1 / 8
"""The weight of a new sample in the average."""

QUANTILE: Final = 0.95
"""This part of the recent samples is no larger than the prediction."""

WINDOW: Final = 64
"""How many samples are recent. They take 8 B each."""


@attrs.frozen
class Footprint:
    """What is known of the sizes of one kind of actor: one reading, in bytes.

    ``kind``       the class, or a process's function
    ``id``         the child's id, if this is of one child of a static supervisor; None: of the kind
    ``count``      samples so far
    ``ewma``       their moving average
    ``quantile``   the high quantile of the last 64
    ``maximum``    the largest ever
    ``truncated``  how many of them are known to be too small: the actor was not measured to the end

    Example::

        footprint = node.footprint_of(spec)
        room = 64 * 1024 if footprint is None else footprint.predict()
    """

    kind: str
    id: object
    count: int
    ewma: int
    quantile: int
    maximum: int
    truncated: int = 0

    def predict(self) -> int:
        """Bytes to reserve for the next one: the high quantile, and never less than the average."""
        return max(self.quantile, self.ewma)

    def __str__(self) -> str:
        who = self.kind if self.id is None else f"{self.kind} {shown(self.id, 200)}"
        return (
            f"{who}: reserve {self.predict():,} B ({self.count:,} samples, average {self.ewma:,} B, "
            f"maximum {self.maximum:,} B{f', {self.truncated:,} of them at least' if self.truncated else ''})"
        )


class FootprintLearner:
    """Learns one kind's footprint, sample by sample, in less than 1 KiB.

    Args:
        kind, id: whose it is, for the readings.
        quantile: which part of the recent samples the prediction must cover, more than 0 and at
            most 1.

    Raises ValueError for another quantile.

    Example::

        learner = FootprintLearner("Room")
        learner.predict(default=64 * 1024)  # 65536: nothing is known yet
        learner.learn(10_000)
        learner.predict()  # 10000
    """

    __slots__ = ("_high", "_recent", "count", "ewma", "id", "kind", "level", "maximum", "truncated")

    def __init__(self, kind: str = "", id: object = None, *, quantile: float = QUANTILE) -> None:
        if not 0.0 < quantile <= 1.0:
            raise ValueError(f"quantile={quantile!r} of a footprint: give a number above 0, up to 1")
        self.kind = kind
        self.id = id
        #: Which quantile.
        self.level = quantile
        #: Samples so far.
        self.count = 0
        #: Their moving average.
        self.ewma = 0.0
        #: The largest of them.
        self.maximum = 0
        #: How many of them are known to be too small.
        self.truncated = 0
        #: The last ``WINDOW`` samples, in a ring.
        self._recent = array("q")
        #: Their quantile; None: it is not computed since the last sample.
        self._high: int | None = None

    def learn(self, size: int, *, truncated: bool = False) -> None:
        """One of the kind holds, or held at its end, ``size`` bytes, or more if ``truncated``.

        Raises ValueError for a negative size."""
        if size < 0:
            raise ValueError(f"{size} B is no size of a {self.kind or 'footprint'}")
        if len(self._recent) < WINDOW:
            self._recent.append(size)
        else:
            self._recent[self.count % WINDOW] = size
        self.ewma = self.ewma + ALPHA * (size - self.ewma) if self.count else float(size)
        self.count += 1
        self.truncated += truncated
        self.maximum = max(self.maximum, size)
        self._high = None

    @property
    def quantile(self) -> int:
        """The high quantile of the last ``WINDOW`` samples: the smallest of them that enough of
        them do not exceed. 0 without samples."""
        if self._high is None:
            ranked = sorted(self._recent)
            self._high = ranked[max(0, math.ceil(self.level * len(ranked)) - 1)] if ranked else 0
        return self._high

    @overload
    def predict(self) -> int | None: ...
    @overload
    def predict(self, default: int) -> int: ...
    def predict(self, default: int | None = None) -> int | None:
        """Bytes to reserve for the next one; ``default`` if nothing is known."""
        return max(self.quantile, round(self.ewma)) if self.count else default

    def reading(self) -> Footprint | None:
        """What is known now; None if nothing is."""
        if not self.count:
            return None
        return Footprint(self.kind, self.id, self.count, round(self.ewma), self.quantile, self.maximum, self.truncated)
