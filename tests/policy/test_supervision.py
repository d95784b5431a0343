"""The static machine compared with what OTP's supervisor suite asserts; test names carry
the ids.
"""

import math

import pytest

from actorkit import errors
from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.backoff import Backoff
from actorkit.policy.supervision.static import Supervision
from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
from actorkit.reasons import KILLED, NORMAL, SHUTDOWN, FailedToStart, Failure, Shutdown
from tests.conformance.marks import conforms
from tests.policy.driver import DIED, NOT_STARTED, Driver, spec
from tests.policy.strategies import worker

STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]


def begun(specs="", **flags):
    driver = Driver(specs, **flags).begin()
    driver.take_trace()
    return driver


def is_error(answer, kind):
    return type(answer) is kind


# --- Start and stop -----------------------------------------------------------------------------


@conforms("SUP-01")
def test_sup_01_an_empty_supervisor_starts_and_stops():
    driver = Driver().begin()
    driver.stop()
    assert driver.trace == ["ready", "finished"]
    assert driver.outcome == ev.Finished(SHUTDOWN)


@conforms("SUP-28")
def test_sup_28_started_in_order_and_stopped_in_reverse():
    driver = Driver("cab").begin()
    assert driver.take_trace() == ["start c", "start a", "start b", "ready"]
    driver.stop()
    assert driver.take_trace() == ["stop b", "stop a", "stop c", "finished"]
    assert driver.report_kinds() == []


@conforms("SUP-03")
def test_sup_03_04_ignore():
    driver = Driver(["a", spec("t", restart="temporary"), "b"])
    driver.ignoring = {"a", "t"}
    driver.begin()
    assert driver.take_trace()[-1] == "ready"
    assert driver.states() == {"a": "undefined", "b": "running"}
    assert driver.counts() == [2, 1, 0, 2]
    driver.ignoring = {"x", "u"}
    assert driver.start_child("x") is None
    assert driver.start_child(spec("u", restart="temporary")) is None
    assert driver.states() == {"a": "undefined", "b": "running", "x": "undefined"}
    assert driver.restart("x") is None


@conforms("SUP-21")
def test_sup_21_a_child_that_does_not_start_fails_the_supervisors_init():
    driver = Driver("abc")
    driver.failing = {"c"}
    driver.begin()
    assert driver.trace == ["start a", "start b", "start c", "stop b", "stop a", "init failed"]
    assert driver.outcome == ev.InitFailed(Shutdown(FailedToStart("c", NOT_STARTED)))
    assert driver.report_kinds() == ["start_error"]
    assert is_error(driver.start_child("x"), errors.SupervisorStopping)


def test_commands_wait_for_the_init_and_share_its_fate():
    driver = Driver("a")
    driver.held = {"a"}
    assert driver.start_child("early") == "no answer yet"
    driver.begin()
    driver.begin()
    assert driver.trace == ["start a"]
    driver.held = set()
    driver.started("a")
    assert driver.trace == ["start a", "ready", "start early"]
    assert driver.answers[0] == driver.refs["early"]

    driver = Driver("a")
    driver.held = {"a"}
    driver.begin()
    driver.start_child("early")
    driver.start_failed("a")
    assert is_error(driver.answers[0], errors.SupervisorStopping)


def test_stopped_before_it_began():
    driver = Driver("a")
    driver.stop()
    driver.begin()
    assert driver.trace == ["finished"]


@conforms("SUP-22")
def test_sup_22_23_shutdown_times():
    driver = begun([spec("inf", shutdown=math.inf), spec("slow", shutdown=1.0)])
    driver.stubborn = {"slow", "inf"}
    driver.stop()
    instance = driver.refs["slow"][1]
    driver.feed(ev.StopTimeout(1.0, instance))
    driver.feed(ev.StopTimeout(1.0, instance))
    assert driver.take_trace() == ["stop slow", "kill slow"]
    driver.exit("slow", KILLED)
    assert driver.take_trace() == ["stop inf"]
    driver.feed(ev.StopTimeout(2.0, instance))
    driver.exit("inf", SHUTDOWN)
    assert driver.take_trace() == ["finished"]
    assert [(report.kind, report.child_id) for report in driver.reports[-1:]] == [("shutdown_error", "slow")]


