"""The static machine in a world where anything may happen at any time."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.static import Supervision
from actorkit.reasons import NORMAL
from tests.policy.strategies import child_specs, supervisor_flags
from tests.policy.world import CheckedWindow, Life, World

IDS = "abcdef"


class StaticWorld(World):
    machine: Supervision | None = None

    @initialize(
        flags=supervisor_flags,
        specs=st.lists(child_specs(), max_size=5, min_size=2, unique_by=lambda spec: spec.id),
        fraction=st.floats(0, 1),
        at_once=st.sampled_from([True, True, True, False]),
    )
    def made(self, flags: Any, specs: Any, fraction: float, at_once: bool) -> None:
        if flags.auto_shutdown == "never":
            specs = [spec.with_(significant=False) for spec in specs]
        self.machine = Supervision(flags, specs, lambda: fraction)
        self.window = self.machine._window = CheckedWindow(flags.max_restarts, flags.max_seconds)
        self.order = [spec.id for spec in specs]
        self.feed(ev.Begin(self.now))
        while at_once and self.in_state("starting"):
            # Few worlds get anywhere otherwise: one failed start is the end.
            self.start_ends(self.in_state("starting")[0], "started", NORMAL)

    # --- invariants ---

    def check_start(self, life: Life) -> None:
        assert not [other for other in self.lives.values() if other is not life and other.spec.id == life.spec.id], (
            "two lives of one child"
        )
        self.check_one_step_at_a_time(life)
        child_id = life.spec.id
        if not life.restart and child_id not in self.order:
            self.order.append(child_id)
        assert self.machine is not None
        if life.restart and self.machine.flags.strategy != "one_for_one":
            assert not self.up() & self.later_than(life), "a group is started in order"

    def check_stop(self, life: Life) -> None:
        self.check_one_step_at_a_time(life)
        assert self.machine is not None
        if self.machine.phase == "stopping":
            assert not self.up() & self.later_than(life), "not stopped in reverse order"

    def up(self) -> set[object]:
        return {life.spec.id for life in self.lives.values() if life.state == "running" and not life.given_up}

    def later_than(self, life: Life) -> set[object]:
        return set(self.order[self.order.index(life.spec.id) + 1 :])

    def check_one_step_at_a_time(self, life: Life) -> None:
        for other in self.lives.values():
            busy = other.state == "starting" or other.stop_asked
            assert other is life or other.given_up or not busy, "two steps at once"

    def perform(self, action: Any) -> None:
        if isinstance(action, ev.ScheduleRestart):
            assert sum(each.key == action.key for each in self.tickets.values()) == 0
        if isinstance(action, ev.StopChild) and "takes it along" in action.because:
            later = self.later_than(self.lives[action.instance])
            assert not self.up() & later, "a group is stopped in reverse order"
        super().perform(action)
        if isinstance(action, ev.AnswerCall | ev.FailCall | ev.ReportChild):
            self.forget()

    def feed(self, event: Any) -> list[Any]:
        actions = super().feed(event)
        self.forget()  # a temporary child that ends as it should is forgotten silently
        return actions

    def forget(self) -> None:
        """The order of start follows the machine's specs: drop the children that the machine has
        forgotten.
        """
        if self.machine is not None:
            known = [child.spec.id for child in self.machine._children]
            self.order = [each for each in self.order if each in known] + [
                each for each in known if each not in self.order
            ]

    def is_stale(self, scheduled: ev.ScheduleRestart) -> bool:
        assert self.machine is not None
        return scheduled.ticket not in self.machine._tickets

    # --- commands ---

    @precondition(lambda self: self.machine is not None)
    @rule(spec=child_specs())
    def start_child(self, spec: Any) -> None:
        self.call(ev.StartChildCommand, spec)

    @precondition(lambda self: self.machine is not None)
    @rule(
        kind=st.sampled_from([ev.TerminateChildCommand, ev.RestartChildCommand, ev.DeleteChildCommand]),
        child_id=st.sampled_from(IDS),
    )
    def administer(self, kind: Any, child_id: str) -> None:
        self.call(kind, child_id)

    @precondition(lambda self: self.machine is not None)
    @rule(kind=st.sampled_from([ev.WhichChild, ev.GetChildSpec]), child_id=st.sampled_from(IDS))
    def ask_about(self, kind: Any, child_id: str) -> None:
        assert self.call(kind, child_id) not in self.open_calls


StaticWorld.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestStaticWorld = StaticWorld.TestCase
