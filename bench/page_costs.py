"""What heaps of their own cost when no actor is killed: time and memory of the same programs with
and without them.

The actors have a budget and hold some 200 kB each, so they have heaps of their own where these are
on. Twenty of them allocate many objects and keep a tenth, twenty do the same with texts, and a
hundred send messages to each other. There are three processes for each program: with heaps of their
own, without them (CPython's pymalloc), and without budgets, so without the hook that counts
allocations. They run each row in turn, in many short rounds. Memory is the resident set three
seconds after the last round and a collection, less the resident set before there were actors.
"""

from contextlib import ExitStack

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress

COLUMNS = ("own heaps", "pymalloc", "no budgets")
MODES = {"own heaps": "own", "pymalloc": "shared", "no budgets": "none"}
PROGRAMS = {"objects": ("allocation-heavy", 100), "texts": ("text-heavy", 100), "messages": ("messaging", 10_000)}


def run(options: Options) -> Report:
    columns = options.columns(COLUMNS)
    rounds = options.rounds_or(15)
    times = {name: Row(label, "µs", (Goal(1.03, "pymalloc"),)) for name, (label, _) in PROGRAMS.items()}
    memory = {name: Row(f"{label}: memory", "MB", (Goal(1.1, "pymalloc"),)) for name, (label, _) in PROGRAMS.items()}
    counts = {name: options.scaled(count) for name, (_, count) in PROGRAMS.items()}
    report = Report("page_costs", COLUMNS, [*times.values(), *memory.values()], {"rounds": rounds, "counts": counts})
    for name, count in counts.items():
        with ExitStack() as alive:
            lasting = {
                column: alive.enter_context(Contender.module("page_costs_actorkit", MODES[column], name))
                for column in columns
            }
            report.contenders |= {column: contender.hello for column, contender in lasting.items()}
            for number in range(rounds):
                for column in in_turn(columns, number):
                    times[name].add(column, number, lasting[column].ask(count)["value"])
            for column in columns:
                memory[name].add(column, 0, lasting[column].ask(0)["held"] / 1e6)
        progress(f"page_costs: {name}")
    return report