@conforms("SUP-24")
def test_sup_24_brutal_kill():
    driver = begun([spec("a", shutdown="brutal_kill"), "b"])
    actions = []
    perform, driver.perform = driver.perform, lambda action: (actions.append(action), perform(action))
    driver.stop()
    stops = [action for action in actions if isinstance(action, ev.StopChild)]
    assert [stop.shutdown for stop in stops] == [5.0, "brutal_kill"]
    assert driver.report_kinds() == []


@conforms("SUP-25")
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("x"), DIED, KILLED])
def test_sup_25_a_child_that_ends_on_its_own_during_shutdown(restart, reason):
    driver = begun([spec("a", restart=restart), "b"])
    driver.stubborn = {"b"}
    driver.stop()
    driver.exit("a", reason)
    driver.exit("b", SHUTDOWN)
    assert driver.outcome == ev.Finished(SHUTDOWN)
    expected = reason.abnormal or (reason == NORMAL and restart == "permanent")
    assert driver.report_kinds() == ["shutdown_error"] * expected


def test_the_first_reason_to_stop_wins():
    driver = begun("a")
    driver.stubborn = {"a"}
    driver.stop(Shutdown("first"))
    driver.stop(Shutdown("second"))
    driver.exit("a", SHUTDOWN)
    assert driver.outcome == ev.Finished(Shutdown("first"))
    driver.stop()
    assert driver.trace == ["stop a", "finished"]


# --- Administrative calls -----------------------------------------------------------------------


@conforms("SUP-10")
def test_sup_10_11_a_start_that_fails():
    driver = begun("a")
    driver.failing = {"a", "x"}
    answer = driver.start_child("x")
    assert is_error(answer, errors.StartFailed)
    assert (answer.child_id, answer.reason) == ("x", NOT_STARTED)
    assert driver.states() == {"a": "running"}
    driver.terminate("a")
    assert is_error(driver.restart("a"), errors.StartFailed)
    assert driver.states() == {"a": "undefined"}


@conforms("SUP-13")
def test_sup_13_get_child_spec():
    driver = begun("a")
    assert driver.ask(ev.GetChildSpec, "a") == spec("a")
    assert is_error(driver.ask(ev.GetChildSpec, "x"), errors.ChildNotFound)


@conforms("SUP-16")
def test_sup_16_a_spec_that_does_not_fit_is_refused():
    driver = begun()
    assert is_error(driver.start_child(spec("a", restart="temporary", significant=True)), errors.InvalidChildSpec)
    with pytest.raises(errors.DuplicateChildId):
        Supervision(SupervisorFlags(), [spec("a"), spec("a")])


@conforms("SUP-18")
def test_sup_18_the_life_cycle_of_a_child():
    driver = begun()
    assert driver.start_child("a") == driver.refs["a"]
    for command in (driver.terminate, driver.restart, driver.delete):
        assert is_error(command("x"), errors.ChildNotFound)
    assert is_error(driver.restart("a"), errors.ChildRunning)
    assert is_error(driver.delete("a"), errors.ChildRunning)
    assert driver.counts() == [1, 1, 0, 1]
    assert driver.terminate("a") is None
    assert driver.counts() == [1, 0, 0, 1]
    assert driver.restart("a") == driver.refs["a"]
    driver.exit("a")
    assert driver.counts() == [1, 1, 0, 1]
    assert driver.terminate("a") is None
    assert driver.delete("a") is None
    assert driver.counts() == [0, 0, 0, 0]


@conforms("SUP-30")
def test_sup_30_child_adm():
    driver = begun()
    ref = driver.start_child("a")
    answer = driver.start_child("a")
    assert is_error(answer, errors.ChildAlreadyStarted)
    assert answer.ref == ref
    driver.take_trace()
    assert driver.terminate("a") is None
    assert driver.terminate("a") is None
    assert driver.take_trace() == ["stop a"]
    assert is_error(driver.start_child("a"), errors.ChildAlreadyPresent)
    new = driver.restart("a")
    assert new != ref
    assert is_error(driver.terminate(ref), errors.ChildNotFound)
    assert is_error(driver.terminate([]), errors.ChildNotFound)
    assert driver.states() == {"a": "running"}


