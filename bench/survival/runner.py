"""One run: a limit, a server under it, the load generators beside it, and a reading of the memory
ten times a second.

The phases: the server listens (its usage then is the *base*); all clients connect; the fillers fill
the memory; two seconds of steady traffic; the pressure, until its last request is answered, its
time is over, or the server has gone; a wait for the node to come back; and a last request of every
client that should still be there. The whole run has a deadline of its own, and whatever happens,
children are killed and the limit is removed.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trio

from bench.survival import cases
from bench.survival.children import Child, Gone
from bench.survival.contenders import Contender, Unavailable
from bench.survival.limit import Limit, make_limit
from bench.survival.observer import TICK, Observer
from bench.survival.summary import summary

CLIENTS_PER_PROCESS = 4_000
READY_SECONDS = 60.0
STEADY_SECONDS = 2.0
RECOVERY_SECONDS = 10.0


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


Watch = Callable[["Run"], Awaitable[None]]


async def run_case(
    contender: Contender,
    plan: cases.Plan,
    size: int,
    scratch: Path,
    cgroups: bool = True,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """One run's result, as it goes into the JSON. ``watch`` runs beside it, to show the run as it
    happens.
    """
    limit, where = make_limit(size, cgroups)
    result: dict[str, Any] = {"limit": size, "limit_kind": limit.kind, "where": where}
    deadline = READY_SECONDS + 60 + 3 * plan.press_seconds + RECOVERY_SECONDS * plan.pace
    with limit:
        if plan.sidecar and not limit.shared:
            return {**result, "n/a": f"{limit.kind} is no limit for two processes together"}
        children: list[Child] = []
        try:
            with trio.fail_after(deadline):
                async with trio.open_nursery() as nursery:
                    try:
                        run = Run(contender, plan, limit, scratch, nursery, children, result)
                        if watch is not None:
                            nursery.start_soon(watch, run)
                        await run.go()
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
        self.observer: Observer | None = None
        self.phase = "starts"

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
            # Addresses are not memory: a server that reserves many of them is not blamed for that.
            key = "problem" if limit.shared else "n/a"
            result[key] = f"did not start under {limit.kind}: {error or 'too slow'}"
            return
        result["version"] = ready.get("version")
        result["capabilities"] = ready.get("capabilities")
        observer = self.observer = Observer(limit, server, [], [])
        self.nursery.start_soon(observer.watch)
        self.nursery.start_soon(observer.ask, ready["control"])
        await trio.sleep(5 * TICK)
        base = observer.used()
        times = {"began": time.monotonic()}
        for number, share in enumerate(shares(plan, ready["ports"], max(100.0, plan.connections / 10) / plan.pace)):
            generator = await self.child(f"generator {number}", [sys.executable, "-m", "bench.survival.clients"])
            await generator.tell(json.dumps(share))
            self.generators.append(generator)
        async with self.until_gone(server):
            self.phase = "connects"
            await self.all("connect", "connected")
            idle = observer.used()
            size = cases.fill(plan, limit.size, idle) if plan.fill_to else 0
            await self.all(f"before {size}", "prepared")
            self.phase = "steady"
            await trio.sleep(STEADY_SECONDS * plan.pace)
            self.phase = "PRESSURE"
            times["press"] = time.monotonic()
            result["fill"] = size
            result["idle"] = idle
            with trio.move_on_after(plan.press_seconds):
                await self.pressure(size)
        times.setdefault("press", time.monotonic())
        times["relax"] = time.monotonic()
        self.phase = "relaxes"
        await self.all("relax")
        async with self.until_gone(server):
            with trio.move_on_after(RECOVERY_SECONDS * plan.pace):
                while not observer.normal():  # noqa: ASYNC110  it can only be polled
                    await trio.sleep(TICK)
        times["verify"] = time.monotonic()
        reports = await self.all("verify", "report")
        answers = len(observer.told)
        if server.alive():
            with trio.move_on_after(5 * plan.pace):
                while len(observer.told) == answers and server.alive():  # noqa: ASYNC110
                    await trio.sleep(TICK)
        result.update(summary(plan, limit, observer, reports, times, base, self.contender.row))
        alive = server.alive() and (result["kept"] > 0 or len(observer.told) > answers)
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
        command = [sys.executable, "-m", module, str(self.plan.sidecar), str(4 * self.plan.pace)]
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
        """The block ends early, a second after the server has ended: by then its clients have
        noticed.
        """

        async def wait(cancel: Callable[[], None]) -> None:
            await server.process.wait()
            await trio.sleep(1)
            cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, nursery.cancel_scope.cancel)
            yield
            nursery.cancel_scope.cancel()
