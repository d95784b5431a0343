"""The dynamic machine compared with what Elixir's and OTP's suites assert; test names carry the
ids.
"""

import math

import pytest

from actorkit import errors
from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.backoff import Backoff
from actorkit.policy.supervision.dynamic import DynamicSupervision
from actorkit.policy.supervision.supervisor_flags import DynamicFlags
from actorkit.reasons import KILLED, NORMAL, SHUTDOWN, Shutdown
from tests.conformance.marks import conforms
from tests.policy.driver import DIED, NOT_STARTED, Driver, spec


def begun(fraction=0.5, **flags):
    driver = Driver(machine=DynamicSupervision(DynamicFlags(**flags), lambda: fraction)).begin()
    assert driver.take_trace() == ["ready"]
    driver.hold_restarts = True
    return driver


def is_error(answer, kind):
    return type(answer) is kind


def states(driver):
    return [info.state for info in driver.ask(ev.WhichChildren)]


def due(driver, name):
    """Let the pending restart of the child last known as ``name`` become due; there is
    exactly one.
    """
    (key,) = driver.due
    driver.restart_due(key)


def end_all(driver, reason=SHUTDOWN):
    for name in list(driver.refs):
        driver.exit(name, reason)


@conforms("DYN-01", "SUP-31")
def test_dyn_01_sup_31_empty():
    driver = begun()
    assert driver.ask(ev.WhichChildren) == ()
    assert driver.counts() == [0, 0, 0, 0]
    driver.stop()
    assert driver.outcome == ev.Finished(SHUTDOWN)
    assert driver.trace == ["finished"]


@conforms("DYN-16")
def test_dyn_16_the_answers_to_a_start():
    driver = begun()
    assert driver.start_child("a") == driver.refs["a"]
    assert driver.start_child("b") == driver.refs["b"]
    driver.ignoring = {"c"}
    assert driver.start_child("c") is None
    driver.failing = {"d"}
    answer = driver.start_child("d")
    assert is_error(answer, errors.StartFailed)
    assert answer.reason == NOT_STARTED
    assert driver.counts() == [2, 2, 0, 2]


def test_starts_are_concurrent():
    driver = begun(max_children=2)
    driver.held = {"a", "b", "c"}
    assert driver.start_child("a") == "no answer yet"
    assert driver.start_child(spec("b", kind="supervisor")) == "no answer yet"
    assert is_error(driver.start_child("c"), errors.MaxChildrenReached)
    assert states(driver) == ["starting", "starting"]
    assert driver.counts() == [2, 0, 1, 1]
    driver.started("b")
    driver.started("a")
    assert driver.answers[1] == driver.refs["b"]
    assert driver.answers[0] == driver.refs["a"]
    infos = driver.ask(ev.WhichChildren)
    assert [(info.id, info.ref) for info in infos] == [(None, driver.refs["a"]), (None, driver.refs["b"])]


def test_ids_are_ignored():
    driver = begun()
    first = driver.start_child("a")
    second = driver.start_child("a")
    assert first != second
    assert driver.counts() == [2, 2, 0, 2]


@conforms("DYN-15")
def test_dyn_15_significant_is_refused():
    driver = begun()
    answer = driver.start_child(spec("a", restart="temporary", significant=True))
    assert is_error(answer, errors.InvalidChildSpec)


@conforms("DYN-18")
def test_dyn_18_no_children_allowed():
    answer = begun(max_children=0).start_child("a")
    assert is_error(answer, errors.MaxChildrenReached)
    assert answer.limit == 0


@conforms("DYN-19")
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, DIED])
def test_dyn_19_temporary_is_never_restarted(reason):
    driver = begun()
    driver.start_child(spec("a", restart="temporary"))
    driver.exit("a", reason)
    assert driver.counts() == [0, 0, 0, 0]
    assert driver.due == {}
    assert driver.report_kinds() == ["child_terminated"] * reason.abnormal


@conforms("DYN-20")
@pytest.mark.parametrize(
    ("restart", "reason", "restarted"),
    [
        ("transient", NORMAL, False),
        ("transient", SHUTDOWN, False),
        ("transient", Shutdown("x"), False),
        ("transient", DIED, True),
        ("permanent", NORMAL, True),
        ("permanent", SHUTDOWN, True),
        ("permanent", DIED, True),
    ],
)
def test_dyn_20_21_transient_and_permanent(restart, reason, restarted):
    driver = begun()
    old = driver.start_child(spec("a", restart=restart))
    driver.exit("a", reason)
    assert states(driver) == ["restarting"] * restarted
    if restarted:
        due(driver, "a")
        assert driver.refs["a"] != old
        assert driver.counts() == [1, 1, 0, 1]
        assert is_error(driver.terminate(old), errors.ChildNotFound)
        assert driver.terminate(driver.refs["a"]) is None