@conforms("SUP-32")
def test_sup_32_34_listings():
    driver = begun(["a", spec("s", kind="supervisor", restart="transient")])
    assert driver.ask(ev.WhichChildren) == (
        ev.ChildInfo("a", driver.refs["a"], "running", "worker", "permanent"),
        ev.ChildInfo("s", driver.refs["s"], "running", "supervisor", "transient"),
    )
    assert driver.ask(ev.WhichChild, "s").kind == "supervisor"
    assert is_error(driver.ask(ev.WhichChild, "x"), errors.ChildNotFound)
    assert driver.counts() == [2, 2, 1, 1]


@conforms("SUP-35")
def test_sup_35_restarting_children_are_counted_but_not_active():
    driver = begun("abc", max_restarts=9)
    driver.hold_restarts = True
    driver.exit("a")
    driver.exit("b")
    assert driver.counts() == [3, 1, 0, 3]
    driver.restart_due("a")
    driver.restart_due("b")
    assert driver.counts() == [3, 3, 0, 3]


def test_calls_queue_behind_a_sequence_and_listings_do_not():
    driver = begun("ab")
    driver.stubborn = {"a"}
    assert driver.terminate("a") == "no answer yet"
    assert driver.restart("a") == "no answer yet"
    assert driver.delete("b") == "no answer yet"
    assert driver.states() == {"a": "stopping", "b": "running"}
    driver.exit("a", SHUTDOWN)
    assert driver.states() == {"a": "running", "b": "running"}
    assert driver.answers[0] is None
    assert driver.answers[1] == driver.refs["a"]
    assert is_error(driver.answers[2], errors.ChildRunning)


def test_stop_interrupts_a_stop_and_answers_everybody():
    driver = begun("abc")
    driver.stubborn = {"a"}
    driver.terminate("a")
    driver.start_child("x")
    driver.stop()
    assert all(is_error(driver.answers[call], errors.SupervisorStopping) for call in (0, 1))
    assert driver.take_trace() == ["stop a"]
    driver.exit("a", SHUTDOWN)
    assert driver.take_trace() == ["stop c", "stop b", "finished"]
    for command in (driver.terminate, driver.restart, driver.delete, driver.start_child):
        assert is_error(command("a"), errors.SupervisorStopping)


@pytest.mark.parametrize("came_through", [False, True])
def test_stop_cancels_a_start(came_through):
    driver = begun("a")
    driver.held = {"x"}
    assert driver.start_child("x") == "no answer yet"
    driver.stop()
    assert is_error(driver.answers[0], errors.SupervisorStopping)
    assert driver.take_trace() == ["start x", "cancel start x"]
    if came_through:
        driver.started("x")
        assert driver.take_trace() == ["stop x", "stop a", "finished"]
    else:
        driver.start_failed("x", KILLED)
        assert driver.take_trace() == ["stop a", "finished"]


def test_stop_during_the_init():
    driver = Driver("abc")
    driver.held = {"b"}
    driver.begin()
    driver.stop()
    driver.start_failed("b", KILLED)
    assert driver.trace == ["start a", "start b", "cancel start b", "stop a", "finished"]
    assert driver.outcome == ev.Finished(SHUTDOWN)


# --- Restart types ------------------------------------------------------------------------------


@conforms("SUP-37")
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("x"), DIED, KILLED])
def test_sup_37_permanent_is_always_restarted(reason):
    driver = begun("a")
    driver.exit("a", reason)
    assert driver.counts() == [1, 1, 0, 1]
    assert driver.report_kinds() == ["child_terminated"]


@conforms("SUP-38")
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("x")])
def test_sup_38_transient_is_not_restarted_after_an_orderly_end(reason):
    driver = begun([spec("a", restart="transient")])
    driver.exit("a", reason)
    assert driver.counts() == [1, 0, 0, 1]
    assert driver.report_kinds() == []
    assert driver.restart("a") == driver.refs["a"]


