"""One run: a limit, a server under it, the load generators beside it, and a look at the memory ten times a second.

The phases: the server listens (its usage then is the *base*); all clients connect; those that fill up do; two seconds
of steady traffic; the pressure, until its last request is answered, its time is over, or the server has gone; a wait
for the node to come back; and a last question to every client that should still be there. The whole run has a deadline
of its own, and whatever happens, children are killed and the limit is removed.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trio

from bench.harness import ROOT
from bench.survival import cases, protocol
from bench.survival.clients import quantile
from bench.survival.contenders import Contender, Unavailable
from bench.survival.limit import Limit, make_limit

CLIENTS_PER_PROCESS = 4_000
READY_SECONDS = 60.0
STEADY_SECONDS = 2.0
RECOVERY_SECONDS = 10.0
TICK = 0.1
LEAVE_CONSERVE = 0.65
"""The node is back to NORMAL below this share of its limit, where it has no level of its own to tell."""


class Gone(Exception):
    """A child process has ended before it was told to."""


class Child:
    """A process that prints JSON lines; its last complaints are kept."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.complaints: deque[bytes] = deque(maxlen=20)
        self._events: dict[str, dict[str, Any]] = {}
        self._changed = trio.Event()
        self._silent = False

    @classmethod
    async def start(
        cls, nursery: trio.Nursery, name: str, command: list[str], env: dict[str, str] | None = None
    ) -> Child:
        pipe = subprocess.PIPE
        process = await trio.lowlevel.open_process(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
        child = cls(name, process)
        nursery.start_soon(child._read)
        nursery.start_soon(child._read_complaints)
        return child

    async def _read(self) -> None:
        assert self.process.stdout is not None
        tail = b""
        async for chunk in self.process.stdout:
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    self._events[event.get("event", "ready")] = event
            self._wake()
        self._silent = True
        self._wake()

    async def _read_complaints(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.complaints.append(chunk[-200:])

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def event(self, name: str) -> dict[str, Any]:
        while name not in self._events:
            if self._silent:
                raise Gone(f"{self.name} ended before it was {name!r}: {self.last_words()}")
            await self._changed.wait()
        return self._events[name]

    async def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.process.stdin.send_all(text.encode() + b"\n")

    def last_words(self) -> str:
        return b"".join(self.complaints).decode(errors="replace").strip()[-600:]

    def alive(self) -> bool:
        return self.process.poll() is None


@dataclass
class Observer:
    """What is seen of the server from outside, on one clock."""

    limit: Limit
    server: Child
    timeline: list[tuple[float, int, str | None]]
    told: list[tuple[float, dict[str, Any]]]
    """Its answers to STATS, and when they came."""

    async def watch(self) -> None:
        next_tick = time.monotonic()
        while self.server.alive():
            with contextlib.suppress(OSError):
                used = self.limit.usage(self.server.process.pid).used
                now = time.monotonic()
                fresh = self.told and now - self.told[-1][0] < 2
                self.timeline.append((now, used, self.told[-1][1].get("level") if fresh else None))
            next_tick = max(next_tick + TICK, time.monotonic())  # a late look is not made up for
            await trio.sleep(max(0.0, next_tick - time.monotonic()))

    async def ask(self, port: int) -> None:
        """The control connection: a question each half second, as long as there is somebody to ask."""
        seq = 0
        with contextlib.suppress(OSError, trio.BrokenResourceError, ValueError):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                buffered = b""
                while True:
                    seq += 1
                    await stream.send_all(b"STATS %d\n" % seq)
                    while b"\n" not in buffered:
                        chunk = await stream.receive_some()
                        if not chunk:
                            return
                        buffered += chunk
                    line, _, buffered = buffered.partition(b"\n")
                    self.told.append((time.monotonic(), json.loads(line.split(b" ", 2)[2])))
                    await trio.sleep(0.5)

    def used(self) -> int:
        return self.timeline[-1][1] if self.timeline else 0

    def normal(self) -> bool:
        level = self.timeline[-1][2] if self.timeline else None
        return level == "NORMAL" if level is not None else self.used() < LEAVE_CONSERVE * self.limit.size


def shares(plan: cases.Plan, ports: dict[str, int], rate: float) -> list[dict[str, Any]]:
    """The plan cut into the parts of the generator's processes: each has its part of each group."""
    total = sum(group.count for group in plan.groups)
    processes = max(1, math.ceil(total / CLIENTS_PER_PROCESS))
    cut: list[dict[str, Any]] = []
    first = 0
    for part in range(processes):
        groups = []
        for group in plan.groups:
            count = group.count // processes + (part < group.count % processes)
            groups.append({**asdict(group), "count": count})
        source = f"127.0.{1 + part}.{random.randint(2, 250)}"
        cut.append({"ports": ports, "source": source, "rate": rate / processes, "first": first, "groups": groups})
        first += sum(group["count"] for group in groups)
    return cut


async def run_case(contender: Contender, plan: cases.Plan, size: int, scratch: Path) -> dict[str, Any]:
    """One run's result, as it goes into the JSON."""
    limit, where = make_limit(size)
    result: dict[str, Any] = {"limit": size, "limit_kind": limit.kind, "where": where}
    deadline = READY_SECONDS + 60 + 3 * plan.press_seconds + RECOVERY_SECONDS
    with limit:
        if plan.sidecar and not limit.shared:
            return {**result, "n/a": f"{limit.kind} is no limit for two processes together"}
        children: list[Child] = []
        try:
            with trio.fail_after(deadline):
                async with trio.open_nursery() as nursery:
                    try:
                        await Run(contender, plan, limit, scratch, nursery, children, result).go()
                    finally:
                        for child in children:
                            if child.alive():
                                child.process.kill()
                    nursery.cancel_scope.cancel()
        except* trio.TooSlowError:
            result["deadline"] = f"the run was not over after {deadline:.0f} s"
        except* Gone as gone:
            result["problem"] = str(gone.exceptions[0])
        except* Unavailable as why:
            result["n/a"] = str(why.exceptions[0])
        finally:
            for child in children:
                if child.alive():
                    child.process.kill()
                with trio.CancelScope(shield=True):
                    await child.process.wait()
    return result


class Run:
    def __init__(
        self,
        contender: Contender,
        plan: cases.Plan,
        limit: Limit,
        scratch: Path,
        nursery: trio.Nursery,
        children: list[Child],
        result: dict[str, Any],
    ) -> None:
        self.contender = contender
        self.plan = plan
        self.limit = limit
        self.scratch = scratch
        self.nursery = nursery
        self.children = children
        self.result = result
        self.generators: list[Child] = []

    async def child(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Child:
        child = await Child.start(self.nursery, name, command, env)
        self.children.append(child)
        return child

    async def go(self) -> None:
        plan, limit, result = self.plan, self.limit, self.result
        arguments = {
            "connections": plan.connections,
            "budget": plan.budget,
            "service_budget": limit.size // 2,
            "dump": plan.dump,
            "memory_limit": limit.size,
        }
        command = limit.command(self.contender.command(arguments, self.scratch))
        server = await self.child(self.contender.name, command, self.contender.environ())
        try:
            with trio.fail_after(READY_SECONDS):
                ready = await server.event("ready")
        except (Gone, trio.TooSlowError) as error:
            result["n/a"] = f"did not start under {limit.kind}: {error or 'too slow'}"
            return
        result["version"] = ready.get("version")
        result["capabilities"] = ready.get("capabilities")
        observer = Observer(limit, server, [], [])
        self.nursery.start_soon(observer.watch)
        self.nursery.start_soon(observer.ask, ready["control"])
        await trio.sleep(5 * TICK)
        base = observer.used()
        times = {"began": time.monotonic()}
        for number, share in enumerate(shares(plan, ready["ports"], max(100.0, plan.connections / 10))):
            generator = await self.child(f"generator {number}", [sys.executable, "-m", "bench.survival.clients"])
            await generator.tell(json.dumps(share))
            self.generators.append(generator)
        async with self.until_gone(server):
            await self.all("connect", "connected")
            idle = observer.used()
            size = cases.fill(plan, limit.size, idle) if plan.fill_to else 0
            await self.all(f"before {size}", "prepared")
            await trio.sleep(STEADY_SECONDS)
            times["press"] = time.monotonic()
            result["fill"] = size
            result["idle"] = idle
            with trio.move_on_after(plan.press_seconds):
                await self.pressure(size)
        times.setdefault("press", time.monotonic())
        times["relax"] = time.monotonic()
        await self.all("relax")
        async with self.until_gone(server):
            with trio.move_on_after(RECOVERY_SECONDS):
                while not observer.normal():  # noqa: ASYNC110  it is looked at, it does not tell
                    await trio.sleep(TICK)
        times["verify"] = time.monotonic()
        reports = await self.all("verify", "report")
        answers = len(observer.told)
        if server.alive():
            with trio.move_on_after(5):
                while len(observer.told) == answers and server.alive():  # noqa: ASYNC110
                    await trio.sleep(TICK)
        alive = server.alive() and len(observer.told) > answers
        result.update(summary(plan, limit, observer, reports, times, base))
        result["alive"] = alive
        result["exit"] = server.process.poll()
        result["killed_by_kernel"] = server.process.poll() == -signal.SIGKILL
        result["oom_kills"] = limit.oom_kills() if limit.shared else int(result["killed_by_kernel"])
        if not alive:
            result["last_words"] = server.last_words()

    async def pressure(self, size: int) -> None:
        if not self.plan.sidecar:
            await self.all(f"press {size}", "pressed")
            await trio.sleep(self.plan.hold_seconds)
            return
        await self.all(f"press {size}")
        module = "bench.survival.servers.sidecar"
        command = [sys.executable, "-m", module, str(self.plan.sidecar), "4"]
        neighbour = await self.child("sidecar", self.limit.command(command))
        try:
            await trio.sleep_forever()
        finally:
            self.result["sidecar_alive"] = neighbour.alive()
            if neighbour.alive():
                neighbour.process.kill()

    async def all(self, command: str, event: str | None = None) -> list[dict[str, Any]]:
        for generator in self.generators:
            await generator.tell(command)
        return [await generator.event(event) for generator in self.generators] if event else []

    @contextlib.asynccontextmanager
    async def until_gone(self, server: Child) -> AsyncIterator[None]:
        """The block ends early, a second after the server has ended: its clients have heard of it by then."""

        async def wait(cancel: Callable[[], None]) -> None:
            await server.process.wait()
            await trio.sleep(1)
            cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, nursery.cancel_scope.cancel)
            yield
            nursery.cancel_scope.cancel()


def summary(
    plan: cases.Plan,
    limit: Limit,
    observer: Observer,
    reports: list[dict[str, Any]],
    times: dict[str, float],
    base: int,
) -> dict[str, Any]:
    """The columns of one run, and what they were made of."""
    good, kept, counts = Counter[str](), Counter[str](), Counter[str]()
    latencies = {phase: Counter[int]() for phase in ("steady", "press", "after")}
    marks: list[list[Any]] = []
    for report in reports:
        good.update(report["good"])
        kept.update(report["kept"])
        counts.update(report["counts"])
        marks += report["marks"]
        for phase, buckets in report["latencies"].items():
            latencies[phase].update({int(number): count for number, count in buckets.items()})
    start = times["press"]
    told = [(round(at - start, 2), what) for at, what in observer.told]
    outside = [at for at, used, level in observer.timeline if not _normal(used, level, limit.size)]
    back = None
    if observer.normal() and observer.server.alive():
        back = max(0.0, outside[-1] - times["relax"]) if outside else 0.0
    minutes = (times["verify"] - start) / 60
    return {
        "base": base,
        "good": sum(good.values()),
        "kept": sum(kept.values()),
        "lost_by_class": {name: good[name] - kept[name] for name in protocol.CLASSES},
        "good_by_class": good,
        "refused": counts["refused"],
        "counts": counts,
        "wrong": [line for report in reports for line in report["wrong"]],
        "kills_per_minute": _rate(told, "kills", minutes),
        "restarts_per_minute": _rate(told, "restarts", minutes),
        "p99_ms": {phase: _ms(quantile(buckets, 0.99)) for phase, buckets in latencies.items()},
        "answered": {phase: sum(buckets.values()) for phase, buckets in latencies.items()},
        "back_seconds": None if back is None else round(back, 1),
        "outside_seconds": round(len(outside) * TICK, 1),
        "peak": max((used for _, used, _ in observer.timeline), default=0),
        "capacity": _capacity(plan, limit.size, base, sum(kept.values())) if plan.footprint else None,
        "times": {name: round(at - start, 2) for name, at in times.items()},
        "timeline": [(round(at - start, 2), used, level) for at, used, level in observer.timeline],
        "marks": sorted([round(at - start, 1), kind, count] for at, kind, count in marks),
        "told": told,
    }


def _normal(used: int, level: str | None, limit: int) -> bool:
    return level == "NORMAL" if level is not None else used < LEAVE_CONSERVE * limit


def _rate(told: list[tuple[float, dict[str, Any]]], key: str, minutes: float) -> float | None:
    values = [what[key] for _, what in told if key in what]
    return round((values[-1] - values[0]) / minutes, 1) if values and minutes > 0 else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _capacity(plan: cases.Plan, limit: int, base: int, kept: int) -> float:
    """What was kept, of what the limit could hold for good."""
    room = max(1, (cases.LEAVE_SHED * limit - base) / plan.footprint)
    return round(kept / room, 3)
