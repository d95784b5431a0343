"""Branches that no other test of the machines reaches: odd settings, empty histories, questions
from outside.
"""

from __future__ import annotations

from typing import Any

import pytest

from actorkit.errors import ChildRunning, InvalidChildSpec, StartFailed, SupervisorStopping
from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory.admission import AdmissionMachine, AdmissionSettings, Admit, KindLimits, LearnedSize
from actorkit.policy.memory.candidates import Candidate, Radius
from actorkit.policy.memory.fill_rate import FillRate
from actorkit.policy.memory.governor import GovernorMachine
from actorkit.policy.memory.governor_settings import GovernorSettings
from actorkit.policy.memory.kill_rounds import KEPT_ROUNDS, KillRounds, KillSettings
from actorkit.policy.memory.ladder import LadderSettings
from actorkit.policy.memory.memory_pressure import MemoryPressure
from actorkit.policy.memory.memory_sample import MemoryLevel, MemorySample, Priority
from actorkit.policy.memory.outcomes import ActionOutcome, Pace, PaceSettings
from actorkit.policy.memory.restart_queue import GateSettings, NodeDeaths
from actorkit.policy.memory.victims import KillCaps, select, select_over_quota
from actorkit.policy.supervision import supervision_events as sev
from actorkit.policy.supervision.backoff import Backoff
from actorkit.policy.supervision.child_spec import ChildSpec
from actorkit.policy.supervision.dynamic import DynamicSupervision
from actorkit.policy.supervision.supervisor_flags import DynamicFlags
from actorkit.reasons import KILLED
from tests.policy.driver import Driver, spec
from tests.policy.strategies import worker

STRATEGIES: list[Any] = ["one_for_one", "one_for_all", "rest_for_one"]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("max_heap_size", "lots"),
        ("max_heap_size", object()),
        ("memory_quota", "lots"),
        ("memory_quota", object()),
        ("memory_quota", 1000),  # of a worker
        ("priority", 1),
    ],
)
def test_a_spec_says_which_field_is_wrong(field: str, wrong: Any) -> None:
    with pytest.raises(InvalidChildSpec, match=field) as caught:
        ChildSpec(worker, **{field: wrong})
    assert caught.value.field == field


