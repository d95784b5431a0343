"""Rounds of kills: when the next one may begin, and when they are given up."""

from __future__ import annotations

import math

import attrs
import pytest

from actorkit.policy.memory.kill_rounds import Judgement, KillRounds, KillSettings
from actorkit.policy.memory.memory_sample import MemorySample
from actorkit.policy.memory.outcomes import ActionOutcome

SETTINGS = KillSettings(round_interval=0.01, effect_delay=2.0, futile_rounds=3, pause=30.0)


def sample(now: float, used: int) -> MemorySample:
    return MemorySample(now, limit=1000, used=used, source="test", resident=used, live=used)


def begun(rounds: KillRounds, number: int, now: float, used: int = 950, predicted: int = 100) -> None:
    assert rounds.may_begin(now)
    rounds.begin(number, now, sample(now, used), 0.0, predicted, frozenset({number}))


def test_what_was_measured_on_the_spot_is_judged_at_once() -> None:
    """What was measured on the spot is judged at once, even if memory does not fall because others
    have taken what was freed.
    """
    rounds = KillRounds(SETTINGS)
    for number in range(10):
        now = number * 0.02
        begun(rounds, number, now)
        assert rounds.ended(number, now, 98)
        judgement = rounds.look(sample(now + 0.01, 950))
        assert judgement is not None
        assert not judgement.futile
        assert judgement.outcome.realised == 98
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
    """Rounds are given up unjudged when the limit is nearer than their effect, but only three times
    in a row.
    """
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


# --- What mutants have shown to be missing ---


def judged(
    realised: int, *, begun_at: float = 0.0, looked_at: float = 2.0, settings: KillSettings = SETTINGS
) -> Judgement:
    """The judgement of one round of 100 bytes, by the fall of the live bytes."""
    rounds = KillRounds(settings)
    begun(rounds, 1, begun_at)
    rounds.ended(1, begun_at)
    judgement = rounds.look(sample(looked_at, 950 - realised))
    assert judgement is not None
    return judgement


@pytest.mark.parametrize(("needed", "missing"), [(810, 0), (819, 0), (820, 20), (821, 21), (900, 100)])
def test_what_is_missing_until_kill_is_left_for_good(needed: int, missing: int) -> None:
    """Fault: bytes are missing where KILL would be left already, or none are missing where it would
    just not be left.
    """
    assert KillRounds(SETTINGS).missing(sample(0.0, needed), 0.82) == missing


def test_a_fraction_of_a_byte_beyond_is_beyond() -> None:
    just = MemorySample(0.0, limit=1001, used=821, source="test", resident=821, live=821)  # 0.18 beyond 0.82
    assert KillRounds(SETTINGS).missing(just, 0.82) == 21


@pytest.mark.parametrize(("realised", "futile"), [(-10, True), (0, True), (24, True), (25, False), (100, False)])
def test_futile_is_less_than_a_quarter(realised: int, futile: bool) -> None:
    judgement = judged(realised)
    assert judgement.futile is futile
    freed = max(0, realised)
    assert judgement.outcome == ActionOutcome("kill", 0.0, 100, freed, 2.0, freed)
    assert f"freed {freed} (fell by {realised}, 0 refilled; {freed} went back to the system)" in judgement.because


def test_why_a_round_is_judged_so() -> None:
    because = "round 1 was to free 100 bytes and freed 50 (fell by 50, 0 refilled; 50 went back to the system)"
    assert judged(50).because == because
    assert judged(0).because.endswith("less than 25%: futile, 1 in a row")
    assert "there are none for 30 s" in judged(0, settings=attrs.evolve(SETTINGS, futile_rounds=1)).because


def test_how_long_a_round_took_is_from_its_beginning() -> None:
    """The time of a round counts from its beginning. Fault: times are taken from zero, so that a
    round of a node that has run for a while is judged at once.
    """
    assert judged(50, begun_at=5.0, looked_at=7.5).outcome == ActionOutcome("kill", 5.0, 100, 50, 2.5, 50)
    rounds = KillRounds(SETTINGS)
    begun(rounds, 1, 5.0)
    rounds.ended(1, 5.0)
    assert rounds.look(sample(6.9, 950)) is None
    assert rounds.look(sample(7.0, 950)) is not None


