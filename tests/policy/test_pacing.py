"""How soon to look again: never too late for what was seen, never outside its bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorkit.policy.memory_sample import MemorySample
from actorkit.policy.pacing import Pacing, PollPace

MIB = 2**20
LIMIT = 1000 * MIB


def sample(now: float, used: int) -> MemorySample:
    return MemorySample(now=now, limit=LIMIT, used=used, source="test", resident=used)


looks = st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 1100 * MIB)), min_size=1, max_size=40)
pacings = st.builds(
    Pacing,
    shortest=st.floats(0.001, 0.1),
    longest=st.floats(0.1, 10),
    part=st.floats(0.05, 1),
    assumed=st.floats(1, 1e10),
    memory=st.floats(0.1, 100),
)


@settings(deadline=None)
@given(pacings, looks)
def test_what_was_seen_before_is_not_missed(pacing: Pacing, looks: list[tuple[float, int]]) -> None:
    """If memory fills at the worst rate of the last seconds, no more than the part of the headroom is gone by then."""
    pace, now, rates, before = PollPace(pacing), 0.0, [], None
    for after, used in looks:
        now += after
        if before is not None:
            rates.append((now, (used - before[1]) / (now - before[0])))
        before = now, used
        wait = pace.next_look(sample(now, used))
        assert pacing.shortest <= wait <= pacing.longest
        worst = max([rate for at, rate in rates if at >= now - pacing.memory], default=0.0)
        assert pace.fill_rate == pytest.approx(max(0.0, worst))
        headroom = max(0, LIMIT - used)
        if wait > pacing.shortest:
            assert wait * max(worst, pacing.assumed) <= pacing.part * headroom * (1 + 1e-9)
        if worst > 0:
            assert pace.time_to_limit == pytest.approx(headroom / worst)
        else:
            assert pace.time_to_limit == math.inf


@settings(deadline=None)
@given(st.integers(0, LIMIT), st.integers(0, LIMIT))
def test_nearer_means_sooner(one: int, other: int) -> None:
    near, far = sorted([one, other], reverse=True)
    assert PollPace().next_look(sample(0.0, near)) <= PollPace().next_look(sample(0.0, far))


def test_by_example() -> None:
    pace = PollPace(Pacing(shortest=0.02, longest=1.0, part=0.25, assumed=MIB, memory=10.0))
    assert pace.next_look(sample(0.0, 200 * MIB)) == 1.0
    # 100 MiB in a second, 700 left: a quarter of that takes 1.75 s.
    assert pace.next_look(sample(1.0, 300 * MIB)) == 1.0
    # 500 MiB in a second, 200 left: a quarter of that takes 0.1 s.
    assert pace.next_look(sample(2.0, 800 * MIB)) == pytest.approx(0.1)
    assert pace.time_to_limit == pytest.approx(0.4)
    # Beyond the limit: as often as may be.
    assert pace.next_look(sample(2.1, 1100 * MIB)) == 0.02
    assert pace.time_to_limit == 0
    # It was freed, and ten seconds later the burst is forgotten.
    assert pace.next_look(sample(2.5, 100 * MIB)) == pytest.approx(0.25 * 900 / 3000)
    assert pace.next_look(sample(12.6, 100 * MIB)) == 1.0
    assert pace.time_to_limit == math.inf


def test_two_looks_at_once_are_no_rate() -> None:
    pace = PollPace()
    pace.next_look(sample(1.0, 0))
    pace.next_look(sample(1.0, 900 * MIB))
    assert pace.fill_rate == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"shortest": 0},
        {"shortest": 2.0},
        {"longest": math.inf},
        {"longest": math.nan},
        {"part": 0},
        {"part": 1.5},
        {"assumed": 0},
        {"memory": math.inf},
    ],
)
def test_wrong_knobs(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="give"):
        Pacing(**wrong)
