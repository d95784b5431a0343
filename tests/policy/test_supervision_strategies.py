"""The three strategies: each scenario holds under its own strategy, and fails under both others."""

import pytest

from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.strategy import taken_along
from actorkit.reasons import Shutdown
from tests.conformance.marks import conforms
from tests.policy.driver import Driver, spec

STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]


def one_for_one(strategy):
    driver = Driver("abc", strategy=strategy).begin()
    driver.take_trace()
    driver.exit("b")
    assert driver.take_trace() == ["restart b", "start b"]


def one_for_all(strategy):
    driver = Driver("abc", strategy=strategy).begin()
    driver.take_trace()
    driver.exit("b")
    assert driver.take_trace() == ["stop c", "stop a", "restart b", "start a", "start b", "start c"]


def rest_for_one(strategy):
    driver = Driver("abcde", strategy=strategy).begin()
    driver.take_trace()
    driver.exit("c")
    assert driver.take_trace() == ["stop e", "stop d", "restart c", "start c", "start d", "start e"]


SCENARIOS = {scenario.__name__: scenario for scenario in (one_for_one, one_for_all, rest_for_one)}


@conforms("SUP-28")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_sup_28_46_48_51_each_strategy_is_like_no_other(name, strategy):
    if name == strategy:
        SCENARIOS[name](strategy)
    else:
        with pytest.raises(AssertionError):
            SCENARIOS[name](strategy)


def test_taken_along():
    assert list(taken_along("one_for_one", "abc", "b")) == ["b"]
    assert list(taken_along("one_for_all", "abc", "b")) == list("abc")
    assert list(taken_along("rest_for_one", "abc", "b")) == list("bc")
    with pytest.raises(AssertionError, match="all_but_one"):
        taken_along("all_but_one", "abc", "b")


@conforms("SUP-46")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sup_46_48_51_54_the_third_failure_ends_it(strategy):
    driver = Driver("ab", strategy=strategy, max_restarts=2, max_seconds=10).begin()
    driver.exit("a")
    driver.exit("a")
    assert driver.counts() == [2, 2, 0, 2]
    driver.take_trace()
    driver.now = 10.0
    driver.exit("a")
    assert driver.take_trace() == ["stop b", "finished"]
    assert driver.outcome == ev.Finished(Shutdown("reached_max_restart_intensity"))
    report = driver.reports[-1]
    assert report.kind == "reached_max_restart_intensity"
    assert report.because == ("permanent child exited with Failure(detail='died'); 3 restarts in 10 s, 2 allowed")


@conforms("SUP-45")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sup_45_failures_far_enough_apart_are_survived(strategy):
    driver = Driver("ab", strategy=strategy, max_restarts=1, max_seconds=1).begin()
    for _ in range(4):
        driver.now += 2.1
        driver.exit("a")
    assert driver.outcome is None


@conforms("SUP-47")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sup_47_49_52_a_restart_that_always_fails_ends_it_after_as_many_attempts_as_allowed(strategy):
    driver = Driver("ab", strategy=strategy, max_restarts=4, max_seconds=10).begin()
    driver.failing = {"b"}
    driver.take_trace()
    driver.exit("b" if strategy == "one_for_one" else "a")
    assert driver.trace.count("start b") == 4
    assert driver.trace[-1] == "finished"
    assert driver.counts()[1] == 0


@conforms("SUP-50")
def test_sup_50_one_for_all_other_child_fails_restart():
    driver = Driver("ab", strategy="one_for_all").begin()
    driver.take_trace()
    driver.hold_restarts = True
    driver.failing = {"b"}
    driver.exit("a")
    assert driver.take_trace() == ["stop b", "restart a"]
    driver.restart_due("a")
    assert driver.take_trace() == ["start a", "start b", "restart b"]
    assert driver.states() == {"a": "running", "b": "restarting"}
    driver.failing = set()
    driver.restart_due("b")
    assert driver.take_trace() == ["stop a", "start a", "start b"]
    assert driver.outcome is None


