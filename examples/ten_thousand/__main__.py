"""Run the demonstration: start the service and the clients, make trouble, count what came of it.

    python -m examples.ten_thousand [--connections 10000] [--memory 256MiB]

Exit code 0: every client got every reply, and no connection was lost but those that were crashed
on purpose; and with a memory limit, those of clients that had made memory short. Otherwise 1, and the
last lines say what was missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import trio

import actorkit as ak

from . import protocol
from .display import Display, Snapshot, display_for, megabytes, table
from .pipes import raise_descriptor_limit
from .under_limit import GREEDY_SECONDS, Limited

DEADLINE = 85.0
"""Seconds after which it is over, whatever is still missing."""

LONGER = 75.0
"""Seconds that a chain reaction, and getting over it, may take besides."""

TRAFFIC_UNTIL = 50.0
"""From then on no client gets another turn; but each gets one, if only there is time enough."""

FIRST_ROUND_UNTIL = 65.0
CRASH_SHARE = 0.01
ROUNDS = 20
BEGAN = time.monotonic()


class Ended(Exception):
    """A worker process ended although nobody had asked it to."""


class Worker:
    """One of the two processes: its latest status, its events, its commands."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.status: dict[str, Any] = {}
        self.previous: dict[str, Any] = {}
        self.complaints: deque[str] = deque(maxlen=15)
        self.told: Callable[[str, dict[str, Any]], None] = lambda event, record: None
        """Called for each event."""
        self._seen: dict[str, dict[str, Any]] = {}
        self._changed = trio.Event()
        self._ended = False

    async def read(self) -> None:
        assert self.process.stdout is not None
        tail = b""
        async for chunk in self.process.stdout:
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                record: dict[str, Any] = json.loads(line)
                if (event := record.pop("event")) == "status":
                    self.previous, self.status = self.status, record
                else:
                    self._seen[f"{event} {record['name']}" if "name" in record else event] = record
                    self.told(event, record)
                self._wake()
        self._ended = True
        self._wake()

    async def read_complaints(self) -> None:
        """Crash reports are what this is about: kept, and shown only if something is wrong in the end."""
        assert self.process.stderr is not None
        tail = b""
        async for chunk in self.process.stderr:
            *lines, tail = (tail + chunk).split(b"\n")
            self.complaints.extend(line.decode(errors="replace") for line in lines)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def event(self, name: str) -> dict[str, Any]:
        """Wait until the worker has reported this, ever."""
        while name not in self._seen:
            if self._ended:
                raise Ended(f"the {self.name} process ended before it was {name!r}")
            await self._changed.wait()
        return self._seen[name]

    async def next_status(self) -> dict[str, Any]:
        last = self.status
        while self.status is last:
            if self._ended:
                raise Ended(f"the {self.name} process ended too early")
            await self._changed.wait()
        return self.status

    async def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send_all(command.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Ended(f"the {self.name} process ended before it was told {command!r}") from None

    def rate(self, *keys: str) -> float:
        """By how much the sum of these grows in a second."""
        return rate(self.previous, self.status, *keys) if self.previous else 0.0

    def rss(self) -> int:
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0


def rate(first: dict[str, Any], last: dict[str, Any], *keys: str) -> float:
    seconds = last["at"] - first["at"]
    return sum(last[key] - first[key] for key in keys) / seconds if seconds > 0 else 0.0


@dataclass
class Outcome:
    """What the summary is made of."""

    asked_for: int
    connections: int
    rooms: int
    room: str
    """The one that crashes."""
    limited: Limited | None = None
    """What the service may use, if it is not all there is."""
    problems: list[str] = field(default_factory=list)
    load: dict[str, Any] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    restarted: dict[str, dict[str, Any]] = field(default_factory=dict)
    connect_seconds: float = 0.0
    traffic_seconds: float = 0.0
    lines: float = 0.0
    messages: float = 0.0
    best_messages: float = 0.0
    rss_empty: int = 0
    rss_idle: int = 0
    rss_peak: int = 0
    heaps: dict[str, int] = field(default_factory=dict)
    """What the actors themselves hold, in the middle of the traffic."""
    actors_before: int = 0
    actors_after: int = 0
    seconds: float = 0.0

    @property
    def deadline(self) -> float:
        return DEADLINE if self.limited is None else DEADLINE + LONGER


def leaves(group: BaseExceptionGroup[Ended]) -> Iterator[Ended]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def elapsed() -> float:
    return time.monotonic() - BEGAN


@contextmanager
def noting(outcome: Outcome, missing: str) -> Iterator[None]:
    """Should the deadline strike in here, this is what was missing."""
    try:
        yield
    except trio.Cancelled:
        if elapsed() >= outcome.deadline:
            outcome.problems.append(f"{outcome.deadline:.0f} s were over before {missing}")
        raise


def hosts_for(connections: int) -> list[str]:
    """Loopback addresses enough that the ports for outgoing connections do not run short."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        ports = int(last) - int(first)
    except (OSError, ValueError):
        ports = 16_000
    needed = -(-connections // max(1, ports * 3 // 4))
    return [f"127.0.0.{number}" for number in range(1, 1 + min(max(1, needed), 250))]


async def start(nursery: trio.Nursery, name: str, *arguments: str) -> Worker:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", f"{__package__}.{name}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    worker = Worker(name, process)
    nursery.start_soon(worker.read)
    nursery.start_soon(worker.read_complaints)
    return worker


async def watch(display: Display, outcome: Outcome, service: Worker, load: Worker) -> None:
    """Show the numbers twice a second."""
    while True:
        clients = await load.next_status()
        messages = service.rate("messages")
        outcome.best_messages = max(outcome.best_messages, messages)
        rss = service.rss()
        outcome.rss_peak = max(outcome.rss_peak, rss)
        memory = dict(service.status.get("memory") or {})
        if outcome.limited is not None and outcome.limited.changes:
            memory["level"] = outcome.limited.changes[-1]["level"]
        display.update(
            Snapshot(
                seconds=elapsed(),
                connections=clients["online"],
                wanted=outcome.connections,
                lines=load.rate("lines_in", "lines_out"),
                messages=messages,
                turns=clients["turns_done"] / clients["turns_planned"],
                crashes=service.status.get("crashes", 0),
                restarts=service.status.get("restarts", 0),
                lost=clients["lost"],
                service_rss=rss,
                load_rss=load.rss(),
                **{name: memory[name] for name in ("level", "used", "limit", "killed", "refused") if name in memory},
            )
        )


async def miss(worker: Worker) -> None:
    """Nobody has asked the workers to end yet."""
    code = await worker.process.wait()
    raise Ended(f"the {worker.name} process ended with exit code {code}")


async def make_trouble(display: Display, outcome: Outcome, service: Worker, load: Worker) -> None:
    """Crash connections, a room, and the supervisor of all rooms, in the middle of the traffic."""
    room = outcome.room
    display.say(f"1 % of the connections and {room} crash")
    await load.tell("crash")
    await service.tell(f"crash {room}")
    with noting(outcome, f"{room} was restarted"):
        outcome.restarted[room] = done = await service.event(f"restarted {room}")
    display.say(f"{room} is back after {done['seconds'] * 1e3:.1f} ms; now the rooms' supervisor crashes")
    await service.tell("crash rooms")
    with noting(outcome, "the rooms' supervisor was restarted"):
        outcome.restarted["rooms"] = done = await service.event("restarted rooms")
    display.say(f"it is back after {done['seconds'] * 1e3:.1f} ms, and {done['rooms']} rooms with it")
    with noting(outcome, "all crashed clients had reconnected"):
        done = await load.event("reconnected")
    display.say(f"{done['crashed']:,} crashed clients have reconnected")


async def chain_reaction(display: Display, outcome: Outcome, limited: Limited, service: Worker, load: Worker) -> None:
    """Make memory short, and wait until it is no longer."""
    display.say(
        f"{limited.greedy:,} clients become greedy for {limited.seconds:g} s: "
        f"{megabytes(service.rss())} of {megabytes(limited.limit)} are in use"
    )
    await load.tell(limited.command)
    with noting(outcome, "the chain reaction was over"):
        limited.over = (await load.event("reaction over"))["at"]
    display.say("the chain reaction is over; those who were refused try again")
    with noting(outcome, "all the greedy were back, with nothing"):
        limited.calm = (await load.event("calm"))["at"]
    with noting(outcome, "memory was no longer short"):
        while (await service.next_status())["memory"]["level"] != "NORMAL":
            pass
    display.say("all are back, and memory is NORMAL")


async def script(
    nursery: trio.Nursery,
    watching: trio.Nursery,
    display: Display,
    outcome: Outcome,
    workers: list[Worker],
    rounds: int,
) -> None:
    """The demonstration, from beginning to end."""
    hosts = hosts_for(outcome.connections)
    limited = outcome.limited
    service = await start(
        nursery,
        "service",
        *("--rooms", str(outcome.rooms), "--connections", str(outcome.connections + 100), "--hosts", *hosts),
        *(() if limited is None else ("--memory", str(limited.limit))),
    )
    workers.append(service)

    def level_changed(event: str, record: dict[str, Any]) -> None:
        if limited is not None and event == "level":
            limited.changes.append(record)
            display.say(f"{record['level']}: {record['because']}")

    service.told = level_changed
    watching.start_soon(miss, service)
    with noting(outcome, "the service was ready"):
        ready = await service.event("ready")
    outcome.actors_before = ready["actors"]
    outcome.rss_empty = service.rss()
    addresses = [f"{host}:{port}" for host, port in ready["addresses"]]
    display.say(f"the service is ready: {outcome.rooms} rooms, at {', '.join(addresses)}")

    load = await start(
        nursery,
        "load",
        *("--clients", str(outcome.connections), "--rounds", str(rounds), "--crash-share", str(CRASH_SHARE)),
        *addresses,
    )
    workers.append(load)
    watching.start_soon(miss, load)
    watching.start_soon(watch, display, outcome, service, load)
    connecting = elapsed()
    with noting(outcome, "all clients were connected"):
        await load.event("connected")
    outcome.connect_seconds = elapsed() - connecting
    outcome.rss_idle = service.rss()
    if limited is not None and not limited.plan(outcome.rss_idle):
        raise Ended(f"no chain reaction within {megabytes(limited.limit)}: {limited.suits(outcome.rss_idle)}")
    display.say(f"{outcome.connections:,} connections in {outcome.connect_seconds:.1f} s; the traffic begins")

    traffic = elapsed()
    first = load.status, service.status
    await load.tell("traffic")
    with trio.move_on_after(max(3.0, (TRAFFIC_UNTIL - traffic) / 3)):
        await load.event("first round")
    await make_trouble(display, outcome, service, load)
    if limited is not None:
        await chain_reaction(display, outcome, limited, service, load)
    with trio.move_on_after(max(0.0, TRAFFIC_UNTIL - elapsed())):
        await load.event("rounds")
    with trio.move_on_after(max(0.0, FIRST_ROUND_UNTIL - elapsed())):
        await load.event("first round")
    outcome.traffic_seconds = elapsed() - traffic
    outcome.lines = rate(first[0], load.status, "lines_in", "lines_out")
    outcome.messages = rate(first[1], service.status, "messages")

    outcome.heaps = {name: service.status[name] for name in ("heaps", "member_heap", "largest_heap")}
    display.say("no new turns; the replies still under way come in")
    await load.tell("finish")
    with noting(outcome, "the turns in progress had ended"):
        await load.event("calling")
    display.say("roll call: one line in each room, which every member must hear")
    with noting(outcome, "every client had heard the roll call"):
        outcome.load = await load.event("done")
    outcome.service = service.status
    display.say("everybody is there; good night")


async def end(outcome: Outcome, service: Worker, load: Worker) -> None:
    """Let both processes end by themselves, and look whether the connections' actors do."""
    with noting(outcome, "both processes had ended"):
        await load.tell("stop")
        await load.process.wait()
        with trio.move_on_after(15):
            while service.status["actors"] > outcome.actors_before:
                await service.next_status()
        outcome.service = service.status
        outcome.actors_after = service.status["actors"]
        await service.tell("stop")
        if code := await service.process.wait():
            outcome.problems.append(f"the service ended with exit code {code}")


def find_problems(outcome: Outcome) -> None:
    """Compare what was to be with what was."""
    load, wanted = outcome.load, outcome.connections

    def check(good: bool, problem: str) -> None:
        if not good:
            outcome.problems.append(problem)

    peak, lost = load.get("peak", 0), load.get("lost", 0)
    check(peak == wanted, f"connections: {peak:,} of {wanted:,}")
    if outcome.limited is None:
        check(lost == 0, f"connections lost: {lost:,}")
        check(load.get("refused", 0) == 0, f"connections refused: {load.get('refused', 0):,}")
    else:
        outcome.problems.extend(outcome.limited.problems(load, outcome.service))
    for kind, asked, answered in [
        ("ECHO", "echoes_asked", "echoes_right"),
        ("SAY", "says_asked", "says_heard"),
    ]:
        missing = load.get(asked, 0) - load.get(answered, 0)
        check(missing == 0, f"replies to {kind}: {missing:,} missing")
    wrong = load.get("wrong_lines", 0)
    check(wrong == 0, f"wrong lines: {wrong:,}; the first: {load.get('first_wrong')}")
    heard = load.get("roll_calls_heard", 0)
    check(heard == wanted, f"roll call: {heard:,} of {wanted:,} clients heard it")
    crashed, back = load.get("crashed", 0), load.get("reconnected", 0)
    check(crashed > 0 and back == crashed + lost, f"reconnected: {back:,} of {crashed + lost:,} who had to")
    check(len(outcome.restarted) == 2, "a room and the rooms' supervisor were to be restarted")
    for name, done in outcome.restarted.items():
        rooms = outcome.rooms if name == "rooms" else 1
        check(done["rooms"] == rooms, f"crash of {name}: {done['rooms']} of {rooms} rooms started anew")


def summary(outcome: Outcome) -> None:
    load, service = outcome.load, outcome.service
    none = {"p50": 0.0, "p99": 0.0, "max": 0.0}

    def count(key: str) -> str:
        return f"{load.get(key, 0):,}"

    def milliseconds(key: str) -> str:
        values = load.get(key, none)
        return f"{values['p50'] * 1e3:,.0f} / {values['p99'] * 1e3:,.0f}"

    def restart(name: str) -> str:
        done = outcome.restarted.get(name)
        return f"at work again after {done['seconds'] * 1e3:.1f} ms" if done else "not restarted"

    fewer = f", fewer than the {outcome.asked_for:,} asked for" * (outcome.connections < outcome.asked_for)
    each = (outcome.rss_idle - outcome.rss_empty) / outcome.connections
    left = outcome.actors_after - outcome.actors_before
    fresh = outcome.restarted.get("rooms", {"rooms": 0})["rooms"]
    heaps = outcome.heaps
    repeated = load.get("slowest_repeated", 0.0)
    rows = [
        ("connections at once, peak", count("peak"), f"in {outcome.connect_seconds:.1f} s{fewer}"),
        ("  kept", count("kept"), "the same socket from beginning to end"),
        ("  crashed on purpose", count("crashed"), f"{count('reconnected')} reconnected"),
        ("  lost otherwise", count("lost"), ""),
        ("ECHO replies", count("echoes_right"), f"of {count('echoes_asked')}"),
        ("SAY replies", count("says_heard"), f"of {count('says_asked')}, from {count('spoke')} clients"),
        ("  said again", count("said_again"), f"the slowest was heard after {repeated:.1f} s"),
        ("lines from others", count("heard_from_others"), f"through {outcome.rooms:,} rooms"),
        ("roll call at the end", count("roll_calls_heard"), f"of {outcome.connections:,} heard it"),
        ("wrong lines", count("wrong_lines"), ""),
        (f"{outcome.room} crashed", f"{int(outcome.room in outcome.restarted)}", restart(outcome.room)),
        ("rooms' supervisor crashed", f"{int('rooms' in outcome.restarted)}", restart("rooms")),
        ("  rooms started with it", f"{fresh:,}", f"of {outcome.rooms:,}"),
        ("actors crashed", f"{service.get('crashes', 0):,}", f"{service.get('restarts', 0):,} restarted"),
        ("actors left over", f"{left:,}", "after the last client had gone"),
        ("lines/s in and out", f"{outcome.lines:,.0f}", f"average of {outcome.traffic_seconds:.1f} s"),
        ("messages/s among actors", f"{outcome.messages:,.0f}", f"at best {outcome.best_messages:,.0f}"),
        ("ECHO latency p50 / p99", milliseconds("echo_latency"), "ms"),
        ("SAY latency p50 / p99", milliseconds("say_latency"), "ms"),
        ("memory of the service", megabytes(outcome.rss_empty), "before the first connection"),
        ("  all connected, idle", megabytes(outcome.rss_idle), f"{each / 1e3:.1f} kB a connection"),
        ("  peak", megabytes(outcome.rss_peak), ""),
        (
            "heaps of all actors",
            megabytes(heaps.get("heaps", 0)),
            "in the middle of the traffic, each with its own limit",
        ),
        ("  of a connection, mean", f"{heaps.get('member_heap', 0):,}", "bytes of 256 KiB"),
        ("  of the largest actor", f"{heaps.get('largest_heap', 0):,}", "bytes"),
        *([] if outcome.limited is None else outcome.limited.rows(load, service)),
        ("time", f"{outcome.seconds:.1f} s", ""),
    ]
    table(f"{outcome.connections:,} connections, each an actor", rows)


async def demonstrate(outcome: Outcome, display: Display, rounds: int) -> None:
    workers: list[Worker] = []
    with trio.move_on_after(outcome.deadline - elapsed()) as scope:
        try:
            async with trio.open_nursery() as nursery:
                try:
                    async with trio.open_nursery() as watching:
                        await script(nursery, watching, display, outcome, workers, rounds)
                        watching.cancel_scope.cancel()
                    await end(outcome, *workers)
                finally:
                    nursery.cancel_scope.cancel()
        except* Ended as ended:
            outcome.problems.extend(sorted({str(error) for error in leaves(ended)}))
        finally:
            for worker in workers:
                if worker.process.poll() is None:
                    worker.process.kill()
    if scope.cancelled_caught and not outcome.problems:
        outcome.problems.append(f"{outcome.deadline:.0f} s were over too early")
    outcome.seconds = elapsed()
    for worker in workers:  # had it not come to the end: as far as it came
        if worker.name == "load":
            outcome.load = outcome.load or worker.status
        else:
            outcome.service = outcome.service or worker.status
    find_problems(outcome)
    if outcome.problems:
        for worker in workers:
            for line in worker.complaints:
                print(f"{worker.name}: {line}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.ten_thousand", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("-n", "--connections", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each client, at most")
    parser.add_argument("--memory", help="what the service may use, e.g. 256MiB; default: no limit")
    parser.add_argument(
        "--greedy-seconds", type=float, default=GREEDY_SECONDS, help="how long memory is short, with --memory"
    )
    options = parser.parse_args()
    if not options.greedy_seconds > 0:
        parser.error("a chain reaction takes more than 0 seconds")
    try:
        limit = ak.HeapLimit(options.memory).size if options.memory else None
    except ValueError as error:
        parser.error(str(error))
    if options.connections < 1 or options.rounds < 1:
        parser.error("there must be a connection and a turn")
    possible = raise_descriptor_limit()
    connections = min(options.connections, possible)
    if connections < 1:
        parser.error("the hard limit of open files (ulimit -Hn) allows no connections at all")
    rooms = protocol.rooms_for(connections)
    outcome = Outcome(options.connections, connections, rooms, protocol.room_name(min(7, rooms - 1)))
    if limit is not None:
        outcome.limited = Limited(limit, connections, options.greedy_seconds)
    display = display_for(sys.stdout, f"actorkit: {connections:,} TCP connections, each an actor")
    try:
        if connections < options.connections:
            display.say(
                f"the hard limit of open files is too low for {options.connections:,} connections: "
                f"running {connections:,} instead"
            )
        trio.run(demonstrate, outcome, display, options.rounds)
    except KeyboardInterrupt:
        outcome.problems.append("interrupted")
    finally:
        display.close()
    summary(outcome)
    print()
    for problem in outcome.problems:
        print(f"FAILED: {problem}")
    if not outcome.problems:
        greed = ", or ended for their greed" if outcome.limited is not None else ""
        print(f"OK: every client got every reply, and no connection was lost but those crashed on purpose{greed}.")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
