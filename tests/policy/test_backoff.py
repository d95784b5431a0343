import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorkit.errors import InvalidChildSpec
from actorkit.policy.supervision.backoff import Backoff, BackoffState
from tests.policy.strategies import backoffs

fractions = st.floats(0.0, 1.0)


@given(backoffs, st.lists(st.tuples(st.floats(0, 1000), fractions), max_size=50))
def test_a_delay_is_never_negative_nor_above_the_limit(spec, failures):
    state = BackoffState(spec)
    for lived, fraction in failures:
        assert 0.0 <= state.next_delay(lived, fraction) <= spec.limit


@given(backoffs, st.integers(1, 60))
def test_without_luck_it_grows_until_the_limit(spec, count):
    state = BackoffState(spec)
    delays = [state.next_delay(0.0, 0.5) for _ in range(count)]
    assert delays == sorted(delays)
    assert delays[0] == pytest.approx(spec.first)
    assert all(
        later == pytest.approx(min(spec.limit, earlier * spec.factor)) for earlier, later in itertools.pairwise(delays)
    )


@given(backoffs, st.integers(1, 20), fractions)
def test_a_life_long_enough_resets_and_a_shorter_one_does_not(spec, count, fraction):
    def after(count):
        state = BackoffState(spec)
        for _ in range(count):
            state.next_delay(0.0, fraction)
        return state

    enough = spec.reset_after * spec.base(count)
    state = after(count)
    state.next_delay(enough, fraction)
    assert state.failures == 1
    state = after(count)
    state.next_delay(math.nextafter(enough, 0.0), fraction)
    assert state.failures == count + 1


def test_jitter_comes_before_the_clamp():
    spec = Backoff(first=10.0, factor=2.0, limit=20.0, jitter=0.5)
    state = BackoffState(spec)
    assert state.next_delay(0.0, 0.0) == 5.0
    assert state.next_delay(0.0, 1.0) == 20.0
    # At the limit, the children of one broken thing still differ.
    assert state.next_delay(0.0, 0.0) == 10.0
    assert state.next_delay(0.0, 0.25) == 15.0


def test_the_luck_of_the_jitter_has_no_part_in_the_reset():
    state = BackoffState(Backoff(first=1.0, jitter=1.0))
    assert state.next_delay(0.0, 0.0) == 0.0
    state.next_delay(0.0, 0.0)
    assert state.failures == 2


def test_a_very_long_row_does_not_overflow():
    state = BackoffState(Backoff(factor=1e300))
    state.failures = 10_000
    assert state.next_delay(0.0, 0.5) == 30.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first", 0),
        ("first", -1.0),
        ("first", math.inf),
        ("first", math.nan),
        ("first", "1"),
        ("first", True),
        ("factor", 0.9),
        ("factor", math.inf),
        ("limit", 0.05),
        ("limit", math.inf),
        ("jitter", -0.1),
        ("jitter", 1.1),
        ("reset_after", 0),
        ("reset_after", None),
    ],
)
def test_wrong_values_are_refused_by_name(field, value):
    with pytest.raises(InvalidChildSpec) as caught:
        Backoff(**{field: value})
    assert caught.value.field == f"backoff.{field}"
    assert caught.value.value is value
    assert f"backoff.{field}=" in str(caught.value)
    assert caught.value.remedy in str(caught.value)
    assert caught.value.why in str(caught.value)


@pytest.mark.parametrize("first", [math.ulp(0.0), 1, math.nextafter(math.inf, 0.0)])
@pytest.mark.parametrize("jitter", [0, 1])
def test_what_is_just_allowed(first, jitter):
    made = Backoff(first=first, factor=1, limit=first, jitter=jitter, reset_after=math.ulp(0.0))
    assert made.base(1) == made.base(100) == first