@conforms("SUP-39")
def test_sup_39_transient_is_restarted_after_an_abnormal_end():
    driver = begun([spec("a", restart="transient")])
    driver.exit("a")
    assert driver.counts() == [1, 1, 0, 1]


@conforms("SUP-40")
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, DIED])
def test_sup_40_42_temporary_is_forgotten(reason):
    driver = begun([spec("a", restart="temporary")])
    for _ in range(5):
        driver.exit("a", reason)
        assert driver.counts() == [0, 0, 0, 0]
        assert driver.start_child(spec("a", restart="temporary")) == driver.refs["a"]
    assert driver.terminate("a") is None
    assert driver.counts() == [0, 0, 0, 0]
    assert driver.report_kinds() == ["child_terminated"] * (5 if reason.abnormal else 0)


@conforms("SUP-42")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sup_42_present_or_started_after_its_end(strategy):
    for restart, end, kind in [
        ("permanent", NORMAL, errors.ChildAlreadyStarted),
        ("permanent", KILLED, errors.ChildAlreadyStarted),
        ("permanent", None, errors.ChildAlreadyPresent),
        ("transient", NORMAL, errors.ChildAlreadyPresent),
        ("transient", KILLED, errors.ChildAlreadyStarted),
        ("transient", None, errors.ChildAlreadyPresent),
    ]:
        driver = begun([spec("a", restart=restart)], strategy=strategy)
        if end is None:
            driver.terminate("a")
        else:
            driver.exit("a", end)
        assert is_error(driver.start_child(spec("a", restart=restart)), kind)


def test_a_restart_that_ignores_leaves_the_child_undefined():
    driver = begun("a")
    driver.ignoring = {"a"}
    driver.exit("a")
    assert driver.states() == {"a": "undefined"}
    assert driver.outcome is None


# --- Waiting for restarts -----------------------------------------------------------------------


@conforms("SUP-59")
def test_sup_59_hanging_restart_loop():
    driver = begun("a", max_restarts=8, max_seconds=10)
    driver.failing = {"a"}
    driver.hold_restarts = True
    driver.exit("a")
    for _ in range(3):
        driver.restart_due("a")
        assert is_error(driver.start_child("a"), errors.ChildAlreadyPresent)
        assert is_error(driver.restart("a"), errors.ChildRestarting)
        assert is_error(driver.delete("a"), errors.ChildRestarting)
        assert driver.states() == {"a": "restarting"}
        assert driver.counts() == [1, 0, 0, 1]
    driver.take_trace()
    ticket = driver.due["a"].ticket
    assert driver.terminate("a") is None
    assert driver.take_trace() == ["cancel a"]
    assert driver.states() == {"a": "undefined"}
    driver.feed(ev.RestartDue(0.0, "a", ticket))
    assert driver.take_trace() == []
    driver.failing = set()
    assert driver.restart("a") == driver.refs["a"]
    driver.exit("a")
    driver.take_trace()
    driver.stop()
    assert driver.take_trace() == ["cancel a", "finished"]


@conforms("SUP-60")
def test_sup_60_hanging_restart_loop_rest_for_one():
    driver = begun("abc", strategy="rest_for_one", max_restarts=8)
    driver.hold_restarts = True
    earlier = driver.refs["a"]
    driver.failing = {"b"}
    driver.exit("b")
    driver.restart_due("b")
    assert driver.states() == {"a": "running", "b": "restarting", "c": "undefined"}
    assert driver.ask(ev.WhichChild, "a").ref == earlier
    assert driver.counts() == [3, 1, 0, 3]


def test_a_queued_terminate_saves_the_supervisor_from_the_last_failed_attempt():
    driver = begun("a", max_restarts=1)
    driver.held = {"a"}
    driver.exit("a")
    assert driver.terminate("a") == "no answer yet"
    driver.start_failed("a")
    assert driver.answers[0] is None
    assert driver.outcome is None
    assert driver.states() == {"a": "undefined"}


