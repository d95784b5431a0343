"""Runs cases: starts the program, sends a signal whenever a line says that it is time, and tells
how the program ended.

A case runs in an interpreter of its own (``popen``) or, when there are thousands of cases, in a
fork of one that has imported everything (``fork``).
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.signals.cases import Case, Ending, what_is_wrong

ROOT = Path(__file__).parent.parent.parent

HANG = 60.0
"""Seconds after which a program counts as hung and is killed."""

AGAIN = 5.0
"""Seconds after which a Ctrl-C that should have cut a stop short is repeated, once."""


class InChild(BaseException):
    """Raised in a fork to get to the outermost line, so that the case there ends as a
    program does.
    """

    def __init__(self, case: Case) -> None:
        self.case = case


class Running:
    """One program that runs."""

    def __init__(self, case: Case, start: Callable[[Case, int, int], int]) -> None:
        self.case = case
        self.errors, name = tempfile.mkstemp()
        os.unlink(name)
        self.output, write = os.pipe()
        os.set_blocking(self.output, False)
        sys.stdout.flush()
        self.pid = start(case, write, self.errors)
        os.close(write)
        self.begun = time.monotonic()
        self.text = b""
        self.seen = 0
        self.sent = 0
        self.killed = False
        self.last = 0.0
        self.repeated = False

    def fileno(self) -> int:
        return self.output

    def read(self) -> bool:
        """Read what it says, and send what is due. False: it has ended."""
        try:
            data = os.read(self.output, 65_536)
        except BlockingIOError:
            return True
        self.text += data
        lines = self.text.split(b"\n")[:-1]
        steps = self.case.script.steps
        while self.seen < len(lines):
            line = lines[self.seen].decode()
            self.seen += 1
            if self.sent < len(steps) and line == steps[self.sent][0]:
                _, number, tick = steps[self.sent]
                self.sent += 1
                self.kill(number)
                if tick:
                    self.kill(signal.SIGUSR1)
        return bool(data)

    def kill(self, number: int) -> None:
        try:
            os.kill(self.pid, number)  # not yet waited for, so no other process can have its id
        except ProcessLookupError:
            pass

    def expire(self) -> None:
        case = self.case
        wanted = case.cut_short and case.host_is_main and self.sent == len(case.script.steps)
        if wanted and not self.repeated and b"\nrun: " not in self.text:
            # Two signals that come before trio has delivered the first are one to trio: a person at
            # the keyboard presses again.
            self.last = self.last or time.monotonic()
            if time.monotonic() - self.last > AGAIN:
                self.repeated = True
                self.kill(signal.SIGINT)
        if not self.killed and time.monotonic() - self.begun > HANG:
            self.killed = True
            self.kill(signal.SIGKILL)

    def end(self) -> Ending:
        """Wait for it to end; its output has ended already."""
        while not self.killed:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            self.expire()
            time.sleep(0.005)
        else:
            _, status = os.waitpid(self.pid, 0)
        os.close(self.output)
        with os.fdopen(self.errors, "rb") as stream:
            stream.seek(0)
            errors = stream.read().decode(errors="replace")
        lines = tuple(self.text.decode(errors="replace").splitlines())
        return Ending(lines, None if self.killed else os.waitstatus_to_exitcode(status), errors, self.sent)


def popen(case: Case, output: int, errors: int) -> int:
    """Run it in an interpreter of its own."""
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-W", "error", "-m", "tests.signals.programs", case.dump()],
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, errors, 2)],
        setsigdef=[signal.SIGINT, signal.SIGTERM],
    )


def fork(case: Case, output: int, errors: int) -> int:
    """Run it in a fork of this interpreter, which raises InChild there."""
    pid = os.fork()
    if pid:
        return pid
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.closerange(3, 256)
    raise InChild(case)


def run(
    cases: Iterable[Case], start: Callable[[Case, int, int], int], at_once: int = 1
) -> Iterator[tuple[Case, Ending, list[str]]]:
    """Run the cases, some at a time, and yield them in the order in which they end."""
    waiting = iter(cases)
    running: set[Running] = set()
    with selectors.DefaultSelector() as selector:

        def refill() -> None:
            while len(running) < at_once:
                case = next(waiting, None)
                if case is None:
                    return
                one = Running(case, start)
                running.add(one)
                selector.register(one, selectors.EVENT_READ)

        refill()
        while running:
            for key, _ in selector.select(1.0):
                one: Any = key.fileobj
                if not one.read():
                    selector.unregister(one)
                    running.discard(one)
                    ending = one.end()
                    yield one.case, ending, what_is_wrong(one.case, ending)
            for one in running:
                one.expire()
            refill()


def run_one(case: Case) -> tuple[Ending, list[str]]:
    """Run it in an interpreter of its own."""
    [(_, ending, wrong)] = run([case], popen)
    return ending, wrong


__all__ = ["HANG", "InChild", "fork", "popen", "run", "run_one"]
