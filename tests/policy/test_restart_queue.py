"""Restarts at the gate: when they may go ahead, and how long a child that dies again waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorkit.policy.memory.memory_sample import MemorySample, Priority
from actorkit.policy.memory.restart_queue import (
    Cancelled,
    Closed,
    GateSettings,
    Held,
    Looked,
    NodeDeaths,
    Opened,
    RestartQueue,
    Tick,
)
from actorkit.policy.supervision.backoff import Backoff


def look(now: float, used: int = 0, **about: Any) -> Looked:
    return Looked(MemorySample(now, **({"limit": 1000, "used": used, "source": "test", "resident": used} | about)))


def hold(now: float, key: Any, size: int = 10, delay: float = 0.0, priority: int = Priority.NORMAL) -> Held:
    return Held(now, key, "worker", size, delay, "killed for memory", priority)


def gate(used: int | None = 0, **about: Any) -> RestartQueue:
    made = RestartQueue(GateSettings(**{"reserve": 0.1, "stagger": 1.0, "burst": 1, "settle": 5.0} | about))
    if used is not None:
        made.handle(look(0, used))
    return made


def keys(released: list[Any]) -> list[Any]:
    return [release.key for release in released]


def test_at_once_when_it_fits() -> None:
    made = gate()
    (released,) = made.handle(hold(1, "a", 900))
    assert released.key == "a"
    assert "900 bytes predicted fit into the 900" in released.because
    assert len(made) == 0
    assert made.wake_at is None


def test_not_before_its_delay_nor_before_the_first_look() -> None:
    made = gate(used=None)
    assert made.handle(hold(1, "a", delay=2)) == []
    assert made.wake_at == 3
    assert made.handle(look(2)) == []
    assert keys(made.handle(Tick(3))) == ["a"]
    blind = gate(used=None)
    assert blind.handle(hold(1, "a")) == []
    assert blind.wake_at is None, "time alone will not do"
    assert keys(blind.handle(look(2))) == ["a"]


def test_what_does_not_fit_waits_for_a_look() -> None:
    made = gate()
    assert made.handle(hold(1, "a", 901)) == []
    assert made.wake_at is None
    assert made.handle(Tick(2)) == []
    assert keys(made.handle(look(3, limit=2000))) == ["a"]


def test_room_is_by_what_is_needed() -> None:
    made = gate()
    made.handle(look(1, 950, live=100))
    assert made.room() == 800


def test_what_was_let_through_counts_until_it_can_be_seen() -> None:
    made = gate()
    made.handle(hold(1, "a", 600))
    assert made.room() == 300
    made.handle(look(5.9))
    assert made.room() == 300
    made.handle(look(6, used=600))
    assert made.room() == 300
    made.handle(look(7, used=50))
    assert made.room() == 850


def test_closed_until_opened() -> None:
    made = gate()
    made.handle(Closed(1))
    assert made.handle(hold(1, "a")) == []
    assert made.handle(look(2)) == []
    assert made.wake_at is None
    assert keys(made.handle(Opened(3))) == ["a"]


def test_staggered_in_order_of_priority_then_age() -> None:
    made = gate()
    made.handle(Closed(0))
    for key, priority in [("n1", 1), ("l", 0), ("h", 2), ("n2", 1)]:
        made.handle(hold(1, key, priority=priority))
    assert keys(made.handle(Opened(2))) == ["h"]
    assert made.wake_at == 3
    assert made.handle(Tick(2.9)) == []
    assert [keys(made.handle(Tick(now))) for now in (3, 4, 5, 6)] == [["n1"], ["n2"], ["l"], []]


def test_several_at_once_with_ample_headroom() -> None:
    made = gate(burst=3, ample=0.25)
    made.handle(Closed(0))
    for n in range(9):
        made.handle(hold(1, n, 200))
    assert keys(made.handle(Opened(2))) == [0, 1, 2]
    assert keys(made.handle(Tick(3))) == [3], "less than a quarter is left"
    assert keys(made.handle(Tick(4))) == []


def test_a_large_one_does_not_keep_out_the_others() -> None:
    made = gate(used=500)
    assert made.handle(hold(1, "large", 450, priority=Priority.HIGH)) == []
    assert keys(made.handle(hold(2, "small", 10))) == ["small"]
    made.handle(hold(2, "tiny", 5))
    assert keys(made.handle(look(9, used=100))) == ["large"], "and is first when there is room"


def test_critical_ones_do_not_wait_for_memory() -> None:
    made = gate()
    made.handle(Closed(0))
    assert keys(made.handle(hold(1, "a", 10_000, priority=Priority.CRITICAL))) == ["a"]
    assert made.handle(hold(1, "b", 10, delay=1, priority=Priority.CRITICAL)) == []
    assert keys(made.handle(Tick(2))) == ["b"]


def test_cancelled_and_held_again() -> None:
    made = gate()
    made.handle(hold(1, "a", delay=5))
    made.handle(Cancelled(2, "a"))
    assert "a" not in made
    assert made.wake_at is None
    made.handle(hold(3, "b", delay=5))
    made.handle(hold(3, "b", delay=1))
    assert keys(made.handle(Tick(20))) == ["b"]
    assert made.handle(Cancelled(20, "b")) == []


def test_a_shutdown_leaves_nothing_behind() -> None:
    made = gate(used=None)
    for n in range(10_000):
        made.handle(hold(0, n, n, delay=n % 7))
    for n in range(9_990):
        made.handle(Cancelled(8, n))
    assert len(made) == 10
    assert len(made._resting) + sum(map(len, made._ready.values())) < 100
    assert len(made.handle(look(9))) == 0, "they are large"
    assert keys(made.handle(look(9, limit=10**7))) == [9990]


def test_many_cost_little_each() -> None:
    """The cost is counted, not timed: what one event looks at does not grow with the number that
    wait.
    """
    made = gate(used=999, burst=5)
    for n in range(10_000):
        made.handle(hold(0, n, 10 + n % 500))
    assert len(made) == 10_000
    assert len(made._ready) <= 9, "one heap for each doubling is all that a release looks at"
    released = []
    for now in range(1, 201):
        released += made.handle(look(now * 10))
    assert len(released) >= 200


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "hold", "hold", "cancel", "look", "close", "open", "tick"]), st.integers(0, 9),
            st.integers(0, 1200), st.integers(0, 2), st.floats(0, 2),
        ),
        max_size=60,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_happens(steps: Any) -> None:
    """No restart is let through twice, early, uninvited, through a closed gate, or into room that
    is not there.
    """
    made = gate(used=None, burst=3, stagger=0.5)
    held: dict[int, Held] = {}
    closed, sample, promised, last = False, None, [], -10.0
    now = 0.0
    for what, key, size, priority, passed in steps:
        now += passed
        event: Any = Tick(now)
        if what == "hold":
            event = held[key] = hold(now, key, size, passed, priority)
        elif what == "cancel":
            event = Cancelled(now, key)
            held.pop(key, None)
        elif what == "look":
            event = look(now, size)
            sample = event.sample
            promised = [(at, each) for at, each in promised if at > now - 5]
        elif what in ("close", "open"):
            closed = what == "close"
            event = (Closed if closed else Opened)(now)
        released = keys(made.handle(event))
        assert len(released) <= 3
        if released:
            assert not closed
            assert sample is not None
            assert now - last >= 0.5
            last = now
            for each in released:
                was = held.pop(each)
                assert was.now + was.delay <= now
                promised.append((now, was.predicted_bytes))
            assert sum(each for _, each in promised) <= max(0, 1000 - sample.needed - 100)
        assert len(made) == len(held)
        wake = made.wake_at
        assert wake is None or wake >= now or not released


# --- Deaths ---


def test_waits_longer_and_longer() -> None:
    deaths = NodeDeaths(Backoff(first=1, limit=30, jitter=0.5))
    assert [deaths.note(1, 10, 0.5) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert deaths.count == 7
    assert deaths.note(1, 10, 0.0) == 15, "jitter before the clamp"
    assert deaths.note(1, 10, 1.0) == 30


def test_two_minutes_each_time_is_no_recovery() -> None:
    """A life must outlast the last one by a factor, not only its wait."""
    deaths = NodeDeaths(Backoff(first=1, limit=1000, jitter=0, reset_after=2))
    assert [deaths.note(120, 10, 0.5) for _ in range(4)] == [1, 2, 4, 8]
    assert deaths.note(239, 10, 0.5) == 16
    assert deaths.note(478, 10, 0.5) == 1
    short = NodeDeaths(Backoff(first=10, limit=1000, jitter=0, reset_after=2))
    assert [short.note(lived, 10, 0.5) for lived in (0.1, 1, 3, 19)] == [10, 20, 40, 80], "nor shorter than its wait"


def test_the_footprint_is_a_mean_in_which_the_newest_counts_most() -> None:
    deaths = NodeDeaths(weight=0.5)
    deaths.note(1, 100, 0.5)
    assert deaths.predicted == 100
    deaths.note(1, 200, 0.5)
    assert deaths.predicted == 150
    guessed = NodeDeaths(predicted=1000, weight=0.5)
    guessed.note(1, 0, 0.5)
    assert guessed.predicted == 500


@pytest.mark.parametrize("wrong", [{"reserve": 1}, {"ample": 2}, {"stagger": -1}, {"burst": 0}, {"settle": -1}])
def test_gates_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        GateSettings(**wrong)
    with pytest.raises(ValueError, match="weight=0"):
        NodeDeaths(weight=0)


# --- What mutants have shown to be missing ---


@pytest.mark.parametrize(
    "wrong", [{"reserve": -0.1}, {"ample": -0.1}, {"stagger": float("inf")}, {"settle": float("inf")}, {"burst": 0}]
)
def test_gates_that_can_just_not_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GateSettings(**wrong)


def test_no_room_is_none_at_all() -> None:
    """No room means none at all. Fault: a byte, or a restart that is predicted to take none, gets
    in where nothing may.
    """
    assert gate(used=None).room() == 0
    for made, event in [(gate(), Closed(0)), (gate(), look(0, 900)), (gate(), look(0, 1000))]:
        made.handle(event)
        assert made.room() == 0
        assert made.handle(hold(1, "a", 0)) == []
        assert made.handle(hold(1, "b", 1)) == []
        assert made.wake_at is None


def test_why_it_is_let_through() -> None:
    (released,) = gate().handle(hold(1, "a", 900))
    assert released.because == (
        "worker waited 0 s (killed for memory); 900 bytes predicted fit into the 900 that restarts may take (test)"
    )
    made = gate()
    made.handle(hold(1, "b", 10_000, delay=2.5, priority=Priority.CRITICAL))
    (released,) = made.handle(Tick(3.5))
    assert released.because == "worker waited 2.5 s (killed for memory); CRITICAL: not kept waiting for memory"


def test_one_that_was_cancelled_does_not_keep_up_the_next() -> None:
    made = gate(burst=9)
    made.handle(hold(1, "a", delay=1))
    made.handle(hold(1, "b", delay=2))
    made.handle(Cancelled(1, "a"))
    assert keys(made.handle(Tick(3))) == ["b"]


def test_time_does_not_go_back() -> None:
    made = gate()
    made.handle(Tick(10))
    assert keys(made.handle(hold(5, "a", delay=2))) == ["a"]
    assert made.handle(hold(6, "b")) == []
    assert made.wake_at == 11, "a second after the last, which was let through at 10"


@pytest.mark.parametrize(("first", "released"), [(649, "ab"), (650, "ab"), (651, "a")])
def test_ample_is_up_to_its_bound(first: int, released: str) -> None:
    made = gate(burst=3, ample=0.25)
    made.handle(Closed(0))
    made.handle(hold(1, "a", first))
    made.handle(hold(1, "b", 100))
    assert keys(made.handle(Opened(2))) == [*released]


def test_what_does_not_wait_for_memory_takes_it_up_all_the_same() -> None:
    made = gate()
    made.handle(hold(1, "a", 600, priority=Priority.CRITICAL))
    assert made.room() == 300


def test_first_come_first_served_within_a_size_class() -> None:
    """Within a size class, and between the firsts of the classes, the restart that came first goes
    first.
    """
    made = gate()
    made.handle(Closed(0))
    for key, size in [("a", 300), ("b", 5), ("c", 257), ("d", 4)]:
        made.handle(hold(1, key, size))
    order = keys(made.handle(Opened(1)))
    for now in range(10, 60, 10):
        order += keys(made.handle(look(now)))
    assert order == ["a", "b", "c", "d"]


def test_a_byte_of_room_is_room() -> None:
    made = gate(899, ample=0)
    assert made.room() == 1
    assert keys(made.handle(hold(1, "a", 1))) == ["a"]
