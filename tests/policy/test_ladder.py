"""The ladder: when a level is entered, left, and entered again."""

from __future__ import annotations

from typing import Any

import pytest

from actorkit.policy.memory.fill_rate import FillRate, LookSettings, gauge
from actorkit.policy.memory.ladder import Ladder, LadderSettings
from actorkit.policy.memory.memory_sample import MemoryLevel, MemorySample

NORMAL, CONSERVE, SHED, KILL, EXHAUSTED = MemoryLevel


def sample(now: float, used: int, live: int | None = None, **about: Any) -> MemorySample:
    fields: dict[str, Any] = {"limit": 1000, "source": "test", "resident": used} | about
    return MemorySample(now, used=used, live=live, **fields)


def climb(*steps: tuple[float, int] | tuple[float, int, int], **settings: Any) -> list[str]:
    """The level after each sample, by its initial."""
    ladder = Ladder(LadderSettings(**settings))
    levels = []
    for step in steps:
        ladder.step(sample(*step))
        levels.append(ladder.level.name[0])
    return levels


@pytest.mark.parametrize(
    ("used", "level"),
    [(0, NORMAL), (699, NORMAL), (700, CONSERVE), (799, CONSERVE), (800, SHED), (899, SHED), (900, KILL),
     (959, KILL), (960, EXHAUSTED), (2000, EXHAUSTED)],
)  # fmt: skip
def test_up_at_once_over_as_many_levels_as_it_takes(used: int, level: MemoryLevel) -> None:
    ladder = Ladder()
    moved = ladder.step(sample(0, used))
    assert ladder.level == level
    assert (moved is None) == (level == NORMAL)
    if moved is not None:
        assert (moved.level, moved.previous) == (level, NORMAL)
        assert f"{used:,} bytes used" in moved.because
        assert level.name in moved.because


@pytest.mark.parametrize(
    ("level", "enter", "leave"),
    [("C", 700, 650), ("S", 800, 740), ("K", 900, 820), ("E", 960, 900)],
)
def test_left_below_another_threshold_than_entered_at(level: str, enter: int, leave: int) -> None:
    assert climb((0, enter), (5, leave)) == [level, level]
    assert climb((0, enter), (5, leave - 1))[1] == {"C": "N", "S": "C", "K": "S", "E": "K"}[level]


def test_down_one_level_per_dwell() -> None:
    assert climb((0, 990), (0.5, 10), (1, 10), (1.5, 10), (2, 10), (3, 10), (4, 10), (5, 10)) == [*"EEKKSCNN"]


def test_up_again_without_waiting() -> None:
    assert climb((0, 900), (1, 10), (1.01, 900)) == [*"KSK"]


def test_left_by_what_is_needed() -> None:
    """The resident set stays at 910, and half of it is free for Python."""
    assert climb((0, 910, 910), (1, 910, 500), (2, 910, 500), (3, 910, 500), (4, 910, 500), (9, 910, 500)) == [
        *"KSCNNN"
    ]


def test_not_entered_again_by_pages_that_never_went_back() -> None:
    levels = climb((0, 950, 950), (1, 950, 300), (2, 950, 300), (3, 955, 300), (4, 960, 300), (5, 969, 300))
    assert levels == [*"KSCNNN"], "EXHAUSTED neither, though it has not been there"
    levels = climb((0, 950, 950), (1, 950, 300), (2, 950, 300), (3, 955, 300), (4, 970, 300))
    assert levels == [*"KSCNE"], "grown by 2 % of the limit"
    levels = climb((0, 920, 920), (1, 920, 300), (2, 920, 300), (3, 920, 300), (4, 939, 300), (5, 950, 500))
    assert levels == [*"KSCNNK"], "grown by 3 % of the limit: real growth"


def test_entered_again_when_it_is_needed_again() -> None:
    assert climb((0, 920, 920), (1, 920, 300), (2, 920, 300), (3, 920, 300), (4, 920, 700), (5, 920, 900)) == [
        *"KSCNCK"
    ]


def test_growth_counts_from_the_lowest_since() -> None:
    """The level is left at 950. Memory falls to 880 (not below where KILL is left), and climbs to
    905, 2.5 % from there.
    """
    assert climb((0, 950, 950), (1, 950, 300), (1.1, 880, 300), (1.2, 899, 300), (1.3, 905, 300)) == [*"KSSSK"]


def test_pages_that_went_back_restore_the_plain_rule() -> None:
    assert climb((0, 910, 910), (1, 910, 300), (1.1, 810, 300), (1.2, 900, 300)) == [*"KSSK"]


