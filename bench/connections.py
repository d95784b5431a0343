"""TCP connections as actors, beside plain trio doing the same: memory, lines echoed, messages
delivered, latency.

10,000 connections in 100 rooms. A line `E …` comes back to its sender, a line `B …` goes to every
member of the sender's room. Each round and column starts a new server and a new load generator, so
no figure inherits what an earlier one left behind, and then, in this order:

memory     growth of the server's RSS from listening to all connections joined and idle; and again
           after the traffic. It does not include what the kernel holds for the sockets, which is
           the same for all.
echo       256 lines in flight, each on a different connection, all connections in turn.
broadcast  8 in flight, 100 deliveries each.
mixed      as echo, with one broadcast for every 100 lines: as many lines go out for rooms as for
           echoes. The clock stops when all of both kinds have arrived, so a server that delays one
           kind gains nothing.

Latencies are those under this load, from the line sent to its echo (or its delivery to each member)
received, by the generator's clock. The server's CPU time per line is the figure that another
process on the machine disturbs least. The generator checks every line; one that is lost or wrong
ends the benchmark.

trio appears twice: with a lock per connection, the leanest form, to which the goals refer, and with
a channel and a writer task per connection, which like actorkit does not let one slow member hold up
its room. With the lock, each write of a broadcast is a checkpoint that lets all others run first;
so its delivery times under mixed traffic are real, not an error.
"""

from typing import Any

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress
from bench.load import raise_descriptor_limit

COLUMNS = ("actorkit", "trio", "trio+writers")
SERVERS = {
    "actorkit": ("actorkit_server",),
    "trio": ("plain_trio_server", "lock"),
    "trio+writers": ("plain_trio_server", "channel"),
}
COUNT = 10_000
ROOMS = 100
ECHO_WINDOW = 256
BROADCAST_WINDOW = 8

AT_LEAST = (Goal(0.85, "trio", at_least=True),)

ROWS: dict[str, tuple[str, str, tuple[Goal, ...]]] = {
    "idle": ("memory per idle connection", "bytes", (Goal(1.4, "trio"),)),
    "used": ("memory per connection after traffic", "bytes", ()),
    "connect": ("connect and join", "1/s", ()),
    "echo": ("echo", "lines/s", AT_LEAST),
    "echo_cpu": ("echo, server CPU a line", "µs", ()),
    "echo_p50": ("echo, p50", "ms", ()),
    "echo_p99": ("echo, p99", "ms", ()),
    "broadcast": ("broadcast", "deliveries/s", ()),
    "broadcast_cpu": ("broadcast, server CPU a delivery", "µs", ()),
    "broadcast_p50": ("broadcast, p50", "ms", ()),
    "broadcast_p99": ("broadcast, p99", "ms", ()),
    "mixed": ("mixed: echo", "lines/s", AT_LEAST),
    "mixed_p50": ("mixed: echo, p50", "ms", ()),
    "mixed_p99": ("mixed: echo, p99", "ms", ()),
    "mixed_delivery_p99": ("mixed: delivery, p99", "ms", ()),
}


def run(options: Options) -> Report:
    columns = options.columns(COLUMNS)
    count = options.count or options.scaled(COUNT)
    rounds = options.rounds_or(5)
    raise_descriptor_limit(count + 100)  # the servers inherit it
    echoes, broadcasts = options.scaled(50_000), options.scaled(500)
    settings: dict[str, object] = {
        "rounds": rounds,
        "connections": count,
        "rooms": ROOMS,
        "echoes": echoes,
        "echo_window": ECHO_WINDOW,
        "broadcasts": broadcasts,
        "broadcast_window": BROADCAST_WINDOW,
    }
    rows = {name: Row(label, unit, goals) for name, (label, unit, goals) in ROWS.items()}
    report = Report("connections", COLUMNS, list(rows.values()), settings)
    report.notes.append(f"{count:,} connections in {ROOMS} rooms")
    if count != COUNT:
        report.drop_goals(f"the goals are for {COUNT:,}")
    busy: list[float] = []
    for number in range(rounds):
        for column in in_turn(columns, number):
            figures = measure(column, count, echoes, broadcasts, report, busy)
            for name, figure in figures.items():
                rows[name].add(column, number, figure)
        progress(f"connections: round {number + 1} of {rounds}")
    report.notes.append(f"the generator was busy for at most {max(busy):.0%} of the time it measured")
    return report


def measure(
    column: str, count: int, echoes: int, broadcasts: int, report: Report, busy: list[float]
) -> dict[str, float]:
    """One column's figures of one round, from a server and a generator of their own."""
    with Contender.module(*SERVERS[column]) as server:
        report.contenders[column] = {k: v for k, v in server.hello.items() if k != "port"}
        before = server.rss()
        with Contender.module("load", server.hello["port"], count, ROOMS) as load:
            idle = server.rss()

            def traffic(*words: int) -> tuple[dict[str, Any], float]:
                """What the generator saw, and the CPU seconds that the server used in that time."""
                cpu = server.cpu_seconds()
                seen = load.ask(*words)
                busy.append(seen["generator_cpu"] / seen["seconds"])
                return seen, server.cpu_seconds() - cpu

            traffic(echoes // 10, ECHO_WINDOW, broadcasts // 10, BROADCAST_WINDOW)
            echo, echo_cpu = traffic(echoes, ECHO_WINDOW, 0, 0)
            broadcast, broadcast_cpu = traffic(0, 0, broadcasts, BROADCAST_WINDOW)
            mixed, _ = traffic(echoes, ECHO_WINDOW, echoes // 100, BROADCAST_WINDOW)
            used = server.rss()
            figures = {
                "idle": (idle - before) / count,
                "used": (used - before) / count,
                "connect": count / load.hello["seconds"],
                "echo": echo["echoes"] / echo["seconds"],
                "echo_cpu": echo_cpu / echo["echoes"] * 1e6,
                "echo_p50": echo["echo_p50"] * 1e3,
                "echo_p99": echo["echo_p99"] * 1e3,
                "broadcast": broadcast["deliveries"] / broadcast["seconds"],
                "broadcast_cpu": broadcast_cpu / broadcast["deliveries"] * 1e6,
                "broadcast_p50": broadcast["delivery_p50"] * 1e3,
                "broadcast_p99": broadcast["delivery_p99"] * 1e3,
                "mixed": mixed["echoes"] / mixed["seconds"],
                "mixed_p50": mixed["echo_p50"] * 1e3,
                "mixed_p99": mixed["echo_p99"] * 1e3,
                "mixed_delivery_p99": mixed["delivery_p99"] * 1e3,
            }
            load.kill()
            server.kill()
    return figures
