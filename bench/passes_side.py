"""One side of `python -m bench passes`: `python -m bench.passes_side KIND COUNT`.

KIND is one of actorkit's (`processes`, `callers`, `actors`, `connections`) or of trio's own
(`tasks`, `readers`). Asked `hold`, it waits until all connections are there and stops trio's loop
until the next line, so that what clients send meanwhile is found by all readers in one pass. Asked
`measure PASSES`, it sets all to work and answers with figures.
"""

import contextlib
import gc
import os
import socket
import sys
import time
from array import array
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

import actorkit as ak
from bench.load import raise_descriptor_limit
from bench.passes_clients import LINE
from bench.worker import asker_gone, say

MAX_LINE = 100
PATIENCE = 60.0
"""Seconds after which it answers with what it has measured."""
ENOUGH = 10.0
"""Seconds after which a tenth of the passes is enough."""


class Meter(trio.abc.Instrument):
    """The length of each pass of trio: from the end of one wait for I/O to the beginning of the
    next. Also how long each of ``count`` busy tasks waits from one turn to the next, in CPU time of
    the thread, exact to one pass.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.began_cpu = self.began_wall = self.ended_cpu = 0
        self.arrived = 0
        """Connections that are open."""
        self.clear()

    def clear(self) -> None:
        """Begin anew, with the next pass."""
        self.on = False
        self.cpu, self.wall, self.io = array("q"), array("q"), array("q")
        self.operations = 0
        self.last = [0] * self.count
        """When the last pass began in which each of them worked."""
        self.turns = [0] * self.count
        self.served = [self.count, 0, 0]
        """How many have had at least no turn, one turn, and two."""
        self.longest_wait = 0
        self.since = 0

    def after_io_wait(self, timeout: float) -> None:
        cpu = time.thread_time_ns()
        if self.on:
            self.io.append(cpu - self.ended_cpu)
        elif not self.since:
            self.since = cpu
        self.on = True
        self.began_cpu = cpu
        self.began_wall = time.perf_counter_ns()

    def before_io_wait(self, timeout: float) -> None:
        self.ended_cpu = time.thread_time_ns()
        if self.on:
            self.cpu.append(self.ended_cpu - self.began_cpu)
            self.wall.append(time.perf_counter_ns() - self.began_wall)

    def operation(self, number: int) -> None:
        """Note that this one has done something."""
        if not self.on:
            return
        self.operations += 1
        last = self.last[number]
        now = self.began_cpu
        if last != now:
            self.last[number] = now
            self.longest_wait = max(self.longest_wait, now - (last or self.since))
            self.turns[number] += 1
            if self.turns[number] <= 2:
                self.served[self.turns[number]] += 1

    async def until(self, turns: int, passes: int) -> bool:
        """Wait until each has had its turns and so many passes are over. Returns False if it lost
        patience.
        """
        began = time.monotonic()
        while self.served[turns] < self.count or len(self.cpu) < passes:
            waited = time.monotonic() - began
            if waited > PATIENCE:
                return False
            if waited > ENOUGH:
                passes = min(passes, 30)
            await trio.lowlevel.checkpoint()
        return True

    def figures(self, count_passes: bool) -> dict[str, object]:
        """Times are in nanoseconds. With ``count_passes``, each has done one thing in each pass."""
        passes = len(self.cpu)
        spent = sum(self.cpu) + sum(self.io)
        return {
            "passes": passes,
            "operations": self.count * passes if count_passes else self.operations,
            "operations_per_cpu_second": (self.count * passes if count_passes else self.operations) / spent * 1e9,
            "cpu": quantiles(self.cpu),
            "wall": quantiles(self.wall),
            "io": quantiles(self.io),
            "longest_wait": max(map(sum, zip(self.cpu, self.io, strict=False))) if count_passes else self.longest_wait,
        }


def quantiles(values: "array[int]") -> dict[str, int]:
    ordered = sorted(values)
    return {
        "median": ordered[len(ordered) // 2],
        "p99": ordered[int(0.99 * (len(ordered) - 1))],
        "longest": ordered[-1],
    }


# --- the busy ones --------------------------------------------------------------------------------


class Actor(ak.Actor):
    """Always has a message."""

    def __init__(self, meter: Meter, number: int) -> None:
        self.meter = meter
        self.number = number

    @ak.cast
    def work(self) -> None:
        self.meter.operation(self.number)
        self.ctx.ref.cast(Actor.work)


class Callee(ak.Actor):
    @ak.call
    def work(self) -> None:
        pass


class Connection(ak.StreamActor):
    """Counts lines. ``numbers`` gives each connection its number, one after the other."""

    def __init__(self, meter: Meter, numbers: Any) -> None:
        self.meter = meter
        self.number = next(numbers)
        meter.arrived += 1

    def received(self, line: bytes) -> None:
        self.meter.operation(self.number)


async def process(ctx: ak.ProcessContext, meter: Meter, number: int) -> None:
    while True:
        ctx.ref.send("next")
        await ctx.receive()
        meter.operation(number)


async def caller(callee: ak.Ref[Callee], meter: Meter, number: int) -> None:
    while True:
        await callee.call(Callee.work)
        meter.operation(number)


async def task() -> None:
    while True:
        await trio.lowlevel.checkpoint()


async def reader(sock: socket.socket, meter: Meter, number: int) -> None:
    """A reader with as few steps as possible: one line in a pass, though the socket is full."""
    meter.arrived += 1
    with sock:
        while True:
            await trio.lowlevel.wait_readable(sock)
            with contextlib.suppress(BlockingIOError):
                sock.recv(len(LINE))
                meter.operation(number)


# --- what they do ---------------------------------------------------------------------------------


async def measure(meter: Meter, begin: Callable[[], object], passes: int, bare: bool) -> dict[str, object]:
    """First until each has had a turn, which is reported separately; then at least ``passes``, and
    two turns for each.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    meter.clear()
    begin()
    full = await meter.until(0 if bare else 1, 3)
    first = meter.figures(bare)
    meter.clear()
    await trio.lowlevel.checkpoint()
    full = await meter.until(0 if bare else 2, passes) and full
    return {"first": first, "steady": meter.figures(bare), "complete": full}