@conforms("DYN-22")
def test_dyn_22_23_24_restarts_that_fail_or_ignore():
    driver = begun(max_restarts=99, max_children=2)
    driver.start_child("a")
    driver.start_child("b")
    driver.exit("a")
    driver.failing = {"a"}
    due(driver, "a")
    assert states(driver) == ["restarting", "running"]
    assert driver.counts() == [2, 1, 0, 2]
    assert is_error(driver.start_child("c"), errors.MaxChildrenReached)
    assert driver.report_kinds() == ["child_terminated", "start_error"]
    driver.failing, driver.ignoring = set(), {"a"}
    due(driver, "a")
    assert driver.counts() == [1, 1, 0, 1]
    assert is_error(driver.terminate(driver.refs["a"]), errors.ChildNotFound)


@conforms("DYN-26")
def test_dyn_26_trying_again():
    driver = begun(max_restarts=2)
    driver.start_child("a")
    driver.failing = {"a"}
    driver.exit("a")
    due(driver, "a")
    driver.failing = set()
    due(driver, "a")
    assert driver.counts() == [1, 1, 0, 1]


@conforms("DYN-27", "SUP-54")
def test_dyn_27_sup_54_exceeding_the_intensity_ends_it():
    driver = begun(max_restarts=1)
    driver.start_child("a")
    driver.start_child("b")
    driver.exit("a")
    due(driver, "a")
    driver.take_trace()
    driver.exit("a")
    assert driver.take_trace() == ["stop 5.0: b"]
    driver.exit("b", SHUTDOWN)
    assert driver.outcome == ev.Finished(Shutdown("reached_max_restart_intensity"))
    report = next(report for report in driver.reports if report.kind == "reached_max_restart_intensity")
    assert report.because.endswith("2 restarts in 5 s, 1 allowed")


@conforms("DYN-28", "SUP-56")
def test_dyn_28_sup_56_exceeding_it_by_trying_again():
    driver = begun(max_restarts=10)
    driver.start_child("a")
    driver.failing = {"a"}
    driver.hold_restarts = False
    driver.take_trace()
    driver.exit("a")
    assert driver.trace.count("start a") == 10
    assert driver.outcome == ev.Finished(Shutdown("reached_max_restart_intensity"))


@conforms("DYN-31", "SUP-29")
def test_dyn_31_32_38_sup_29_stop_asks_all_at_once_in_groups():
    driver = begun()
    for name, shutdown in [("a", 5.0), ("b", "brutal_kill"), ("c", math.inf), ("d", 5), ("e", "brutal_kill")]:
        driver.start_child(spec(name, shutdown=shutdown, restart="temporary"))
    driver.take_trace()
    driver.stop()
    assert driver.take_trace() == ["stop 5.0: a d", "stop brutal_kill: b e", "stop inf: c"]
    assert states(driver) == ["stopping"] * 5
    for name in "be":
        driver.exit(name, KILLED)
    driver.exit("a", SHUTDOWN)
    driver.feed(ev.GroupStopTimeout(5.0, 5.0))
    driver.feed(ev.GroupStopTimeout(5.0, 5.0))
    assert driver.take_trace() == ["kill d"]
    driver.exit("d", KILLED)
    assert driver.outcome is None
    driver.exit("c", SHUTDOWN)
    assert driver.take_trace() == ["finished"]
    assert driver.report_kinds() == ["shutdown_error"]
    for command in (driver.start_child, driver.terminate, driver.restart, driver.delete):
        assert is_error(command("a"), errors.SupervisorStopping)


@conforms("SUP-26", "DYN-33")
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("x"), DIED])
def test_sup_26_dyn_33_35_37_ends_of_their_own_during_shutdown(restart, reason):
    driver = begun()
    driver.start_child(spec("a", restart=restart))
    driver.stop(Shutdown("asked"))
    driver.exit("a", reason)
    assert driver.outcome == ev.Finished(Shutdown("asked"))
    assert driver.due == {}
    expected = reason.abnormal or (reason == NORMAL and restart == "permanent")
    assert driver.report_kinds() == ["shutdown_error"] * expected


@conforms("DYN-39")
def test_dyn_39_40_terminate_child():
    driver = begun()
    for shutdown in ("brutal_kill", 1.0):
        ref = driver.start_child(spec("a", shutdown=shutdown))
        assert driver.terminate(ref) is None
        assert is_error(driver.terminate(ref), errors.ChildNotFound)
        assert driver.counts() == [0, 0, 0, 0]
    assert driver.report_kinds() == []