def test_the_moment_itself_shows_nothing() -> None:
    """A sample of the same moment shows nothing. Fault: a round is judged by a sample from before
    its kills, or from before its victims' end.
    """
    rounds = KillRounds(SETTINGS)
    begun(rounds, 1, 1.0)
    rounds.ended(1, 1.0, 98)
    assert rounds.look(sample(1.0, 800)) is None
    assert rounds.look(sample(1.1, 800)) is not None
    rounds = KillRounds(SETTINGS)
    begun(rounds, 1, 1.0)
    rounds.ended(1, 1.5)
    assert rounds.look(sample(1.5, 800)) is None
    assert rounds.look(sample(1.6, 800)) is not None


def test_the_limit_must_be_nearer_than_the_rest_of_the_wait() -> None:
    rounds = KillRounds(SETTINGS)
    begun(rounds, 1, 0.0)
    rounds.ended(1, 0.5)
    assert rounds.look(sample(1.0, 950), 1.0) is None
    assert not rounds.may_begin(1.0)
    assert rounds.look(sample(1.0, 950), 0.99) is None
    assert rounds.may_begin(1.0), "given up"


def test_a_judgement_ends_a_row_of_rounds_given_up() -> None:
    """After a judgement three more rounds in a row may be given up, no more and no fewer."""
    rounds = KillRounds(SETTINGS)
    begun(rounds, 0, 0.0)
    rounds.ended(0, 0.1, 100)
    assert rounds.look(sample(0.2, 950)) is not None
    for number in range(1, 5):
        begun(rounds, number, float(number))
        rounds.ended(number, number + 0.1)
        assert rounds.look(sample(number + 0.2, 970), 0.1) is None
        assert rounds.may_begin(number + 0.9) is (number < 4)


def test_a_success_ends_a_row_of_futile_rounds() -> None:
    rounds = KillRounds(SETTINGS)
    stopped = []
    for number, measured in enumerate([0, 0, 98, 0, 0, 0]):
        begun(rounds, number, float(number))
        rounds.ended(number, float(number), measured)
        judgement = rounds.look(sample(number + 0.5, 950))
        assert judgement is not None
        stopped.append(judgement.stopped_for)
    assert stopped == [0, 0, 0, 0, 0, 30.0]


def test_a_dry_round_is_over_when_it_could_have_shown() -> None:
    rounds = KillRounds(SETTINGS)
    rounds.begin(1, 5.0, sample(5.0, 950), 0.0, 100, frozenset({1}), judged=False)
    assert rounds.look(sample(6.9, 950)) is None
    assert not rounds.may_begin(6.9)
    assert rounds.look(sample(7.0, 950)) is None
    assert rounds.may_begin(7.0)


@pytest.mark.parametrize("name", ["round_interval", "effect_delay", "futile_rounds", "census_again"])
def test_times_that_never_end(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        KillSettings(**{name: math.inf})


@pytest.mark.parametrize(
    ("before", "after", "realised"),
    [
        ((950, 800), (900, 700), 100),
        ((950, None), (920, 700), 230),
        ((950, 700), (600, None), 150),
        ((950, None), (900, None), 50),
    ],
)
def test_a_round_is_judged_by_what_lives_only_where_that_is_known_before_and_after(
    before: tuple[int, int | None], after: tuple[int, int | None], realised: int
) -> None:
    """(used, live), while 900 bytes are resident: some of what is used is not Python's, or not this
    process's.
    """
    rounds = KillRounds(SETTINGS)
    samples = [MemorySample(now, 1000, used, "test", 900, live) for now, (used, live) in ((0.0, before), (2.0, after))]
    rounds.begin(1, 0.0, samples[0], 0.0, 100, frozenset({1}))
    judgement = rounds.look(samples[1])
    assert judgement is not None
    assert judgement.outcome.realised == realised