def test_backoff_delays_every_restart_and_grows_and_resets():
    delays = []
    driver = begun([spec("a", backoff=Backoff(first=1, factor=2, limit=8, jitter=0))], max_restarts=99)
    driver.hold_restarts = True

    def fail_after(seconds):
        driver.now += seconds
        driver.exit("a")
        delays.append(driver.due["a"].delay)

    fail_after(0)
    driver.failing = {"a"}
    for _ in range(3):
        driver.restart_due("a")
        delays.append(driver.due["a"].delay)
    driver.failing = set()
    driver.restart_due("a")
    fail_after(15.5)
    driver.restart_due("a")
    fail_after(16.0)
    assert delays == [1, 2, 4, 8, 8, 1]
    assert "waits 1 s, failure 1 in a row" in driver.due["a"].because
    driver.terminate("a")
    driver.restart("a")
    fail_after(0)
    assert delays[-1] == 1


def test_a_death_caused_by_the_node_does_not_count():
    driver = begun("a", max_restarts=0)
    for _ in range(5):
        driver.exit("a", KILLED, counts=False)
    assert driver.counts() == [1, 1, 0, 1]
    driver.hold_restarts = True
    driver.exit("a", KILLED, counts=False)
    assert "does not count" in driver.due["a"].because
    driver.failing = {"a"}
    driver.restart_due("a")
    assert driver.outcome == ev.Finished(Shutdown("reached_max_restart_intensity"))


def test_intensity_drops_the_child_and_stops_the_rest():
    driver = begun("abc", max_restarts=0)
    driver.stubborn = {"c"}
    driver.exit("b")
    assert driver.states() == {"a": "running", "c": "stopping"}
    assert driver.take_trace() == ["stop c"]
    driver.exit("c", SHUTDOWN)
    assert driver.take_trace() == ["stop a", "finished"]


# --- auto_shutdown ------------------------------------------------------------------------------


def significant(child_id, restart="temporary"):
    return spec(child_id, restart=restart, significant=True)


@conforms("SUP-63")
@pytest.mark.parametrize("auto_shutdown", ["never", "any_significant", "all_significant"])
@pytest.mark.parametrize("restart", ["temporary", "transient"])
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, DIED])
def test_sup_63_the_insignificant_never_shut_it_down(auto_shutdown, restart, reason):
    driver = begun([spec("a", restart=restart)], auto_shutdown=auto_shutdown)
    driver.exit("a", reason)
    assert driver.outcome is None


@conforms("SUP-64")
@pytest.mark.parametrize("reason", [NORMAL, DIED, KILLED])
def test_sup_64_significant_temporary(reason):
    driver = begun([significant("a"), significant("b"), "c"], auto_shutdown="any_significant")
    driver.terminate("a")
    assert driver.outcome is None
    driver.take_trace()
    driver.exit("b", reason)
    assert driver.take_trace() == ["stop c", "finished"]
    assert driver.outcome == ev.Finished(Shutdown("auto_shutdown"))

    driver = begun([significant("a"), significant("b"), "c"], auto_shutdown="all_significant")
    driver.exit("a", reason)
    assert driver.outcome is None
    driver.exit("b", reason)
    assert driver.outcome == ev.Finished(Shutdown("auto_shutdown"))


@conforms("SUP-65")
def test_sup_65_significant_transient():
    for reason in (DIED, KILLED):
        driver = begun([significant("a", "transient")], auto_shutdown="any_significant")
        driver.exit("a", reason)
        assert driver.counts() == [1, 1, 0, 1]
    for reason in (NORMAL, SHUTDOWN, Shutdown("x")):
        driver = begun([significant("a", "transient")], auto_shutdown="any_significant")
        driver.exit("a", reason)
        assert driver.outcome == ev.Finished(Shutdown("auto_shutdown"))


@conforms("SUP-67")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
def test_sup_67_a_significant_bystander_does_not_trigger(strategy, auto_shutdown):
    driver = begun(["a", significant("b")], strategy=strategy, auto_shutdown=auto_shutdown)
    driver.exit("a")
    assert driver.outcome is None


# --- Unkillable children ------------------------------------------------------------------------


