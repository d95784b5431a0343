"""A program: every large allocation fails once, in SQLite's manner, and the node is checked each
time.

    python -m tests.faults.sweep [--every N] [--only SCENARIO]

Each scenario makes a node so large that the runtime's own tables request 64 KiB and more. (Only
such requests can be refused: the interpreter itself does not survive the failure of small ones.)
The scenario runs once to count the requests. Then it runs twice for each request: with that request
refused, and with it and those after it refused, 50 in all, which is a shortage that passes. A
MemoryError may end an actor, a start or a call, or come out of the host's own call; it may never
end the node except in order. After each run:

* actors are alive if and only if the node knows them; links and monitors are known at both ends;
  names are held by living actors; the supervised echo answers, or its supervisor has given up;
* the node closes, with no actor, task, timer, call, descriptor or record left.

Each scenario runs in a process of its own, so that a crash or a hang of the interpreter is a result
like any other, reported with its number.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.actor import links
from actorkit.testing import FaultPlan, ScriptedMemory, faults
from bench.soak.invariants import consistent, left, records
from tests.fault_injector import WHY_NOT, refusing

MANY = 6_000
EXPECTED = (MemoryError, ak.ActorkitError, trio.BrokenResourceError, trio.ClosedResourceError, OSError)
ROOT = Path(__file__).parent.parent.parent
SHORTAGE = 50
SECONDS = 120.0
"""A run that takes longer hangs: its process shows where, and is ended."""


class Echo(ak.Actor):
    def __init__(self) -> None:
        self.kept: list[Any] = []

    @ak.call
    def echo(self, what: Any) -> Any:
        return what

    @ak.call
    async def echo_later(self, what: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return what

    @ak.cast
    def keep(self, what: Any) -> None:
        self.kept.append(what)

    @ak.call
    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self, *args)

    @ak.cast
    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def handle_info(self, message: Any) -> None:
        self.kept.append(message)


class Trapping(Echo):
    trap_exit = True


class Line(ak.StreamActor):
    def received(self, data: bytes) -> None:
        self.write(data + b"\n")


async def waiting(ctx: ak.ProcessContext, far: Any) -> None:
    async for message in ctx:
        if message == "call":
            await far.call(Echo.echo_later, 1)


# --- what is driven -------------------------------------------------------------------------------


class World:
    """A node under a scenario. ``attempt`` surrounds a block that may fail."""

    def __init__(self, node: ak.Node) -> None:
        self.node = node
        self.failed = 0
        self.problems: list[str] = []

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        try:
            yield
        except EXPECTED:
            self.failed += 1
        except BaseExceptionGroup as group:
            if group.split(EXPECTED)[1] is not None:
                raise
            self.failed += 1

    def spawn(self, count: int, cls: Any = Echo) -> list[Any]:
        made: list[Any] = []
        for _ in range(count):
            with self.attempt():
                made.append(self.node.spawn(cls))
        return made


async def spawning(world: World) -> None:
    refs = world.spawn(MANY)
    for ref in refs[::2]:
        ref.kill()
    world.spawn(MANY // 2)


async def monitors(world: World) -> None:
    refs = world.spawn(MANY)
    [hub] = world.spawn(1) or [None]
    if hub is None:
        return
    for ref in refs:
        with world.attempt():
            await hub.call(Echo.run, lambda self, ref=ref: self.ctx.monitor(ref))
        if not hub.alive:
            break
    for ref in refs[:3000]:
        with world.attempt():
            await ref.call(Echo.run, _monitor_if_possible, hub)
    for ref in refs[3000:]:
        ref.kill()
    hub.kill()


def _monitor_if_possible(self: Echo, far: Any) -> None:
    try:
        self.ctx.monitor(far)
    except MemoryError:
        pass


async def linking(world: World) -> None:
    refs = world.spawn(MANY, Trapping)
    hubs = world.spawn(2, Trapping)
    for hub, turned in zip(hubs, (False, True), strict=False):
        for ref in refs:
            if hub.alive and ref.alive:
                with world.attempt():
                    links.link(world.node, *((ref, hub) if turned else (hub, ref)))
    for ref in refs[::2]:
        ref.kill()
    for hub in hubs:
        hub.kill()
        await trio.lowlevel.checkpoint()


async def spawned_linked(world: World) -> None:
    hubs = world.spawn(1, Trapping)
    for hub in hubs:
        for _ in range(3_000):
            if hub.alive:
                with world.attempt():
                    await hub.call(Echo.run, lambda self: self.ctx.spawn_link(Echo))
        hub.kill()


async def timers(world: World) -> None:
    refs = world.spawn(1)
    for ref in refs:
        for number in range(9_000):
            with world.attempt():
                world.node.send_after(1, ref, number)
        made = []
        for number in range(3_000):
            with world.attempt():
                made.append(world.node.send_after(50, ref, number))
        for timer in made:
            timer.cancel()
        await trio.sleep(2)


async def flood(world: World) -> None:
    for cls, kill in ((Echo, False), (Trapping, True)):
        with world.attempt():
            ref = world.node.spawn(ak.child(cls).with_(mailbox=100_000))
            ref.cast(Echo.sleep, 1.0)
            await trio.sleep(0.1)
            for number in range(20_000):
                with world.attempt():
                    ref.cast(Echo.keep, number)
            if kill:
                ref.kill()
            await trio.sleep(2)


async def pending_calls(world: World) -> None:
    refs = world.spawn(1)

    async def one(ref: Any) -> None:
        with world.attempt():
            await ref.call(Echo.echo_later, 1)

    for ref in refs:
        with world.attempt():
            async with trio.open_nursery() as nursery:
                for _ in range(1_000):
                    nursery.start_soon(one, ref)
        for _ in range(1_400):
            ref.cast(Echo.keep, 1)
    callers = []
    for _ in range(1_500):
        with world.attempt():
            callers.append(world.node.spawn(waiting, refs[0]))
    for caller in callers:
        caller.send("call")
    await trio.sleep(1)


async def suspended(world: World) -> None:
    """The pool has as many workers as there are handlers that wait."""
    refs = world.spawn(1_400)
    for ref in refs[:700]:
        ref.cast(Echo.sleep, 5)
    await trio.sleep(1)
    for ref in refs[700:]:
        ref.cast(Echo.sleep, 5)
        ref.cast(Echo.keep, 1)
    await trio.sleep(20)
    done = sum(len(ref.obj.kept) for ref in refs[700:] if ref.alive)
    if done != len(refs) - 700:
        world.problems.append(f"{done} of {len(refs) - 700} messages were handled")


async def names(world: World) -> None:
    for number in range(3_000):
        with world.attempt():
            world.node.spawn(ak.child(Echo).with_(name=f"name {number}"))
    for number in range(3_000):
        if number % 3:
            ref = world.node.whereis(f"name {number}")
            if ref is not None:
                ref.kill()


async def registries(world: World) -> None:
    registry, groups = ak.named(ak.Registry, "registry"), ak.named(ak.ProcessGroups, "groups")
    for ref in world.spawn(3_000):
        with world.attempt():
            await registry.call(ak.Registry.register, ref, ref.pid)
        with world.attempt():
            await groups.call(ak.ProcessGroups.join, "all", ref)
        if ref.pid.number % 2:
            ref.kill()
    with world.attempt():
        await groups.call(ak.ProcessGroups.members, "all")
    with world.attempt():
        await registry.call(ak.Registry.match, lambda key, ref, value: True)


async def dynamic(world: World) -> None:
    supervisor = ak.named(ak.DynamicSupervisor, "dynamic")
    spec = ak.child(Echo).with_(restart="transient")
    refs = []
    for _ in range(3_000):
        with world.attempt():
            refs.append(await supervisor.call(ak.DynamicSupervisor.start_child, spec))
    for ref in refs[::3]:
        if ref is not None:
            ref.exit(ak.SHUTDOWN)
    await trio.sleep(1)
    for ref in refs[1::100]:
        if ref is not None:
            with world.attempt():
                await supervisor.call(ak.DynamicSupervisor.terminate_child, ref)


async def tasks(world: World) -> None:
    async def work(number: int) -> bytes:
        await trio.sleep(number % 7)
        return bytes(70_000 * (number % 3))

    supervisor = ak.named(ak.TaskSupervisor, "tasks")
    with world.attempt():
        async with ak.task_stream(supervisor, work, range(60), max_concurrency=20) as results:
            async for _ in results:
                pass


async def crashes(world: World) -> None:
    plan = FaultPlan(faults.Crash(chance=0.2), seed=3)
    with world.attempt():
        spec = plan.wrap(ak.child(Trapping))
        tree = ak.supervisor(
            *(spec.with_(id=n, name=f"crasher {n}") for n in range(5)), strategy="rest_for_one", max_restarts=1_000
        )
        await world.node.start(tree)
        for number in range(40):
            with world.attempt():
                await ak.named(Echo, f"crasher {number % 5}").call(Echo.echo, bytes(70_000))
            await trio.sleep(0.01)


async def connections(world: World) -> None:
    [(host, port)] = await ak.named(ak.Listener, "listener").call(ak.Listener.addresses)

    async def client(number: int) -> None:
        with world.attempt():
            async with await trio.open_tcp_stream(host, port) as stream:
                await stream.send_all(b"x" * (number * 10_000) + b"\n")
                rest = number * 10_000 + 1
                while rest:
                    data = await stream.receive_some(16_384)
                    if not data:
                        break
                    rest -= len(data)

    for number in (1, 7, 20):
        with trio.move_on_after(20):
            await client(number)


async def budgets(world: World) -> None:
    refs = []
    for _ in range(3_000):
        with world.attempt():
            refs.append(world.node.spawn(ak.child(Echo).with_(max_heap_size="1 MiB")))
    for ref in refs[:6]:  # the first call stays within the limit, the second does not
        with world.attempt():
            ref.cast(Echo.keep, bytes(100_000))
            await ref.call(Echo.run, lambda self: self.kept.extend(bytes(70_000) for _ in range(4)))
        with world.attempt():
            await ref.call(Echo.run, lambda self: self.kept.extend(bytes(400_000) for _ in range(4)))
    await trio.sleep(3)
    with world.attempt():
        await world.node.heap_census()
    for ref in refs:
        ref.kill()


async def governed(world: World) -> None:
    memory = world.node.memory
    assert memory is not None
    source: ScriptedMemory = memory.source  # type: ignore[attr-defined]
    world.spawn(9_000)
    for used in (75, 85, 93, 93, 60, 98, 50):
        source.used = used * 2**20
        source.wake()
        await trio.sleep(3)


async def subscribed(world: World) -> None:
    with world.attempt():
        async with world.node.subscribe(capacity=50_000) as events:
            for ref in world.spawn(5_000):
                ref.kill()
            events.drain()


SCENARIOS: dict[str, Callable[[World], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        spawning, monitors, linking, spawned_linked, timers, flood, pending_calls, suspended, names, registries,
        dynamic, tasks, crashes, connections, budgets, governed, subscribed,
    )
}  # fmt: skip


def tree() -> Any:
    return ak.supervisor(
        ak.child(Echo).with_(name="echo", priority=ak.Priority.CRITICAL),
        ak.registry(name="registry"),
        ak.process_groups(name="groups"),
        ak.dynamic_supervisor(max_restarts=10_000).with_(name="dynamic"),
        ak.task_supervisor(name="tasks"),
        ak.tcp_listener(Line, port=0, max_line=1_000_000, max_unsent=2_000_000, name="listener"),
        max_restarts=100,
    )


async def one_run(scenario: Callable[[World], Awaitable[None]], first: int, count: int) -> dict[str, Any]:
    problems: list[str] = []
    living = trio.lowlevel.current_statistics().tasks_living
    node: Any = None
    world: World | None = None
    outcome = "went on"
    with refusing(first, count) as refusal:
        try:
            with trio.fail_after(10_000):
                async with ak.open_node(
                    tree(), memory_source=ScriptedMemory(limit=100 * 2**20, used=10 * 2**20), kill_timeout=50
                ) as node:
                    world = World(node)
                    await scenario(world)
                    await trio.sleep(20)
                    problems += [*world.problems, *consistent(node)]
                    try:
                        if await ak.named(Echo, "echo").call(Echo.echo, 7) != 7:
                            problems.append("a wrong echo")
                    except EXPECTED as error:
                        problems.append(f"the supervised echo does not answer: {error}")
                    if node.engine.deadlines.pending:
                        problems.append(f"{node.engine.deadlines.pending} calls are pending at rest")
        except (ak.StartFailed, ak.SupervisorGaveUp, ak.NodeOutOfMemory) as error:
            outcome = f"stopped in order: {error!r:.200}"
        except MemoryError:
            outcome = "stopped in order: MemoryError in the host's own call"
        except BaseException as error:
            outcome = "stopped"
            problems.append(f"{type(error).__name__}: {error!r:.300}{_last(error)}")
            error.__traceback__ = None
    if node is not None:
        problems += left(node)
    if trio.lowlevel.current_statistics().tasks_living != living:
        problems.append(f"{trio.lowlevel.current_statistics().tasks_living - living} tasks are left")
    return {
        "seen": refusal.seen,
        "refused": refusal.refused,
        "failed": 0 if world is None else world.failed,
        "outcome": outcome,
        "problems": problems[:5],
    }


def _last(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace, places = error.__traceback__, []
    while trace is not None:
        places.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f" ({type(error).__name__} {' '.join(places[-5:])})"


def run(name: str, first: int, count: int) -> dict[str, Any]:
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    before = records()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    clock = trio.testing.MockClock(autojump_threshold=0.002)
    try:
        result = trio.run(one_run, SCENARIOS[name], first, count, clock=clock)
    except BaseException as error:
        result = {
            "seen": 0,
            "refused": 0,
            "failed": 0,
            "outcome": "trio",
            "problems": [f"{error!r:.300}{_last(error)}"],
        }
    if records() > before:
        result["problems"].append(f"{records() - before} records are not let go of")
    if descriptors and len(os.listdir("/proc/self/fd")) > descriptors:
        result["problems"].append("descriptors are left open")
    return result


# --- the processes --------------------------------------------------------------------------------


def child(name: str, begin: int, every: int) -> None:
    """Run one scenario, from request ``begin`` on, and print a line of JSON for each run."""
    logging.getLogger("actorkit").setLevel(logging.CRITICAL + 1)
    logging.getLogger("trio").setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = lambda _: None
    gc.collect()
    run(name, 0, 0)  # imports, and whatever else happens only once
    total = run(name, 0, 0)
    print(json.dumps({"scenario": name, "nth": 0, "total": total["seen"], **total}), flush=True)
    for nth in range(max(begin, 1), total["seen"] + 1, every):
        for count in (1, SHORTAGE):
            print(json.dumps({"starting": nth, "count": count}), flush=True)
            print(json.dumps({"scenario": name, "nth": nth, "count": count, **run(name, nth, count)}), flush=True)


def sweep(name: str, every: int, tell: Callable[[str], None]) -> tuple[int, int, list[str]]:
    """Make all runs of a scenario. Return how many there were, how many requests they refused, and
    what was wrong.
    """
    runs = refused = 0
    wrong: list[str] = []
    begin = 1
    while True:
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.faults.sweep", "--child", name, str(begin)]
        at = 0
        started = time.monotonic()
        with subprocess.Popen(
            [*command, str(every)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                told = json.loads(line)
                if "starting" in told:
                    at = told["starting"]
                    continue
                if told["nth"] == 0:
                    tell(f"  {name}: {told['total']} large requests")
                    wrong += [f"{name}, nothing refused: {problem}" for problem in told["problems"]]
                    continue
                runs += 1
                refused += told["refused"]
                how = "" if told["count"] == 1 else f" and those after it, {SHORTAGE} in all"
                wrong += [f"{name}, request {told['nth']}{how}: {problem}" for problem in told["problems"]]
            errors = process.stderr.read()
            status = process.wait()
        if status == 0:
            tell(f"  {name}: {runs} runs in {time.monotonic() - started:.0f} s, {refused} requests refused")
            return runs, refused, wrong
        wrong.append(f"{name}, request {at}: the process ended with {status}: {errors[-600:]}")
        if at == 0:
            return runs, refused, wrong
        begin = at + every


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth request")
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO", help="may repeat")
    parser.add_argument("--child", nargs=3, metavar=("SCENARIO", "BEGIN", "EVERY"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        name, begin, every = args.child
        child(name, int(begin), int(every))
        return 0
    if WHY_NOT is not None:
        print(f"sweep: requests cannot be refused here: {WHY_NOT}")
        return 0
    runs = refused = 0
    wrong: list[str] = []
    for name in args.only or SCENARIOS:
        more, more_refused, found = sweep(name, args.every, lambda line: print(line, flush=True))
        runs, refused, wrong = runs + more, refused + more_refused, wrong + found
        for line in found:
            print(f"    {line}", flush=True)
    scenarios = len(args.only or SCENARIOS)
    print(f"sweep: {scenarios} scenarios, {runs} runs, {refused} requests refused, {len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
