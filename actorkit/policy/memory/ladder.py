"""The ladder: which level the node is at.

The levels and their arrows are in ``LADDER``. Two pairs of thresholds decide, and one memory of how
a level was left:

* *Up* at once, over as many levels as it takes: ``used`` has reached a level's ``enter`` fraction
  of the limit, since ``used`` is what the kernel kills for.
* *Early*, one level higher than what is due, at most to KILL: at the present rate the limit is
  reached before the next look has been acted upon.
* *Down* one level per ``dwell``: ``needed`` (``used`` without pages that Python has freed and the
  system has not got back) is below the level's ``leave`` fraction. After a kill ``used`` may not
  fall at all. A ladder that waited for that would stay up for ever, as several overload managers
  do.

There is a trap between these rules. A level is left by ``needed`` while ``used`` still stands above
``enter``, and so the next sample would enter it again. Therefore a level that is left while
``used`` is not below its ``leave`` is *marked*, and so are the levels above it. A marked level is
entered again only when ``needed`` itself reaches ``enter``, or when ``used`` has reached ``enter``
and has grown by ``regrowth`` of the limit over the lowest that it had since: growth that does not
reuse freed pages is real growth. It is not entered early. The mark goes when ``used`` has been
below ``leave``: the pages did go back, and the plain rule is right again.

Only leaving waits. A level that was left is entered again at once when memory says so. So there is
at most one step down per dwell, and a turn (in, out) never takes less.
"""

from __future__ import annotations

import enum
import math
from itertools import combinations, pairwise
from typing import Final

import attrs

from ..transition import Transition, allows
from .memory_sample import MemoryLevel, MemorySample

__all__ = ["LADDER", "Ladder", "LadderSettings", "Move", "Rung", "Way"]

NORMAL, CONSERVE, SHED, KILL, EXHAUSTED = MemoryLevel

HIGHEST_EARLY: Final = KILL
"""No level above this one is entered early: what EXHAUSTED does is not done on a forecast."""


class Way(enum.StrEnum):
    """Why the level changes."""

    ENTERED = "used has reached `enter` (marked: needed has, or used has grown by `regrowth` too)"
    EARLY = "the limit will be reached before the next look has been acted upon"
    LEFT = "needed is below `leave`, and the level is `dwell` seconds old"


LADDER: Final[tuple[Transition, ...]] = (
    *(Transition(low, high, Way.ENTERED) for low, high in combinations(MemoryLevel, 2)),
    *(Transition(low, high, Way.EARLY) for low, high in combinations(MemoryLevel, 2) if high <= HIGHEST_EARLY),
    *(Transition(high, low, Way.LEFT) for low, high in pairwise(MemoryLevel)),
)
"""All moves that there are: up over any number of levels, down one at a time."""


@attrs.frozen
class Rung:
    """One level's thresholds, as fractions of the limit: it is entered at ``enter`` or above, and
    left below ``leave``."""

    enter: float
    leave: float


def _rung(value: Rung | tuple[float, float]) -> Rung:
    return value if isinstance(value, Rung) else Rung(*value)


@attrs.frozen
class LadderSettings:
    """The thresholds of all levels.

    Args:
        conserve, shed, kill, exhausted: a Rung, or a pair (enter, leave). Each must be left below
            where it is entered, and both must be higher than those of the level before.
        dwell: seconds that a level is kept at least.
        regrowth: part of the limit by which ``used`` must grow before a level that was left by
            ``needed`` is entered by ``used`` again.
        forecast: whether a level is entered early.

    Raises ValueError for thresholds that contradict each other: the author's fault.

    Example::

        LadderSettings(kill=(0.85, 0.75), dwell=2.0)
    """

    conserve: Rung = attrs.field(default=Rung(0.70, 0.65), converter=_rung)
    shed: Rung = attrs.field(default=Rung(0.80, 0.74), converter=_rung)
    kill: Rung = attrs.field(default=Rung(0.90, 0.82), converter=_rung)
    exhausted: Rung = attrs.field(default=Rung(0.96, 0.90), converter=_rung)
    dwell: float = 1.0
    regrowth: float = 0.02
    forecast: bool = True

    def __attrs_post_init__(self) -> None:
        before = Rung(0.0, 0.0)
        for level in (CONSERVE, SHED, KILL, EXHAUSTED):
            rung, name = self.rung(level), level.name.lower()
            if not 0 < rung.leave < rung.enter <= 1:
                raise ValueError(
                    f"{name}: entered at {rung.enter!r} and left at {rung.leave!r} of the limit: give "
                    "0 < leave < enter <= 1, or it would flap"
                )
            if rung.enter <= before.enter or rung.leave <= before.leave:
                raise ValueError(
                    f"{name}: ({rung.enter!r}, {rung.leave!r}) is not above the level before it, "
                    f"({before.enter!r}, {before.leave!r}): give ascending thresholds"
                )
            before = rung
        if not 0 <= self.dwell < math.inf:
            raise ValueError(f"dwell={self.dwell!r} is not a time: give seconds >= 0")
        if not 0 < self.regrowth < 1:
            raise ValueError(f"regrowth={self.regrowth!r} is not a part of the limit: give more than 0, less than 1")
        if not isinstance(self.forecast, bool):
            raise ValueError(f"forecast={self.forecast!r} is neither yes nor no: give True or False")

    def rung(self, level: MemoryLevel) -> Rung:
        """The thresholds of a level. NORMAL has none."""
        return (self.conserve, self.shed, self.kill, self.exhausted)[level - 1]


