"""A program that proves that an end cannot fail: each call out of the runtime raises once, in the
manner of ``sweep``, and the books are checked each time.

    python -m tests.faults.ends_sweep [--every N] [--only SCENARIO] [--fault KIND] [--degraded]

A step is a call out of the runtime (handler, callback, hook, text of a value, log call, event,
finaliser). Each scenario (``ends_scenarios``) runs once to count its steps. The faults are an
Exception, a plain BaseException, GeneratorExit, KeyboardInterrupt, SystemExit, and a group with a
KeyboardInterrupt in it. For each fault and each step the scenario runs twice: with the fault raised
at that step, and with the fault raised there and at the steps after it, 20 in all. Two more faults
are Ctrl-C itself. ``checkpoint`` presses it between two steps of trio's tasks (and 20 times in a
row), and trio delivers it to the host at its next checkpoint. ``line`` raises KeyboardInterrupt at
an unprotected line of the program, as the signal's handler would. After each run:

* ``trio.run`` has returned. KeyboardInterrupt and SystemExit came out of it, alone; what a log
  handler, a text or a finaliser raised changed nothing; anything else ended one actor at most;
* while the node ran, links and monitors were known at both ends, names were held by living actors,
  no call was pending, and the supervised child answered;
* each monitor reported once, each actor that began has ended once, each ``node.stopped`` has
  returned, no call ran into its deadline, and no stop used up its time limit;
* no actor, task, timer, call, descriptor or record is left.

Each scenario runs in a process of its own, so that a crash or a hang of the interpreter is a result
like any other, reported with its number.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import trio
import trio.testing

from actorkit.runtime.actor.record import Record
from actorkit.runtime.base.trio_internals import FEATURES, Features

from ..ctrl_c import as_in_a_terminal
from .ends_scenarios import SCENARIOS, program
from .ends_world import CHECKPOINT, FAULTS, LINE, Handler, Held, Lines, Plan, Ticks, World, changed, injecting, judge

ROOT = Path(__file__).parent.parent.parent
MANY = 20
SECONDS = 20.0
"""A run that takes longer hangs: its process shows where, and is ended."""
KINDS = (*FAULTS, CHECKPOINT, LINE)
DEGRADED = "--degraded" in sys.argv
SLOW = {"streams"}
"""Scenarios in which the kernel takes part; the clock must not jump meanwhile."""


STORIES: dict[str, list[str]] = {}
"""How each scenario ends when nothing is injected."""


trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]


def run(name: str, plan: Plan) -> dict[str, Any]:
    """One run of a scenario."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    descriptors = _descriptors()
    world = World()
    features = Features.degraded() if DEGRADED else FEATURES
    trio._core._run._r.seed(1)  # type: ignore[attr-defined]  # trio runs what is ready in an order that it draws
    clock = trio.testing.MockClock(autojump_threshold=0.005 if name in SLOW else 0)
    outcome: BaseException | None = None
    instruments = [Ticks(plan)] if plan.fault == CHECKPOINT else []
    try:
        with injecting(plan):
            if plan.fault == LINE:
                with Lines(plan):
                    trio.run(program, world, SCENARIOS[name], features, clock=clock, instruments=instruments)
            else:
                trio.run(program, world, SCENARIOS[name], features, clock=clock, instruments=instruments)
    except BaseException as error:
        outcome = error
    finally:
        sys.settrace(None)
    problems = [*judge(plan, outcome, world.gives_up), *world.after()]
    told = [] if world.books is None else [*world.books.story, repr(type(outcome))]
    if not plan.count:
        STORIES[name] = told
    problems += changed(plan, STORIES[name], told)
    went = "went on" if outcome is None else type(outcome).__name__
    if world.node is not None:
        world.node = world.books = None
    outcome = None
    world.__dict__.clear()
    plan.injected, injected = [], len(plan.injected)
    while gc.collect():  # a finaliser delays the end of what refers to it
        pass
    Held.references.clear()
    records = sum(isinstance(thing, Record) for thing in gc.get_objects())
    if records:
        problems.append(f"{records} records are not let go of")
    if _descriptors() > descriptors:
        problems.append("descriptors are left open")
    faulthandler.cancel_dump_traceback_later()
    return {"seen": plan.seen, "injected": injected, "outcome": went, "problems": problems[:5]}


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


# --- the processes -------------------------------------------------------------------------------