def unkillable(driver, name):
    """Let the stop of ``name`` that is under way fail."""
    instance = driver.refs[name][1]
    driver.feed(ev.StopTimeout(driver.now, instance))
    driver.feed(ev.KillTimeout(driver.now, instance))
    driver.feed(ev.KillTimeout(driver.now, instance))


def test_an_unkillable_bystander_is_left_behind():
    driver = begun("abc", strategy="one_for_all")
    driver.stubborn = {"b"}
    driver.exit("c")
    unkillable(driver, "b")
    assert driver.take_trace() == ["stop b", "kill b", "stop a", "restart c", "start a", "start c"]
    assert driver.report_kinds() == ["child_terminated", "unkillable"]
    assert driver.states() == {"a": "running", "b": "unkillable", "c": "running"}
    for answer in (driver.terminate("b"), driver.restart("b"), driver.delete("b"), driver.start_child("b")):
        assert is_error(answer, errors.ChildRunning)
        assert answer.state == "unkillable"
    driver.exit("b", KILLED)
    assert driver.take_trace() == []
    assert driver.states()["b"] == "undefined"
    assert driver.restart("b") == driver.refs["b"]


def test_terminating_an_unkillable_child_says_so():
    driver = begun([spec("a", restart="temporary")])
    driver.stubborn = {"a"}
    driver.terminate("a")
    unkillable(driver, "a")
    assert is_error(driver.answers[0], errors.ChildRunning)
    assert driver.states() == {"a": "unkillable"}
    driver.exit("a", KILLED)
    assert driver.states() == {}


def test_finished_waits_for_the_unkillable():
    driver = begun("abc")
    driver.stubborn = {"b", "c"}
    driver.stop()
    unkillable(driver, "c")
    unkillable(driver, "b")
    assert driver.take_trace() == ["stop c", "kill c", "stop b", "kill b", "stop a"]
    driver.exit("b", KILLED)
    assert driver.outcome is None
    driver.exit("c", KILLED)
    assert driver.outcome == ev.Finished(SHUTDOWN)


def test_an_unkillable_init_fails_the_start():
    driver = begun()
    driver.held = {"x"}
    driver.start_child("x")
    instance = driver.starting["x"]
    driver.feed(ev.KillTimeout(0.0, instance))
    answer = driver.answers[0]
    assert is_error(answer, errors.StartFailed)
    assert answer.reason == KILLED
    assert driver.states() == {"x": "unkillable"}
    driver.take_trace()
    driver.started("x")
    assert driver.take_trace() == ["kill x"]
    driver.exit("x", KILLED)
    assert driver.states() == {}


def test_an_unkillable_init_at_a_restart_is_not_tried_again():
    driver = begun("ab", strategy="one_for_all")
    driver.held = {"a"}
    driver.exit("b")
    instance = driver.starting["a"]
    driver.feed(ev.KillTimeout(0.0, instance))
    assert driver.states() == {"a": "unkillable", "b": "running"}
    driver.start_failed("a")
    assert driver.states() == {"a": "undefined", "b": "running"}


def test_an_unkillable_first_init_fails_the_supervisor_when_it_is_gone():
    driver = Driver("ab")
    driver.held = {"b"}
    driver.begin()
    driver.feed(ev.KillTimeout(0.0, driver.starting["b"]))
    assert driver.take_trace() == ["start a", "start b", "stop a"]
    driver.start_failed("b")
    assert driver.outcome == ev.InitFailed(Shutdown(FailedToStart("b", KILLED)))


# --- Late and odd events ------------------------------------------------------------------------