async def asked(meter: Meter, begin: Callable[[], object], bare: bool = False) -> None:
    """Answer until no more questions come. ``begin`` sets the busy tasks to work, in the pass in
    which it is called.
    """
    trio.lowlevel.add_instrument(meter)
    while True:
        await asker_gone()
        words = sys.stdin.readline().split()
        if words and words[0] == "hold":
            while meter.arrived < meter.count:
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.1)  # their readers have begun to wait
            say(held=True)
            words = sys.stdin.readline().split()
        if not words:
            os._exit(0)  # the busy tasks have nothing that would end them
        say(**await measure(meter, begin, int(words[1]), bare))


async def run_actorkit(kind: str, count: int) -> None:
    meter = Meter(count)
    numbers = iter(range(count))
    listener = ak.tcp_listener(
        Connection, meter, numbers, port=0, max_line=MAX_LINE, max_children=20_000, name="listener"
    )
    tree = [listener] if kind == "connections" else []
    async with ak.open_node(ak.supervisor(*tree)) as node, trio.open_nursery() as nursery:
        callee = node.spawn(Callee)
        actors = [node.spawn(Actor, meter, number) for number in range(count if kind == "actors" else 0)]

        def begin() -> None:
            if kind == "processes":
                for number in range(count):
                    node.spawn(process, meter, number)
            elif kind == "callers":
                for number in range(count):
                    nursery.start_soon(caller, callee, meter, number)
            for actor in actors:
                actor.cast(Actor.work)

        hello: dict[str, object] = {}
        if tree:
            hello["port"] = (await node.whereis("listener").call(ak.Listener.addresses))[0][1]
        say(kind=kind, count=count, **hello)
        await asked(meter, begin)


async def run_tasks(count: int) -> None:
    meter = Meter(count)
    async with trio.open_nursery() as nursery:
        say(kind="tasks", count=count)
        await asked(meter, lambda: [nursery.start_soon(task) for _ in range(count)], bare=True)


async def run_readers(count: int) -> None:
    meter = Meter(count)
    async with trio.open_nursery() as nursery:
        with trio.socket.socket() as listening:
            await listening.bind(("127.0.0.1", 0))
            listening.listen(65_535)
            say(kind="readers", count=count, port=listening.getsockname()[1])

            async def accept() -> None:
                for number in range(count):
                    accepted, _ = await listening.accept()
                    sock = socket.socket(fileno=accepted.detach())
                    sock.setblocking(False)
                    nursery.start_soon(reader, sock, meter, number)

            nursery.start_soon(accept)
            await asked(meter, lambda: None)


KINDS: dict[str, Callable[[int], Awaitable[None]]] = {
    **{kind: partial(run_actorkit, kind) for kind in ("processes", "callers", "actors", "connections")},
    "tasks": run_tasks,
    "readers": run_readers,
}


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    raise_descriptor_limit(count + 100)
    trio.run(KINDS[kind], count)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
