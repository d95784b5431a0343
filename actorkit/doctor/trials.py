"""The trials, one for each capability that can be tried, and the process that makes them.

``python -m actorkit.doctor.trials NAME…`` imports the package once and forks a child for each name.
A child limits its address space, runs its trial, and tells in one line what it found. It is killed
when its time is up. So a trial may eat memory, hang, or crash the interpreter, and is a row in the
report all the same. Where nothing can be forked, the trials run one after another, unlimited.

A trial goes through the doors that applications use, and raises ``Fails`` if the promise is not
kept.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import psutil
import trio

from ..errors import CalleeDied
from ..governor.open import open_node
from ..heap import own_heaps
from ..heap.memory_limit import MemoryLimit
from ..heap.usage import HeapUsage
from ..runtime.actor.events import ActorExited
from ..runtime.actor.ref import Ref
from ..runtime.node import Node
from .examination import AT_ONCE, IN_THREAD, MARK, SECONDS

__all__ = ["TRIALS", "Fails", "main"]

ROOM: Final = 768 * 1024 * 1024
"""The address space that a trial may take beyond what the process has; one needs 256 MiB."""

MODULES: Final = ("xml.dom.minidom", "unittest.mock", "sqlite3", "wsgiref.simple_server", "tarfile", "doctest", "pdb")
"""Modules that nothing of the package imports; together some MiB."""


class Fails(Exception):
    """What is promised does not happen."""


def _patients() -> Any:
    """The functions of ``patients.py``, as an application's: see there."""
    path = Path(__file__).with_name("patients.py")
    module = ModuleType("actorkits_patients")
    module.__dict__.update(__package__=__package__, __file__="<patients>")
    sys.modules[module.__name__] = module
    exec(compile(path.read_text(encoding="utf-8"), "<patients>", "exec"), module.__dict__)
    return module


patients: Final[Any] = _patients()
KIB, MIB = patients.KIB, patients.MIB


def check(kept: bool, otherwise: str) -> None:
    """Raise ``Fails`` unless the promise was kept."""
    if not kept:
        raise Fails(otherwise)


async def until_dead(node: Node, ref: Ref[Any], act: Callable[[Any], Any], times: int) -> int:
    """Send the message again and again; the number of the one that ended its actor with
    ``MemoryLimit``, 0 if none did."""
    with node.subscribe(ActorExited, capacity=10) as exits:
        for number in range(1, times + 1):
            with contextlib.suppress(CalleeDied):
                await ref.call(patients.Patient.do, act)
            await trio.lowlevel.checkpoint()
            for event in exits.drain():
                if isinstance(event, ActorExited) and event.ref == ref:
                    check(isinstance(event.reason, MemoryLimit), f"it ended otherwise: {event.reason}")
                    return number
    return 0


def measured(node: Node, ref: Ref[Any]) -> HeapUsage:
    """What the actor holds now, walked."""
    info = node.process_info(ref, walk=True)
    if info is None or info.memory is None:
        raise Fails("an actor that lives cannot be measured")
    return info.memory


async def exact_heap() -> None:
    async with open_node() as node:
        ref = node.spawn(patients.Patient)
        before = measured(node, ref).private
        await ref.call(patients.Patient.do, patients.keep_blocks)
        after = measured(node, ref)
        grown = after.private - before
        check(after.exact, "the figure is called inexact")
        check(200_000 <= grown <= 220_000, f"200,000 bytes of its own beside a shared megabyte: measured as {grown:,}")


async def sees_cycles() -> None:
    async with open_node(max_heap_size=MIB) as node:
        ended = await until_dead(node, node.spawn(patients.Patient), patients.grow_tree, 60)
        check(bool(ended), "a cycle of 6 MiB passes under a limit of 1 MiB")


async def clock() -> None:
    async with open_node(max_heap_size=MIB) as node:
        ended = await until_dead(node, node.spawn(patients.Patient), patients.grow, 60)
        check(0 < ended <= 15, f"growth to 1 MiB by 100 KiB a message was found at message {ended} (0: never) of 60")


async def stop_in_handler() -> None:
    eaten = [0]
    async with open_node(max_heap_size=8 * MIB) as node:
        await until_dead(node, node.spawn(patients.Patient), patients.hog(eaten), 1)
    check(eaten[0] < 16 * MIB, f"under a limit of 8 MiB one message took {eaten[0] // MIB} MiB")


async def refuse_large() -> None:
    async with open_node(max_heap_size=MIB) as node:
        answer = await node.spawn(patients.Patient).call(patients.Patient.do, patients.ask_for_much)
        check(answer == "refused", f"a request of 256 MiB was {answer}, under a limit of 1 MiB")