def test_events_of_lives_that_are_over_or_do_not_fit_are_dropped():
    driver = begun("ab")
    old = driver.refs["a"][1]
    driver.exit("a")
    running = driver.refs["a"][1]
    driver.take_trace()
    for event in [
        ev.ChildExited(0.0, old, DIED),
        ev.ChildStarted(0.0, old, "ref"),
        ev.ChildStarted(0.0, running, "ref"),
        ev.ChildIgnored(0.0, running),
        ev.KillTimeout(0.0, running),
        ev.StopTimeout(0.0, running),
        ev.StopTimeout(0.0, 999),
        ev.RestartDue(0.0, "a", 999),
        ev.GroupStopTimeout(0.0, 5.0),
    ]:
        driver.feed(event)
    assert driver.take_trace() == []
    driver.stubborn = {"b"}
    driver.terminate("b")
    driver.feed(ev.ChildIgnored(0.0, driver.refs["b"][1]))
    assert driver.states()["b"] == "stopping"
    driver.exit("a")
    driver.exit("a")
    driver.exit("b", SHUTDOWN)
    assert driver.take_trace() == ["stop b", "restart a", "start a"]
    driver.held = {"c"}
    driver.start_child("c")
    driver.feed(ev.ChildExited(0.0, driver.starting["c"], DIED))
    assert driver.states()["c"] == "starting"


def test_a_death_that_the_stop_overtook_is_not_dealt_with_twice():
    driver = begun("abc")
    driver.stubborn = {"c"}
    driver.terminate("c")
    call = driver.ask(ev.TerminateChildCommand, "a")
    assert call == "no answer yet"
    driver.exit("a")
    assert driver.ask(ev.WhichChild, "a") == ev.ChildInfo("a", None, "undefined", "worker", "permanent")
    driver.take_trace()
    driver.exit("c", SHUTDOWN)
    assert driver.take_trace() == []
    assert driver.answers[1] is None
    assert driver.states() == {"a": "undefined", "b": "running", "c": "undefined"}


def test_a_restart_that_becomes_due_during_a_sequence_waits_for_it():
    driver = begun("ab")
    driver.hold_restarts = True
    driver.exit("a")
    driver.stubborn = {"b"}
    driver.terminate("b")
    driver.take_trace()
    driver.restart_due("a")
    assert driver.take_trace() == []
    driver.exit("b", SHUTDOWN)
    assert driver.take_trace() == ["start a"]


def test_a_restart_that_has_become_due_is_not_cancelled_with_the_shell():
    driver = begun("ab")
    driver.hold_restarts = True
    driver.exit("a")
    driver.stubborn = {"b"}
    driver.terminate("b")
    ticket = driver.due["a"].ticket
    driver.restart_due("a")
    driver.feed(ev.RestartDue(0.0, "a", ticket))
    driver.take_trace()
    driver.stop()
    driver.exit("b", SHUTDOWN)
    assert driver.take_trace() == ["finished"]


def test_terminate_in_the_queue_before_a_restart_that_is_due_cancels_it():
    driver = begun("ab")
    driver.hold_restarts = True
    driver.exit("a")
    driver.stubborn = {"b"}
    driver.terminate("b")
    driver.terminate("a")
    driver.restart_due("a")
    driver.take_trace()
    driver.exit("b", SHUTDOWN)
    assert driver.take_trace() == []
    assert driver.states() == {"a": "undefined", "b": "undefined"}


def test_start_arguments_of_temporary_children_are_not_kept():
    driver = begun()
    driver.start_child(spec("t", restart="temporary", args=("large",)))
    driver.exit("t")
    assert is_error(driver.ask(ev.GetChildSpec, "t"), errors.ChildNotFound)


def test_reasons_in_texts_are_bounded():
    driver = begun("a")
    driver.exit("a", Failure("x" * 10_000))
    assert all(len(report.because) < 500 for report in driver.reports)
    assert worker() is None


# --- What mutants have shown to be missing ------------------------------------------------------


def test_each_life_is_killed_anew():
    """Each life is killed anew. Fault: a child that was killed once for not stopping is never
    killed again.
    """
    driver = begun([spec("a", shutdown=1.0)])
    for _ in range(3):
        driver.stubborn = {"a"}
        driver.terminate("a")
        driver.feed(ev.StopTimeout(driver.now, driver.refs["a"][1]))
        driver.exit("a", KILLED)
        driver.restart("a")
        assert driver.take_trace() == ["stop a", "kill a", "start a"]


def test_a_temporary_child_that_does_not_start_is_forgotten_once():
    driver = begun()
    driver.failing = {"t"}
    assert is_error(driver.start_child(spec("t", restart="temporary")), errors.StartFailed)
    assert driver.states() == {}


