"""Rounds of kills: when the next one may begin, and when they are given up."""

from __future__ import annotations

import math

from actorkit.policy.kill_rounds import KillRounds, KillSettings
from actorkit.policy.memory_sample import MemorySample

SETTINGS = KillSettings(round_interval=0.01, effect_delay=2.0, futile_rounds=3, pause=30.0)


def sample(now: float, used: int) -> MemorySample:
    return MemorySample(now, limit=1000, used=used, source="test", resident=used, live=used)


def begun(rounds: KillRounds, number: int, now: float, used: int = 950, predicted: int = 100) -> None:
    assert rounds.may_begin(now)
    rounds.begin(number, now, sample(now, used), 0.0, predicted, frozenset({number}))


def test_what_was_measured_on_the_spot_is_judged_at_once() -> None:
    """Though memory stands where it stood: others have taken what was freed."""
    rounds = KillRounds(SETTINGS)
    for number in range(10):
        now = number * 0.02
        begun(rounds, number, now)
        assert rounds.ended(number, now, 98)
        judgement = rounds.look(sample(now + 0.01, 950))
        assert judgement is not None
        assert not judgement.futile
        assert judgement.receipt.realised == 98
    assert not rounds.stopped(1.0)


def test_what_was_measured_as_futile_counts_as_futile() -> None:
    rounds = KillRounds(SETTINGS)
    for number in range(3):
        now = number * 0.02
        begun(rounds, number, now)
        rounds.ended(number, now, 3)
        judgement = rounds.look(sample(now + 0.01, 100))
        assert judgement is not None
        assert judgement.futile
    assert judgement.stopped_for == 30.0
    assert not rounds.may_begin(1.0)


def test_a_round_without_effect_is_waited_for() -> None:
    rounds = KillRounds(SETTINGS)
    begun(rounds, 1, 0.0)
    rounds.ended(1, 0.1)
    assert rounds.look(sample(1.0, 960), math.inf) is None
    assert rounds.look(sample(1.0, 960), 1.5) is None, "the limit is farther than the wait"
    assert not rounds.may_begin(1.0)
    judgement = rounds.look(sample(2.0, 960))
    assert judgement is not None
    assert judgement.futile


def test_but_not_when_the_limit_is_nearer_and_not_for_ever() -> None:
    """Given up unjudged, three times in a row."""
    rounds = KillRounds(SETTINGS)
    for number in range(3):
        now = 0.1 * number
        begun(rounds, number, now)
        assert rounds.look(sample(now + 0.01, 970), 0.2) is None
        assert not rounds.may_begin(now + 0.02), "its victims have not ended"
        rounds.ended(number, now + 0.02)
        assert rounds.look(sample(now + 0.03, 970), 0.2) is None
    begun(rounds, 9, 0.3)
    rounds.ended(9, 0.32)
    assert rounds.look(sample(0.33, 970), 0.2) is None
    assert not rounds.may_begin(0.4)