def test_a_quota_is_a_supervisors_and_at_least_a_byte() -> None:
    assert ChildSpec(worker, kind="supervisor", memory_quota="1 KiB").memory_quota == 1024
    assert ChildSpec(worker, kind="supervisor", memory_quota=1).memory_quota == 1
    with pytest.raises(InvalidChildSpec, match="memory_quota"):
        ChildSpec(worker, kind="supervisor", memory_quota=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_companions_are_those_that_the_strategy_takes_along(strategy: Any) -> None:
    driver = Driver("abcd", strategy=strategy).begin()
    driver.terminate("d")
    expected = {"one_for_one": "", "one_for_all": "ac", "rest_for_one": "c"}[strategy]
    assert driver.machine.companions(driver.refs["b"]) == [driver.refs[name] for name in expected]
    assert driver.machine.companions(driver.refs["d"]) == []
    assert driver.machine.companions("a stranger") == []


def test_a_ticket_leads_to_its_spec() -> None:
    driver = Driver("ab").begin()
    driver.hold_restarts = True
    driver.exit("b")
    (due,) = driver.due.values()
    found = driver.machine.spec_of_ticket(due.ticket)
    assert found is not None
    assert found.id == "b"
    assert driver.machine.spec_of_ticket(due.ticket + 1) is None
    driver.restart_due("b")
    assert driver.machine.spec_of_ticket(due.ticket) is None


def test_a_dynamic_ticket_leads_to_its_spec() -> None:
    driver = Driver(machine=DynamicSupervision(DynamicFlags())).begin()
    driver.hold_restarts = True
    driver.start_child(spec("a", backoff=Backoff()))
    driver.exit("a")
    (due,) = driver.due.values()
    found = driver.machine.spec_of_ticket(due.ticket)
    assert found is not None
    assert found.backoff == Backoff()
    assert driver.machine.spec_of_ticket(due.ticket + 1) is None


def test_who_waits_for_a_stop_hears_for_whom_nothing_more_is_done() -> None:
    driver = Driver(machine=DynamicSupervision(DynamicFlags())).begin()
    driver.start_child("a")
    driver.stubborn = {"a"}
    call = next(driver.calls)
    driver.feed(sev.TerminateChildCommand(0.0, call, driver.refs["a"]))
    driver.stop()
    assert isinstance(driver.answers[call], SupervisorStopping)
    assert driver.answers[call].child_id == driver.refs["a"]
    assert "None" not in str(driver.answers[call])


def test_a_group_timeout_is_not_for_a_static_supervisor() -> None:
    driver = Driver("a").begin()
    driver.stubborn = {"a"}
    driver.terminate("a")
    driver.take_trace()
    driver.feed(sev.GroupStopTimeout(0.0, 5.0))
    assert driver.take_trace() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_start_says_whether_it_is_an_automatic_restart(strategy: Any) -> None:
    driver = Driver("ab", strategy=strategy).begin()
    driver.exit("b")
    driver.terminate("a")
    driver.restart("a")
    driver.start_child("c")
    automatic = [("b", True)] if strategy != "one_for_all" else [("a", True), ("b", True)]
    assert driver.automatic == [("a", False), ("b", False), *automatic, ("a", False), ("c", False)]


@pytest.mark.parametrize("counts", [True, False])
def test_a_restart_says_whether_it_counts(counts: bool) -> None:
    for machine in (None, DynamicSupervision(DynamicFlags(max_restarts=1000))):
        driver = Driver("" if machine else "a", machine=machine).begin()
        if machine:
            driver.start_child("a")
        driver.hold_restarts = True
        driver.exit("a", counts=counts)
        (due,) = driver.due.values()
        assert due.counts is counts
        assert due.delay == 0.0
        driver.failing = {"a"}
        driver.restart_due(next(iter(driver.due)))
        (due,) = driver.due.values()
        assert due.counts is True, "a start that fails is the child's own doing"
        assert due.delay == 0.0


def test_a_backoff_begins_with_its_first_delay_whatever_came_before() -> None:
    backoff = Backoff(first=0.5, factor=3.0, limit=100.0, jitter=0.0, reset_after=2.0)
    for machine in (None, DynamicSupervision(DynamicFlags(max_restarts=1000))):
        child = spec("a", backoff=backoff)
        driver = Driver(() if machine else (child,), machine=machine, max_restarts=1000).begin()
        if machine:
            driver.start_child(child)
        driver.hold_restarts = True
        driver.exit("a")
        driver.failing = {"a"}
        delays = []
        for _ in range(3):
            delays.append(next(iter(driver.due.values())).delay)
            driver.restart_due(next(iter(driver.due)))
        assert delays == [0.5, 1.5, 4.5]


# --- settings at their bounds --------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        lambda: NodeDeaths(weight=1.0),
        lambda: GovernorSettings(exit_status=1),
        lambda: GovernorSettings(exit_status=125),
        lambda: PaceSettings(effective=0, share=1.0),
        lambda: AdmissionSettings(reserve=0, quantile=1.0, settle=0),
        lambda: KillSettings(margin=0, effective=0),
        lambda: KillSettings(effective=1.0, pause=30.0, longest_pause=30.0),
        lambda: GateSettings(reserve=0, ample=1.0, stagger=0, settle=0, burst=1),
    ],
)
def test_what_is_just_allowed(made: Any) -> None:
    made()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NodeDeaths(weight=1.01),
        lambda: NodeDeaths(weight=0),
        lambda: GovernorSettings(exit_status=0),
        lambda: GovernorSettings(exit_status=126),
        lambda: GovernorSettings(tell_again=float("inf")),
        lambda: PaceSettings(longest=float("inf")),
        lambda: PaceSettings(share=1.01),
        lambda: PaceSettings(effective=-0.01),
        lambda: AdmissionSettings(reserve=1.0),
        lambda: AdmissionSettings(quantile=1.01),
        lambda: AdmissionSettings(settle=float("inf")),
        lambda: KillSettings(margin=1.0),
        lambda: KillSettings(effective=1.01),
        lambda: KillSettings(pause=float("inf")),
        lambda: KillSettings(pause=31.0, longest_pause=30.0),
        lambda: GateSettings(reserve=1.0),
        lambda: GateSettings(ample=1.01),
        lambda: GateSettings(stagger=float("inf")),
        lambda: GateSettings(burst=0),
    ],
)
def test_what_is_just_not(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"give|is not|are|must"):
        wrong()


