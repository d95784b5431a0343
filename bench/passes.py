"""The length of trio's passes with 10 to 10,000 busy processes, callers, class actors and
connections, beside as many tasks of plain trio.

A pass is what trio does between two polls for I/O, so its length is how long everything else has to
wait. Busy means never without something to do.

processes     each sends itself a message, receives it, and so on
callers       plain tasks, each in a loop of inline calls (of a synchronous handler)
actors        class actors; each casts to itself
connections   loopback connections whose clients, in a process of their own, keep the sockets full
              of lines of 12 bytes

The column `trio` is the same number of bare tasks in a loop of `trio.lowlevel.checkpoint()`; for
connections it is the same number of bare readers (`wait_readable`, `recv` of one line), with
equally full sockets. Each figure comes from a process of its own, and the two sides take turns.

first pass    the longest pass from the moment when all begin at once (all sockets are found
              readable in one pass) until each has had a turn. Not in the other figures.
pass          after that: at least 300 passes (30 where they take 10 s), and two turns for
              everybody. The longest, the 99th percentile, the median.
I/O           the median of what trio spends in the kernel between two passes (epoll)
wait          the longest that one of them has waited from one turn to its next, exact to one pass
operations    messages, calls, lines or checkpoints in a second of CPU time

All figures are CPU time of the thread, since the wall clock of a machine with other work measures
that work too. The longest pass by the wall clock stands below, without a goal. Garbage collection
is off during the measurement (everything is collected and frozen before): its pauses are not the
scheduler's. A "longest" figure is the median of the longest of each round.

The goal of actors and connections is two slices (1 ms). The goal of processes and callers is two
slices plus 1.1 passes of the bare tasks; it is printed as a sum. The cost of the meter itself (0.1
µs an operation) is in the figures of actorkit and of the readers, not in those of the tasks.
"""

from typing import Any

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress
from bench.load import raise_descriptor_limit

COLUMNS = ("actorkit", "trio")
KINDS = ("processes", "callers", "actors", "connections")
COUNTS = (10, 100, 1_000, 10_000)
PASSES = 300
SLICE_MS = 0.5

FIGURES = {
    "longest": ("longest pass", "ms"),
    "p99": ("pass, p99", "ms"),
    "median": ("pass, median", "ms"),
    "first": ("first pass", "ms"),
    "io": ("I/O, median", "ms"),
    "wait": ("longest wait for a turn", "ms"),
    "operations": ("operations", "1/s"),
    "wall": ("longest pass by the wall's clock", "ms"),
}


def run(options: Options) -> Report:
    columns = options.columns(COLUMNS)
    kinds = options.rows or KINDS
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"--row {', '.join(sorted(unknown))}: known are {', '.join(KINDS)}")
    counts = [options.count] if options.count else [options.scaled(count) for count in COUNTS]
    rounds = options.rounds_or(3)
    passes = options.scaled(PASSES)
    raise_descriptor_limit(max(counts) + 100)  # the children inherit it
    rows = {
        (figure, kind, count): Row(f"{label}: {count:,} {kind}", unit)
        for figure, (label, unit) in FIGURES.items()
        for kind in KINDS
        if kind in kinds
        for count in counts
    }
    report = Report("passes", COLUMNS, list(rows.values()), {"rounds": rounds, "passes": passes, "counts": counts})
    report.notes.append("CPU time of the thread, except by the wall's clock; garbage collection is off")
    for number in range(rounds):
        for count in counts:
            for name in in_turn(subjects(kinds, columns), number):
                answer = side(name, count, passes)
                if not answer["complete"]:
                    report.notes.append(f"{count:,} {name}: not everybody has had its turns within a minute")
                for figure, value in figures_of(answer).items():
                    for kind in kinds:
                        if name in (kind, bare(kind)):
                            rows[figure, kind, count].add("actorkit" if name == kind else "trio", number, value)
        progress(f"passes: round {number + 1} of {rounds}")
    for kind in kinds:
        for count in counts:
            row = rows["longest", kind, count]
            row.goals = goals(kind, row.median("trio"))
    return report


def bare(kind: str) -> str:
    """The counterpart in plain trio."""
    return "readers" if kind == "connections" else "tasks"


def subjects(kinds: Any, columns: list[str]) -> list[str]:
    """The sides that are measured, once each in a round and for each number."""
    ours = [kind for kind in KINDS if kind in kinds] if "actorkit" in columns else []
    theirs = sorted({bare(kind) for kind in kinds}) if "trio" in columns else []
    return [*ours, *theirs]


def goals(kind: str, bare_ms: float | None) -> tuple[Goal, ...]:
    """The goals for the longest pass."""
    if kind in ("processes", "callers"):
        return () if bare_ms is None else (Goal(2 * SLICE_MS + 1.1 * bare_ms),)
    return (Goal(2 * SLICE_MS),)


def side(name: str, count: int, passes: int) -> dict[str, Any]:
    """One side's answer, from a process of its own."""
    with Contender.module("passes_side", name, count) as contender:
        try:
            if "port" not in contender.hello:
                return contender.ask("measure", passes)
            with Contender.module("passes_clients", contender.hello["port"], count) as clients:
                contender.ask("hold")
                clients.ask("fill")
                answer = contender.ask("measure", passes)
                clients.kill()
                return answer
        finally:
            contender.kill()


def figures_of(answer: dict[str, Any]) -> dict[str, float]:
    """Milliseconds, and operations a second."""
    first, steady = answer["first"], answer["steady"]
    return {
        "longest": steady["cpu"]["longest"] / 1e6,
        "p99": steady["cpu"]["p99"] / 1e6,
        "median": steady["cpu"]["median"] / 1e6,
        "first": first["cpu"]["longest"] / 1e6,
        "io": steady["io"]["median"] / 1e6,
        "wait": steady["longest_wait"] / 1e6,
        "operations": steady["operations_per_cpu_second"],
        "wall": steady["wall"]["longest"] / 1e6,
    }
