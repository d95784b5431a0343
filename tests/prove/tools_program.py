"""A small program that checks each promise once, under whichever tool runs it.

``python -m tests.prove.tools_program [TOOL]``: a message is answered; an actor that eats memory in
the middle of a message ends, and its caller hears of it; its supervisor starts it again; no other
actor notices; and the node stops. The last line that it prints is ``right``. TOOL is put in force
within the process, as a debugger or profiler would do it; see ``TOOLS``.
"""

from __future__ import annotations

import bdb
import cProfile
import faulthandler
import gc
import io
import logging
import pdb
import pstats
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import trio

import actorkit as ak

MIB = 1 << 20


class Hog(ak.Actor):
    """Eats memory when it is told to."""

    def __init__(self) -> None:
        self.held: list[bytes] = []

    @ak.call
    def eat(self, most: int) -> int:
        """Eat until it is stopped, or up to that much."""
        while len(self.held) * 4096 < most:
            self.held.append(bytes(4096))
        return len(self.held)

    @ak.call
    async def held_now(self) -> int:
        await trio.lowlevel.checkpoint()
        return len(self.held)


class Neighbour(ak.Actor):
    """Counts, and harms nobody."""

    def __init__(self) -> None:
        self.count = 0

    @ak.call
    def add(self, number: int) -> int:
        self.count += number
        return self.count


def check(what: bool, said: str) -> None:
    """Works like ``assert``, which ``-O`` would leave out."""
    if not what:
        raise SystemExit(f"wrong: {said}")


async def main() -> None:
    """Everything that is tried."""
    tree = ak.supervisor(
        ak.child(Hog).with_(name="hog", max_heap_size=ak.HeapLimit("1 MiB", log=False)),
        ak.child(Neighbour).with_(name="neighbour"),
    )
    async with ak.open_node(tree) as node, node.subscribe(ak.ActorExited) as ends:
        hog, neighbour = ak.named(Hog, "hog"), ak.named(Neighbour, "neighbour")
        first = node.whereis("hog")
        check(await neighbour.call(Neighbour.add, 2) == 2, "a call's answer")
        neighbour.cast(Neighbour.add, 3)
        check(await neighbour.call(Neighbour.add, 0) == 5, "a cast is handled before the call after it")
        try:
            await hog.within(120).call(Hog.eat, 64 * MIB)
        except ak.CalleeDied as error:
            check(isinstance(error.reason, ak.MemoryLimit), f"why the hog ended: {error.reason!r}")
        else:  # without the extensions it is found between messages, once a second
            check(not node.capabilities.stop_in_handler, "the hog has eaten 64 MiB")
            with trio.fail_after(120):
                end: Any = await ends.receive()
            check(end.ref is first and isinstance(end.reason, ak.MemoryLimit), f"how the hog ended: {end!r}")
        check(first is not None and not first.alive, "the hog is dead")
        with trio.fail_after(120):
            while not hog_lives(node, first):
                await trio.sleep(0.001)
        check(await hog.within(120).call(Hog.held_now) == 0, "the hog that was started again holds nothing")
        check(await neighbour.call(Neighbour.add, 1) == 6, "its neighbour lived on")
        check(node.statistics().restarts == 1, "one restart")
    check(not neighbour_lives(node), "the node is stopped")


def hog_lives(node: ak.Node, first: ak.Ref[Any] | None) -> bool:
    now = node.whereis("hog")
    return now is not None and now is not first


def neighbour_lives(node: ak.Node) -> bool:
    return node.whereis("neighbour") is not None


# --- tools within the process -------------------------------------------------------------------


def _ignore(frame: FrameType, event: str, argument: Any) -> Any:
    return _ignore


@contextmanager
def _trace() -> Iterator[None]:
    threading.settrace(_ignore)
    sys.settrace(_ignore)
    try:
        yield
    finally:
        sys.settrace(None)


@contextmanager
def _opcodes() -> Iterator[None]:
    def each(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        return each

    sys.settrace(each)
    try:
        yield
    finally:
        sys.settrace(None)


@contextmanager
def _profile() -> Iterator[None]:
    threading.setprofile(_ignore)
    sys.setprofile(_ignore)
    try:
        yield
    finally:
        sys.setprofile(None)


@contextmanager
def _profile_in_c() -> Iterator[None]:
    profiler = cProfile.Profile()
    with profiler:
        yield
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).print_stats()
    check("add" in out.getvalue(), "the profile has the handlers")


