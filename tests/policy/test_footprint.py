from __future__ import annotations

import math
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorkit.policy.memory.footprint import ALPHA, WINDOW, Footprint, FootprintLearner

sizes = st.lists(st.integers(0, 2**40), min_size=1, max_size=3 * WINDOW)
levels = st.floats(0.01, 1.0)


def learned(samples, **options):
    learner = FootprintLearner("Room", **options)
    for sample in samples:
        learner.learn(sample)
    return learner


@given(sizes, levels)
def test_the_quantile_is_exact_for_what_is_recent(samples, level):
    """The quantile is the nearest rank: at least that part of the recent samples is no larger,
    which does not hold for any smaller sample.
    """
    recent = samples[-WINDOW:]
    found = learned(samples, quantile=level).quantile
    assert found in recent
    needed = math.ceil(level * len(recent))
    assert sum(sample <= found for sample in recent) >= needed
    assert sum(sample < found for sample in recent) < needed


@pytest.mark.parametrize("seed", range(10))
def test_the_quantile_estimates_that_of_the_kind(seed):
    """The estimate is compared with a long run of one distribution: it lies between the run's exact
    quantiles 0.75 and 1.
    """
    chance = random.Random(seed)
    samples = [int(chance.lognormvariate(10, 2)) for _ in range(1_000)]
    ranked = sorted(samples)
    found = learned(samples).quantile
    assert ranked[int(0.75 * len(ranked))] <= found <= ranked[-1]


@given(sizes)
def test_the_average_is_that_of_the_definition(samples):
    expected = float(samples[0])
    for sample in samples[1:]:
        expected = (1 - ALPHA) * expected + ALPHA * sample
    learner = learned(samples)
    assert learner.ewma == pytest.approx(expected)
    # Rounding may pass the largest sample by a hair, but never by more.
    assert min(samples) * (1 - 1e-9) <= learner.ewma <= max(samples) * (1 + 1e-9)


@given(sizes, levels)
def test_a_reading_is_what_was_learned(samples, level):
    reading = learned(samples, quantile=level).reading()
    assert reading is not None
    assert (reading.count, reading.maximum, reading.truncated) == (len(samples), max(samples), 0)
    assert reading.predict() == max(reading.quantile, reading.ewma) == learned(samples, quantile=level).predict()
    assert reading.ewma <= reading.predict() <= reading.maximum


def test_nothing_is_known_at_first():
    learner = FootprintLearner("Room")
    assert learner.reading() is None
    assert learner.predict() is None
    assert learner.predict(default=4096) == 4096
    assert learner.quantile == 0
    learner.learn(0)
    assert learner.predict(default=4096) == 0


def test_an_outlier_is_not_reserved_for_but_one_in_ten_is():
    assert learned([1000] * 60 + [10**9]).quantile == 1000
    assert learned(([1000] * 9 + [10**6]) * 6).predict() == 10**6


def test_it_never_predicts_less_than_the_average():
    """After a giant the average may lie above the quantile; the prediction is never below the
    average.
    """
    learner = learned([1000] * 60 + [10**9])
    assert learner.predict() == round(learner.ewma) > learner.quantile


def test_it_forgets():
    learner = learned([10**9] * 1000 + [1000] * 2 * WINDOW)
    assert learner.predict() < 2000
    assert learner.maximum == 10**9


def test_truncated_samples_are_counted():
    learner = learned([1, 2])
    learner.learn(3, truncated=True)
    reading = learner.reading()
    assert reading is not None
    assert (reading.count, reading.truncated) == (3, 1)
    learner.learn(4, truncated=True)
    assert learner.truncated == 2
    assert "1 of them at least" in str(reading)


def test_it_reads_well():
    reading = Footprint("Room", "lobby", 12, 1000, 2000, 3000)
    assert str(reading) == "Room 'lobby': reserve 2,000 B (12 samples, average 1,000 B, maximum 3,000 B)"
    assert str(Footprint("Room", None, 1, 5, 5, 5)).startswith("Room: reserve 5 B")


def test_it_is_small():
    learner = learned(range(10**6, 10**6 + 1000))
    parts = [learner, *(getattr(learner, name) for name in FootprintLearner.__slots__)]
    assert sum(map(sys.getsizeof, parts)) <= 1024 + sys.getsizeof(learner.kind)


@pytest.mark.parametrize("quantile", [0, -0.1, 1.1, math.nan, math.inf])
def test_a_wrong_quantile_is_refused(quantile):
    with pytest.raises(ValueError, match="quantile="):
        FootprintLearner(quantile=quantile)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="-1 B is no size of a Room"):
        FootprintLearner("Room").learn(-1)


def test_a_reading_says_whose_it_is():
    reading = FootprintLearner("Room", "lobby")
    reading.learn(1)
    found = reading.reading()
    assert found is not None
    assert (found.kind, found.id) == ("Room", "lobby")


def test_the_recent_ones_are_just_so_many():
    learner = FootprintLearner("Room", quantile=1.0)
    for size in [10**9] + [1] * (WINDOW - 1):
        learner.learn(size)
    assert learner.quantile == 10**9
    learner.learn(1)
    assert learner.quantile == 1
