"""Rounds of kills: one at a time, judged by what they gave back, stopped when they give nothing.

The phases and their arrows are in ``ROUNDS``.

A round waits for its effect. If its victims ended at once, what that freed has been measured on the
spot, and the next sample may begin another round already. Otherwise no other round begins before
its victims have ended *and* a later sample shows that it delivered, or, failing that, before
``effect_delay`` has passed. Without the wait, a governor reads figures from before its kills and
kills again. Without the short cut it frees one round's worth per delay, which is too slow for a
crowd. If the limit is nearer than the rest of the wait, a round whose victims have ended is given
up unjudged, but not more than ``futile_rounds`` in a row.

A round that was not measured on the spot is judged by live bytes where they are known, else by what
is needed, and never by the resident set. Other actors go on filling meanwhile: what they would have
taken up, at the mean rate before the round, is credited to it. A round that realised less than
``effective`` of its prediction is *futile*. After ``futile_rounds`` in a row the breaker opens: no
kills for ``pause``, then one round to try; if that is futile too, a pause twice as long. A kill
that frees nothing harms twice.

A victim that has not ended stays on the list of the killed: it is not chosen again.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable
from typing import Final

import attrs

from ..transition import Transition
from .fill_rate import gauge
from .memory_sample import MemorySample
from .outcomes import ActionOutcome
from .victims import KillCaps

__all__ = ["ROUNDS", "Judgement", "KillRounds", "KillSettings", "RoundPhase"]

KEPT_ROUNDS: Final = 32
"""Rounds whose victims are remembered until they have ended."""


class RoundPhase(enum.Enum):
    """Where the killing stands."""

    NO_ROUND = "no round"
    """One may begin, ``round_interval`` after the last one."""
    UNDER_WAY = "under way"
    """A round waits for its effect."""
    PAUSED = "paused"
    """The breaker is open: kills do not help."""


ROUNDS: Final = (
    Transition(RoundPhase.NO_ROUND, RoundPhase.UNDER_WAY, "victims have been chosen"),
    Transition(RoundPhase.UNDER_WAY, RoundPhase.NO_ROUND, "it was effective, or not futile often enough"),
    Transition(RoundPhase.UNDER_WAY, RoundPhase.NO_ROUND, "the limit is nearer than its effect: given up unjudged"),
    Transition(RoundPhase.UNDER_WAY, RoundPhase.PAUSED, "it was futile, the last of `futile_rounds` in a row"),
    Transition(RoundPhase.PAUSED, RoundPhase.NO_ROUND, "the pause is over"),
)
"""What follows what. The phase is a matter of time too, so it is not stored: see ``phase``."""


@attrs.frozen
class KillSettings:
    """How kills go. Seconds and fractions.

    Args:
        caps: what one round may take.
        margin: part of the limit to be freed beyond the point where KILL is left, so that it is
            left for good.
        round_interval: seconds between the beginnings of two rounds, at least.
        effect_delay: seconds that a round has to show an effect.
        effective: a round that realises less than this part of its prediction is futile.
        futile_rounds: this many futile rounds in a row stop the killing.
        pause: for how many seconds it stops, the first time.
        longest_pause: for how many at most.
        census_again: seconds until a census is asked for again, if one is not answered or finds
            nobody.

    Raises ValueError for values that contradict each other: the author's fault.
    """

    caps: KillCaps = attrs.field(factory=KillCaps)
    margin: float = 0.02
    round_interval: float = 0.01
    effect_delay: float = 2.0
    effective: float = 0.25
    futile_rounds: int = 3
    pause: float = 30.0
    longest_pause: float = 300.0
    census_again: float = 2.0

    def __attrs_post_init__(self) -> None:
        for name in ("round_interval", "effect_delay", "futile_rounds", "pause", "census_again"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r} of KillSettings must be more than 0, and finite")
        if self.longest_pause < self.pause:
            raise ValueError(
                f"longest_pause={self.longest_pause!r} is less than pause={self.pause!r}: give at least that"
            )
        if not 0 <= self.margin < 1 or not 0 <= self.effective <= 1:
            raise ValueError(f"margin={self.margin!r} and effective={self.effective!r} are parts: give 0 to 1")


@attrs.frozen
class Judgement:
    """What became of a round."""

    outcome: ActionOutcome
    futile: bool
    stopped_for: float = 0.0
    """Seconds for which no kills follow, if this round opened the breaker."""
    because: str = attrs.field(default="", eq=False)


@attrs.define
class _KillRound:
    #: Of the action that kills.
    number: int
    #: Bytes that it was to free.
    predicted: int
    #: The last look before it.
    before: MemorySample
    at: float
    #: Bytes a second that the node took up before it.
    rate: float
    #: False: it is a dry run's, which cannot have an effect.
    judged: bool
    #: When all of its victims had ended; None: they have not.
    ended_at: float | None = None
    #: What their end has freed, if that was measured on the spot.
    measured: int | None = None


class KillRounds:
    """The round under way, and how the last ones went."""

    def __init__(self, settings: KillSettings | None = None) -> None:
        self.settings = settings or KillSettings()
        #: The round under way.
        self._round: _KillRound | None = None
        #: When the last one began.
        self._begun_at = -math.inf
        #: Futile rounds in a row.
        self._futile = 0
        #: Rounds given up unjudged, in a row.
        self._hurried = 0
        #: How long the next pause is.
        self._pause = self.settings.pause
        #: When the last pause ends, or has ended.
        self._stopped_until = -math.inf
        #: By round: everybody who is to die in it, as long as not all of them have ended.
        self._not_ended: dict[int, frozenset[Hashable]] = {}

    def phase(self, now: float) -> RoundPhase:
        """Where the killing stands."""
        if self._round is not None:
            return RoundPhase.UNDER_WAY
        return RoundPhase.PAUSED if self.stopped(now) else RoundPhase.NO_ROUND

    def validate(self) -> None:
        """Check what must hold between two calls."""
        settings, this = self.settings, self._round
        assert 0 <= self._hurried <= settings.futile_rounds
        assert settings.pause <= self._pause <= settings.longest_pause
        assert self._futile < settings.futile_rounds or self._stopped_until > -math.inf, "the breaker did not open"
        assert len(self._not_ended) <= KEPT_ROUNDS
        if this is not None and this.judged:
            assert (this.number in self._not_ended) is (this.ended_at is None)

    def missing(self, sample: MemorySample, leave: float) -> int:
        """Bytes to be freed so that KILL, which is left at ``leave`` of the limit, is left; 0 if it
        is left already."""
        beyond = sample.needed - leave * sample.limit
        return math.ceil(beyond + self.settings.margin * sample.limit) if beyond >= 0 else 0

    def stopped(self, now: float) -> bool:
        """Is the breaker open?"""
        return now < self._stopped_until

    def may_begin(self, now: float) -> bool:
        """Is there neither a round under way, nor a reason to wait?"""
        return self.phase(now) is RoundPhase.NO_ROUND and now - self._begun_at >= self.settings.round_interval

    def already_killed(self) -> frozenset[Hashable]:
        """Actors that were killed before and have not ended yet, as far as is known."""
        return frozenset().union(*self._not_ended.values()) if self._not_ended else frozenset()

    def begin(
        self, number: int, now: float, before: MemorySample, rate: float, predicted: int,
        dead: frozenset[Hashable], *, judged: bool = True,
    ) -> None:  # fmt: skip
        """A round has been decided.

        Args:
            number: of the action.
            now: when.
            before: the last look.
            rate: bytes a second that the node took up before it.
            predicted: bytes that it is to free.
            dead: everybody who dies in it.
            judged: False in a dry run, which cannot have an effect.
        """
        self._round = _KillRound(number, predicted, before, now, rate, judged)
        self._begun_at = now
        if judged:
            self._not_ended[number] = dead
            while len(self._not_ended) > KEPT_ROUNDS:
                del self._not_ended[next(iter(self._not_ended))]

    def ended(self, number: int, now: float, measured: int | None = None) -> bool:
        """All victims of that round have ended; True if it is a round's number. ``measured``: bytes
        that it freed, if that is known without another sample."""
        if self._round is not None and self._round.number == number:
            self._round.ended_at, self._round.measured = now, measured
        return self._not_ended.pop(number, None) is not None

    def look(self, sample: MemorySample, time_to_limit: float = math.inf) -> Judgement | None:
        """Judge the round under way by a later sample, if it is time. ``time_to_limit``: seconds,
        at the present rate."""
        this, settings = self._round, self.settings
        if this is None or sample.now <= this.at:
            return None
        passed = sample.now - this.at
        if not this.judged:
            if passed >= settings.effect_delay:
                self._round = None
            return None
        fell, filled = (this.measured, 0) if this.measured is not None else self._realised(this, sample)
        realised = max(0, fell + filled)
        futile = realised < settings.effective * this.predicted
        ended = this.ended_at is not None and sample.now > this.ended_at
        if this.measured is None and passed < settings.effect_delay:
            if not ended:
                return None
            if futile:
                if time_to_limit < settings.effect_delay - passed and self._hurried < settings.futile_rounds:
                    self._hurried += 1
                    self._round = None
                return None
        self._hurried = 0
        self._round = None
        returned = max(0, this.before.resident - sample.resident)
        outcome = ActionOutcome("kill", this.at, this.predicted, realised, sample.now - this.at, returned)
        what = (
            f"round {this.number} was to free {this.predicted:,} bytes and freed {realised:,} "
            f"(fell by {fell:,}, {filled:,} refilled; {returned:,} went back to the system)"
        )
        if not futile:
            self._futile, self._pause = 0, settings.pause
            return Judgement(outcome, False, because=what)
        self._futile += 1
        because = f"{what}, less than {settings.effective:.0%}: futile, {self._futile} in a row"
        if self._futile < settings.futile_rounds:
            return Judgement(outcome, True, because=because)
        stopped_for = self._pause
        self._stopped_until = sample.now + stopped_for
        self._pause = min(settings.longest_pause, 2 * self._pause)
        return Judgement(
            outcome, True, stopped_for, f"{because}; kills do not help, so there are none for {stopped_for:g} s"
        )

    @staticmethod
    def _realised(this: _KillRound, sample: MemorySample) -> tuple[int, int]:
        """By how many bytes the gauge fell, and how many have probably been taken up meanwhile."""
        before = this.before
        if before.live is None or sample.live is None:
            fell = before.needed - sample.needed
        else:
            fell = gauge(before) - gauge(sample)
        return fell, round(this.rate * (sample.now - before.now))
