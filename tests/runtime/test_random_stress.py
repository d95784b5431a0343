"""The scheduler under random abuse: whatever actors do to themselves and to each other, its
invariants hold.

Each round makes a node with random limits and some thirty actors, and lets drivers throw random
deeds at them: kills, crashes, cancelled callers, nested nurseries, shields, swallowed
cancellations, locks and scopes left behind, calls to each other, processes. A round's seed is in
its failure; with ``ACTORKIT_STRESS_SECONDS`` the rounds go on for that long.
"""

from __future__ import annotations

import contextvars
import logging
import os
import random
import time
from collections import Counter

import pytest
import trio

import actorkit as ak

ROUNDS = 100
SECONDS = float(os.environ.get("ACTORKIT_STRESS_SECONDS", "0"))
HANG = 100.0
"""Seconds after which a round is taken to hang."""

FIRST_SEED = int(os.environ.get("ACTORKIT_STRESS_SEED", "1"))

MARK: contextvars.ContextVar[int] = contextvars.ContextVar("mark", default=0)


class Broken(AssertionError):
    """An invariant did not hold."""


class Abused(ak.Actor):
    """Does to itself what its messages say, and checks the invariants from within."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.inside = 0
        self.last: dict[object, int] = {}
        self.lock: trio.Lock = trio.Lock()
        self.kept: object = None

    def enter(self) -> None:
        self.inside += 1
        self.world.check(self.inside == 1, f"two activations of {self.number} at a time")
        self.here()

    def leave(self) -> None:
        self.here()
        self.inside -= 1
        self.world.done += 1

    def here(self) -> None:
        current = self.world.node.engine.current
        self.world.check(current is self.ctx, f"current is {current!r} in {self.number}")

    @ak.cast
    def ordered(self, sender: object, index: int) -> None:
        self.enter()
        self.world.check(index > self.last.get(sender, -1), f"{sender} → {self.number} out of order: {index}")
        self.last[sender] = index
        self.leave()

    @ak.call
    def quick(self, x: int) -> int:
        self.enter()
        self.leave()
        return x

    @ak.call
    async def slow(self, x: int, ticks: int) -> int:
        self.enter()
        MARK.set(self.number)
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
            self.here()
            self.world.check(MARK.get() == self.number, "another actor's context variable")
        self.leave()
        return x

    @ak.cast
    async def deed(self, what: str) -> None:
        self.enter()
        world = self.world
        match what:
            case "crash":
                raise ValueError("on purpose")
            case "crash late":
                await trio.lowlevel.checkpoint()
                raise ValueError("on purpose")
            case "leave a scope":
                self.kept = trio.CancelScope()
                self.kept.__enter__()
            case "leave a scope late":
                await trio.lowlevel.checkpoint()
                self.kept = trio.CancelScope()
                self.kept.__enter__()
            case "leave a nursery":
                manager = trio.open_nursery()
                self.kept = await manager.__aenter__()
            case "leave a lock":
                await self.lock.acquire()
            case "use a lock":
                async with self.lock:
                    await trio.lowlevel.checkpoint()
            case "nest":
                async with trio.open_nursery() as outer:
                    outer.start_soon(self.kid, 2)
                    async with trio.open_nursery() as inner:
                        inner.start_soon(self.kid, 1)
            case "crash in a nursery":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.kid, 1)
                    nursery.start_soon(self.bad_kid)
            case "shield":
                with trio.move_on_after(0.001, shield=True):
                    await trio.sleep(1)
            case "swallow":
                try:
                    await trio.sleep(world.random.random() * 0.002)
                except trio.Cancelled:
                    pass
            case "sleep":
                await trio.sleep(world.random.random() * 0.002)
            case "call another":
                other = world.pick()
                try:
                    await other.call(Abused.slow, 1, 1)
                except ak.CallError:
                    pass
            case "call inline":
                try:
                    await world.pick().call(Abused.quick, 1)
                except ak.CallError:
                    pass
            case "kill another":
                world.kill(world.pick())
            case "kill myself":
                world.kill(self.ctx)
            case "stop":
                self.ctx.stop()
            case "exit":
                self.ctx.exit_now(ak.Failure("on purpose"))
            case "link":
                self.ctx.link(world.pick())
        self.leave()

    async def kid(self, ticks: int) -> None:
        for _ in range(ticks):
            self.here()
            await trio.lowlevel.checkpoint()
        self.here()

    async def bad_kid(self) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("a kid, on purpose")


DEEDS = [
    "crash", "crash late", "leave a scope", "leave a scope late", "leave a nursery", "leave a lock", "use a lock",
    "nest",
    "crash in a nursery",
    "shield", "swallow", "sleep", "sleep", "call another", "call another", "call inline", "kill another",
    "kill myself", "stop", "exit",
    "link",
]  # fmt: skip


async def echo(ctx: ak.ProcessContext, world: World) -> None:
    """A process among the actors."""
    async for message in ctx:
        world.check(world.node.engine.current is ctx, "current is not the process")
        if message == "crash":
            raise ValueError("a process, on purpose")
        if isinstance(message, ak.Ref):
            message.send("pong")
        world.done += 1


class World:
    """One round."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.broken: list[str] = []
        self.actors: list[ak.Ref[Abused]] = []
        self.processes: list[ak.Ref[ak.Process]] = []
        self.reasons: Counter[str] = Counter()
        self.done = 0
        self.node: ak.Node

    def check(self, condition: bool, what: str) -> None:
        if not condition:
            self.broken.append(what)

    def pick(self) -> ak.Ref[Abused]:
        return self.random.choice(self.actors)

    def kill(self, ref: ak.Ref[Abused]) -> None:
        ref.kill()

    def populate(self) -> None:
        for slot in range(30):
            if len(self.actors) <= slot:
                self.actors.append(self.node.spawn(Abused, self, slot))
            elif not self.actors[slot].alive:
                self.actors[slot] = self.node.spawn(Abused, self, slot)
        self.processes = [p for p in self.processes if p.alive]
        while len(self.processes) < 4:
            self.processes.append(self.node.spawn(echo, self))

    async def sender(self, name: int, steps: int) -> None:
        index = 0
        for _ in range(steps):
            self.populate()
            target = self.pick()
            match self.random.randrange(8):
                case 0 | 1:
                    for _ in range(self.random.randrange(1, 12)):
                        target.cast(Abused.ordered, name, index)
                        index += 1
                case 2:
                    target.cast(Abused.deed, self.random.choice(DEEDS))
                case 3:
                    with trio.move_on_after(self.random.choice([0, 0.000_5, 0.01])):
                        try:
                            answer = await target.call(Abused.slow, 7, self.random.randrange(3))
                            self.check(answer == 7, f"answer {answer!r}")
                        except ak.CallError:
                            pass
                case 4:
                    try:
                        self.check(await target.call(Abused.quick, 8) == 8, "wrong answer")
                    except ak.CallError:
                        pass
                case 5:
                    target.kill()
                case 6:
                    process = self.random.choice(self.processes)
                    process.send(self.random.choice(["crash", target, "hello"]))
                case 7:
                    await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        options = {
            "max_idle": self.random.choice([0, 1, 4, 16]),
            "quantum": self.random.choice([1, 2, 64]),
            "slice_seconds": self.random.choice([0.000_02, 0.000_5]),
        }
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with ak.open_node(**options, call_timeout=HANG) as node:
            self.node = node
            async with node.subscribe(ak.ActorExited, capacity=1_000_000) as exits:
                async with trio.open_nursery() as nursery:
                    for name in range(6):
                        nursery.start_soon(self.sender, name, 40)
                await self.quiet()
                self.check(node.engine.deadlines.pending == 0, f"{node.engine.deadlines.pending} calls still pending")
                self.check(not node.engine.has_work, "a stranded actor in the run queue")
                for ref in node.processes():
                    record = node.engine.resolve(ref)
                    assert record is not None
                    if not record.kind.process:
                        self.check(record.mailbox_length == 0, f"stranded messages: {record.describe()}")
                        self.check(record.worker is None and record.pending is None, f"left-overs: {record.describe()}")
                for event in exits.drain():
                    assert isinstance(event, ak.ActorExited)
                    self.explain(event.reason)
                limit = options["max_idle"] + 1
                self.check(node.statistics().workers <= limit, f"{node.statistics().workers} workers, {limit} allowed")
        self.check(not node.engine.actors, "actors left in a closed node")
        left = trio.lowlevel.current_statistics().tasks_living - tasks
        self.check(left == 0, f"{left} tasks left behind")

    async def quiet(self) -> None:
        """Wait until nothing moves: no worker carries a handler, and no message waits."""
        with trio.fail_after(HANG):
            still = 0
            while still < 20:
                node = self.node
                busy = (
                    node.engine.has_work
                    or node.engine.busy
                    or any(r.state in (1, 2) for r in node.engine.actors.values() if not r.kind.process)
                )
                still = 0 if busy else still + 1
                await trio.sleep(0.000_5)

    def explain(self, reason: ak.ExitReason) -> None:
        match reason:
            case ak.Killed() | ak.Normal() | ak.Shutdown() | ak.Failure("on purpose") | ak.NoProc():
                pass
            case ak.Crash(type="ValueError", message=message) if "on purpose" in message:
                pass
            case ak.Crash(type="RuntimeError", message=message) if "left a" in message or "lock held" in message:
                pass
            case ak.Crash(type=kind) if kind in ("ExceptionGroup", "trio.BrokenResourceError", "RuntimeError"):
                pass  # a nursery's crash; a lock whose owner died; a lock released by a worker that does not own it
            case _:
                self.check(False, f"unexplained death: {reason!r}")
        self.reasons[type(reason).__name__] += 1


def test_random_abuse(caplog: pytest.LogCaptureFixture) -> None:
    """Many rounds run, each with a seed of its own, and no invariant is broken. The clock is the
    real one: deadlines may come at any point of anything.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    end = time.monotonic() + SECONDS
    seed = FIRST_SEED
    reasons: Counter[str] = Counter()
    done = 0
    while seed < FIRST_SEED + ROUNDS or time.monotonic() < end:
        world = World(seed)
        trio.run(world.run)
        if world.broken:
            raise Broken(f"seed {seed}: " + "; ".join(sorted(set(world.broken))[:5]))
        reasons += world.reasons
        done += world.done
        seed += 1
    print(f"{seed - FIRST_SEED} rounds, {done} messages, exits: {dict(reasons)}")
    assert {"Killed", "Crash", "Normal", "Failure"} <= set(reasons)