def test_deaths_for_the_node_wait_from_half_a_second_to_a_minute() -> None:
    deaths = NodeDeaths()
    assert deaths.note(0.0, 1000, 0.5) == 0.5
    assert deaths.predicted == 1000
    assert [deaths.note(0.0, 1000, 0.5) for _ in range(10)][-1] == 60.0
    assert deaths.note(0.0, 0, 0.0) < 60.0
    reckoned = NodeDeaths(predicted=100, weight=0.5)
    reckoned.note(0.0, 200, 0.5)
    assert reckoned.predicted == 150


def test_what_a_pause_is_predicted_from() -> None:
    pace = Pace(PaceSettings())
    pace.begun(0.0, 100)
    pace.note(ActionOutcome("gc", 0.0, 10, 10, 0.2))
    assert pace.predicted_pause(300) == pytest.approx(0.6)
    assert pace.predicted_pause(0) == pytest.approx(0.2)


# --- memory --------------------------------------------------------------------------------------


def sample(now: float, used: int, live: int | None = None) -> MemorySample:
    return MemorySample(now, 1000, used, "test", used, live)


def test_a_prediction_from_outside_goes_before_what_was_learned() -> None:
    made = AdmissionMachine(AdmissionSettings({"a": KindLimits(first_guess=50)}))
    made.looked(sample(0, 100))
    assert made.ask("a", 0) == Admit(50)
    made.predict("a", 7)
    made.learn("a", [400] * 1000)
    assert made.predicted("a") == 7
    assert made.ask("a", 1) == Admit(7)


def test_no_look_no_climb() -> None:
    rate = FillRate()
    assert rate.worst() == rate.mean() == 0.0


def test_a_pause_is_not_predicted_from_nothing() -> None:
    assert Pace(PaceSettings()).predicted_pause(1000) == 0.0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"answer_within": -0.1}, "answer_within=-0.1"),
        ({"answer_within": float("inf")}, "answer_within=inf"),
        ({"tell_again": 0}, "tell_again=0"),
        ({"alert_look": float("inf")}, "alert_look=inf"),
        ({"stop_all_after": -1}, "stop_all_after=-1"),
        ({"stop_node_after": 0}, "stop_node_after=0"),
        ({"reserve": -1}, "reserve=-1"),
        ({"dry_run": 3}, "dry_run=3.*True or False"),
        ({"step_fence": "yes"}, "step_fence='yes'.*True or False"),
    ],
)
def test_governor_settings_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GovernorSettings(**wrong)


def test_nothing_to_wait_for_is_a_time_too() -> None:
    assert GovernorSettings(answer_within=0, reserve=0).answer_within == 0


def test_a_look_is_as_old_as_its_sample() -> None:
    assert ev.Sampled(sample(7.0, 1)).now == 7.0


def test_pressure_in_words() -> None:
    assert str(MemoryPressure(MemoryLevel.KILL)) == "memory pressure: the node is at KILL"
    text = str(MemoryPressure(MemoryLevel.SHED, 12_000, "rank 3"))
    assert text == "memory pressure: the node is at SHED and lacks 12,000 B: rank 3"


