"""What a look at the heap costs, and whether its answer is right.

The walk in C is compared with the pure one, with pympler's `asizeof`, and with the obvious
breadth-first loop over `gc.get_referents`, in turn over the same graphs. The last two answer an
easier question: how large is everything that can be reached, whatever else holds it. Then come the
census of a node's actors, looks at actors with cycles beside a world of shared objects, how often
ordinary programs are looked at, and the predicted bytes against those that are really freed.
"""

from contextlib import ExitStack
from typing import Any

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress

COLUMNS = ("C", "pure", "pympler", "get_referents")
OBJECTS = 100_000

GRAPHS = {"dicts": "dicts of str and float", "tuples": "list of tuples", "slotted": "slotted instances"}
CENSUSES: dict[int, tuple[Goal, ...]] = {10_000: (Goal(1.5),), 100_000: ()}
CENSUS_ROUNDS, LOOK_ROUNDS, SMALL_CENSUS = 3, 3, 10_000
SHAPES = ("dicts", "tuples", "slotted", "instances", "mixed", "coroutines")
CYCLES = {"tree": "a tree with parents", "linked_dicts": "linked dicts", "linked_slots": "linked instances with slots"}
SIZES = {8: Goal(60), 64: Goal(120)}
PROGRAMS = {
    "Json": "json",
    "Attrs": "attrs objects",
    "Churn": "churn at 80 % of the limit",
    "FailingRequests": "failing requests, whose tracebacks are cycles",
    "CyclicGarbage": "cyclic garbage, 0.4 MB a message",
    "TreeReplaced": "a tree with parents, replaced now and then",
}
WITHOUT_CYCLES = ("Json", "Attrs", "Churn")
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
        if "C" in known:
            looks = alive.enter_context(Contender.module("heap_own_pass"))
            report.contenders["looks"] = looks.hello
            look_rows(report, looks, options, rounds)
            ordinary_rows(report, looks)
        prediction_rows(report, frees, [column for column in known if column in ("C", "pure")], objects)
    if options.quick:
        report.drop_goals("the goals are about ten times as many objects and actors")
    return report


def walk_rows(report: Report, walks: Contender, columns: list[str], objects: int, rounds: int) -> None:
    for name, label in GRAPHS.items():
        row = Row(f"walk, {label}", "ns/object")
        alone = Row("the same, undisturbed", "ns/object", (Goal(10),))
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


def look_rows(report: Report, looks: Contender, options: Options, rounds: int) -> None:
    """Beside 250,000 objects that everybody shares. Nanoseconds for each object that is found."""

    def measured(row: Row, kind: str, shape: str, megabytes: int) -> None:
        report.rows.append(row)
        for number in range(min(rounds, LOOK_ROUNDS)):
            answer = looks.ask(kind, shape, options.scaled(megabytes * 10**6))
            row.add("C", number, answer["value"] * 1e9 / max(1, answer["objects"]))
        mark = "" if answer["exact"] else ", not exact"
        report.notes.append(
            f"{row.name}: {answer['objects']:,} objects, {answer['bytes']:,} B, {answer['value'] * 1e3:.3g} ms{mark}"
        )
        progress(f"heap: {row.name}")

    measured(Row("first pass beside a world, 8 MB of dicts", "ns/object", (Goal(10),)), "first", "rows", 8)
    if not looks.hello["own_pass"]:
        report.notes.append("own pass: n/a, the walk has none")
        return
    for megabytes, goal in SIZES.items():
        for shape, label in CYCLES.items():
            measured(Row(f"own pass, {megabytes} MB, {label}", "ns/object", (goal,)), "look", shape, megabytes)


def ordinary_rows(report: Report, looks: Contender) -> None:
    """How often each pass runs, and whether anybody is ended."""
    for program, label in PROGRAMS.items():
        answer = looks.ask("ordinary", program)
        first = Row(f"{label}: first passes", "times")
        own = Row(f"{label}: own passes", "times", (Goal(0),) if program in WITHOUT_CYCLES else ())
        killed = Row(f"{label}: actors ended", "actors", (Goal(0),))
        for row, key in ((first, "first"), (own, "own"), (killed, "killed")):
            row.add("C", 0, answer[key])
            report.rows.append(row)
        report.notes.append(
            f"{label}: {answer['allocated'] / 2**20:,.0f} MiB allocated in {answer['seconds']:.2f} s, "
            f"{answer['allocated'] / answer['limit']:,.0f} times the limit"
        )
    progress("heap: ordinary programs")


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