def test_terminate_child_that_takes_its_time():
    driver = begun()
    driver.stubborn = {"a"}
    ref = driver.start_child("a")
    assert driver.terminate(ref) == "no answer yet"
    assert driver.terminate(ref) == "no answer yet"
    assert states(driver) == ["stopping"]
    driver.feed(ev.StopTimeout(5.0, ref[1]))
    driver.feed(ev.StopTimeout(5.0, ref[1]))
    assert driver.take_trace() == ["start a", "stop a", "kill a"]
    driver.exit("a", KILLED)
    assert driver.answers[1] is None
    assert driver.answers[2] is None
    assert driver.report_kinds() == ["shutdown_error"]
    driver.feed(ev.StopTimeout(5.0, ref[1]))
    assert driver.take_trace() == []


@conforms("DYN-41", "SUP-61")
def test_dyn_41_sup_61_terminate_a_restarting_child_by_its_old_ref():
    driver = begun()
    old = driver.start_child("a")
    driver.exit("a")
    driver.take_trace()
    (key,) = driver.due
    ticket = driver.due[key].ticket
    assert driver.terminate(old) is None
    assert driver.take_trace() == [f"cancel {key}"]
    assert is_error(driver.terminate(old), errors.ChildNotFound)
    assert driver.counts() == [0, 0, 0, 0]
    driver.feed(ev.RestartDue(0.0, key, ticket))
    assert driver.take_trace() == []


@pytest.mark.parametrize("end", ["failed", "started", "ignored"])
def test_terminate_a_child_in_the_middle_of_its_restart(end):
    driver = begun()
    old = driver.start_child("a")
    driver.exit("a")
    driver.held = {"a"}
    due(driver, "a")
    assert states(driver) == ["starting"]
    driver.take_trace()
    assert driver.terminate(old) == "no answer yet"
    assert driver.terminate(old) == "no answer yet"
    assert driver.take_trace() == ["cancel start a"]
    if end == "failed":
        driver.start_failed("a", KILLED)
        assert driver.take_trace() == []
    elif end == "ignored":
        driver.feed(ev.ChildIgnored(0.0, driver.starting.pop("a")))
    else:
        driver.started("a")
        assert driver.take_trace() == ["stop a"]
    assert driver.answers[2] is None
    assert driver.answers[3] is None
    assert driver.counts() == [0, 0, 0, 0]
    assert is_error(driver.terminate(old), errors.ChildNotFound)


def test_static_commands_have_their_reasons_to_be_refused():
    driver = begun()
    old = driver.start_child("a")
    for command in (driver.restart, driver.delete):
        assert is_error(command(old), errors.ChildRunning)
        assert is_error(command("x"), errors.ChildNotFound)
        assert is_error(command([]), errors.ChildNotFound)
    driver.exit("a")
    for command in (driver.restart, driver.delete):
        assert is_error(command(old), errors.ChildRestarting)


@conforms("SUP-14")
def test_sup_14_32_specs_and_infos_by_ref():
    driver = begun()
    kept = driver.start_child("a")
    temporary = driver.start_child(spec("t", restart="temporary"))
    assert driver.ask(ev.GetChildSpec, kept) == spec("a")
    answer = driver.ask(ev.GetChildSpec, temporary)
    assert is_error(answer, errors.ChildNotFound)
    assert answer.state == "temporary"
    assert is_error(driver.ask(ev.GetChildSpec, "x"), errors.ChildNotFound)
    assert driver.ask(ev.WhichChild, kept) == ev.ChildInfo(None, kept, "running", "worker", "permanent")
    assert is_error(driver.ask(ev.WhichChild, "x"), errors.ChildNotFound)
    driver.exit("a")
    assert driver.ask(ev.WhichChild, kept) == ev.ChildInfo(None, None, "restarting", "worker", "permanent")


def test_backoff_and_deaths_caused_by_the_node():
    driver = begun(max_restarts=0)
    driver.start_child(spec("a", backoff=Backoff(first=1, jitter=0)))
    delays = []
    for _ in range(3):
        driver.exit("a", KILLED, counts=False)
        (scheduled,) = driver.due.values()
        delays.append(scheduled.delay)
        assert "does not count" in scheduled.because
        due(driver, "a")
    assert delays == [1, 2, 4]
    driver.now = 8.0
    driver.exit("a", KILLED, counts=False)
    assert next(iter(driver.due.values())).delay == 1
    driver.failing = {"a"}
    due(driver, "a")
    assert driver.outcome == ev.Finished(Shutdown("reached_max_restart_intensity"))