def test_early_when_the_limit_is_nearer_than_the_next_look() -> None:
    ladder = Ladder()
    moved = ladder.step(sample(0, 600), time_to_limit=0.1, next_look=0.25)
    assert moved is not None
    assert moved.level == CONSERVE
    assert "0.1 s" in moved.because
    assert "0.25 s" in moved.because
    for level in (SHED, KILL):
        ladder.step(sample(0, 600), 0.1, 0.25)
        assert ladder.level == level
    ladder.step(sample(0, 600), 0.1, 0.25)
    assert ladder.level == KILL, "nobody is stopped for a forecast"
    assert Ladder(LadderSettings(forecast=False)).step(sample(0, 600), 0.1, 0.25) is None
    assert Ladder().step(sample(0, 600), 0.25, 0.25) is None


def test_not_early_into_a_level_left_by_what_is_needed() -> None:
    ladder = Ladder()
    ladder.step(sample(0, 910, 910))
    ladder.step(sample(1, 910, 300))
    assert ladder.level == SHED
    assert ladder.step(sample(1.1, 911, 300), 0.01, 1.0) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kill": (0.82, 0.90)}, "kill: entered at 0.82 and left at 0.9"),
        ({"kill": (0.9, 0.9)}, "leave < enter"),
        ({"exhausted": (1.1, 0.9)}, "enter <= 1"),
        ({"conserve": (0.7, 0.0)}, "0 < leave"),
        ({"shed": (0.7, 0.66)}, "shed: .* is not above the level before it"),
        ({"shed": (0.8, 0.65)}, "ascending"),
        ({"dwell": -1}, "dwell=-1 is not a time"),
        ({"dwell": float("nan")}, "dwell=nan"),
        ({"regrowth": 0}, "regrowth=0"),
    ],
)
def test_thresholds_that_contradict_each_other(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LadderSettings(**wrong)


# --- Fill rate ---


def rates(*samples: MemorySample) -> FillRate:
    rate = FillRate(LookSettings(assumed=0))
    for each in samples:
        rate.note(each)
    return rate


def test_the_worst_recent_climb() -> None:
    rate = rates(sample(0, 100), sample(1, 110), sample(1.5, 210))
    assert rate.worst() == 200
    assert rate.mean() == pytest.approx(110 / 1.5)
    assert rate.time_to_limit() == pytest.approx(790 / 200)


def test_old_climbs_and_noise_do_not_count() -> None:
    assert rates(sample(0, 100), sample(0.05, 200)).worst() == 0, "over less than the span"
    assert rates(sample(0, 0), sample(1, 500), sample(5, 500), sample(9, 500)).worst() == 0
    assert rates(sample(0, 500), sample(1, 400)).worst() == 0
    assert rates(sample(0, 500), sample(1, 400)).time_to_limit() == float("inf")


def test_no_slope_between_two_truths() -> None:
    assert rates(sample(0, 100), sample(1, 900, limit=2000)).worst() == 0
    assert rates(sample(0, 100), sample(1, 900, source="other")).worst() == 0


def test_the_next_look_follows_from_headroom_and_rate() -> None:
    assert rates(sample(0, 100)).look_after() == 1.0
    assert rates(sample(0, 100), sample(1, 500)).look_after() == pytest.approx(0.25 * 500 / 400)
    assert rates(sample(0, 100), sample(1, 999)).look_after() == 0.002
    assert rates(sample(0, 100)).look_after(0.3) == 0.3
    assumed = FillRate(LookSettings(assumed=500))
    assumed.note(sample(0, 0))
    assert assumed.look_after() == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", [{"shortest": 0}, {"shortest": 2}, {"share": 0}, {"span": 3}, {"assumed": -1}])
def test_looks_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give|need"):
        LookSettings(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"share": 1.5}, {"longest": float("inf")}, {"span": 0}, {"reaction": -0.1}, {"window": 0.05}]
)
def test_looks_that_can_just_not_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give|need"):
        LookSettings(**wrong)


def test_looks_that_just_can() -> None:
    made = LookSettings(share=1.0, shortest=1.0, longest=1.0, reaction=0, span=2.0, window=2.0, assumed=0)
    assert made.share == 1.0


# --- What mutants have shown to be missing ---


def test_a_ladder_may_end_at_the_limit() -> None:
    assert LadderSettings(exhausted=(1.0, 0.9)).exhausted.enter == 1.0


def test_before_the_first_step() -> None:
    ladder = Ladder()
    assert (ladder.level, ladder.since) == (NORMAL, float("-inf"))
    ladder.step(sample(3, 900))
    assert (ladder.level, ladder.since) == (KILL, 3)


def test_no_forecast_without_a_next_look() -> None:
    assert Ladder().step(sample(0, 600), 0.5) is None


def test_a_forecast_takes_nobody_further_than_kill() -> None:
    """A forecast goes no further than KILL. Fault: at KILL each forecast enters KILL anew, and the
    level is never left.
    """
    ladder = Ladder()
    moved = ladder.step(sample(0, 900), 0.01, 1.0)
    assert moved is not None
    assert moved.because == "900 bytes used: enters KILL at 90% of 1,000 bytes (test)"
    assert ladder.step(sample(0.5, 850), 0.01, 1.0) is None
    assert ladder.since == 0


