"""The population of the soaked node: workers that fail at random, sinks that count, hoarders that
grow, connections.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import trio

import actorkit as ak
from actorkit.testing import FaultPlan, faults
from tests.fault_injector import RefuseAllocation

POOLS = 20
POOL_SIZE = 100
SINKS = 20
WATCHERS = 10
WORKER_LIMIT = 512 * 1024
HOARD = 8 * 2**20


class Tally:
    """What the population has counted; one object per run. ``violations`` lists what must not
    happen."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    def violate(self, what: str) -> None:
        self.counts["violations"] += 1
        if len(self.violations) < 50:
            self.violations.append(what)

    async def call(self, ref: Any, method: Any, *args: Any, seconds: float = 5.0) -> Any:
        """A call that is accounted for: answered, failed, or abandoned with its caller."""
        counts = self.counts
        counts["calls"] += 1
        try:
            answer = await ref.within(seconds).call(method, *args)
        except ak.CallError as error:
            counts["calls failed"] += 1
            counts[f"call: {type(error).__name__}"] += 1
            return None
        except BaseException:
            counts["calls abandoned"] += 1
            raise
        counts["calls answered"] += 1
        return answer


class Worker(ak.Actor):
    """Answers, calls others, keeps a little, and does what it is told to."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.kept: list[bytes] = []

    @ak.call
    def double(self, n: int) -> int:
        return 2 * n

    @ak.call
    async def later(self, n: int, seconds: float) -> int:
        await trio.sleep(seconds)
        return n

    @ak.call
    async def ask(self, others: list[Any], n: int) -> int:
        """Passes a call down a chain of workers."""
        if not others:
            return n
        answer = await self.tally.call(others[0], Worker.ask, others[1:], n)
        return -1 if answer is None else int(answer)

    @ak.call
    async def nurse(self, parts: int) -> int:
        async with trio.open_nursery() as nursery:
            for _ in range(parts):
                nursery.start_soon(trio.sleep, 0.01)
        return parts

    @ak.cast
    def keep(self, size: int) -> None:
        self.kept.append(bytes(size))
        del self.kept[:-5]

    @ak.cast
    def bomb(self, step: int) -> None:
        """Its budget must stop it."""
        for _ in range(2**32 // step):
            self.kept.append(bytearray(step))

    @ak.cast
    def link_with(self, other: Any) -> None:
        self.ctx.link(other)

    @ak.cast
    def crash(self) -> None:
        raise RuntimeError("a crash that was asked for")

    def handle_info(self, message: object) -> None:
        self.tally.counts["infos"] += 1


class Sink(ak.Actor):
    """Counts the casts that it gets; those of each sender must come in order."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.last: dict[int, int] = {}

    @ak.cast
    def note(self, sender: int, number: int) -> None:
        self.tally.counts["notes handled"] += 1
        if number <= self.last.get(sender, 0):
            self.tally.violate(f"note {number} of {sender} after {self.last[sender]}")
        self.last[sender] = number


class Watcher(ak.Actor):
    """Monitors others: each monitor gives one Down, no more."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.armed: set[ak.MonitorId] = set()

    @ak.cast
    def watch(self, other: Any) -> None:
        if len(self.armed) < 500:
            self.tally.counts["monitors"] += 1
            self.armed.add(self.ctx.monitor(other))

    @ak.call
    def still_armed(self) -> int:
        return len(self.armed)

    def handle_info(self, message: object) -> None:
        if isinstance(message, ak.Down):
            self.tally.counts["downs"] += 1
            if message.monitor not in self.armed:
                self.tally.violate(f"a Down for a monitor that is not armed: {message}")
            self.armed.discard(message.monitor)


class Hoarder(ak.Actor):
    """Holds much, and has no budget and a low priority, so only the governor can stop it."""

    def __init__(self, size: int) -> None:
        self.held = [bytes(64 * 1024) for _ in range(size // (64 * 1024))]


class Line(ak.StreamActor):
    """Echoes lines, and crashes at a line that tells it to."""

    def received(self, data: bytes) -> None:
        if data == b"crash":
            raise RuntimeError("a line has asked for it")
        self.write(data + b"\n")


def plan_of(seed: int) -> FaultPlan:
    """What is done to the workers besides."""
    return FaultPlan(
        faults.Crash(chance=0.002),
        faults.Hang(chance=0.000_5, seconds=0.5),
        faults.SwallowCancellation(chance=0.000_5, seconds=0.2),
        RefuseAllocation(chance=0.002),
        seed=seed,
    )


def tree(tally: Tally, plan: FaultPlan) -> ak.ChildSpec[Any]:
    """Pools of workers and sinks, watchers, hoarders, a listener. No supervisor gives up: the soak
    does not test intensity.
    """
    often: Any = {"max_restarts": 1_000_000, "max_seconds": 1.0}
    worker = plan.wrap(ak.child(Worker, tally)).with_(max_heap_size=WORKER_LIMIT, restart="permanent")
    pools = [
        ak.supervisor(
            *(worker.with_(id=n) for n in range(POOL_SIZE)),
            strategy=("one_for_one", "one_for_one", "one_for_one", "rest_for_one")[pool % 4],
            **often,
        ).with_(id=f"pool {pool}")
        for pool in range(POOLS)
    ]
    return ak.supervisor(
        *pools,
        ak.supervisor(
            *(ak.child(Sink, tally).with_(id=n, name=f"sink {n}", mailbox=500) for n in range(SINKS)), **often
        ).with_(id="sinks"),
        ak.supervisor(
            *(
                ak.child(Watcher, tally).with_(
                    id=n, name=f"watcher {n}", mailbox=1_000_000, priority=ak.Priority.CRITICAL
                )
                for n in range(WATCHERS)
            ),
            **often,
        ).with_(id="watchers"),
        ak.dynamic_supervisor(**often).with_(name="hoarders", priority=ak.Priority.CRITICAL),
        ak.tcp_listener(Line, port=0, max_line=4096, max_unsent=20_000, linger=0.5, name="listener"),
        **often,
    )
