"""What an action was to free, what it freed, and whether it is worth doing again.

Every action that frees something leaves an ActionOutcome. Each kind of action that may be repeated
has a *pace*, which learns from them. If an action frees less than ``effective`` of what was
predicted, it waits twice as long before its next turn, up to a bound; if it delivers, it is back to
the first interval. So an action that does not help gets out of the way, and the ladder moves on.

Garbage collection has two more rules, since it stops the whole node. It may take ``share`` of the
time: a run of 50 ms is not followed by another one for a second (at 5 %). And it is skipped while
the last run, scaled by the growth of live bytes since, predicts a pause longer than
``longest_pause``. Such a prediction is believed for a while only, and not at all once actors would
be killed instead: a pause is better than a death. A collection is expected to free ``GC_PREDICTS``
of the live bytes; if it frees less, it is not effective.

Sources: the collectors of OpenTelemetry (less than 5 % freed: doubled interval), Dask (at most 5 %
of the time).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final, Literal

import attrs

__all__ = ["GC_PREDICTS", "ActionKind", "ActionOutcome", "OutcomeBook", "Pace", "PaceSettings"]

ActionKind = Literal["gc", "trim", "shed", "kill"]
"""The kinds of action that free something."""

GC_PREDICTS: Final = 0.05
"""Part of the live bytes that a collection is expected to free."""


@attrs.frozen
class ActionOutcome:
    """One action that was performed. Bytes and seconds."""

    action: ActionKind
    at: float
    predicted: int
    realised: int | None
    """None: nobody could tell."""
    duration: float
    returned: int | None = None
    """By how much the resident set fell meanwhile, which is what the system got back of it; None if
    no later sample was taken for it."""

    @property
    def ratio(self) -> float | None:
        """Realised of predicted; None if nothing is known."""
        return None if self.realised is None else self.realised / self.predicted if self.predicted else math.inf


@attrs.frozen
class PaceSettings:
    """How often an action may be repeated.

    Args:
        first: seconds between two turns that deliver.
        longest: seconds that an action that does not deliver waits at most.
        effective: it delivers if it frees at least this part of what was predicted.
        share: part of the time that it may take; None: no limit.
        longest_pause: seconds that a turn may be predicted to take; None: no limit.

    Raises ValueError for values that contradict each other: the author's fault.
    """

    first: float = 1.0
    longest: float = 30.0
    effective: float = 0.1
    share: float | None = None
    longest_pause: float | None = None

    def __attrs_post_init__(self) -> None:
        if not 0 < self.first <= self.longest < math.inf:
            raise ValueError(f"first={self.first!r} and longest={self.longest!r}: give 0 < first <= longest, in s")
        if not self.effective >= 0:
            raise ValueError(f"effective={self.effective!r} is not a part of what was predicted: give at least 0")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"share={self.share!r} is not a part of the time: give more than 0, at most 1, or None")
        if self.longest_pause is not None and not self.longest_pause > 0:
            raise ValueError(f"longest_pause={self.longest_pause!r}: give seconds > 0, or None")


DEFAULT_PACES: Final[Mapping[ActionKind, PaceSettings]] = {
    "gc": PaceSettings(first=1.0, longest=60.0, effective=1.0, share=0.05, longest_pause=0.1),
    "trim": PaceSettings(first=0.25, longest=60.0, effective=0.05, share=0.05),
    "shed": PaceSettings(first=0.5, longest=10.0, effective=0.05, share=0.25),
}


class Pace:
    """One kind of action: when it may be repeated, and what it did last."""

    __slots__ = ("_last", "_not_before", "_rested_at", "_size", "interval", "settings")

    def __init__(self, settings: PaceSettings) -> None:
        self.settings = settings
        #: Seconds between two turns, now.
        self.interval = settings.first
        #: When the next turn may be, by the interval and by the share of time.
        self._not_before = -math.inf
        #: When it may be by the share of time alone.
        self._rested_at = -math.inf
        #: What the last turn gave.
        self._last: ActionOutcome | None = None
        #: Bytes that the last turn had to go through.
        self._size = 0

    def validate(self) -> None:
        """Check what must hold between two calls."""
        assert self.settings.first <= self.interval <= self.settings.longest
        assert self._rested_at <= self._not_before

    def why_not(self, now: float, size: int = 0, *, any_pause: bool = False, anew: bool = False) -> str:
        """Why it is not to be done now; "" if it may be.

        Args:
            now: when.
            size: bytes that it would have to go through.
            any_pause: it may take as long as it likes.
            anew: what it brought before says nothing now, so only its cost counts.
        """
        not_before = self._rested_at if anew else self._not_before
        if now < not_before:
            return f"not before {not_before - now:.3g} s have passed"
        longest, last = self.settings.longest_pause, self._last
        if longest is None or any_pause or last is None or now - last.at >= self.settings.longest:
            return ""
        pause = self.predicted_pause(size)
        return f"predicted to take {pause:.3g} s, and {longest:g} s are allowed" if pause > longest else ""

    def predicted_pause(self, size: int) -> float:
        """Seconds that the next turn will probably take, by the last one and by how the size has
        changed."""
        if self._last is None:
            return 0.0
        return self._last.duration * (size / self._size if size and self._size else 1.0)

    def begun(self, now: float, size: int = 0) -> None:
        """It has been asked for. If nothing is heard of it, it may be asked for again after the
        interval."""
        self._not_before = now + self.interval
        self._size = size

    def note(self, outcome: ActionOutcome) -> bool:
        """It has been performed; True if it has to wait longer now."""
        settings, ratio = self.settings, outcome.ratio
        backed_off = ratio is not None and ratio < settings.effective
        if backed_off:
            self.interval = min(settings.longest, 2 * self.interval)
        elif ratio is not None:
            self.interval = settings.first
        rest = outcome.duration / settings.share if settings.share else 0.0
        self._rested_at = outcome.at + rest
        self._not_before = outcome.at + max(self.interval, rest)
        self._last = outcome
        return backed_off


class OutcomeBook:
    """The last outcomes, and a pace for each kind of action that may be repeated."""

    def __init__(self, paces: Mapping[ActionKind, PaceSettings] | None = None, *, keep: int = 100) -> None:
        #: For each kind that may be repeated.
        self.paces = {kind: Pace(settings) for kind, settings in {**DEFAULT_PACES, **(paces or {})}.items()}
        #: The last ones, the newest last.
        self.outcomes: deque[ActionOutcome] = deque(maxlen=keep)

    def validate(self) -> None:
        """Check what must hold between two calls."""
        for pace in self.paces.values():
            pace.validate()

    def note(self, outcome: ActionOutcome) -> bool:
        """Enter an outcome; True if its kind has to wait longer now."""
        self.outcomes.append(outcome)
        pace = self.paces.get(outcome.action)
        return pace is not None and pace.note(outcome)