def test_rounds_that_never_end_are_forgotten_at_last() -> None:
    """A victim that cannot be killed must not be remembered forever, and the newest round must not
    be forgotten.
    """
    rounds = KillRounds()
    for number in range(KEPT_ROUNDS + 3):
        rounds.begin(number, float(number), sample(number, 950), 0.0, 100, frozenset({number}))
    assert rounds.already_killed() == frozenset(range(3, KEPT_ROUNDS + 3))


def test_of_radii_that_are_too_large_the_first_is_taken() -> None:
    rows = [
        Candidate(n, Priority.LOW, True, None, 1000 - n, Radius(frozenset(range(n * 10, n * 10 + 5)), 5000))
        for n in range(3)
    ]
    chosen = select(rows, 100, KillCaps(count=2))
    assert [victim.key for victim in chosen.victims] == [0]
    assert chosen.deaths == 5


# --- what mutants have shown to be missing -------------------------------------------------------


def test_a_first_footprint_of_nothing_is_one_too() -> None:
    deaths = NodeDeaths(weight=0.5)
    deaths.note(0.0, 0, 0.5)
    deaths.note(0.0, 1000, 0.5)
    assert deaths.predicted == 500


def test_a_share_is_rested_for() -> None:
    resting = Pace(PaceSettings(share=0.05))
    resting.note(ActionOutcome("gc", 10.0, 100, 100, 1.0))
    assert resting.why_not(29.0, anew=True)
    assert not resting.why_not(30.0, anew=True)
    tireless = Pace(PaceSettings(share=None))
    tireless.note(ActionOutcome("gc", 10.0, 100, 100, 1.0))
    assert not tireless.why_not(10.0, anew=True)


def test_the_smallest_size_and_the_memory_of_sizes() -> None:
    learned = LearnedSize()
    learned.note(1)
    learned.note(0)
    assert learned.quantile(1.0) == 1
    # Of 8 kept, 4 of the old size are left after the first halving, then 2: the new size wins after
    # that many.
    fading = LearnedSize(keep=8)
    for _ in range(8):
        fading.note(1)
    needed = 0
    while fading.quantile(0.5) == 1:
        fading.note(1024)
        needed += 1
    assert needed == 5
    rare = LearnedSize(keep=2)
    rare.note(1024)
    for _ in range(3):
        rare.note(1)
    assert rare.quantile(1.0) == 1, "what has faded to less than half a size is gone"


def test_growth_is_between_the_oldest_and_the_newest_look() -> None:
    rate = FillRate()
    rate.note(sample(10.0, 900, live=100))
    rate.note(sample(10.05, 900, live=300))
    assert rate.mean() == 0.0, "too short to be told from noise"
    rate.note(sample(12.0, 900, live=300))
    assert rate.mean() == pytest.approx(100.0)
    falling = FillRate()
    falling.note(sample(10.0, 900, live=300))
    falling.note(sample(12.0, 900, live=100))
    assert falling.mean() == 0.0


@pytest.mark.parametrize(("before", "after"), [(None, None), (None, 700), (700, None)])
def test_a_round_without_live_bytes_is_judged_by_what_is_needed(before: int | None, after: int | None) -> None:
    rounds = KillRounds(KillSettings(effect_delay=1.0))
    rounds.begin(1, 0.0, sample(0.0, 950, before), 10.0, 100, frozenset({1}))
    rounds.ended(1, 0.5)
    judgement = rounds.look(sample(2.0, 800, after))
    assert judgement is not None
    needed = [sample(0.0, 950, before).needed, sample(2.0, 800, after).needed]
    assert judgement.outcome.realised == max(0, needed[0] - needed[1] + 20), "20 bytes were taken up meanwhile"