@attrs.frozen
class Move:
    """The level has changed."""

    level: MemoryLevel
    previous: MemoryLevel
    because: str = attrs.field(default="", eq=False)


class Ladder:
    """The level, and since when."""

    __slots__ = ("_marks", "level", "settings", "since")

    def __init__(self, settings: LadderSettings | None = None) -> None:
        #: The thresholds; they may be replaced before any step.
        self.settings = settings or LadderSettings()
        #: The present level.
        self.level = NORMAL
        #: When the present level was reached.
        self.since = -math.inf
        #: The marked levels, each with the lowest ``used`` since it was left.
        self._marks: dict[MemoryLevel, int] = {}

    def step(self, sample: MemorySample, time_to_limit: float = math.inf, next_look: float = 0.0) -> Move | None:
        """Take note of a sample; returns the move, if there is one.

        Args:
            sample: the look.
            time_to_limit: seconds until the limit is reached at the present rate.
            next_look: seconds until the next sample has been acted upon.
        """
        self._follow_marks(sample)
        due, because = self._due(sample)
        if self.settings.forecast and time_to_limit < next_look and due < HIGHEST_EARLY:
            early = MemoryLevel(min(HIGHEST_EARLY, max(due, self.level) + 1))
            if early > self.level and early not in self._marks:
                return self._move(
                    early,
                    Way.EARLY,
                    sample.now,
                    f"{early.name} early: at the present rate the limit of {sample.limit:,} bytes ({sample.source}) is "
                    f"reached in {time_to_limit:.3g} s, and the next look is in {next_look:.3g} s",
                )
        if due > self.level:
            return self._move(due, Way.ENTERED, sample.now, because)
        return self._leave(sample)

    def validate(self) -> None:
        """Check what must hold between two steps."""
        assert all(level > self.level for level in self._marks), f"{self.level.name}, and marked are {self._marks}"

    def _follow_marks(self, sample: MemorySample) -> None:
        for level, mark in list(self._marks.items()):
            if sample.used < self.settings.rung(level).leave * sample.limit:
                del self._marks[level]
            elif sample.used < mark:
                self._marks[level] = sample.used

    def _due(self, sample: MemorySample) -> tuple[MemoryLevel, str]:
        """The highest level whose way in is open, and why it is."""
        limit = sample.limit
        for level in (EXHAUSTED, KILL, SHED, CONSERVE):
            enter = self.settings.rung(level).enter
            if sample.used < enter * limit:
                continue
            rule = f"enters {level.name} at {enter:.0%} of {limit:,} bytes ({sample.source})"
            mark = self._marks.get(level)
            if mark is None:
                return level, f"{sample.used:,} bytes used: {rule}"
            if sample.needed >= enter * limit:
                return level, f"{sample.needed:,} bytes needed, nothing retained to fall back on: {rule}"
            if sample.used >= mark + self.settings.regrowth * limit:
                return level, (
                    f"{sample.used:,} bytes used, grown by {sample.used - mark:,} since it was left, which is "
                    f"{self.settings.regrowth:.0%} or more of the limit: {rule}"
                )
        return NORMAL, ""

    def _leave(self, sample: MemorySample) -> Move | None:
        level, limit = self.level, sample.limit
        if level == NORMAL or sample.now - self.since < self.settings.dwell:
            return None
        rung = self.settings.rung(level)
        if sample.needed >= rung.leave * limit:
            return None
        # The levels above are marked too: the same pages must not enter one of them either. A mark
        # that is there already is the lower one.
        for above in range(level, EXHAUSTED + 1):
            if sample.used >= self.settings.rung(MemoryLevel(above)).leave * limit:
                self._marks.setdefault(MemoryLevel(above), sample.used)
        return self._move(
            MemoryLevel(level - 1),
            Way.LEFT,
            sample.now,
            f"{sample.needed:,} bytes needed ({sample.used:,} used, {sample.retained:,} retained): leaves {level.name} "
            f"below {rung.leave:.0%} of {limit:,} bytes ({sample.source}), after {self.settings.dwell:g} s at least",
        )

    def _move(self, level: MemoryLevel, way: Way, now: float, because: str) -> Move:
        assert allows(LADDER, self.level, level, way), f"no arrow leads from {self.level.name} to {level.name}: {way}"
        move = Move(level, self.level, because)
        for passed in range(level, self.level, -1):
            self._marks.pop(MemoryLevel(passed), None)
        self.level, self.since = level, now
        return move
