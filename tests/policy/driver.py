"""A tiny shell for table tests: it names children by their ids, and does what it is told to.

``trace`` collects what happened, as short strings: "start a", "stop a", "kill a", "ready",
"finished", "restart a" (scheduled), "cancel a". By default starts succeed and stops are obeyed, at
once; ``failing``, ``ignoring`` and ``stubborn`` ids do not, and ``held`` ids do nothing until told.
"""

from __future__ import annotations

import itertools
from typing import Any

from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.child_spec import ChildSpec
from actorkit.policy.supervision.static import Supervision
from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
from actorkit.reasons import KILLED, SHUTDOWN, ExitReason, Failure
from tests.policy.strategies import worker
from tests.policy.well_formed import asked_about, check

DIED = Failure("died")
NOT_STARTED = Failure("not started")


def spec(child_id: str, **fields: Any) -> ChildSpec[Any]:
    return ChildSpec(worker, id=child_id, **fields)


class Driver:
    def __init__(self, specs: Any = "", machine: Any = None, fraction: float = 0.5, **flags: Any) -> None:
        children = [spec(each) if isinstance(each, str) else each for each in specs]
        self.machine = machine or Supervision(SupervisorFlags(**flags), children, lambda: fraction)
        self.now = 0.0
        self.trace: list[str] = []
        self.failing: set[str] = set()
        self.ignoring: set[str] = set()
        self.stubborn: set[str] = set()
        self.held: set[str] = set()
        self.refs: dict[str, Any] = {}
        self.starting: dict[str, int] = {}
        self.due: dict[object, ev.ScheduleRestart] = {}
        self.hold_restarts = False
        self.answers: dict[object, Any] = {}
        self.reports: list[ev.ReportChild] = []
        self.outcome: ev.Finished | ev.InitFailed | None = None
        self.calls = itertools.count()
        self.automatic: list[tuple[str, bool]] = []
        """Each start, and whether it was an automatic restart."""
        self._names: dict[int, str] = {}
        self._specs: dict[int, Any] = {}
        self._asked: dict[object, object] = {}

    # --- what the test does ---

    def begin(self) -> Driver:
        self.feed(ev.Begin(self.now))
        return self

    def feed(self, event: Any) -> None:
        if hasattr(event, "call"):
            self._asked[event.call] = asked_about(event)
        actions = self.machine.handle(event)
        self.machine.validate()
        for action in actions:
            self.perform(action)

    def take_trace(self) -> list[str]:
        trace, self.trace = self.trace, []
        return trace

    def exit(self, name: str, reason: ExitReason = DIED, counts: bool = True) -> None:
        ref = self.refs[name]
        self.feed(ev.ChildExited(self.now, ref[1], reason, counts))

    def started(self, name: str) -> None:
        instance = self.starting.pop(name)
        ref = self.refs[name] = (name, instance)
        self.feed(ev.ChildStarted(self.now, instance, ref))

    def start_failed(self, name: str, reason: ExitReason = NOT_STARTED) -> None:
        self.feed(ev.ChildStartFailed(self.now, self.starting.pop(name), reason))

    def restart_due(self, key: object) -> None:
        scheduled = self.due.pop(key)
        self.feed(ev.RestartDue(self.now, key, scheduled.ticket))

    def stop(self, reason: ExitReason = SHUTDOWN) -> None:
        self.feed(ev.StopRequested(self.now, reason))

    def ask(self, kind: Any, *args: Any) -> Any:
        """Make a call and return its answer: the value, the error, or None while there is none."""
        call = next(self.calls)
        self.feed(kind(self.now, call, *args))
        return self.answers.get(call, "no answer yet")

    def start_child(self, child: Any) -> Any:
        return self.ask(ev.StartChildCommand, spec(child) if isinstance(child, str) else child)

    def terminate(self, child_id: object) -> Any:
        return self.ask(ev.TerminateChildCommand, child_id)

    def restart(self, child_id: object) -> Any:
        return self.ask(ev.RestartChildCommand, child_id)

    def delete(self, child_id: object) -> Any:
        return self.ask(ev.DeleteChildCommand, child_id)

    def counts(self) -> list[int]:
        counts = self.ask(ev.CountChildren)
        return [counts.specs, counts.active, counts.supervisors, counts.workers]

    def states(self) -> dict[object, str]:
        return {info.id: info.state for info in self.ask(ev.WhichChildren)}

    # --- what the machine asks for ---

    def perform(self, action: ev.Action) -> None:
        if isinstance(action, ev.StartChild):
            self._specs[action.instance] = action.spec
        check(action, self._specs, self._asked)
        match action:
            case ev.StartChild(instance=instance, spec=child):
                name = str(child.id)
                self.automatic.append((name, action.restart))
                self._names[instance] = name
                self.trace.append(f"start {name}")
                self.starting[name] = instance
                if name in self.held:
                    pass
                elif name in self.failing:
                    self.start_failed(name)
                elif name in self.ignoring:
                    self.feed(ev.ChildIgnored(self.now, self.starting.pop(name)))
                else:
                    self.started(name)
            case ev.CancelStart(instance=instance):
                self.trace.append(f"cancel start {self._names[instance]}")
            case ev.StopChild(instance=instance, ref=ref, shutdown=shutdown):
                name = self._names[instance]
                assert ref == (name, instance)
                assert shutdown == self._specs[instance].shutdown_time
                self.trace.append(f"stop {name}")
                if shutdown == "brutal_kill":
                    self.feed(ev.ChildExited(self.now, instance, KILLED))
                elif name not in self.stubborn:
                    self.feed(ev.ChildExited(self.now, instance, SHUTDOWN))
            case ev.StopChildren(group=group, shutdown=shutdown):
                names = " ".join(self._names[instance] for instance, _ in group)
                self.trace.append(f"stop {shutdown}: {names}")
            case ev.KillChild(instance=instance, ref=ref):
                assert ref == (self._names[instance], instance)
                self.trace.append(f"kill {self._names[instance]}")
            case ev.ScheduleRestart(key=key):
                self.trace.append(f"restart {key}")
                self.due[key] = action
                if not self.hold_restarts:
                    self.restart_due(key)
            case ev.CancelRestart(key=key, ticket=ticket):
                self.trace.append(f"cancel {key}")
                if key in self.due and self.due[key].ticket == ticket:
                    del self.due[key]
            case ev.AnswerCall(call=call, value=value):
                assert call not in self.answers
                self.answers[call] = value
            case ev.FailCall(call=call, error=error):
                assert call not in self.answers
                self.answers[call] = error
            case ev.ReportChild():
                self.reports.append(action)
            case ev.Ready():
                self.trace.append("ready")
            case ev.InitFailed() | ev.Finished():
                assert self.outcome is None
                self.outcome = action
                self.trace.append("finished" if isinstance(action, ev.Finished) else "init failed")

    def report_kinds(self) -> list[str]:
        return [report.kind for report in self.reports if report.kind != "progress"]