@conforms("SUP-53")
def test_sup_53_rest_for_one_other_child_fails_restart():
    driver = Driver("abc", strategy="rest_for_one").begin()
    driver.hold_restarts = True
    driver.take_trace()
    driver.failing = {"b"}
    driver.exit("a")
    driver.restart_due("a")
    assert driver.take_trace() == ["stop c", "stop b", "restart a", "start a", "start b", "restart b"]
    driver.failing = set()
    driver.restart_due("b")
    assert driver.take_trace() == ["start b", "start c"]


@conforms("SUP-41")
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_sup_41_a_temporary_bystander_is_not_restarted(strategy):
    driver = Driver(["a", spec("t", restart="temporary"), "z"], strategy=strategy).begin()
    driver.take_trace()
    driver.exit("a")
    assert driver.take_trace() == ["stop z", "stop t", "restart a", "start a", "start z"]
    assert driver.states() == {"a": "running", "z": "running"}


@conforms("SUP-58")
def test_sup_58_a_child_stopped_by_hand_comes_back_with_its_group():
    driver = Driver("abc", strategy="one_for_all").begin()
    driver.terminate("b")
    driver.take_trace()
    driver.exit("a")
    assert driver.take_trace() == ["stop c", "restart a", "start a", "start b", "start c"]


def test_a_group_takes_over_the_pending_restart_of_its_member():
    driver = Driver("abc", strategy="rest_for_one").begin()
    driver.hold_restarts = True
    driver.exit("b")
    ticket = driver.due["b"].ticket
    driver.take_trace()
    driver.exit("a")
    assert driver.take_trace() == ["cancel b", "restart a"]
    driver.feed(ev.RestartDue(0.0, "b", ticket))
    assert driver.take_trace() == []
    driver.restart_due("a")
    assert driver.take_trace() == ["start a", "start b", "start c"]


def test_what_was_started_by_hand_during_the_wait_is_started_again():
    driver = Driver("abc", strategy="rest_for_one").begin()
    driver.hold_restarts = True
    driver.exit("b")
    driver.restart("c")
    driver.start_child("d")
    driver.take_trace()
    driver.restart_due("b")
    assert driver.take_trace() == ["stop d", "stop c", "start b", "start c", "start d"]


def test_a_death_within_the_group_being_started_is_dealt_with_afterwards():
    driver = Driver("ab", strategy="one_for_all").begin()
    driver.hold_restarts = True
    driver.exit("b")
    driver.held = {"b"}
    driver.restart_due("b")
    driver.exit("a")
    assert driver.states() == {"a": "undefined", "b": "starting"}
    driver.take_trace()
    driver.held = set()
    driver.started("b")
    assert driver.take_trace() == ["stop b", "restart a"]


def test_a_bystander_that_dies_before_its_turn_counts_as_stopped():
    driver = Driver("abc", strategy="one_for_all").begin()
    driver.stubborn = {"c"}
    driver.take_trace()
    driver.exit("a")
    driver.exit("b")
    assert driver.take_trace() == ["stop c"]
    driver.exit("c", Shutdown())
    assert driver.take_trace() == ["restart a", "start a", "start b", "start c"]
    assert driver.report_kinds() == ["child_terminated", "shutdown_error"]
    assert driver.outcome is None


def test_a_child_whose_elder_sibling_does_not_start_is_not_restarting_itself():
    """Otherwise the child would be restarting forever if the sibling's restart were given up: it
    has no timer, and could not be started by hand.
    """
    driver = Driver("ab", strategy="one_for_all").begin()
    driver.hold_restarts = True
    driver.failing = {"a"}
    driver.exit("b")
    driver.restart_due("b")
    assert driver.states() == {"a": "restarting", "b": "undefined"}
    driver.terminate("a")
    driver.failing = set()
    driver.take_trace()
    driver.restart("b")
    assert driver.take_trace() == ["start b"]
    assert driver.states() == {"a": "undefined", "b": "running"}
