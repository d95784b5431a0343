"""The soaked node, a process of its own: `python -m bench.soak.world SEED ROUND_SECONDS LIMIT`.

Each round of abuse is followed by a pause: the abuse stops, the other process closes its
connections, and everything must come to rest as well. Then the books are checked, and what the
process holds is noted. The process prints JSON lines: `ready`, `resting` (the peers should leave),
`sample` (they may come back), `result`. A word on stdin answers `resting`; the word `end`, or the
end of stdin, ends the run after that pause.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

import trio

import actorkit as ak
from actorkit.governor.reclaim import trim_allocator
from actorkit.runtime.actor.record import Record
from actorkit.runtime.actor.states import IDLE
from bench.soak.invariants import consistent, left
from bench.soak.population import HOARD, SINKS, WATCHERS, Hoarder, Sink, Tally, Watcher, Worker, plan_of, tree
from bench.worker import rss, say

DRIVERS = 30
SETTLE_SECONDS = 30.0


class World:
    def __init__(self, node: ak.Node, seed: int, tally: Tally, port: int) -> None:
        self.node = node
        self.tally = tally
        self.random = random.Random(seed)
        self.port = port
        self.size = 0
        self.numbers: Counter[tuple[int, int]] = Counter()
        self.deaths: Counter[str] = Counter()
        self.dead_notes = 0
        self.started = self.exited = self.restarted = 0
        self.base = (0, 0)
        self.levels: set[str] = set()

    def workers(self) -> list[Record[Any]]:
        return [record for record in self.node.engine.actors.values() if issubclass(record.kind.cls, Worker)]

    # --- abuse ------------------------------------------------------------------------------------

    async def abuse(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for number in range(DRIVERS):
                    nursery.start_soon(self.drive, number, self.random.random())
                nursery.start_soon(self.hoard)
                nursery.start_soon(self.look)
                nursery.start_soon(self.choose)

    async def choose(self) -> None:
        """Keep a list of the workers of a moment ago, so some of them are dead."""
        while True:
            self.chosen = self.workers()
            await trio.sleep(0.3)

    async def look(self) -> None:
        """The invariants that hold at any moment."""
        while True:
            self.tally.counts["looks"] += 1
            for problem in consistent(self.node):
                self.tally.violate(problem)
            self.events()
            assert self.node.memory is not None
            self.levels.add(self.node.memory.level.name)
            await trio.sleep(0.5)

    def events(self) -> None:
        for event in self.stream.drain():
            if isinstance(event, ak.DeadLetter):
                self.dead_notes += event.message == "Sink.note"
            elif isinstance(event, ak.ActorStarted):
                self.started += 1
            elif isinstance(event, ak.ActorExited):
                self.exited += 1
                self.deaths[type(event.reason).__name__] += 1
            elif isinstance(event, ak.ChildRestarted):
                self.restarted += 1
            elif isinstance(event, ak.Unkillable):
                self.tally.counts["unkillable"] += 1
        if self.stream.dropped:
            self.tally.violate(f"{self.stream.dropped} events were dropped: the books cannot be kept")

    async def hoard(self) -> None:
        """More than the limit allows, now and then."""
        supervisor = ak.named(ak.DynamicSupervisor, "hoarders")
        while True:
            await trio.sleep(self.random.uniform(0.5, 3))
            spec = ak.child(Hoarder, self.random.randint(1, HOARD)).with_(restart="temporary", priority=ak.Priority.LOW)
            for _ in range(self.random.randint(1, 12)):
                self.tally.counts["hoarders"] += 1
                with contextlib.suppress(ak.ActorkitError):
                    await supervisor.call(ak.DynamicSupervisor.start_child, spec)

    async def drive(self, number: int, seed: float) -> None:
        """One source of trouble."""
        rand = random.Random(seed)
        tally, node = self.tally, self.node
        words, weights = list(DEEDS), list(DEEDS.values())
        while True:
            word = rand.choices(words, weights)[0]
            tally.counts[f"did: {word}"] += 1
            worker = rand.choice(self.chosen)
            if word == "double":
                n = rand.randrange(1000)
                answer = await tally.call(worker, Worker.double, n)
                if answer not in (None, 2 * n):
                    tally.violate(f"double({n}) is {answer}")
            elif word == "later":
                with trio.move_on_after(rand.choice([0.02, 10])):
                    await tally.call(worker, Worker.later, 1, rand.random() / 20, seconds=rand.choice([0.01, 5]))
            elif word == "ask":
                others = [rand.choice(self.chosen) for _ in range(rand.randint(1, 4))]
                await tally.call(worker, Worker.ask, others, 5)
            elif word == "nurse":
                await tally.call(worker, Worker.nurse, rand.randint(1, 5))
            elif word == "keep":
                for _ in range(20):
                    worker.cast(Worker.keep, rand.randrange(2_000))
            elif word == "flood":
                await self.flood(number, rand)
            elif word == "kill":
                worker.kill()
            elif word == "exit":
                worker.exit(ak.Failure("soak"))
            elif word == "stop":
                worker.stop()
            elif word == "crash":
                worker.cast(Worker.crash)
            elif word == "bomb":
                worker.cast(Worker.bomb, rand.choice([100, 5_000, 100_000]))
            elif word == "link":
                worker.cast(Worker.link_with, rand.choice(self.chosen))
            elif word == "monitor":
                ak.named(Watcher, f"watcher {rand.randrange(WATCHERS)}").cast(Watcher.watch, worker)
            elif word == "timer":
                timer = node.send_after(rand.random() * 2, worker, "time")
                if rand.random() < 0.5:
                    timer.cancel()
            elif word == "kill sink":
                sink = node.whereis(f"sink {rand.randrange(SINKS)}")
                if sink is not None:
                    sink.kill()
            await trio.sleep(rand.random() / 50)

    async def flood(self, number: int, rand: random.Random) -> None:
        """More than a mailbox holds. What is not handled is a dead letter."""
        to = rand.randrange(SINKS)
        sink = self.node.whereis(f"sink {to}")
        if sink is None:
            return
        for _ in range(rand.choice([10, 100, 1_000])):
            self.numbers[number, to] += 1
            self.tally.counts["notes cast"] += 1
            sink.cast(Sink.note, number, self.numbers[number, to])

    # --- rest -------------------------------------------------------------------------------------

    async def rest(self) -> None:
        """Wait until everything is at rest; whatever does not come to rest is a violation."""
        supervisor = ak.named(ak.DynamicSupervisor, "hoarders")
        for info in await supervisor.call(ak.DynamicSupervisor.which_children):
            if info.ref is not None:
                with contextlib.suppress(ak.ActorkitError):
                    await supervisor.call(ak.DynamicSupervisor.terminate_child, info.ref)
        start = time.monotonic()
        while (unrest := self.unrest()) and time.monotonic() - start < SETTLE_SECONDS:
            self.events()
            await trio.sleep(0.1)
        for what in unrest:
            self.tally.violate(f"at rest: {what}")

    def unrest(self) -> list[str]:
        node, found = self.node, []
        statistics = node.statistics()
        if not self.size:
            self.size = statistics.actors
        if statistics.actors != self.size:
            found.append(f"{statistics.actors} actors of {self.size}")
        busy = [record for record in node.engine.actors.values() if record.state != IDLE or record.mailbox_length]
        if busy:
            found.append(f"{len(busy)} actors are busy, {busy[0]} {busy[0].mailbox_length}")
        pending = [record for record in node.engine.actors.values() if record.pending is not None]
        if pending:
            found.append(f"{len(pending)} actors wait for another, {pending[0]}")
        timers = sum(
            len(record.relations.timers or ()) for record in node.engine.actors.values() if record.relations is not None
        )
        if timers:
            found.append(f"{timers} timers of actors")
        for what in ("pending_calls", "unkillable"):
            if getattr(statistics, what):
                found.append(f"{what}: {getattr(statistics, what)}")
        if node.engine.dying or node.engine.starting or node.engine.busy:
            found.append(f"dying {len(node.engine.dying)}, starting {node.engine.starting}, busy {node.engine.busy}")
        assert node.memory is not None
        if node.memory.level != ak.MemoryLevel.NORMAL:
            found.append(f"memory is {node.memory.level.name}, {node.memory.data()}")
        return found

    async def books(self) -> None:
        """What must add up at rest."""
        node, counts, violate = self.node, self.tally.counts, self.tally.violate
        self.events()
        for problem in consistent(node):
            violate(f"at rest: {problem}")
        ended = counts["calls answered"] + counts["calls failed"] + counts["calls abandoned"]
        if counts["calls"] != ended:
            violate(f"{counts['calls']} calls, {ended} of them ended")
        if counts["notes cast"] != counts["notes handled"] + self.dead_notes:
            violate(f"{counts['notes cast']} notes, {counts['notes handled']} handled, {self.dead_notes} dead letters")
        armed = 0
        for number in range(WATCHERS):
            armed += await ak.named(Watcher, f"watcher {number}").call(Watcher.still_armed)
        if counts["monitors"] != counts["downs"] + armed:
            violate(f"{counts['monitors']} monitors, {counts['downs']} Downs, {armed} armed")
        statistics = node.statistics()
        if statistics.started - statistics.exited != statistics.actors:
            violate(f"{statistics.started} started, {statistics.exited} exited, {statistics.actors} are there")
        if self.started - self.exited + self.base[0] != statistics.actors:
            violate(f"told of {self.started} starts and {self.exited} ends, {statistics.actors} are there")
        if self.restarted + self.base[1] != statistics.restarts:
            violate(f"{self.restarted} restarts told, {statistics.restarts} counted")

    async def sample(self) -> dict[str, Any]:
        """What the process holds."""
        for _ in range(3):
            gc.collect()
            await trio.sleep(0.05)
        trim_allocator(rss)  # else RSS depends on when the last trim was
        statistics = self.node.statistics()
        alive = sum(isinstance(thing, Record) for thing in gc.get_objects())
        if alive > statistics.actors + 200:  # dead actors whose refs are still in some list
            self.tally.violate(f"{alive} records for {statistics.actors} actors")
        assert self.node.memory is not None
        return {
            "rss": rss(),
            "live": self.node.memory.data().live,
            "objects": len(gc.get_objects()),
            "records": alive,
            "actors": statistics.actors,
            "tasks": trio.lowlevel.current_statistics().tasks_living - statistics.workers,
            "timers": statistics.timers,
            "descriptors": len(os.listdir("/proc/self/fd")),
        }


DEEDS = {
    "double": 30, "later": 10, "ask": 8, "nurse": 4, "keep": 10, "flood": 4, "kill": 3, "exit": 2, "stop": 2,
    "crash": 2, "bomb": 1, "link": 1, "monitor": 5, "timer": 6, "kill sink": 0.5,
}  # fmt: skip


async def answer() -> str:
    """What the other process says."""
    await trio.lowlevel.wait_readable(sys.stdin.fileno())
    return os.read(sys.stdin.fileno(), 100).decode()


async def soak(seed: int, round_seconds: float, limit: str) -> None:
    tally, plan = Tally(), plan_of(seed)
    before = trio.lowlevel.current_statistics().tasks_living
    async with ak.open_node(tree(tally, plan), memory_limit=limit, kill_timeout=2.0) as node:
        with node.subscribe(
            ak.ActorStarted, ak.ActorExited, ak.ChildRestarted, ak.DeadLetter, ak.Unkillable, capacity=1_000_000
        ) as stream:
            [(_, port)] = await ak.named(ak.Listener, "listener").call(ak.Listener.addresses)
            world = World(node, seed, tally, port)
            world.stream = stream
            world.chosen = world.workers()
            statistics = node.statistics()
            world.size, world.base = statistics.actors, (statistics.actors, statistics.restarts)
            say(event="ready", port=port, actors=world.size, pid=os.getpid())
            ended = False
            while not ended:
                await world.abuse(round_seconds)
                world.chosen = []
                say(event="resting")
                ended = "go" not in await answer()
                await world.rest()
                await world.books()
                say(event="sample", violations=len(tally.violations), **await world.sample())
                world.chosen = world.workers()
            statistics = node.statistics()
            assert node.memory is not None
            governor: Any = node.memory
            receipts = Counter(receipt.action for receipt in governor.receipts())
            kills = governor.kills.killed
    for problem in left(node):
        tally.violate(problem)
    if trio.lowlevel.current_statistics().tasks_living != before:
        tally.violate(f"{trio.lowlevel.current_statistics().tasks_living - before} tasks are left")
    say(
        event="result", violations=tally.violations, counts=dict(tally.counts), deaths=dict(world.deaths),
        faults=dict(plan.injected), started=statistics.started, exited=statistics.exited, crashes=statistics.crashes,
        restarts=statistics.restarts, messages=statistics.messages, dead_letters=statistics.dead_letters,
        repairs=statistics.repairs, governor_kills=kills, receipts={str(k): n for k, n in receipts.items()},
        levels=sorted(world.levels),
    )  # fmt: skip


def main() -> None:
    seed, round_seconds, limit = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    logging.getLogger("actorkit").setLevel(logging.CRITICAL + 1)
    trio.run(partial(soak, seed, round_seconds, limit))


if __name__ == "__main__":
    main()
