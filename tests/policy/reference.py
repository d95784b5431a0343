"""A static supervisor written down a second time, the slow and simple way, to compare the real ones
with.

It is meant for quiet moments only: every start and stop is over before the next event. Then a
supervisor is no more than a list of children and the rules of OTP's manual, which are written here
as loops over that list. It says what it does in the words of ``tests.policy.driver``: "start a",
"stop a", "restart a" (scheduled), "cancel a", "finished".

Source: the OTP manual, "supervisor", and "Supervisor Behaviour" in the design principles.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import attrs

from actorkit.policy.supervision.child_spec import ChildSpec
from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
from actorkit.reasons import KILLED, NORMAL, SHUTDOWN, ExitReason, Failure, Shutdown

FOUND, NOT_FOUND, RUNNING, RESTARTING = "done", "ChildNotFound", "ChildRunning", "ChildRestarting"


@attrs.define(eq=False)
class Known:
    spec: ChildSpec[Any]
    state: str = "undefined"

    @property
    def id(self) -> str:
        return str(self.spec.id)


class Reference:
    def __init__(self, flags: SupervisorFlags, specs: list[ChildSpec[Any]]) -> None:
        self.flags = flags
        self.children = [Known(spec) for spec in specs]
        self.failing: set[str] = set()
        self.ignoring: set[str] = set()
        self.trace: list[str] = []
        self.restarts: list[float] = []
        self.over: ExitReason | None = None
        self.waiting: list[Known] = []

    def take_trace(self) -> list[str]:
        trace, self.trace = self.trace, []
        return trace

    def states(self) -> dict[str, str]:
        return {child.id: child.state for child in self.children}

    def find(self, child_id: str) -> Known | None:
        return next((child for child in self.children if child.id == child_id), None)

    # --- steps ---

    def begin(self) -> None:
        for child in self.children:
            self.start(child)
        self.trace.append("ready")

    def start(self, child: Known) -> str:
        self.trace.append(f"start {child.id}")
        if child.id in self.failing:
            child.state = "undefined"
            return "StartFailed"
        if child.id in self.ignoring:
            self.down(child)
        else:
            child.state = "running"
        return FOUND

    def down(self, child: Known) -> None:
        child.state = "undefined"
        if child.spec.restart == "temporary" and child in self.children:
            self.children.remove(child)

    def stop(self, child: Known) -> None:
        if child.state == "restarting":
            self.trace.append(f"cancel {child.id}")
            self.waiting.remove(child)
            child.state = "undefined"
        elif child.state == "running":
            self.trace.append(f"stop {child.id}")
            self.down(child)

    def end(self, reason: ExitReason) -> None:
        for child in list(self.waiting):
            self.stop(child)
        for child in list(reversed(self.children)):
            self.stop(child)
        self.over = reason
        self.trace.append("finished")

    def group(self, child: Known) -> list[Known]:
        at = self.children.index(child)
        return {
            "one_for_one": [child],
            "one_for_all": list(self.children),
            "rest_for_one": self.children[at:],
        }[self.flags.strategy]

    def may_restart(self, child: Known, now: float, counts: bool) -> bool:
        if not counts:
            return True
        self.restarts.append(now)
        recent = [at for at in self.restarts if now - at <= self.flags.max_seconds]
        if len(recent) <= self.flags.max_restarts:
            return True
        if child in self.waiting:
            self.waiting.remove(child)
        self.children.remove(child)
        self.end(Shutdown("reached_max_restart_intensity"))
        return False

    def stop_others(self, child: Known) -> None:
        for other in reversed(self.group(child)):
            if other is not child:
                self.stop(other)

    def wait(self, child: Known) -> None:
        child.state = "restarting"
        self.waiting.append(child)

    # --- events ---

    def exit(self, child_id: str, reason: ExitReason, now: float, counts: bool = True) -> None:
        child = self.find(child_id)
        assert child is not None
        restart = child.spec.restart
        if restart == "temporary" or (restart == "transient" and isinstance(reason, type(NORMAL) | Shutdown)):
            self.down(child)
            left = [one for one in self.children if one.spec.significant and one.state != "undefined"]
            when = self.flags.auto_shutdown
            if child.spec.significant and (when == "any_significant" or (when == "all_significant" and not left)):
                self.end(Shutdown("auto_shutdown"))
            return
        child.state = "undefined"
        if self.may_restart(child, now, counts):
            self.wait(child)
            self.stop_others(child)
            self.trace.append(f"restart {child_id}")

    def due(self, child_id: str, now: float) -> None:
        child = self.find(child_id)
        assert child is not None
        self.waiting.remove(child)
        self.stop_others(child)
        child.state = "undefined"
        for one in self.group(child):
            if self.start(one) != FOUND:
                self.wait(one)
                if self.may_restart(one, now, True):
                    self.trace.append(f"restart {one.id}")
                return

    def start_child(self, spec: ChildSpec[Any]) -> str:
        child = self.find(str(spec.id))
        if child is not None:
            return "ChildAlreadyStarted" if child.state == "running" else "ChildAlreadyPresent"
        child = Known(spec)
        self.children.append(child)
        answer = self.start(child)
        if answer != FOUND:
            self.children.remove(child)
        return answer

    def terminate(self, child_id: str) -> str:
        child = self.find(child_id)
        if child is None:
            return NOT_FOUND
        self.stop(child)
        return FOUND

    def restart(self, child_id: str) -> str:
        child = self.find(child_id)
        if child is None or child.state != "undefined":
            return NOT_FOUND if child is None else {"running": RUNNING, "restarting": RESTARTING}[child.state]
        return self.start(child)

    def delete(self, child_id: str) -> str:
        child = self.find(child_id)
        if child is None or child.state != "undefined":
            return NOT_FOUND if child is None else {"running": RUNNING, "restarting": RESTARTING}[child.state]
        self.children.remove(child)
        return FOUND


# --- histories -----------------------------------------------------------------------------------

NAMES = "abcdef"
REASONS: list[ExitReason] = [NORMAL, SHUTDOWN, Shutdown("so"), KILLED, Failure("died"), Failure("died")]
KINDS = ["exit"] * 5 + ["due"] * 4 + ["start_child", "terminate", "restart", "delete", "fail", "mend", "wait"]


@attrs.frozen
class Step:
    """What happens next, and to which child; ``extra`` chooses the rest."""

    kind: str
    name: str
    extra: int


def history(seed: int, length: int = 30) -> Iterator[Step]:
    pick = random.Random(seed)
    for _ in range(length):
        yield Step(pick.choice(KINDS), pick.choice(NAMES), pick.randrange(1000))