def plans(name: str, faults: list[str], every: int) -> Iterator[tuple[str, int, int]]:
    """The runs of a scenario: fault, first step, and number of steps in a row."""
    for fault in faults:
        run(name, Plan(fault))  # imports, and whatever else happens only once
        counting = Plan(fault)
        result = run(name, counting)
        tell({"fault": fault, "total": result["seen"], "kinds": len(counting.kinds), **result})
        for first in range(1 + every // 2 if every > 1 else 1, result["seen"] + 1, every):
            for count in (1,) if fault == LINE else (1, MANY):
                yield fault, first, count


def tell(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def child(name: str, faults: list[str], begin: int, every: int) -> None:
    """Run one scenario, from run ``begin`` on, and print lines of JSON."""
    log = logging.getLogger("actorkit")
    log.addHandler(Handler())
    log.propagate = False
    logging.getLogger("trio").setLevel(logging.CRITICAL + 1)
    logging.raiseExceptions = False
    sys.unraisablehook = lambda _: None
    run(name, Plan())
    gc.collect()
    gc.freeze()
    gc.disable()
    for number, (fault, first, count) in enumerate(plans(name, faults, every)):
        if number < begin:
            continue
        tell({"starting": number, "fault": fault, "first": first, "count": count})
        tell({"number": number, **run(name, Plan(fault, first, count))})


class Tally:
    """The results of a scenario's runs."""

    def __init__(self) -> None:
        self.steps = self.runs = self.injected = 0
        self.wrong: list[str] = []


def sweep(name: str, faults: list[str], every: int, say: Callable[[str], None], degraded: bool = False) -> Tally:
    """Make all runs of a scenario."""
    tally = Tally()
    begin = 0
    started = time.monotonic()
    counted: dict[str, int] = {}
    while True:
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.faults.ends_sweep", "--child", name]
        at = where = None
        with subprocess.Popen(
            [
                *command,
                str(begin),
                "--every",
                str(every),
                *(f"--fault={fault}" for fault in faults),
                *(["--degraded"] if degraded else []),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                told = json.loads(line)
                if "starting" in told:
                    at = told["starting"]
                    how = "" if told["count"] == 1 else f" and those after it, {told['count']} in all"
                    where = f"{name}, {told['fault']} at step {told['first']}{how}"
                elif "total" in told:
                    if told["fault"] not in counted:
                        counted[told["fault"]] = told["total"]
                        tally.wrong += [
                            f"{name}, {told['fault']}, nothing injected: {problem}" for problem in told["problems"]
                        ]
                else:
                    tally.runs += 1
                    tally.injected += told["injected"]
                    tally.wrong += [f"{where}: {problem}" for problem in told["problems"]]
            errors = process.stderr.read()
            status = process.wait()
        if status == 0:
            break
        tally.wrong.append(f"{where or name}: the process ended with {status}: {errors[-3000:]}")
        if at is None:
            break
        begin = at + 1
    tally.steps = sum(counted.values())
    steps = ", ".join(f"{count} {fault}" for fault, count in counted.items())
    say(
        f"  {name}: {tally.runs} runs in {time.monotonic() - started:.0f} s, {tally.injected} faults, "
        f"{len(tally.wrong)} wrong; steps: {steps}"
    )
    return tally


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.ends_sweep", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth step")
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO", help="may repeat")
    parser.add_argument("--fault", action="append", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--degraded", action="store_true", help="without trio's private names")
    parser.add_argument("--child", nargs=2, metavar=("SCENARIO", "BEGIN"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    faults = args.fault or list(KINDS)
    if args.child:
        child(args.child[0], faults, int(args.child[1]), args.every)
        return 0
    total = Tally()
    for name in args.only or SCENARIOS:
        tally = sweep(name, faults, args.every, lambda line: print(line, flush=True), args.degraded)
        for line in tally.wrong:
            print(f"    {line}", flush=True)
        total.steps += tally.steps
        total.runs += tally.runs
        total.injected += tally.injected
        total.wrong += tally.wrong
    scenarios = len(args.only or SCENARIOS)
    print(
        f"ends sweep: {scenarios} scenarios, {total.steps} steps, {total.runs} runs, {total.injected} faults injected, "
        f"{len(total.wrong)} things wrong"
    )
    return 1 if total.wrong else 0


if __name__ == "__main__":
    as_in_a_terminal()
    sys.exit(main())
