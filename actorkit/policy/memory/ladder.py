"""The ladder: which level the node is at, by two pairs of thresholds and one memory of how it left.

* *Up* at once, over as many levels as it takes: ``used`` has reached a level's ``enter`` fraction of the limit, since
  ``used`` is what the kernel kills for.
* *Early* by one level at a time, at most to KILL: at the present rate the limit is reached before the next look has
  been acted upon.
* *Down* one level per ``dwell``: ``needed`` (``used`` without pages that Python has freed and the system has not got
  back) is under the level's ``leave`` fraction. After a kill ``used`` may not fall at all; a ladder that waited for
  that would stay up for ever, as several overload managers do.

The trap between the two rules: the level is left by ``needed`` while ``used`` still stands above ``enter``, and so the
next sample would enter again. So a level that is left with ``used`` not below its ``leave`` is *marked*, and those
above it likewise: it is entered again only when ``needed`` itself reaches ``enter``, or when ``used`` has reached
``enter`` and grown by ``regrowth`` of the limit over the lowest that it had since. It is not entered early. The mark
goes when ``used`` has been below ``leave``: the pages did go back, and the plain rule is right again. Growth that does
not reuse freed pages is real growth, hence the second way in.

A level left is re-entered at once when memory says so; only leaving waits. So there is at most one step down per
dwell, and a turn (in, out) never takes less.
"""

from __future__ import annotations

import math

import attrs

from actorkit.policy.memory.memory_sample import MemoryLevel, MemorySample

__all__ = ["Ladder", "LadderSettings", "Rung", "Transition"]

NORMAL, CONSERVE, SHED, KILL, EXHAUSTED = MemoryLevel


@attrs.frozen
class Rung:
    """One level's thresholds, as fractions of the limit: entered at ``enter`` or above, left below ``leave``."""

    enter: float
    leave: float


def _rung(value: Rung | tuple[float, float]) -> Rung:
    return value if isinstance(value, Rung) else Rung(*value)


@attrs.frozen
class LadderSettings:
    """The thresholds of all levels.

    Args:
        conserve, shed, kill, exhausted: a Rung, or a pair (enter, leave). Each must be left below where it is entered,
            and both must not be lower than those of the level before.
        dwell: seconds that a level is kept at least.
        regrowth: part of the limit by which ``used`` must grow before a level that was left by ``needed`` is entered
            by ``used`` again.
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

    def rung(self, level: MemoryLevel) -> Rung:
        """The thresholds of a level. NORMAL has none."""
        return (self.conserve, self.shed, self.kill, self.exhausted)[level - 1]


@attrs.frozen
class Transition:
    """The level has changed."""

    level: MemoryLevel
    previous: MemoryLevel
    because: str = attrs.field(default="", eq=False)


class Ladder:
    """The level, and since when."""

    __slots__ = ("_marks", "level", "settings", "since")

    def __init__(self, settings: LadderSettings | None = None) -> None:
        self.settings = settings or LadderSettings()
        self.level = NORMAL
        self.since = -math.inf
        """When the present level was reached."""
        self._marks: dict[MemoryLevel, int] = {}

    def step(self, sample: MemorySample, time_to_limit: float = math.inf, next_look: float = 0.0) -> Transition | None:
        """Take note of a sample; the transition, if there is one.

        ``time_to_limit``: seconds until the limit is reached at the present rate. ``next_look``: seconds until the next
        sample has been acted upon.
        """
        self._follow_marks(sample)
        due, because = self._due(sample)
        if self.settings.forecast and time_to_limit < next_look and due < KILL:
            early = MemoryLevel(min(KILL, max(due, self.level) + 1))
            if early > self.level and early not in self._marks:
                return self._move(
                    early,
                    sample.now,
                    f"{early.name} early: at the present rate the limit of {sample.limit:,} bytes ({sample.source}) is "
                    f"reached in {time_to_limit:.3g} s, and the next look is in {next_look:.3g} s",
                )
        if due > self.level:
            return self._move(due, sample.now, because)
        return self._leave(sample)

    def _follow_marks(self, sample: MemorySample) -> None:
        for level, mark in list(self._marks.items()):
            if sample.used < self.settings.rung(level).leave * sample.limit:
                del self._marks[level]
            elif sample.used < mark:
                self._marks[level] = sample.used

    def _due(self, sample: MemorySample) -> tuple[MemoryLevel, str]:
        """The highest level whose way in is open, and why."""
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

    def _leave(self, sample: MemorySample) -> Transition | None:
        level, limit = self.level, sample.limit
        if level == NORMAL or sample.now - self.since < self.settings.dwell:
            return None
        rung = self.settings.rung(level)
        if sample.needed >= rung.leave * limit:
            return None
        # Those above too: the same pages must not enter a higher level either. A mark that is there is the lowest.
        for above in range(level, EXHAUSTED + 1):
            if sample.used >= self.settings.rung(MemoryLevel(above)).leave * limit:
                self._marks.setdefault(MemoryLevel(above), sample.used)
        return self._move(
            MemoryLevel(level - 1),
            sample.now,
            f"{sample.needed:,} bytes needed ({sample.used:,} used, {sample.retained:,} retained): leaves {level.name} "
            f"below {rung.leave:.0%} of {limit:,} bytes ({sample.source}), after {self.settings.dwell:g} s at least",
        )

    def _move(self, level: MemoryLevel, now: float, because: str) -> Transition:
        transition = Transition(level, self.level, because)
        for passed in range(level, self.level, -1):
            self._marks.pop(MemoryLevel(passed), None)
        self.level, self.since = level, now
        return transition