def test_why_it_is_left_and_entered_by_growth() -> None:
    ladder = Ladder()
    ladder.step(sample(0, 920, 920))
    moved = ladder.step(sample(1, 920, 300))
    assert moved is not None
    assert moved.because == (
        "300 bytes needed (920 used, 620 retained): leaves KILL below 82% of 1,000 bytes (test), after 1 s at least"
    )
    moved = ladder.step(sample(1.5, 945, 300))
    assert moved is not None
    assert moved.because == (
        "945 bytes used, grown by 25 since it was left, which is 2% or more of the limit: enters KILL at 90% of 1,000 "
        "bytes (test)"
    )


@pytest.mark.parametrize(
    ("lowest", "levels"),
    [(820, "KSSS"), (819, "KSSK")],
)
def test_a_mark_goes_below_where_the_level_is_left(lowest: int, levels: str) -> None:
    """A mark is dropped when ``used`` falls below where the level is left. The regrowth cannot be
    reached, so nothing else lets the level in again.
    """
    assert climb((0, 910, 910), (1, 910, 300), (1.1, lowest, 300), (1.2, 900, 300), regrowth=0.2) == [*levels]


def test_what_went_back_leaves_no_mark() -> None:
    """A level that is left with ``used`` below its leave threshold has no mark: the plain rule
    holds.
    """
    assert climb((0, 910, 910), (1, 810, 810), (1.1, 900, 300), regrowth=0.2) == [*"KSK"]


def test_those_above_are_marked_where_used_stands_at_their_leave() -> None:
    assert climb((0, 900, 900), (1, 900, 300), (1.5, 960, 300), regrowth=0.2) == [*"KSS"]
    assert climb((0, 910, 910), (1, 899, 300), (1.5, 960, 300), regrowth=0.2) == [*"KSE"]


def test_those_below_are_marked_when_they_are_left_themselves() -> None:
    """A lower level is marked when it is itself left. Fault: SHED is marked when KILL is left;
    memory falls to 800 meanwhile; and SHED is entered again for having grown to 860.
    """
    assert climb((0, 910, 910), (1, 910, 300), (1.5, 800, 300), (2, 850, 300), (2.1, 860, 300)) == [*"KSSCC"]


def test_a_level_that_is_entered_again_loses_its_mark() -> None:
    """KILL and SHED are entered by what is needed; both are left again at 950, and 955 is no
    growth.
    """
    assert climb(
        (0, 920, 920), (1, 920, 300), (2, 920, 300), (2.5, 920, 900), (3.5, 950, 300), (4.5, 950, 300), (4.6, 955, 300)
    ) == [*"KSCKSCC"]


def test_a_sample_that_comes_too_soon_says_nothing() -> None:
    """Two samples must be half a second apart; the last and the one before it must be a quarter
    apart, and not less.
    """
    spaced = LookSettings(assumed=0, span=0.5, window=2.0)
    for gap, climb_per_second in [(0.01, 0), (0.2, 0), (0.25, 100 / 0.75), (0.4, 100 / 0.6)]:
        rate = FillRate(spaced)
        for each in (sample(10, 100), sample(10 + gap, 0), sample(11, 100)):
            rate.note(each)
        assert rate.worst() == pytest.approx(climb_per_second), gap
    assert rates(sample(10, 100), sample(10, 300), sample(11, 300)).worst() == 0, "the same moment, seen again"


def test_a_climb_is_over_at_least_the_span() -> None:
    spaced = LookSettings(assumed=0, span=0.5, window=2.0)
    for later, climb_per_second in [(10.25, 0), (10.5, 200)]:
        rate = FillRate(spaced)
        rate.note(sample(10, 100, 100))
        rate.note(sample(later, 200, 200))
        assert (rate.worst(), rate.mean()) == (climb_per_second, climb_per_second)


@pytest.mark.parametrize(("times", "mean"), [((0, 1, 10), 0), ((0, 1, 3), 300), ((0, 1, 3.5), 0), ((0, 1, 2), 450)])
def test_one_that_is_older_than_the_window_stays(times: tuple[float, ...], mean: float) -> None:
    """The live bytes are 0, 900, 900: the oldest sample that stays decides whether they
    have grown.
    """
    rate = rates(*(sample(now, 900, live) for now, live in zip(times, (0, 900, 900), strict=True)))
    assert rate.mean() == pytest.approx(mean)


def test_slow_climbs_are_climbs() -> None:
    """A climb of half a byte a second counts, with one byte left."""
    rate = rates(sample(0, 998), sample(2, 999))
    assert rate.time_to_limit() == 2.0
    assert rate.look_after() == 0.5
    assert rates(sample(0, 998, 998), sample(2, 999, 999)).mean() == 0.5


def test_kills_are_judged_by_live_bytes_where_they_are_known() -> None:
    assert gauge(MemorySample(0, 1000, 500, "test", 300, 200)) == 200
    assert gauge(MemorySample(0, 1000, 500, "test", 300)) == 500
