"""The table: where a program is, what is sent to it, around what, and what must come out."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from signal import SIGINT, SIGTERM
from typing import Literal

import attrs

Phase = Literal["starting", "serving", "stopping"]
Runner = Literal["trio", "ak"]
Nodes = Literal["one", "governed", "in a body", "in a handler", "side by side"]
Around = Literal["nothing", "a nursery", "a child task"]


@attrs.frozen
class Spot:
    """Where a program is when the first signal comes."""

    name: str
    phase: Phase
    stuck: bool = False
    """It keeps trio's loop from turning."""
    endless: bool = False
    """It waits longer than the stop allows, so that the others are not asked any more."""
    unwinds: bool = True
    """It has a ``finally`` that must run."""


SPOTS = (
    Spot("init sleeps", "starting"),
    Spot("the root's init sleeps", "starting"),
    Spot("loop in a constructor", "starting", stuck=True),
    Spot("loop in init", "starting", stuck=True),
    Spot("loop in async init", "starting", stuck=True),
    Spot("loop in a constructor spawned by the body", "starting", stuck=True),
    Spot("all parked", "serving", unwinds=False),
    Spot("flood of casts", "serving", unwinds=False),
    Spot("flood of calls", "serving", unwinds=False),
    Spot("async handlers wait", "serving"),
    Spot("loop in a cast", "serving", stuck=True),
    Spot("loop in an async cast", "serving", stuck=True),
    Spot("loop in a call", "serving", stuck=True),
    Spot("loop in an inline call by the body", "serving", stuck=True),
    Spot("loop in an inline call by an actor", "serving", stuck=True),
    Spot("loop in handle_info", "serving", stuck=True),
    Spot("loop in continue", "serving", stuck=True),
    Spot("loop after a timer", "serving", stuck=True),
    Spot("loop in a process", "serving", stuck=True),
    Spot("loop in a nursery's child", "serving", stuck=True),
    Spot("loop in a task", "serving", stuck=True),
    Spot("loop in received", "serving", stuck=True),
    Spot("loop in the body", "serving", stuck=True),
    Spot("in a thread", "serving"),
    Spot("shielded", "serving"),
    Spot("terminate waits", "stopping"),
    Spot("terminate waits for ever", "stopping", endless=True),
    Spot("shielded terminate", "stopping"),
    Spot("loop in terminate", "stopping", stuck=True),
    Spot("loop in async terminate", "stopping", stuck=True),
    Spot("loop in a process's finally", "stopping", stuck=True),
    Spot("terminate outside the tree waits", "stopping"),
    Spot("loop in terminate outside the tree", "stopping", stuck=True),
)

NEVER = 1_000
"""Ticks that never come."""


@attrs.frozen
class Script:
    """Which signals are sent, and each after which line. A *tick* (SIGUSR1) after a signal makes
    the program say a line when Python has handled that signal.
    """

    name: str
    steps: tuple[tuple[str, int, bool], ...]
    hold: int
    """How many ticks the actors that hold up the stop wait for."""
    phases: tuple[Phase, ...] = ("starting", "serving", "stopping")
    runners: tuple[Runner, ...] = ("ak",)
    stuck: bool = True
    """The script also runs where the loop stands still."""

    @property
    def signals(self) -> tuple[int, ...]:
        return tuple(step[1] for step in self.steps)

    @property
    def slow(self) -> bool:
        """An actor holds the stop up, so that the later signals come during it."""
        return len(self.steps) > 1


SCRIPTS = (
    Script("INT", (("ready", SIGINT, True),), 1, runners=("trio", "ak")),
    Script("TERM", (("ready", SIGTERM, True),), 1),
    Script(
        "INT, and INT in the stop",
        (("ready", SIGINT, False), ("stopping", SIGINT, True)),
        NEVER,
        phases=("serving",),
        runners=("trio", "ak"),
    ),
    Script(
        "INT, INT", (("ready", SIGINT, True), ("tick", SIGINT, True)), NEVER, runners=("trio", "ak")
    ),
    Script(
        "TERM, and INT in the stop",
        (("ready", SIGTERM, False), ("stopping", SIGINT, True)),
        1,
        phases=("serving",),
        stuck=False,
    ),
    Script("TERM, INT", (("ready", SIGTERM, True), ("tick", SIGINT, True)), 2),
    Script(
        "TERM, INT, and INT in the stop",
        (("ready", SIGTERM, False), ("stopping", SIGINT, True), ("tick", SIGINT, True)),
        NEVER,
        phases=("serving",),
        stuck=False,
    ),
    Script(
        "INT, and TERM in the stop",
        (("ready", SIGINT, False), ("stopping", SIGTERM, True)),
        1,
        phases=("serving",),
    ),
    Script("INT, TERM", (("ready", SIGINT, True), ("tick", SIGTERM, True)), 2),
    Script(
        "TERM, and TERM in the stop",
        (("ready", SIGTERM, False), ("stopping", SIGTERM, True)),
        1,
        phases=("serving",),
        stuck=False,
    ),
    Script(
        "TERM, TERM", (("ready", SIGTERM, True), ("tick", SIGTERM, True)), 2
    ),
)  # fmt: skip


