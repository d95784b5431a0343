"""What a governor's looks and rounds take, and how soon it acts.

It measures a look that finds nothing to do, a look at SHED that goes through the mailboxes, and
rounds of kills with their census, from the look that finds the node at KILL until the last of the
victims has ended. There are three kinds of nodes: a crowd of similar small actors, the same with a
budget each, and one in which every hundredth actor is a hog. It also measures the time from the
crossing of a threshold to the first action. governor_rounds.py says how each is measured.
"""

from contextlib import ExitStack
from typing import Any

from bench.harness import Contender, Goal, Options, Report, Row, progress

COLUMNS = {"C": "0", "pure": "1"}
"""The columns; each sets ACTORKIT_PURE to the value given here."""
SMALL, LARGE = 10_000, 100_000
TICK_GOALS = {SMALL: (Goal(1),), LARGE: (Goal(10),)}
ROUND_GOALS = {SMALL: (Goal(5),), LARGE: (Goal(40),)}
TICKS = {"real": "look, NORMAL, the real source", "SHED": "look, SHED, through all mailboxes"}
KINDS = {"crowd": "a crowd alike", "budgets": "a crowd with budgets", "hogs": "a hog in a hundred"}
PARTS = {"look": "the look", "census": "the census", "choice": "the choice", "ends": "until the victims have ended"}
FILLING = (50, 400)
"""The rates of filling, in MiB a second."""


def side(column: str) -> Contender:
    return Contender.module("governor_rounds", env={"ACTORKIT_PURE": COLUMNS[column]})


def run(options: Options) -> Report:
    columns = options.columns(tuple(COLUMNS))
    rounds = options.rounds_or(3)
    report = Report(
        "governor", tuple(COLUMNS), [], {"rounds": rounds, "clock": "CPU time of the thread; latency: real time"}
    )
    with ExitStack() as alive:
        sides = {name: alive.enter_context(side(name)) for name in columns}
        report.contenders |= {name: one.hello for name, one in sides.items()}
        if "C" in sides and sides["C"].hello["implementation"] != "c":
            report.notes.append("C: n/a, the extension is not built")
            del sides["C"]
        for count in (SMALL, LARGE):
            tick_rows(report, sides, count, options, rounds)
            round_rows(report, sides, count, options, rounds)
        latency_rows(report, sides, options, rounds)
    if options.quick:
        report.drop_goals("the goals are about ten times as many actors")
    return report


def tick_rows(report: Report, sides: dict[str, Contender], count: int, options: Options, rounds: int) -> None:
    actors = options.scaled(count)
    for which, label in TICKS.items():
        row = Row(f"{label}, {actors:,} actors", "ms")
        alone = Row("the same, undisturbed", "ms", TICK_GOALS[count])
        report.rows += [row, alone]
        for number in range(rounds):
            for name, contender in sides.items():
                answer = contender.ask("tick", actors, which)
                row.add(name, number, answer["value"] * 1e3)
                alone.add(name, number, answer["undisturbed"] * 1e3)
        progress(f"governor: {row.name}")


def round_rows(report: Report, sides: dict[str, Contender], count: int, options: Options, rounds: int) -> None:
    actors = options.scaled(count)
    for kind, label in KINDS.items():
        row = Row(f"KILL round, {actors:,}, {label}", "ms")
        alone = Row("the same, undisturbed", "ms", ROUND_GOALS[count])
        parts = {part: Row(f"  of it {words}", "ms") for part, words in PARTS.items()}
        report.rows += [row, alone, *parts.values()]
        for number in range(rounds):
            for name, contender in sides.items():
                if name == "pure" and (number or count == LARGE):
                    continue  # it takes seconds
                answer: dict[str, Any] = contender.ask("round", actors, kind, within=900)
                row.add(name, number, answer["value"] * 1e3)
                alone.add(name, number, answer["undisturbed"] * 1e3)
                for part, line in parts.items():
                    line.add(name, number, answer[part] * 1e3)
                report.settings[f"victims of a round, {kind}"] = answer["victims"]
        progress(f"governor: {row.name}")


def latency_rows(report: Report, sides: dict[str, Contender], options: Options, rounds: int) -> None:
    row, worst = Row("act after a wake, scripted source", "ms"), Row("  the slowest of twenty", "ms")
    report.rows += [row, worst]
    for number in range(rounds):
        for name, contender in sides.items():
            answer = contender.ask("latency", "scripted")
            row.add(name, number, answer["value"] * 1e3)
            worst.add(name, number, answer["worst"] * 1e3)
    for rate in FILLING[:1] if options.quick else FILLING:
        alarm = Row(f"alarm after 70 % is crossed, {rate} MiB/s", "ms")
        kill = Row(f"kill after 90 % is crossed, {rate} MiB/s", "ms")
        peak = Row(f"the most that was used, {rate} MiB/s", "% of limit")
        report.rows += [alarm, kill, peak]
        for number in range(rounds):
            for name in sides:
                with side(name) as fresh:
                    answer = fresh.ask("latency", "real", rate)
                alarm.add(name, number, answer["alarm"] * 1e3)
                kill.add(name, number, answer["kill"] * 1e3)
                peak.add(name, number, answer["peak"] * 100)
        progress(f"governor: {alarm.name}")
    report.notes.append("0 ms after a crossing: by forecast it was before")
