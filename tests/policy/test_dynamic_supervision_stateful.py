"""The dynamic machine in a world where anything may happen at any time."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from actorkit.errors import ChildNotFound, MaxChildrenReached
from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.dynamic import DynamicSupervision
from actorkit.reasons import NORMAL
from tests.policy.strategies import child_specs, dynamic_flags
from tests.policy.world import CheckedWindow, World


class DynamicWorld(World):
    machine: DynamicSupervision | None = None

    @initialize(
        flags=dynamic_flags,
        fraction=st.floats(0, 1),
        first=st.lists(child_specs(significant=False), min_size=1, max_size=4),
    )
    def made(self, flags: Any, fraction: float, first: Any) -> None:
        self.machine = DynamicSupervision(flags, lambda: fraction)
        self.window = self.machine._window = CheckedWindow(flags.max_restarts, flags.max_seconds)
        self.groups: set[object] = set()
        self.flags = flags
        self.feed(ev.Begin(self.now))
        for spec in first:
            self.start_child(spec)
        for life in self.in_state("starting"):
            self.start_ends(life, "started", NORMAL)

    def perform(self, action: Any) -> None:
        super().perform(action)
        if isinstance(action, ev.StopChildren):
            self.groups.add(action.shutdown)
        if isinstance(action, ev.FailCall) and isinstance(action.error, MaxChildrenReached):
            assert len(self.lives) + len(self.tickets) >= self.flags.max_children

    @invariant()
    def counts_are_right(self) -> None:
        if self.machine is not None and self.outcome is None:
            assert len(self.lives) + len(self.tickets) <= self.flags.max_children
            replies = self.machine.handle(ev.CountChildren(self.now, "counts"))
            counts = replies[0].value  # type: ignore[union-attr]
            assert counts.specs == len(self.lives) + len(self.tickets)
            assert counts.active == len(self.in_state("running"))
            (which,) = self.machine.handle(ev.WhichChildren(self.now, "infos"))
            infos = which.value  # type: ignore[union-attr]
            assert len(infos) == counts.specs
            assert {info.ref for info in infos if info.ref is not None} == {
                life.ref for life in self.in_state("running")
            }

    @precondition(lambda self: self.machine is not None)
    @rule(spec=child_specs())
    def start_child(self, spec: Any) -> None:
        self.call(ev.StartChildCommand, spec)

    @precondition(lambda self: self.machine is not None and self.refs)
    @rule(data=st.data(), kind=st.sampled_from([ev.RestartChildCommand, ev.DeleteChildCommand]))
    def administer(self, data: Any, kind: Any) -> None:
        assert self.call(kind, data.draw(st.sampled_from(self.refs))) not in self.open_calls

    @precondition(lambda self: self.machine is not None and self.refs)
    @rule(data=st.data())
    def terminate_child(self, data: Any) -> None:
        ref = data.draw(st.sampled_from(self.refs))
        call = next(self.calls)
        self.open_calls.add(call)
        actions = self.feed(ev.TerminateChildCommand(self.now, call, ref))
        alive = any(life.ref == ref for life in self.lives.values())
        if alive and self.stop_reason is None and self.outcome is None:
            assert not any(
                isinstance(action, ev.FailCall) and isinstance(action.error, ChildNotFound) for action in actions
            )

    @precondition(lambda self: self.machine is not None and self.refs)
    @rule(data=st.data(), kind=st.sampled_from([ev.WhichChild, ev.GetChildSpec]))
    def ask_about(self, data: Any, kind: Any) -> None:
        assert self.call(kind, data.draw(st.sampled_from(self.refs))) not in self.open_calls

    @precondition(lambda self: self.machine is not None and self.groups)
    @rule(data=st.data())
    def a_group_times_out(self, data: Any) -> None:
        shutdown = data.draw(st.sampled_from(sorted(self.groups, key=str)))
        self.groups.discard(shutdown)
        self.feed(ev.GroupStopTimeout(self.now, shutdown))  # type: ignore[arg-type]
        for life in self.lives.values():
            if life.in_group and life.spec.shutdown == shutdown and not life.given_up:
                assert life.killed


DynamicWorld.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestDynamicWorld = DynamicWorld.TestCase