def test_a_round_may_begin_when_its_interval_has_passed() -> None:
    rounds = KillRounds(KillSettings(round_interval=1.0))
    rounds.begin(1, 5.0, sample(5.0, 950), 0.0, 0, frozenset({1}))
    rounds.ended(1, 5.0, 0)
    rounds.look(sample(5.5, 950))
    assert not rounds.may_begin(5.9)
    assert rounds.may_begin(6.0)


def test_a_quota_takes_the_least_important_and_of_those_the_largest_as_far_as_caps_allow() -> None:
    rows = [
        Candidate("high", Priority.HIGH, True, 9.0, 900),
        Candidate("small", Priority.LOW, True, 9.0, 100),
        Candidate("large", Priority.LOW, False, None, 200),
    ]
    assert [victim.key for victim in select_over_quota(rows, 1200, 950).victims] == ["large", "small"]
    assert [victim.key for victim in select_over_quota(rows, 1200, 950, caps=KillCaps(count=1)).victims] == ["large"]


def test_what_is_said_for_people_takes_no_part_in_comparisons() -> None:
    assert sev.CancelStart(1, "a") == sev.CancelStart(1, "b")
    assert hash(sev.CancelStart(1, "a")) == hash(sev.CancelStart(1))
    assert sev.CancelStart(1).because == ""


def test_a_report_tells_the_level_also_in_a_dry_run() -> None:
    for dry_run in (False, True):
        governor = GovernorMachine(GovernorSettings(dry_run=dry_run, answer_within=0))
        said = governor.handle(ev.Sampled(sample(0, 920)))
        (census,) = [action for action in said if isinstance(action, ev.TakeCensus)]
        (report,) = governor.handle(ev.CensusTaken(0, census.number, []))
        assert isinstance(report, ev.EmitReport)
        assert report.level == MemoryLevel.KILL
        assert not report.dry_run
        assert governor.handle(ev.CensusTaken(0, census.number, [])) == [], "a census is looked at once"


def test_a_slow_init_that_cannot_be_killed_is_told_to_its_caller_and_reported_once() -> None:
    driver = Driver(machine=DynamicSupervision(DynamicFlags())).begin()
    driver.held = {"a"}
    call = next(driver.calls)
    driver.feed(sev.StartChildCommand(0.0, call, spec("a")))
    driver.feed(sev.KillTimeout(0.0, driver.starting["a"]))
    answer = driver.answers[call]
    assert isinstance(answer, StartFailed)
    assert (answer.child_id, answer.reason) == ("a", KILLED)
    (report,) = driver.reports
    assert (report.kind, report.child_id, report.instance) == ("unkillable", "a", driver.starting["a"])
    driver.feed(sev.KillTimeout(0.0, driver.starting["a"]))
    assert len(driver.reports) == 1


def test_who_waits_for_one_that_cannot_be_killed_is_told_who_that_is() -> None:
    driver = Driver(machine=DynamicSupervision(DynamicFlags())).begin()
    driver.start_child(spec("a", kind="supervisor"))
    driver.stubborn = {"a"}
    ref = driver.refs["a"]
    call = next(driver.calls)
    driver.feed(sev.TerminateChildCommand(0.0, call, ref))
    driver.feed(sev.StopTimeout(0.0, ref[1]))
    driver.feed(sev.KillTimeout(0.0, ref[1]))
    answer = driver.answers[call]
    assert isinstance(answer, ChildRunning)
    assert (answer.child_id, answer.state) == (ref, "unkillable")
    (info,) = driver.ask(sev.WhichChildren)
    assert (info.kind, info.restart, info.state) == ("supervisor", "permanent", "unkillable")


@pytest.mark.parametrize("wrong", [{"dwell": -0.1}, {"dwell": float("inf")}, {"regrowth": 0}, {"regrowth": 1.0}])
def test_ladders_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LadderSettings(**wrong)


def test_ladders_that_just_can() -> None:
    assert LadderSettings(dwell=0, regrowth=0.99).dwell == 0
