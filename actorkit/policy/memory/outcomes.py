"""What an action was to free, what it freed, and whether it is worth doing again.

Every action that is done leaves a Outcome. A *pace* per kind of action learns from them: one whose realised bytes fall
short of ``effective`` of what was predicted waits twice as long before its next turn, up to a bound; one that delivers
is back to the first interval. So an action that does not help gets out of the way, and the ladder moves on.

Garbage collection has two more rules, since it stops the whole node: it may take ``share`` of the time, so a run that
took 50 ms is not followed by another for a second (at 5 %); and it is skipped while the last run, scaled by how much
has come to live since, predicts a pause longer than ``longest_pause``. A prediction is believed for a while only, and
not at all once actors would be killed instead: a pause is better than a death. What it is expected to free is
``GC_PREDICTS`` of the live bytes; less than that is not effective.

Sources: the collectors of OpenTelemetry (frees < 5 %: doubled interval), Dask (at most 5 % of time).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final, Literal

import attrs

__all__ = ["GC_PREDICTS", "ActionKind", "Pace", "PaceSettings", "Outcome", "OutcomeBook"]

ActionKind = Literal["gc", "trim", "shed", "kill"]

GC_PREDICTS: Final = 0.05


@attrs.frozen
class Outcome:
    """One action, done. Bytes and seconds; ``realised`` None: nobody could tell. ``returned``: by how much the resident
    set fell meanwhile, which is what the system got back of it; None where no later sample was taken for it."""

    action: ActionKind
    at: float
    predicted: int
    realised: int | None
    duration: float
    returned: int | None = None

    @property
    def ratio(self) -> float | None:
        """Realised of predicted; None where nothing is known."""
        return None if self.realised is None else self.realised / self.predicted if self.predicted else math.inf


@attrs.frozen
class PaceSettings:
    """How often an action may be repeated.

    Args:
        first: seconds between two turns that deliver.
        longest: seconds that an action that does not deliver waits at most.
        effective: it delivers when it frees at least this part of what was predicted.
        share: part of the time that it may take; None: as much as it does.
        longest_pause: seconds that a turn may be predicted to take; None: as many as it does.

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
    """One kind of action: when it may be done again, and what it last did."""

    __slots__ = ("_last", "_not_before", "_rested_at", "_size", "interval", "settings")

    def __init__(self, settings: PaceSettings) -> None:
        self.settings = settings
        self.interval = settings.first
        self._not_before = self._rested_at = -math.inf
        self._last: Outcome | None = None
        self._size = 0

    def why_not(self, now: float, size: int = 0, *, any_pause: bool = False, anew: bool = False) -> str:
        """Why it is not to be done now; "" if it is. ``size``: bytes that it would have to go through. ``anew``: what
        it brought before says nothing now, so only its cost counts."""
        not_before = self._rested_at if anew else self._not_before
        if now < not_before:
            return f"not before {not_before - now:.3g} s have passed"
        longest, last = self.settings.longest_pause, self._last
        if longest is None or any_pause or last is None or now - last.at >= self.settings.longest:
            return ""
        pause = self.predicted_pause(size)
        return f"predicted to take {pause:.3g} s, and {longest:g} s are allowed" if pause > longest else ""

    def predicted_pause(self, size: int) -> float:
        """Seconds that the next turn is predicted to take, by the last one and how the size has changed."""
        if self._last is None:
            return 0.0
        return self._last.duration * (size / self._size if size and self._size else 1.0)

    def begun(self, now: float, size: int = 0) -> None:
        """It has been asked for. Should nothing be heard of it, it may be asked for again after the interval."""
        self._not_before = now + self.interval
        self._size = size

    def note(self, outcome: Outcome) -> bool:
        """It has been done; True if it is backed off for it."""
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
        self.paces = {kind: Pace(settings) for kind, settings in {**DEFAULT_PACES, **(paces or {})}.items()}
        self.outcomes: deque[Outcome] = deque(maxlen=keep)

    def note(self, outcome: Outcome) -> bool:
        """Enter a outcome; True if its kind is backed off for it."""
        self.outcomes.append(outcome)
        pace = self.paces.get(outcome.action)
        return pace is not None and pace.note(outcome)
