"""A million actors on one node: how much memory, how long.

A process of its own spawns the actors, sends each a message that stays queued, and then lets all of
them run; each answers with a message to one tally. RSS is read after each step, and counts
everything: the interpreter, the node, the list of refs. The seconds cover spawning, sending and
answering together, without a collection by hand; they do not include reading the RSS. Actors with
any real state are not measured.
"""

from bench.harness import Contender, Goal, Options, Report, Row, progress

COUNT = 1_000_000

ROWS: dict[str, tuple[str, str, tuple[Goal, ...]]] = {
    "rss_idle": ("RSS, all idle", "MiB", (Goal(450),)),
    "rss_queued": ("RSS, a message queued at each", "MiB", (Goal(640),)),
    "rss_after": ("RSS, all have answered", "MiB", ()),
    "spawn": ("spawn", "s", ()),
    "send": ("send each a message", "s", ()),
    "answer": ("each handles it and answers", "s", ()),
    "total": ("spawn, send, answer", "s", (Goal(6),)),
}


def run(options: Options) -> Report:
    columns = options.columns(("actorkit",))
    count = options.count or options.scaled(COUNT)
    rounds = options.rounds_or(3)
    rows = {name: Row(label, unit, goals) for name, (label, unit, goals) in ROWS.items()}
    report = Report("million", columns, list(rows.values()), {"rounds": rounds, "actors": count})
    report.notes.append(f"{count:,} actors")
    if count != COUNT:
        report.drop_goals(f"the goals are for {COUNT:,}")
    for number in range(rounds):
        with Contender.module("million_actorkit") as contender:
            report.contenders["actorkit"] = contender.hello
            answer = contender.ask("go", count, within=60 + count * 100e-6)
        for name, row in rows.items():
            row.add("actorkit", number, answer[name])
        progress(f"million: round {number + 1} of {rounds}")
    return report
