"""What a budget costs: the same messages with ``max_heap_size`` on and off, side by side.

There are two processes. In one each actor has a limit of 256 MiB, which no actor reaches, so the
benchmark measures counting, sizing and walking, not dying. In the other there is no limit. Both run
each row in turn, in many short rounds. Sizing of the messages is included. The sender holds the
int, the text and the dict; the nested message is made for each cast, so both columns contain the
cost of making it.

`before` is the column `on` with the actorkit of another working tree (`--base PATH`).
"""

from contextlib import ExitStack

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress

COLUMNS = ("on", "off", "before")
BEFORE = Goal(1.02, "before")

ROWS: dict[str, tuple[str, int, tuple[Goal, ...]]] = {
    "cast_int": ("bursts of casts, an int", 20_000, (Goal(1.08, "off"), BEFORE)),
    "cast_text": ("bursts of casts, 100 characters", 20_000, (Goal(1.08, "off"), BEFORE)),
    "cast_dict": ("bursts of casts, a dict of 10", 20_000, (Goal(1.08, "off"), BEFORE)),
    "cast_nested": ("casts of nested 100 kB, made anew", 100, (Goal(1.08, "off"), BEFORE)),
    "ping_pong": ("ping-pong", 20_000, (Goal(1.12, "off"), BEFORE)),
    "allocating": ("allocation-heavy handler", 200, (Goal(1.03, "off"), BEFORE)),
}


def run(options: Options) -> Report:
    columns = [column for column in options.columns(COLUMNS) if options.base or column != "before"]
    rounds = options.rounds_or(15)
    rows = {name: Row(label, "µs", goals) for name, (label, _, goals) in ROWS.items()}
    counts = {name: options.scaled(count) for name, (_, count, _) in ROWS.items()}
    report = Report("budget", COLUMNS, list(rows.values()), {"rounds": rounds, "counts": counts})
    with ExitStack() as alive:
        lasting = {column: alive.enter_context(side(column, options)) for column in columns}
        report.contenders |= {column: contender.hello for column, contender in lasting.items()}
        for number in range(rounds):
            for name, row in rows.items():
                for column in in_turn(columns, number):
                    row.add(column, number, lasting[column].ask(name, counts[name])["value"])
            progress(f"budget: round {number + 1} of {rounds}")
    return report


def side(column: str, options: Options) -> Contender:
    """The process that measures it."""
    if column == "before":
        assert options.base is not None
        return Contender.with_base(options.base, "budget_actorkit", "on")
    return Contender.module("budget_actorkit", column)
