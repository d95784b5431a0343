"""What a look at the heap costs, and whether its answer is right.

The walk in C is compared with the pure one, with pympler's `asizeof`, and with the obvious
breadth-first loop over `gc.get_referents`, in turn over the same graphs. The last two answer an
easier question: how large is everything that can be reached, whatever else holds it. Then come the
census of a node's actors, and the predicted bytes against those that are really freed.
"""

from contextlib import ExitStack
from typing import Any

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress

COLUMNS = ("C", "pure", "pympler", "get_referents")
OBJECTS = 100_000

GRAPHS = {"dicts": "dicts of str and float", "tuples": "list of tuples", "slotted": "slotted instances"}
CENSUSES: dict[int, tuple[Goal, ...]] = {10_000: (Goal(3),), 100_000: ()}
CENSUS_ROUNDS, SMALL_CENSUS = 3, 10_000
SHAPES = ("dicts", "tuples", "slotted", "instances", "mixed", "coroutines")
ALLOWED = 512, 0.01
"""The error that is allowed: so many bytes, or this fraction of what is freed, whichever is
more."""


def run(options: Options) -> Report:
    columns = options.columns(COLUMNS)
    rounds = options.rounds_or(5)
    objects = options.scaled(OBJECTS)
    report = Report("heap", COLUMNS, [], {"rounds": rounds, "objects": objects, "clock": "CPU time of the thread"})
    with ExitStack() as alive:
        walks = alive.enter_context(Contender.module("heap_walks"))
        frees = alive.enter_context(Contender.module("heap_frees"))
        report.contenders |= {"walks": walks.hello, "frees": frees.hello}
        known = [column for column in columns if column in walks.hello["columns"]]
        report.notes += [f"{column}: not installed" for column in columns if column not in known]
        walk_rows(report, walks, known, objects, rounds)
        census_rows(report, walks, [column for column in known if column in ("C", "pure")], options, rounds)
        prediction_rows(report, frees, [column for column in known if column in ("C", "pure")], objects)
    if options.quick:
        report.drop_goals("the goals are about ten times as many objects and actors")
    return report


def walk_rows(report: Report, walks: Contender, columns: list[str], objects: int, rounds: int) -> None:
    for name, label in GRAPHS.items():
        row = Row(f"walk, {label}", "ns/object")
        alone = Row("the same, undisturbed", "ns/object", (Goal(20),))
        report.rows += [row, alone]
        for number in range(rounds):
            for column in in_turn(columns, number):
                answer = walks.ask("walk", name, objects, column)
                row.add(column, number, answer["value"] * 1e9 / answer["objects"])
            if "C" in columns:
                answer = walks.ask("undisturbed", name, objects)
                alone.add("C", number, answer["value"] * 1e9 / answer["objects"])
        progress(f"heap: {row.name}")


def census_rows(report: Report, walks: Contender, columns: list[str], options: Options, rounds: int) -> None:
    if "C" not in columns:
        return
    for count, goals in CENSUSES.items():
        actors = options.scaled(count)
        row = Row(f"census of {actors:,} actors, the walk", "ms")
        alone = Row("the same, undisturbed", "ms", goals)
        whole = Row(f"node.heap_census(), {actors:,} actors", "ms")
        report.rows += [row, alone, whole]
        small = count <= SMALL_CENSUS
        for number in range(min(rounds, CENSUS_ROUNDS) if small else 1):
            pure = "pure" in columns and small and number == 0
            answer = walks.ask("census", actors, "pure" if pure else "no", within=900)
            row.add("C", number, answer["C"] * 1e3)
            if pure:
                row.add("pure", number, answer["pure"] * 1e3)
            alone.add("C", number, answer["undisturbed"] * 1e3)
            whole.add("C", number, answer["node"] * 1e3)
            report.settings |= {f"an actor's {what}": round(answer[what]) for what in ("bytes", "objects")}
        progress(f"heap: {row.name}")


def prediction_rows(report: Report, frees: Contender, columns: list[str], objects: int) -> None:
    if not frees.hello["counts"]:
        report.notes.append("predictions: n/a, no C compiler for what counts the frees")
        return
    for shape in SHAPES:
        told: dict[str, Any] = {}
        for column in columns:
            told[column] = frees.ask("free", shape, objects, column)
        freed = max(answer["freed"] for answer in told.values())
        row = Row(f"prediction, {shape}: error", "bytes", (Goal(max(ALLOWED[0], freed * ALLOWED[1])),))
        report.rows.append(row)
        for column, answer in told.items():
            row.add(column, 0, abs(answer["predicted"] - answer["freed"]))
        first = next(iter(told.values()))
        error = first["predicted"] - first["freed"]
        report.notes.append(
            f"{shape}: predicted {first['predicted']:,}, freed {first['freed']:,}: {error:+,} B, "
            f"{100 * error / first['freed']:+.4f} %"
        )
        report.settings[shape] = told
        progress(f"heap: {row.name}")
