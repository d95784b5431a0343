"""Run the demonstration: start the service and the clients, make trouble, count what came of it.

    python -m examples.ten_thousand [--connections 10000] [--memory 256MiB]

The exit code is 0 if every client got every reply, and no connection was lost but those that were
crashed on purpose (and, with a memory limit, those of clients that made memory short). Otherwise it
is 1, and the last lines say what was missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

import actorkit as ak

from . import protocol
from .display import Display, Snapshot, display_for, megabytes
from .outcome import Outcome, find_problems, summary
from .pipes import raise_descriptor_limit
from .under_limit import GREEDY_SECONDS, Limited
from .workers import Ended, Worker, rate, start

TRAFFIC_UNTIL = 50.0
"""Seconds after which no client gets another turn; each gets its first one, if there is time
enough."""

FIRST_ROUND_UNTIL = 65.0
CRASH_SHARE = 0.01
ROUNDS = 20
BEGAN = time.monotonic()


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
    """Note what was missing if the deadline strikes in here."""
    try:
        yield
    except trio.Cancelled:
        if elapsed() >= outcome.deadline:
            outcome.problems.append(f"{outcome.deadline:.0f} s were over before {missing}")
        raise


def hosts_for(connections: int) -> list[str]:
    """Enough loopback addresses that the ports for outgoing connections do not run short."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        ports = int(last) - int(first)
    except (OSError, ValueError):
        ports = 16_000
    needed = -(-connections // max(1, ports * 3 // 4))
    return [f"127.0.0.{number}" for number in range(1, 1 + min(max(1, needed), 250))]


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
    """Raises Ended when the worker ends: nobody has asked it to yet."""
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