def test_stop_cancels_whatever_is_going_on():
    driver = begun()
    driver.stubborn = {"stopping"}
    driver.held = {"new", "again"}
    driver.start_child("waiting")
    driver.exit("waiting")
    key = next(iter(driver.due))
    driver.start_child("stopping")
    stopping_call = next(driver.calls)
    driver.feed(ev.TerminateChildCommand(0.0, stopping_call, driver.refs["stopping"]))
    driver.start_child("new")
    driver.take_trace()
    driver.stop(Shutdown("first"))
    driver.stop(Shutdown("second"))
    assert driver.take_trace() == [f"cancel {key}", "cancel start new"]
    assert is_error(driver.answers[stopping_call], errors.SupervisorStopping)
    assert is_error(driver.answers[stopping_call + 1], errors.SupervisorStopping)
    driver.started("new")
    assert driver.take_trace() == ["stop new"]
    driver.exit("stopping", SHUTDOWN)
    assert driver.take_trace() == ["finished"]
    assert driver.outcome == ev.Finished(Shutdown("first"))


def test_stop_during_a_cancelled_restart():
    driver = begun()
    old = driver.start_child("a")
    driver.exit("a")
    driver.held = {"a"}
    due(driver, "a")
    driver.terminate(old)
    driver.take_trace()
    driver.stop()
    assert is_error(driver.answers[1], errors.SupervisorStopping)
    assert driver.take_trace() == []
    driver.start_failed("a", KILLED)
    assert driver.take_trace() == ["finished"]


def test_unkillable_child():
    driver = begun()
    driver.stubborn = {"a"}
    ref = driver.start_child(spec("a", shutdown=1.0))
    driver.terminate(ref)
    driver.feed(ev.StopTimeout(1.0, ref[1]))
    driver.feed(ev.KillTimeout(2.0, ref[1]))
    driver.feed(ev.KillTimeout(2.0, ref[1]))
    assert is_error(driver.answers[1], errors.ChildRunning)
    assert is_error(driver.terminate(ref), errors.ChildRunning)
    assert states(driver) == ["unkillable"]
    assert driver.report_kinds() == ["unkillable"]
    driver.stop()
    assert driver.outcome is None
    driver.exit("a", KILLED)
    assert driver.report_kinds() == ["unkillable", "child_terminated"]
    assert driver.outcome == ev.Finished(SHUTDOWN)


@pytest.mark.parametrize("restarting", [False, True])
def test_unkillable_init(restarting):
    driver = begun()
    if restarting:
        driver.start_child("a")
        driver.exit("a")
        driver.held = {"a"}
        due(driver, "a")
    else:
        driver.held = {"a"}
        driver.start_child("a")
    instance = driver.starting["a"]
    driver.feed(ev.KillTimeout(0.0, instance))
    if not restarting:
        assert is_error(driver.answers[0], errors.StartFailed)
    assert states(driver) == ["unkillable"]
    driver.take_trace()
    driver.started("a")
    assert driver.take_trace() == ["kill a"]
    assert states(driver) == ["unkillable"]
    driver.exit("a", KILLED)
    assert states(driver) == []
    assert driver.due == {}


def test_late_and_odd_events_are_dropped():
    driver = begun()
    driver.start_child("a")
    running = driver.refs["a"][1]
    driver.take_trace()
    for event in [
        ev.ChildStarted(0.0, running, "ref"),
        ev.ChildIgnored(0.0, running),
        ev.ChildStartFailed(0.0, running, DIED),
        ev.StopTimeout(0.0, running),
        ev.StopTimeout(0.0, 999),
        ev.KillTimeout(0.0, running),
        ev.KillTimeout(0.0, 999),
        ev.ChildExited(0.0, 999, DIED),
        ev.GroupStopTimeout(0.0, 5.0),
        ev.RestartDue(0.0, 1, 999),
    ]:
        driver.feed(event)
    assert driver.take_trace() == []
    assert states(driver) == ["running"]


@conforms("SUP-33")
def test_sup_33_34_counting_many():
    driver = begun()
    for number in range(1000):
        driver.start_child(spec(str(number), restart="temporary", kind="supervisor"))
    assert driver.counts() == [1000, 1000, 1000, 0]
    end_all(driver, KILLED)
    assert driver.counts() == [0, 0, 0, 0]


@conforms("SUP-43")
def test_sup_43_44_nothing_is_kept_of_temporary_children():
    driver = begun()
    machine = driver.machine
    driver.start_child(spec("t", restart="temporary", args=(object(),)))
    (child,) = machine._by_ref.values()
    assert not hasattr(child, "spec")
    assert not hasattr(child, "__dict__")
    driver.exit("t", NORMAL)
    driver.start_child("p")
    driver.exit("p")
    driver.terminate(driver.refs["p"])
    for table in (machine._by_ref, machine._running, machine._starting, machine._waiting, machine._ending):
        assert not table