@attrs.frozen
class Case:
    """One program and what is sent to it."""

    spot: Spot
    script: Script
    runner: Runner
    nodes: Nodes = "one"
    around: Around = "nothing"
    catch: bool = False
    """KeyboardInterrupt is caught around ``open_node``."""

    def __str__(self) -> str:
        more = [] if self.nodes == "one" else [f"nodes {self.nodes}"]
        more += [] if self.around == "nothing" else [f"in {self.around}"]
        more += ["caught"] if self.catch else []
        return ": ".join((f"{self.runner}.run", self.script.name, ", ".join((self.spot.name, *more))))

    @property
    def forces(self) -> bool:
        """Does a second Ctrl-C force the exit?"""
        return self.runner == "ak" and self.script.signals.count(SIGINT) > 1

    @property
    def cut_short(self) -> bool:
        """Does a second Ctrl-C make the node kill what still runs?"""
        return self.runner == "trio" and self.script.signals.count(SIGINT) > 1

    @property
    def host_is_main(self) -> bool:
        """Only the main task hears of a Ctrl-C that comes while no user code runs."""
        return self.around != "a child task" and self.nodes in ("one", "governed", "in a body")

    @property
    def stop_timeout(self) -> float:
        """Long, where only the signal must be able to end the stop; short, where nothing else ends
        it.
        """
        if self.forces or (self.cut_short and self.host_is_main):
            return 600.0
        return 2.0 if self.spot.endless or self.cut_short else 20.0

    @property
    def standstill(self) -> float:
        """Seconds for ``actorkit.cli.STANDSTILL_SECONDS``."""
        return 0.3 if self.spot.stuck and set(self.script.signals) == {SIGTERM} else 60.0

    @property
    def node_names(self) -> tuple[str, ...]:
        return ("inner",) if self.nodes in ("one", "governed") else ("inner", "outer")

    @property
    def own_group(self) -> bool:
        """The program has a nursery of its own around the node."""
        return self.around != "nothing" or self.nodes == "side by side"

    def dump(self) -> str:
        """What the program has to know, as its argument."""
        return json.dumps({
            "spot": self.spot.name, "phase": self.spot.phase, "runner": self.runner, "nodes": self.nodes,
            "around": self.around, "catch": self.catch, "hold": self.script.hold, "slow": self.script.slow,
            "stop_timeout": self.stop_timeout, "standstill": self.standstill,
        })  # fmt: skip


@attrs.frozen
class Ending:
    """What was seen of a program."""

    lines: tuple[str, ...]
    status: int | None
    """As subprocess gives it: a signal is negative. None: the program had to be killed."""
    errors: str
    sent: int


def what_is_wrong(case: Case, end: Ending) -> list[str]:
    """What differs from the promise; empty if nothing does."""
    if end.status is None:
        return [f"hangs, {end.sent} of {len(case.script.steps)} signals sent"]
    wrong = []
    early = case.spot.phase == "starting" and len(case.script.steps) > 1  # it may be over before the second signal
    if end.sent < len(case.script.steps) and not early:
        wrong.append(f"ended after {end.sent} of {len(case.script.steps)} signals")
    for line in end.lines:
        name, _, outcome = line.partition(": ")
        if name in case.node_names and outcome not in ("nothing", "KeyboardInterrupt", "Cancelled"):
            wrong.append(f"out of open_node: {outcome}")
    if end.status == 130 and case.forces:
        if "exiting at once" not in end.errors:
            wrong.append("forced, and no line says so")
        return wrong
    if case.forces and not early:
        wrong.append(f"exit status {end.status}, not 130")
    outcomes = [line.removeprefix("run: ") for line in end.lines if line.startswith("run: ")]
    if len(outcomes) != 1:
        return [*wrong, f"outcomes {outcomes}, exit status {end.status}"]
    wrong += _outcome(case, outcomes[0], end, early)
    wrong += [f"not seen: {mark}" for mark in _marks(case, end.lines) if mark not in end.lines]
    return wrong


def _outcome(case: Case, outcome: str, end: Ending, early: bool) -> Iterator[str]:
    interrupted = SIGINT in case.script.signals or case.spot.stuck  # a stuck program is interrupted after SIGTERM
    terminated = SIGTERM in case.script.signals
    statuses = {"KeyboardInterrupt": -signal.SIGINT, "returned None": 0, "returned 'done'": 0}
    allowed = set()
    if not interrupted or (early_term(case)):
        allowed = {"returned None"}
        if case.spot.phase == "stopping":
            allowed.add("returned 'done'")  # there was nothing to cancel any more
    if interrupted:
        caught = "caught" in end.lines
        if case.catch and caught:
            allowed |= {"returned 'done'", *(("returned None",) if terminated else ())}
        if not (case.catch and not case.own_group):
            allowed |= {"group", "KeyboardInterrupt"} if case.own_group else {"KeyboardInterrupt"}
        # It comes out of the run alone and uncaught when the main task has no checkpoint left.
        if len(case.script.steps) > 1 or case.nodes != "one" or case.own_group or case.spot.phase == "stopping":
            allowed |= {"group", "KeyboardInterrupt"} if case.own_group else {"KeyboardInterrupt"}
    shape = outcome
    if outcome.startswith("Group[") and "group" in allowed:
        leaves = set(outcome.replace("Group", "").replace("[", " ").replace("]", " ").replace(",", " ").split())
        if leaves == {"KeyboardInterrupt"}:
            shape = "group"
    if shape not in allowed:
        yield f"out of {case.runner}.run: {outcome}"
    elif end.status != statuses.get(shape, 1) and not (early and end.status in (-SIGTERM, -SIGINT)):
        yield f"exit status {end.status} after {outcome}"