@pytest.mark.parametrize("command", ["start_child", "restart"])
def test_who_waits_for_a_start_is_told_of_the_stop(command):
    driver = begun("a")
    driver.terminate("a")
    driver.held = {"a", "b"}
    call = next(driver.calls)
    if command == "restart":
        driver.feed(ev.RestartChildCommand(0.0, call, "a"))
    else:
        driver.feed(ev.StartChildCommand(0.0, call, spec("b")))
    driver.stop()
    assert is_error(driver.answers[call], errors.SupervisorStopping)


def test_a_backoff_goes_by_how_long_a_life_was_not_by_when_it_began():
    """A backoff depends on how long a life lasted, not on when it began. Fault: on a supervisor
    that has run for a while each failure counts as a first one.
    """
    driver = Driver([spec("a", backoff=Backoff(first=1, factor=2, limit=8, jitter=0))], max_restarts=99)
    driver.now = 1000.0
    driver.begin()
    driver.hold_restarts = True
    delays = []
    for _ in range(3):
        driver.now += 0.5
        driver.exit("a")
        delays.append(driver.due["a"].delay)
        driver.restart_due("a")
    assert delays == [1, 2, 4]


def test_what_is_done_says_why():
    """Each action says which child's end caused it, and with what reason."""
    driver = begun("a")
    assert driver.start_child("a").child_id == "a"
    driver.hold_restarts = True
    driver.failing = {"a"}
    driver.exit("a")
    assert str(DIED) in driver.due["a"].because
    driver.restart_due("a")
    assert f"restart failed with {NOT_STARTED}" in driver.due["a"].because
    driver = begun([spec("a", restart="transient", significant=True)], auto_shutdown="any_significant")
    driver.exit("a", NORMAL)
    assert driver.outcome.because == (
        f"significant transient child exited with {NORMAL}; auto_shutdown is any_significant"
    )
    driver = begun([spec("a", shutdown=1.0)])
    driver.stubborn = {"a"}
    driver.terminate("a")
    driver.exit("a", DIED)
    assert driver.reports[-1].because == f"asked to stop, the permanent child ended with {DIED}"


def test_a_report_has_the_ref_of_the_life_that_it_is_about():
    driver = begun("a")
    first = driver.refs["a"]
    driver.exit("a")
    assert [(report.kind, report.ref) for report in driver.reports] == [
        ("progress", first),
        ("child_terminated", first),
        ("progress", driver.refs["a"]),
    ]
    assert driver.refs["a"] != first


def test_a_significant_child_of_a_supervisor_that_never_shuts_itself_down():
    with pytest.raises(errors.InvalidChildSpec, match="significant"):
        Supervision(SupervisorFlags(), [spec("a", restart="transient", significant=True)])


def test_a_significant_child_may_be_added_where_the_supervisor_shuts_itself_down():
    driver = begun(auto_shutdown="any_significant")
    child = spec("a", restart="transient", significant=True)
    assert driver.start_child(child) == driver.refs["a"]


def test_a_restart_that_the_shell_has_not_heard_of_is_not_cancelled_with_it():
    """A restart that the shell has not been told of is not cancelled, even if an earlier restart of
    that child was.
    """
    driver = begun("ab", strategy="one_for_all", max_restarts=9)
    driver.hold_restarts = True
    driver.exit("a")
    driver.terminate("a")
    driver.restart("a")
    driver.restart("b")
    driver.stubborn = {"b"}
    assert driver.take_trace() == ["stop b", "restart a", "cancel a", "start a", "start b"]
    driver.exit("a")
    driver.stop()
    driver.exit("b", SHUTDOWN)
    assert driver.take_trace() == ["stop b", "finished"]


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_the_last_significant_child_that_ends_ends_the_supervisor_also_if_the_others_are_still_listed(restart):
    children = [spec(name, restart=restart, significant=True) for name in "ab"]
    driver = begun(children, auto_shutdown="all_significant")
    driver.exit("a", NORMAL)
    assert driver.outcome is None
    driver.exit("b", NORMAL)
    assert driver.outcome == ev.Finished(Shutdown("auto_shutdown"))
