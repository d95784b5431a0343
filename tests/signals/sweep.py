"""``python -m tests.signals.sweep [--step N] [--seed S]``: a signal at every point at which Python
looks for one.

Python runs signal handlers where a function begins, and after calls of functions in C. A profile
hook counts these points in a small program with a node, and sends a signal at the Nth; each N is a
run of its own, in a fork. So nothing depends on when a signal happens to arrive.

* SIGINT under ``trio.run`` and ``ak.run``: KeyboardInterrupt comes out alone, every actor that
  began is stopped in order, and no line of the runtime is cut off.
* SIGINT at two points, at random: KeyboardInterrupt comes out alone, and nothing hangs; under
  ``ak.run`` the exit status may be 130.
* SIGTERM under ``ak.run``: None or main's value comes out, and every actor that began is stopped in
  order.

After each of them the handlers are what they were before.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import trio

import actorkit as ak
from actorkit import cli
from tests.ctrl_c import as_in_a_terminal

HANG = 60
GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
PACKAGE = str(Path(ak.__file__).parent)
HERE = __file__

count = 0
points: dict[int, int] = {}
marks: list[str] = []
sent: list[int] = []
sent_at: list[str] = []


def hook(frame: FrameType, event: str, arg: object) -> None:
    global count
    # A generator or coroutine that is resumed does not look for signals there.
    if event == "c_return" or (event == "call" and not frame.f_code.co_flags & GENERATORS):
        count += 1
        number = points.pop(count, None)
        if number is not None:
            code = frame.f_code
            sent.append(number)
            sent_at.append(f"{code.co_filename}:{code.co_name}")
            signal.raise_signal(number)


# --- the program -----------------------------------------------------------------------------


class Keeper(ak.Actor):
    trap_exit = True

    def init(self) -> None:
        marks.append("keeper")

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.lowlevel.checkpoint()
        marks.append("keeper saved")


class Counter(ak.Actor):
    count = 0

    @ak.call
    def add(self) -> int:
        self.count += 1
        return self.count

    @ak.call
    async def add_later(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.add()

    @ak.cast
    def note(self) -> None:
        self.count += 1


async def waits(ctx: ak.ProcessContext) -> None:
    marks.append("process")
    try:
        while True:
            await ctx.receive()
    finally:
        marks.append("process unwound")


async def crashes(ctx: ak.ProcessContext) -> None:
    raise ValueError


async def main() -> str:
    tree = ak.supervisor(ak.child(Keeper), ak.child(waits).with_(name="process"))
    try:
        marks.append("begun")
        async with ak.open_node(tree) as node:
            try:
                counter = node.spawn(Counter)
                counter.cast(Counter.note)
                await counter.call(Counter.add_later)
                await counter.call(Counter.add)
                ak.named(ak.Process, "process").send("hello")
                await node.stopped(node.spawn(crashes))
                node.send_after(0.001, counter, "later")
                await trio.lowlevel.checkpoint()
            finally:
                sys.setprofile(hook)  # an exception from the hook removes it
    finally:
        marks.append("closed")
    return "done"


# --- one run ---------------------------------------------------------------------------------


@attrs.frozen
class Run:
    runner: str
    points: tuple[tuple[int, int], ...]


def child(run: Run, output: int) -> None:
    """Run in a fork; its exit status matters only if it says nothing."""
    signal.alarm(HANG)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    points.update(run.points)
    signal.signal(signal.SIGTERM, lambda *_: marks.append("terminated"))  # heard when ak.run's is not set
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    runner: Any = ak.run if run.runner == "ak" else trio.run
    raised_in = ""
    gc.disable()  # a finalizer is not part of the program
    sys.unraisablehook = lambda _: marks.append("lost")
    sys.setprofile(hook)
    try:
        outcome = repr(runner(main))
    except BaseException as error:
        outcome = type(error).__name__ + (repr(error.exceptions) if isinstance(error, BaseExceptionGroup) else "")
        raised_in = interrupted(error)
    finally:
        sys.setprofile(None)
    total = count
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = {
        "outcome": outcome, "raised in": raised_in, "marks": marks, "count": total,
        "handlers": before == after, "sent": sent, "sent at": sent_at,
    }  # fmt: skip
    os.write(output, json.dumps(seen).encode())
    os._exit(0)


def interrupted(error: BaseException) -> str:
    """Which code was cut off; nothing if trio raised the interrupt at a checkpoint."""
    place, traceback = "", error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code is hook.__code__:
            return place
        place, traceback = f"{code.co_filename}:{code.co_name}", traceback.tb_next
    return ""


def what_is_wrong(run: Run, seen: dict[str, Any] | None, status: int) -> Iterator[str]:
    if seen is None:
        interrupts = sum(number == signal.SIGINT for _, number in run.points)
        if not (status == cli.INTERRUPTED and interrupts > 1 and run.runner == "ak"):
            yield f"ended with {status}"
        return
    if not seen["sent"]:
        return  # fewer points than last time
    interrupts = sum(number == signal.SIGINT for number in seen["sent"])
    if not seen["handlers"]:
        yield "a handler has stayed"
    allowed = ["KeyboardInterrupt"] if interrupts else ["None", "'done'"]
    if "lost" in seen["marks"]:  # raised where Python ignores every exception: in the callback of a weakref
        allowed += ["None", "'done'"]
    marks = seen["marks"]
    if "begun" in marks and "terminated" in marks[marks.index("begun") : marks.index("closed")]:
        yield "SIGTERM went elsewhere"
    if seen["outcome"] not in allowed:
        yield f"came out: {seen['outcome']}"
    place = seen["raised in"]
    # Before trio has begun, and after it has ended, nothing is protected; nothing is under way
    # then.
    if place.startswith(PACKAGE) and not place.startswith(cli.__file__):
        yield f"cut off: {place}"
    if not place.startswith(HERE) and len(run.points) == 1:
        for begun, ended in (("keeper", "keeper saved"), ("process", "process unwound")):
            if begun in seen["marks"] and ended not in seen["marks"]:
                yield f"not seen: {ended}"


def results(runs: list[Run], at_once: int = 4) -> Iterator[tuple[Run, dict[str, Any] | None, int]]:
    for first in range(0, len(runs), at_once):
        forks = []
        for run in runs[first : first + at_once]:
            read, write = os.pipe()
            sys.stdout.flush()
            pid = os.fork()
            if not pid:
                os.close(read)
                try:
                    child(run, write)
                finally:
                    os._exit(99)
            os.close(write)
            forks.append((run, pid, read))
        for run, pid, read in forks:
            with os.fdopen(read, "rb") as stream:
                text = stream.read()
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            yield run, json.loads(text) if text else None, status


def plan(step: int, seed: int) -> list[Run]:
    """Plan all runs. Where the points are depends on the versions of Python and trio, so a first
    run finds them.
    """
    rng = random.Random(seed)
    runs: list[Run] = []
    for runner in ("trio", "ak"):
        [(_, seen, _)] = results([Run(runner, ())])
        assert seen is not None
        assert seen["outcome"] == "'done'", seen
        total = seen["count"]
        first = rng.randrange(step)
        runs += [Run(runner, ((at, signal.SIGINT),)) for at in range(1 + first, total, step)]
        for _ in range(total // step // 2):
            one, two = sorted(rng.sample(range(1, total), 2))
            runs.append(Run(runner, ((one, signal.SIGINT), (two, signal.SIGINT))))
        if runner == "ak":
            runs += [Run(runner, ((at, signal.SIGTERM),)) for at in range(1 + first, total, step)]
            for _ in range(total // step // 2):
                one, two = sorted(rng.sample(range(1, total), 2))
                runs.append(Run(runner, ((one, signal.SIGTERM), (two, signal.SIGINT))))
    return runs


def sweep(step: int, seed: int) -> tuple[int, list[str]]:
    """Run them all. Returns how many there were, and what was wrong."""
    gc.collect()
    runs = plan(step, seed)
    wrong = []
    for run, seen, status in results(runs):
        wrong += [f"{run}: {each} ({seen})" for each in what_is_wrong(run, seen, status)]
    return len(runs), wrong


def option(name: str, default: int) -> int:
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


if __name__ == "__main__":
    as_in_a_terminal()
    begun = time.monotonic()
    number, wrong = sweep(option("--step", 20), option("--seed", 1))
    for each in wrong:
        print(f"BAD {each}")
    print(f"{time.monotonic() - begun:.0f} s")
    print(f"{number} runs, {len(wrong)} things wrong")
    sys.exit(1 if wrong else 0)