def early_term(case: Case) -> bool:
    """SIGTERM may have ended it before Ctrl-C came."""
    return case.script.signals[0] == SIGTERM and case.spot.phase == "starting" and not case.spot.stuck


def _marks(case: Case, lines: tuple[str, ...]) -> Iterator[str]:
    """The lines that must have been said."""
    for name in case.node_names:
        if f"{name} entered" in lines:
            yield f"{name} unwound"
        in_order = not case.cut_short and not case.spot.endless
        if in_order and not (case.spot.phase == "starting" and name == "inner"):
            yield f"{name} saved"
    if case.spot.unwinds:
        yield "spot unwound"


ARRANGEMENTS: tuple[tuple[Nodes, Around, bool], ...] = (
    ("one", "nothing", False),
    ("in a body", "a nursery", True),
    ("side by side", "a child task", False),
    ("in a handler", "nothing", True),
    ("one", "a child task", True),
    ("in a body", "nothing", False),
    ("in a handler", "a nursery", False),
    ("side by side", "nothing", True),
    ("one", "a nursery", False),
    ("in a handler", "a child task", False),
    ("in a body", "a child task", False),
    ("governed", "nothing", False),
    ("one", "nothing", True),
)


def pairs() -> Iterator[tuple[Spot, Script, Runner]]:
    """Every spot with every script that fits it."""
    for script in SCRIPTS:
        for runner in script.runners:
            for spot in SPOTS:
                if spot.phase in script.phases and (script.stuck or not spot.stuck):
                    yield spot, script, runner


def cases(each: int = len(ARRANGEMENTS)) -> Iterator[Case]:
    """The table, with ``each`` of the arrangements for each pair, in turn."""
    turn = itertools.count()
    for spot, script, runner in pairs():
        for _ in range(each):
            nodes, around, catch = ARRANGEMENTS[next(turn) % len(ARRANGEMENTS)]
            yield Case(spot, script, runner, nodes, around, catch)


def spot(name: str) -> Spot:
    return next(spot for spot in SPOTS if spot.name == name)


def script(name: str) -> Script:
    return next(script for script in SCRIPTS if script.name == name)


PART = (
    Case(spot("loop in a cast"), script("INT"), "trio", "in a body"),
    Case(spot("all parked"), script("TERM"), "ak", around="a nursery"),
    Case(spot("all parked"), script("INT, and INT in the stop"), "ak", "in a handler"),
    Case(spot("all parked"), script("INT"), "trio"),
    Case(spot("loop in an inline call by the body"), script("INT"), "trio", "in a handler"),
    Case(spot("loop in a process"), script("INT"), "trio", "side by side"),
    Case(spot("loop in a constructor"), script("INT"), "trio", catch=True),
    Case(spot("terminate waits"), script("INT"), "trio", "in a body"),
    Case(spot("loop in terminate"), script("INT"), "trio"),
    Case(spot("all parked"), script("INT, and INT in the stop"), "trio"),
    Case(spot("loop in a cast"), script("INT, INT"), "trio", around="a nursery"),
    Case(spot("flood of casts"), script("INT"), "ak", "side by side"),
    Case(spot("loop in handle_info"), script("INT"), "ak", "in a body", catch=True),
    Case(spot("flood of calls"), script("TERM"), "ak"),
    Case(spot("flood of calls"), script("INT"), "trio"),
    Case(spot("init sleeps"), script("TERM"), "ak"),
    Case(spot("shielded"), script("TERM"), "ak", "in a handler", "a nursery"),
    Case(spot("loop in a cast"), script("TERM"), "ak"),
    Case(spot("async handlers wait"), script("INT, and INT in the stop"), "ak", "in a handler"),
    Case(spot("terminate waits for ever"), script("INT, INT"), "ak"),
    Case(spot("flood of casts"), script("TERM, and INT in the stop"), "ak"),
    Case(spot("loop in an async cast"), script("TERM, INT"), "ak", around="a child task"),
    Case(spot("in a thread"), script("TERM, INT, and INT in the stop"), "ak"),
    Case(spot("all parked"), script("INT, and TERM in the stop"), "ak", "in a body"),
    Case(spot("shielded terminate"), script("INT, TERM"), "ak"),
    Case(spot("all parked"), script("TERM, and TERM in the stop"), "ak", "side by side"),
    Case(spot("terminate waits"), script("TERM, TERM"), "ak"),
)
"""What ``make test`` runs; the first three cases run in interpreters of their own."""