async def return_pages() -> None:
    async with open_node(max_heap_size=64 * MIB) as node:
        large, others = node.spawn(patients.Patient), node.spawn(patients.Patient)
        for ref in (large, others):
            await ref.call(patients.Patient.do, patients.keep_small)
        process = psutil.Process()
        before = process.memory_info().rss
        large.kill()
        while large.alive:
            await trio.lowlevel.checkpoint()
        given = 0
        while freed := own_heaps.purge():
            given += freed
        after = process.memory_info().rss
        check(given >= 16 * MIB, f"of 20 MiB of a dead actor {given / MIB:.1f} went back to the system")
        check(before - after >= 10 * MIB, f"the resident set went from {before:,} to {after:,} only")


async def live_bytes() -> None:
    async with open_node(max_heap_size=MIB) as node:
        ref = node.spawn(patients.Patient)
        try:
            await ref.call(patients.Patient.do, patients.churn)
        except (CalleeDied, MemoryError) as error:
            raise Fails(f"who drops each 100 KiB at once was stopped under a limit of 1 MiB: {error}") from None


async def collect_own() -> None:
    gc.disable()
    async with open_node(max_heap_size=16 * MIB) as node:
        freed = await node.spawn(patients.Patient).call(patients.Patient.do, patients.collect)
        check(freed >= 2 * MIB, f"of a dead cycle of some 4 MiB {freed:,} bytes were collected")


async def uncharged_imports() -> None:
    fresh = [name for name in MODULES if name not in sys.modules]
    async with open_node(max_heap_size=64 * KIB) as node:
        try:
            await node.spawn(patients.Patient).call(patients.Patient.do, patients.import_all(fresh))
        except (CalleeDied, MemoryError) as error:
            raise Fails(f"under a limit of 64 KiB it could not import {', '.join(fresh)}: {error}") from None


async def uncharged_finalizers() -> None:
    gc.disable()
    patients.Heir()
    async with open_node(max_heap_size=MIB) as node:
        try:
            heirs = await node.spawn(patients.Patient).call(patients.Patient.do, patients.collect_all)
        except (CalleeDied, MemoryError) as error:
            raise Fails(f"an actor paid for somebody else's finalizer: {error}") from None
        check(heirs == 1, "somebody else's finalizer was refused its memory")


TRIALS: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    trial.__name__: trial
    for trial in (
        exact_heap,
        clock,
        stop_in_handler,
        refuse_large,
        return_pages,
        sees_cycles,
        live_bytes,
        collect_own,
        uncharged_imports,
        uncharged_finalizers,
    )
}
"""By the names of the fields of ``Capabilities``. What no Python has cannot be tried."""


# --- The process that makes them ----------------------------------------------------------------


def tried(name: str, in_thread: bool) -> str:
    """Make one trial here. Returns "" if it went well, otherwise what is wrong."""
    found: list[str] = []

    def run() -> None:
        try:
            trio.run(TRIALS[name])
        except BaseException as error:
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            found.append(str(error) if isinstance(error, Fails) else f"{type(error).__name__}: {error}"[:500])

    if in_thread:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()
    return found[0] if found else ""


def _limit_address_space() -> None:
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = psutil.Process().memory_info().vms + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    except (ImportError, OSError, ValueError):
        pass  # not here: the trials are bounded by themselves


def _told(name: str, wrong: str) -> bytes:
    return MARK + json.dumps({"name": name, "wrong": wrong}).encode() + b"\n"


def _fork(name: str, in_thread: bool) -> tuple[int, int]:
    """(pid, descriptor to read from) of a child that makes the trial."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        os.dup2(2, 1)  # what is printed is none of the report
        _limit_address_space()
        os.write(writing, _told(name, tried(name, in_thread)))
    finally:
        os._exit(0)


def main(arguments: Sequence[str]) -> None:
    """Make the trials, and print what each found, as JSON on a line of its own."""
    names = [name for name in arguments if name != IN_THREAD]
    in_thread = IN_THREAD in arguments
    logging.disable()
    out = sys.stdout.buffer
    if not hasattr(os, "fork"):
        for name in names:
            out.write(_told(name, tried(name, in_thread)))
        return
    running: dict[int, tuple[str, int, float]] = {}
    waiting = selectors.DefaultSelector()
    while names or running:
        while names and len(running) < AT_ONCE:
            name = names.pop(0)
            pid, descriptor = _fork(name, in_thread)
            running[descriptor] = name, pid, time.monotonic() + SECONDS
            waiting.register(descriptor, selectors.EVENT_READ)
        until = min(end for _, _, end in running.values())
        ready = {key.fd for key, _ in waiting.select(max(0.0, until - time.monotonic()))}
        for descriptor, (name, pid, end) in list(running.items()):
            late = time.monotonic() >= end
            if descriptor not in ready and not late:
                continue
            if descriptor not in ready:
                os.kill(pid, signal.SIGKILL)
            told = os.read(descriptor, 65536)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if not told:
                how = f"it was not done after {SECONDS:.0f} seconds" if late else f"its process ended with {status}"
                told = _told(name, how)
            out.write(told)
            waiting.unregister(descriptor)
            os.close(descriptor)
            del running[descriptor]
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
