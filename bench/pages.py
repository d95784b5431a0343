"""Does killing actors return their memory? The resident set after half and 95 % of them were
killed.

Actors grow in turn, in random order, by some 5 kB a message, so that their objects lie side by side
where they can. Then half of them are killed, then 95 % in all. After each step the collector runs
and the allocators are trimmed, as the governor does under pressure. Three nodes do the same: with
heaps of their own, without them (CPython's pymalloc), and without them on plain malloc
(PYTHONMALLOC=malloc). A size is a mean; the actors have 0.3 to 1.7 times that size.

"RSS ÷ live": 1 is the best possible value. Live is what was resident before there were actors, plus
what the living hold according to a walk. "of before": what is left of the resident set before the
kills. With 5 % of the actors alive it cannot be less than the interpreter's own share, which is
printed as a row of its own.
"""

import sys

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress

COLUMNS = ("own heaps", "pymalloc", "malloc")
MODES = {"own heaps": "own", "pymalloc": "shared", "malloc": "shared"}
SIZES = {"1 KB": (1_000, 50_000), "20 KB": (20_000, 10_000), "130 KB": (130_000, 3_000), "2 MB": (2_000_000, 130)}
ORDERS = ("age", "random", "largest")


def contender(column: str, size: int, order: str, count: int) -> Contender:
    command = [sys.executable, "-m", "bench.pages_actorkit", MODES[column], str(size), order, str(count)]
    if column == "malloc":
        command = ["env", "PYTHONMALLOC=malloc", *command]
    return Contender(*command)


def run(options: Options) -> Report:
    columns = options.columns(COLUMNS)
    rounds = options.rounds_or(1)
    rows: dict[tuple[str, str, str], Row] = {}
    for label in SIZES:
        for order in ORDERS:
            told = f"{label}, {'by age' if order == 'age' else order if order == 'random' else 'largest first'}"
            goal = (Goal(1.2),) if label in ("130 KB", "2 MB") else ()
            rows[label, order, "half"] = Row(f"{told}: half killed, RSS ÷ live", "×", goal)  # noqa: RUF001
            goal = (Goal(0.2),) if label in ("130 KB", "2 MB") else ()
            rows[label, order, "most"] = Row(f"{told}: 95 % killed, of before", "×", goal)  # noqa: RUF001
        rows[label, "", "least"] = Row(f"{label}: 95 % killed, of before, at best", "×")  # noqa: RUF001
        rows[label, "", "full"] = Row(f"{label}: nobody killed, RSS", "MB", (Goal(1.1, "pymalloc"),))
        rows[label, "", "pause"] = Row(f"{label}: longest trim", "ms")
    counts = {label: options.count or options.scaled(count) for label, (_, count) in SIZES.items()}
    report = Report("pages", COLUMNS, list(rows.values()), {"rounds": rounds, "counts": counts})
    everything: list[dict[str, object]] = []
    for number in range(rounds):
        for label, (size, _) in SIZES.items():
            for order in ORDERS:
                for column in in_turn(columns, number):
                    with contender(column, size, order, counts[label]) as node:
                        full, half, most = node.ask("fill"), node.ask("kill", 0.5), node.ask("kill", 0.95)
                        report.contenders[column] = node.hello
                    everything.append(
                        {"column": column, "size": label, "order": order, "full": full, "half": half, "most": most}
                    )
                    rows[label, order, "half"].add(column, number, half["rss"] / half["live"])
                    rows[label, order, "most"].add(column, number, most["rss"] / full["rss"])
                    if order == "random":
                        rows[label, "", "least"].add(column, number, most["live"] / full["rss"])
                        rows[label, "", "full"].add(column, number, full["rss"] / 1e6)
                        rows[label, "", "pause"].add(column, number, max(half["pause"], most["pause"]) * 1e3)
                progress(f"pages: round {number + 1} of {rounds}: {label}, {order}")
    report.settings["all"] = everything
    return report
