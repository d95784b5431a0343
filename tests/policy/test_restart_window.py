from hypothesis import given
from hypothesis import strategies as st

from actorkit.policy.supervision.restart_window import RestartWindow
from tests.conformance.marks import conforms


@given(
    max_restarts=st.integers(0, 5),
    period=st.floats(0.001, 10),
    gaps=st.lists(st.floats(0, 5) | st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=40),
)
def test_agrees_with_counting_them_all(max_restarts, period, gaps):
    window = RestartWindow(max_restarts, period)
    now, times = 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
        in_window = sum(time >= now - period for time in times)
        assert window.add(now) == (in_window > max_restarts)
        assert window.count == min(in_window, max_restarts + 1)


def test_the_far_end_is_inclusive():
    window = RestartWindow(1, 5.0)
    assert not window.add(10.0)
    assert window.add(15.0)
    window = RestartWindow(1, 5.0)
    assert not window.add(10.0)
    assert not window.add(15.001)


def test_precision_below_a_second():
    window = RestartWindow(1, 0.25)
    assert not window.add(10.0)
    assert not window.add(10.3)
    assert window.add(10.5)


def test_none_allowed():
    assert RestartWindow(0, 5.0).add(0.0)


def test_time_that_steps_back_stands_still():
    window = RestartWindow(1, 1.0)
    assert not window.add(10.0)
    assert window.add(3.0)
    assert not RestartWindow(2, 1.0).add(3.0)


@conforms("SUP-45")
def test_sup_45_restarts_far_enough_apart_are_survived():
    window = RestartWindow(1, 1.0)
    assert not any(window.add(2.1 * n) for n in range(4))