@contextmanager
def _tracemalloc() -> Iterator[None]:
    tracemalloc.start(5)
    try:
        yield
        tracemalloc.take_snapshot().statistics("lineno")
    finally:
        tracemalloc.stop()


@contextmanager
def _monitoring() -> Iterator[None]:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    events = monitoring.events
    seen = [0]

    def count(*_: Any) -> None:
        seen[0] += 1

    which = events.PY_START | events.PY_RETURN | events.PY_UNWIND | events.LINE | events.CALL | events.RAISE
    monitoring.use_tool_id(monitoring.PROFILER_ID, "test")
    for event in (events.PY_START, events.PY_RETURN, events.PY_UNWIND, events.LINE, events.CALL, events.RAISE):
        monitoring.register_callback(monitoring.PROFILER_ID, event, count)
    monitoring.set_events(monitoring.PROFILER_ID, which)
    try:
        yield
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.free_tool_id(monitoring.PROFILER_ID)
    check(seen[0] > 0, "events were seen")


class _Steps(bdb.Bdb):
    """Steps through every line of the handlers."""

    lines = 0

    def user_line(self, frame: FrameType) -> None:
        self.lines += 1
        self.set_step()


@contextmanager
def _debugger() -> Iterator[None]:
    debugger = _Steps()
    debugger.set_trace()
    try:
        yield
    finally:
        sys.settrace(None)
    check(debugger.lines > 0, "lines were stepped through")


@contextmanager
def _breakpoint() -> Iterator[None]:
    """A breakpoint in a handler, where pdb is told to look and go on."""
    commands = "where\np number\ncontinue\n" * 20
    out = io.StringIO()
    debugger = pdb.Pdb(stdin=io.StringIO(commands), stdout=out, nosigint=True, readrc=False)
    debugger.use_rawinput = False
    line = Neighbour.add.__code__.co_firstlineno + 2
    problem: Any = debugger.set_break(__file__, line)
    check(not problem, str(problem))
    debugger.reset()
    sys.settrace(debugger.trace_dispatch)
    try:
        yield
    finally:
        sys.settrace(None)
    check("add(" in out.getvalue(), "pdb has been in the handler")


@contextmanager
def _sampling() -> Iterator[None]:
    """A profiler that interrupts by a signal, as many do."""
    samples = [0]

    def sample(number: int, frame: FrameType | None) -> None:
        samples[0] += 1

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _faulthandler() -> Iterator[None]:
    faulthandler.enable()
    faulthandler.dump_traceback_later(0.01, repeat=True, file=open("/dev/null", "w"))  # noqa: SIM115
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _collector(threshold: int) -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(threshold)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


@contextmanager
def _quick_switches() -> Iterator[None]:
    """A busy thread beside the program, while the interpreter switches threads a million times a
    second.
    """
    before = sys.getswitchinterval()
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sum(range(100))

    worker = threading.Thread(target=work, daemon=True)
    sys.setswitchinterval(1e-6)
    worker.start()
    try:
        yield
    finally:
        done.set()
        worker.join()
        sys.setswitchinterval(before)


@contextmanager
def _instrument() -> Iterator[None]:
    """trio's own instruments, which see every step of every task."""
    seen = [0]

    class Counter(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            seen[0] += 1

    instruments.append(Counter())
    try:
        yield
    finally:
        instruments.clear()
    check(seen[0] > 0, "steps were seen")


instruments: list[trio.abc.Instrument] = []

TOOLS: dict[str, Callable[[], Any]] = {
    "settrace": _trace,
    "settrace-opcodes": _opcodes,
    "setprofile": _profile,
    "cprofile": _profile_in_c,
    "tracemalloc": _tracemalloc,
    "monitoring": _monitoring,
    "bdb": _debugger,
    "pdb": _breakpoint,
    "sigprof": _sampling,
    "faulthandler": _faulthandler,
    "gc-at-once": lambda: _collector(1),
    "gc-never": _no_collector,
    "switches": _quick_switches,
    "instrument": _instrument,
}
"""What can be put in force within the process, by name; ``NAME+NAME`` for several tools."""


def run(tools: str) -> None:
    """Run the program under these tools."""
    with ExitStack() as stack:
        for name in filter(None, tools.split("+")):
            stack.enter_context(TOOLS[name]())
        trio.run(main, instruments=instruments)


if __name__ == "__main__":
    logging.getLogger("actorkit").addHandler(logging.NullHandler())  # the log is not checked
    logging.lastResort = None
    run(sys.argv[1] if len(sys.argv) > 1 else "")
    print("right")
