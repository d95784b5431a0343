"""A world for the stateful tests: children that start, fail, crash, and obey or not, in any order.

The world performs a machine's actions in the only way that is visible to a machine: it notes what
was asked for, and lets hypothesis choose what comes of it, and when. Meanwhile it checks what must
hold whatever happens, and does so from the actions alone.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.restart_window import RestartWindow
from actorkit.reasons import KILLED, NORMAL, SHUTDOWN, ExitReason, Shutdown
from tests.policy.strategies import reasons
from tests.policy.well_formed import asked_about, check

ENDED = (ev.Finished, ev.InitFailed)


class CheckedWindow(RestartWindow):
    """A RestartWindow that counts a second time, the long way, and remembers what it said."""

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        super().__init__(max_restarts, max_seconds)
        self.times: list[float] = []
        self.exceeded = False

    def add(self, now: float) -> bool:
        assert not self.exceeded, "a restart was counted after the supervisor had given up"
        self.times.append(now)
        self.exceeded = super().add(now)
        in_window = [time for time in self.times if time >= now - self.max_seconds]
        assert self.exceeded == (len(in_window) > self.max_restarts)
        return self.exceeded


class Life:
    """A child's life as the world knows it."""

    def __init__(self, instance: int, spec: Any, restart: bool) -> None:
        self.instance = instance
        self.spec = spec
        self.restart = restart
        self.state = "starting"
        self.ref: object = None
        self.stop_asked = False
        self.killed = False
        self.given_up = False
        self.in_group = False
        """The child was asked to stop together with others, so their timer kills it, not one of its
        own.
        """


