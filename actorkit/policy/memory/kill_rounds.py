"""Rounds of kills: one at a time, judged by what they gave back, stopped when they give nothing.

A round waits for its effect. Where its victims ended at once, what that freed has been measured on the spot, and the
next sample may already begin another round. Else no other begins before its victims have ended *and* a later sample
shows that it delivered, or, failing that, before ``effect_delay`` has passed. Without the wait a governor reads figures
from before its kills and kills again; without the short cuts it frees one round's worth per delay, too slow for a
crowd. Where the limit is nearer than the rest of the wait, a round whose victims have ended is given up unjudged, but
not more than ``futile_rounds`` in a row.

Else a round is judged on live bytes where they are known, else on what is needed, never on the resident set. Others go
on filling meanwhile: what they would have taken up, at the mean rate before the round, is credited to it. A round that
realised less than ``effective`` of its prediction is *futile*. After ``futile_rounds`` in a row the breaker opens: no
kills for ``pause``, then one round to try; if that is futile too, a pause twice as long. A kill that frees nothing
harms twice.

A victim that has not ended stays on the list of those already killed: it is not chosen again.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

import attrs

from actorkit.policy.memory.fill_rate import gauge
from actorkit.policy.memory.memory_sample import MemorySample
from actorkit.policy.memory.outcomes import Outcome
from actorkit.policy.memory.victims import KillCaps

__all__ = ["Judgement", "KillRounds", "KillSettings"]

KEPT_ROUNDS = 32


@attrs.frozen
class KillSettings:
    """How kills go. Seconds and fractions.

    Args:
        caps: what one round may take.
        margin: part of the limit to be freed beyond the point where KILL is left, so that it is left for good.
        round_interval: seconds between the beginnings of two rounds, at least.
        effect_delay: seconds that a round has to show an effect.
        effective: a round that realises less than this part of its prediction is futile.
        futile_rounds: that many futile rounds in a row stop the killing.
        pause: for so many seconds, the first time.
        longest_pause: and for no more than so many.
        census_again: seconds until a census is asked for again, when one is not answered or finds nobody.

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

    outcome: Outcome
    futile: bool
    stopped_for: float = 0.0
    """Seconds for which no kills follow, if this round opened the breaker."""
    because: str = attrs.field(default="", eq=False)


@attrs.define
class _KillRound:
    number: int
    predicted: int
    before: MemorySample
    at: float
    rate: float
    judged: bool
    ended_at: float | None = None
    measured: int | None = None
    """What its end has freed, where that was measured on the spot."""


class KillRounds:
    """The round under way, and how the last ones went."""

    def __init__(self, settings: KillSettings | None = None) -> None:
        self.settings = settings or KillSettings()
        self._round: _KillRound | None = None
        self._begun_at = -math.inf
        self._futile = 0
        self._hurried = 0
        self._pause = self.settings.pause
        self._stopped_until = -math.inf
        self._not_ended: dict[int, frozenset[Hashable]] = {}

    def missing(self, sample: MemorySample, leave: float) -> int:
        """Bytes to be freed so that KILL, left at ``leave`` of the limit, is left; 0 if it is already."""
        beyond = sample.needed - leave * sample.limit
        return math.ceil(beyond + self.settings.margin * sample.limit) if beyond >= 0 else 0

    def stopped(self, now: float) -> bool:
        """Is the breaker open?"""
        return now < self._stopped_until

    def may_begin(self, now: float) -> bool:
        """Is there neither a round under way, nor a reason to wait?"""
        return self._round is None and not self.stopped(now) and now - self._begun_at >= self.settings.round_interval

    def already_killed(self) -> frozenset[Hashable]:
        """Those killed before who have not ended yet, as far as is known."""
        return frozenset().union(*self._not_ended.values()) if self._not_ended else frozenset()

    def begin(
        self, number: int, now: float, before: MemorySample, rate: float, predicted: int,
        dead: frozenset[Hashable], *, judged: bool = True,
    ) -> None:  # fmt: skip
        """A round has been decided. ``rate``: bytes a second that the node took up before it. Not ``judged``: it is
        a dry run's, which cannot have an effect."""
        self._round = _KillRound(number, predicted, before, now, rate, judged)
        self._begun_at = now
        if judged:
            self._not_ended[number] = dead
            while len(self._not_ended) > KEPT_ROUNDS:
                del self._not_ended[next(iter(self._not_ended))]

    def ended(self, number: int, now: float, measured: int | None = None) -> bool:
        """All victims of that round have ended; True if it is a round's number. ``measured``: bytes that it freed, if
        that is known without another sample."""
        if self._round is not None and self._round.number == number:
            self._round.ended_at, self._round.measured = now, measured
        return self._not_ended.pop(number, None) is not None

    def look(self, sample: MemorySample, time_to_limit: float = math.inf) -> Judgement | None:
        """Judge the round under way by a later sample, if it is time. ``time_to_limit``: seconds, at the present
        rate."""
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
        outcome = Outcome("kill", this.at, this.predicted, realised, sample.now - this.at, returned)
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
        """By how many bytes it fell, and how many have probably been taken up meanwhile."""
        before = this.before
        if before.live is None or sample.live is None:
            fell = before.needed - sample.needed
        else:
            fell = gauge(before) - gauge(sample)
        return fell, round(this.rate * (sample.now - before.now))
