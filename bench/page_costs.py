"""What heaps of their own cost when no actor is killed: time and memory of the same programs with
and without them.

The actors have a budget and hold some 200 kB each, so they have heaps of their own where these are
on. Twenty of them allocate many objects and keep a tenth, twenty do the same with texts, and a
hundred send messages to each other. Forty more make texts and bytearrays of 0.5 to 4 kB: these are
too large for the pages of a heap, and are counted in a ledger.

There are three processes for each program: with heaps of their own, without them (CPython's
pymalloc), and without budgets, so without the hook that counts allocations. They run each row in
turn, in many short rounds. Memory is the resident set three seconds after the last round and a
collection, less the resident set before there were actors.

`before` is the column `own heaps` with the actorkit of another working tree (`--base PATH`).
"""

from contextlib import ExitStack

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress

COLUMNS = ("own heaps", "pymalloc", "no budgets", "before")
MODES = {"own heaps": "own", "pymalloc": "shared", "no budgets": "none", "before": "own"}
PROGRAMS = {
    "objects": ("allocation-heavy", 100, (Goal(1.03, "pymalloc"), Goal(1.02, "before"))),
    "texts": ("text-heavy", 100, (Goal(1.03, "pymalloc"), Goal(1.02, "before"))),
    "messages": ("messaging", 10_000, (Goal(1.03, "pymalloc"), Goal(1.02, "before"))),
    "large_texts": ("texts of 0.5 to 4 kB", 100, (Goal(1.06, "before"),)),
    "bytearrays": ("bytearrays of 0.5 to 4 kB", 100, (Goal(1.06, "before"),)),
}


def run(options: Options) -> Report:
    columns = [column for column in options.columns(COLUMNS) if options.base or column != "before"]
    rounds = options.rounds_or(15)
    times = {name: Row(label, "µs", goals) for name, (label, _, goals) in PROGRAMS.items()}
    memory = {name: Row(f"{label}: memory", "MB", (Goal(1.1, "pymalloc"),)) for name, (label, *_) in PROGRAMS.items()}
    counts = {name: options.scaled(count) for name, (_, count, _) in PROGRAMS.items()}
    report = Report("page_costs", COLUMNS, [*times.values(), *memory.values()], {"rounds": rounds, "counts": counts})
    for name, count in counts.items():
        with ExitStack() as alive:
            lasting = {column: alive.enter_context(side(column, name, options)) for column in columns}
            report.contenders |= {column: contender.hello for column, contender in lasting.items()}
            for number in range(rounds):
                for column in in_turn(columns, number):
                    times[name].add(column, number, lasting[column].ask(count)["value"])
            for column in columns:
                memory[name].add(column, 0, lasting[column].ask(0)["held"] / 1e6)
        progress(f"page_costs: {name}")
    return report


def side(column: str, program: str, options: Options) -> Contender:
    """The process that measures it."""
    arguments = "page_costs_actorkit", MODES[column], program
    if column == "before":
        assert options.base is not None
        return Contender.with_base(options.base, *arguments)
    return Contender.module(*arguments)