class World(RuleBasedStateMachine):
    machine: Any
    window: CheckedWindow

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lives: dict[int, Life] = {}
        self.over: list[int] = []
        self.refs: list[object] = []
        self.tickets: dict[int, ev.ScheduleRestart] = {}
        self.used_tickets: list[ev.ScheduleRestart] = []
        self.calls = itertools.count(1)
        self.open_calls: set[int] = set()
        self.asked: dict[object, object] = {}
        self.specs: dict[int, Any] = {}
        self.stop_reason: ExitReason | None = None
        self.outcome: Any = None
        self.reports: list[ev.ReportChild] = []
        self.uncounted = 0
        self.scheduled = 0

    # --- performing actions ---

    def feed(self, event: Any) -> list[Any]:
        if hasattr(event, "call"):
            self.asked[event.call] = asked_about(event)
        actions = self.machine.handle(event)
        self.machine.validate()
        for action in actions:
            self.perform(action)
        return actions

    def perform(self, action: Any) -> None:
        if self.outcome is not None:
            assert isinstance(action, ev.AnswerCall | ev.FailCall), f"{action} after the end"
        if isinstance(action, ev.StartChild):
            self.specs[action.instance] = action.spec
        check(action, self.specs, self.asked)
        match action:
            case ev.StartChild(instance=instance, spec=spec, restart=restart):
                assert instance not in self.lives
                assert instance not in self.over
                assert self.stop_reason is None
                self.lives[instance] = Life(instance, spec, restart)
                self.check_start(self.lives[instance])
            case ev.CancelStart(instance=instance):
                life = self.lives[instance]
                assert life.state == "starting"
                assert not life.killed
                life.killed = True
            case ev.StopChild(instance=instance, ref=ref, shutdown=shutdown):
                self.check_stop(self.lives[instance])
                self.ask_to_stop(instance, ref, shutdown)
            case ev.StopChildren(group=group, shutdown=shutdown):
                assert group
                for instance, ref in group:
                    self.ask_to_stop(instance, ref, shutdown)
                    self.lives[instance].in_group = True
            case ev.KillChild(instance=instance, ref=ref):
                life = self.lives[instance]
                assert life.ref == ref
                assert life.stop_asked or life.given_up
                life.killed = True
            case ev.ScheduleRestart(ticket=ticket, delay=delay, because=because):
                assert self.stop_reason is None
                assert ticket not in self.tickets
                assert delay >= 0
                assert because
                self.tickets[ticket] = action
                self.scheduled += 1
            case ev.CancelRestart(ticket=ticket):
                self.used_tickets.append(self.tickets.pop(ticket))
            case ev.AnswerCall(call=call) | ev.FailCall(call=call):
                self.open_calls.remove(call)
            case ev.ReportChild():
                self.reports.append(action)
            case ev.Ready():
                pass
            case ev.InitFailed() | ev.Finished():
                self.outcome = action
                assert not self.lives, "it finished before its children did"
                assert not self.tickets
                assert not self.open_calls

    def ask_to_stop(self, instance: int, ref: object, shutdown: object) -> None:
        life = self.lives[instance]
        assert life.state == "running"
        assert life.ref == ref
        assert life.spec.shutdown == shutdown
        assert not life.stop_asked
        life.stop_asked = True
        life.killed = shutdown == "brutal_kill"

    def check_start(self, life: Life) -> None:
        """A hook for subclasses."""

    def check_stop(self, life: Life) -> None:
        """A hook for subclasses."""

    # --- what may happen ---

    def some(self, data: Any, lives: list[Life]) -> Life:
        return data.draw(st.sampled_from(lives))

    def in_state(self, state: str) -> list[Life]:
        return [life for life in self.lives.values() if life.state == state]

    def end(self, life: Life) -> None:
        del self.lives[life.instance]
        self.over.append(life.instance)

    @rule(seconds=st.sampled_from([0.001, 0.5, 1.0, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def start_ends(self, life: Life, how: str, reason: ExitReason) -> None:
        if how == "started":
            life.state = "running"
            life.ref = ("ref", life.instance)
            self.refs.append(life.ref)
            self.feed(ev.ChildStarted(self.now, life.instance, life.ref))
        else:
            self.end(life)
            if how == "ignored":
                self.feed(ev.ChildIgnored(self.now, life.instance))
            else:
                self.feed(ev.ChildStartFailed(self.now, life.instance, reason))

    @precondition(lambda self: self.in_state("starting"))
    @rule(
        data=st.data(),
        how=st.sampled_from(["started", "started", "started", "failed", "ignored"]),
        reason=reasons,
    )
    def a_start_ends(self, data: Any, how: str, reason: ExitReason) -> None:
        self.start_ends(self.some(data, self.in_state("starting")), how, reason)

    @precondition(lambda self: self.in_state("running"))
    @rule(data=st.data(), reason=reasons, counts=st.sampled_from([True, True, True, False]))
    def a_child_exits(self, data: Any, reason: ExitReason, counts: bool) -> None:
        life = self.some(data, self.in_state("running"))
        self.end(life)
        self.feed(ev.ChildExited(self.now, life.instance, reason, counts))

    @precondition(lambda self: any(life.stop_asked for life in self.lives.values()))
    @rule(data=st.data(), obeys=st.booleans())
    def a_child_obeys_or_times_out(self, data: Any, obeys: bool) -> None:
        life = self.some(data, [life for life in self.lives.values() if life.stop_asked])
        if obeys:
            self.end(life)
            reason = KILLED if life.killed else SHUTDOWN
            self.feed(ev.ChildExited(self.now, life.instance, reason))
        else:
            self.feed(ev.StopTimeout(self.now, life.instance))
            assert life.killed

    @precondition(lambda self: any(life.killed for life in self.lives.values()))
    @rule(data=st.data())
    def a_kill_gets_nowhere(self, data: Any) -> None:
        life = self.some(data, [life for life in self.lives.values() if life.killed])
        life.given_up = True
        self.feed(ev.KillTimeout(self.now, life.instance))

    @precondition(lambda self: self.in_state("starting"))
    @rule(data=st.data(), sure=st.sampled_from([False, False, False, True]))
    def a_slow_init_cannot_be_killed(self, data: Any, sure: bool) -> None:
        if not sure:
            return
        life = self.some(data, self.in_state("starting"))
        life.given_up = True
        self.feed(ev.KillTimeout(self.now, life.instance))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def a_restart_is_due(self, data: Any) -> None:
        scheduled = self.tickets.pop(data.draw(st.sampled_from(sorted(self.tickets))))
        self.used_tickets.append(scheduled)
        self.feed(ev.RestartDue(self.now, scheduled.key, scheduled.ticket))

    @precondition(lambda self: self.used_tickets)
    @rule(data=st.data())
    def a_stale_restart_is_due(self, data: Any) -> None:
        scheduled = data.draw(st.sampled_from(self.used_tickets))
        if self.machine is not None and self.is_stale(scheduled):
            assert self.feed(ev.RestartDue(self.now, scheduled.key, scheduled.ticket)) == []

    def is_stale(self, scheduled: ev.ScheduleRestart) -> bool:
        return True

    @precondition(lambda self: self.over)
    @rule(data=st.data(), reason=reasons)
    def a_late_event_is_dropped(self, data: Any, reason: ExitReason) -> None:
        instance = data.draw(st.sampled_from(self.over))
        event = data.draw(
            st.sampled_from(
                [
                    ev.ChildExited(self.now, instance, reason),
                    ev.ChildStarted(self.now, instance, "late"),
                    ev.ChildIgnored(self.now, instance),
                    ev.ChildStartFailed(self.now, instance, reason),
                    ev.StopTimeout(self.now, instance),
                    ev.KillTimeout(self.now, instance),
                ]
            )
        )
        assert self.feed(event) == []

    def call(self, kind: Any, *args: Any) -> int:
        call = next(self.calls)
        self.open_calls.add(call)
        self.feed(kind(self.now, call, *args))
        return call

    @rule(data=st.data(), kind=st.sampled_from([ev.WhichChildren, ev.CountChildren]))
    def a_listing_is_answered_at_once(self, data: Any, kind: Any) -> None:
        assert self.call(kind) not in self.open_calls

    @precondition(lambda self: self.stop_reason is None)
    @rule(detail=st.integers(0, 3), sure=st.sampled_from([True] + [False] * 9))
    def it_is_stopped(self, detail: int, sure: bool) -> None:
        if sure:
            self.stop(Shutdown(detail))

    def stop(self, reason: ExitReason) -> None:
        self.stop_reason = reason
        self.feed(ev.StopRequested(self.now, reason))
        assert not self.open_calls, "a call was left open by Stop"

    # --- the end ---

    def teardown(self) -> None:
        """Stop the machine, obey it in everything, and check that it ends as it should."""
        if getattr(self, "machine", None) is None:
            return
        if self.stop_reason is None:
            self.stop(Shutdown("teardown"))
        for _ in range(1000):
            if not self.lives:
                break
            for life in list(self.lives.values()):
                if life.state == "starting" and life.killed | life.given_up:
                    self.end(life)
                    self.feed(ev.ChildStartFailed(self.now, life.instance, KILLED))
                elif life.stop_asked or life.killed or life.given_up:
                    self.end(life)
                    self.feed(ev.ChildExited(self.now, life.instance, SHUTDOWN))
        assert self.outcome is not None
        kinds = [report.kind for report in self.reports]
        gave_up = self.outcome.reason == Shutdown("reached_max_restart_intensity")
        assert gave_up == ("reached_max_restart_intensity" in kinds) or isinstance(self.outcome, ev.InitFailed)
        assert self.window.exceeded == ("reached_max_restart_intensity" in kinds)
        if not gave_up and isinstance(self.outcome, ev.Finished):
            assert self.outcome.reason in (self.stop_reason, Shutdown("auto_shutdown"))
        self.call(ev.WhichChildren)
        assert not self.open_calls
        assert NORMAL.abnormal is False