# --- What mutants have shown to be missing ------------------------------------------------------


def test_a_spec_that_is_not_kept_and_one_that_was_never_there():
    driver = begun()
    driver.start_child(spec("t", restart="temporary"))
    assert driver.ask(ev.GetChildSpec, driver.refs["t"]).state == "temporary"
    stranger = driver.ask(ev.GetChildSpec, "x")
    assert is_error(stranger, errors.ChildNotFound)
    assert stranger.state is None


def test_a_start_that_was_given_up_is_answered_once():
    """A start that was given up is answered once. Fault: a slow init that was killed and ends at
    last is reported to a caller that no longer waits.
    """
    for end in (ev.ChildStartFailed, ev.ChildIgnored):
        driver = begun()
        driver.held = {"a"}
        call = next(driver.calls)
        driver.feed(ev.StartChildCommand(0.0, call, spec("a")))
        instance = driver.starting["a"]
        driver.feed(ev.KillTimeout(0.0, instance))
        assert list(driver.answers) == [call]
        driver.feed(end(0.0, instance, KILLED) if end is ev.ChildStartFailed else end(0.0, instance))
        assert list(driver.answers) == [call]


def test_a_restart_that_fails_is_reported_with_its_life_and_its_reason():
    driver = begun()
    driver.start_child("a")
    driver.exit("a")
    driver.failing = {"a"}
    due(driver, "a")
    report = driver.reports[-1]
    assert (report.kind, report.child_id, report.reason, report.instance) == ("start_error", "a", NOT_STARTED, 2)
    assert report.because == f"restart failed with {NOT_STARTED}"
    (scheduled,) = driver.due.values()
    assert scheduled.because.startswith(f"restart failed with {NOT_STARTED}; 2 restarts in")


def test_what_is_reported_of_a_child_and_what_its_restart_says():
    """Each report says which child it is about; a permanent child's orderly end is reported too."""
    driver = begun()
    first = driver.start_child("a")
    driver.exit("a", NORMAL)
    assert [(report.kind, report.child_id, report.instance, report.ref) for report in driver.reports] == [
        ("progress", "a", 1, first),
        ("child_terminated", "a", 1, first),
    ]
    (scheduled,) = driver.due.values()
    assert scheduled.because.startswith(f"permanent child exited with {NORMAL}; 1 restarts in")
    due(driver, "a")
    assert driver.automatic == [("a", False), ("a", True)]
    driver.start_child(spec("t", restart="temporary"))
    assert (driver.reports[-1].kind, driver.reports[-1].child_id) == ("progress", None)


def test_why_a_start_is_refused():
    driver = begun(max_children=0)
    assert driver.start_child("a").child_id == "a"
    error = begun().start_child(spec("a", restart="transient", significant=True))
    assert is_error(error, errors.InvalidChildSpec)
    assert (error.field, error.value) == ("significant", True)
    assert error.why in str(error)
    assert error.remedy in str(error)


def test_a_child_that_starts_is_listed_as_what_it_will_be():
    driver = begun()
    driver.held = {"a"}
    driver.start_child(spec("a", kind="supervisor", restart="transient"))
    assert driver.ask(ev.WhichChildren) == (ev.ChildInfo(None, None, "starting", "supervisor", "transient"),)


def test_a_start_that_the_stop_has_refused_is_not_answered_again():
    driver = begun()
    driver.held = {"a"}
    call = next(driver.calls)
    driver.feed(ev.StartChildCommand(0.0, call, spec("a")))
    driver.stop()
    assert is_error(driver.answers[call], errors.SupervisorStopping)
    driver.start_failed("a", KILLED)
    assert list(driver.answers) == [call]
    assert driver.outcome == ev.Finished(SHUTDOWN)


def test_a_backoff_goes_by_how_long_a_life_was_not_by_when_it_began():
    """A backoff depends on how long a life lasted, not on when it began. Fault: under a supervisor
    that has run for a while each failure counts as a first one.
    """
    driver = begun(max_restarts=99)
    driver.now = 1000.0
    driver.start_child(spec("a", backoff=Backoff(first=1, factor=2, limit=8, jitter=0)))
    delays = []
    for _ in range(3):
        driver.now += 0.5
        driver.exit("a")
        delays.append(next(iter(driver.due.values())).delay)
        due(driver, "a")
    assert delays == [1, 2, 4]
