"""What a message, a call and an actor cost: actorkit, OTP's gen_server, and tasks with channels on
plain trio.

Each row is measured by each contender in each round, one after the other, the same way:

cast            bursts of 1,000 messages, which fit into actorkit's default mailbox, each followed
                by one call or its like, so that nothing is ever refused and everything is handled
                when the clock stops. Time per message, sending and handling together. On the BEAM
                the two run on different cores.
call            one caller, one call after the other. actorkit's and OTP's have a deadline of 5 s;
                plain trio's has none.
ping-pong       two actors send each other casts, one message in flight. Time per message.
spawn           thousands in a row, all staying alive, until each of them is ready for messages.
idle memory     100,000 idle ones, in a process of its own: growth of the RSS for Python, of
                `erlang:memory(total)` for the BEAM, so everything that belongs to an actor counts.

An actorkit handler may be synchronous or not; gen_server's callbacks have no such distinction, so
both rows stand beside the same measurement of OTP. A synchronous handler of an idle actor runs
inside `call`.

Not measured: messages larger than an int (the BEAM copies them, Python does not), many cores (the
BEAM uses them).
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.harness import Contender, Goal, Options, Report, Row, in_turn, progress, selected

COLUMNS = ("actorkit", "gen_server", "trio")
NO_BEAM = "gen_server n/a: there is no `erl` here (Debian: apt install erlang-base)"
FRESH = "idle"  # measured in a process of its own

# row: how many, unit, goals
ROWS: dict[str, tuple[str, int, str, tuple[Goal, ...]]] = {
    "cast_sync": ("cast, sync handler", 200_000, "µs", (Goal(3.5, "gen_server"),)),
    "cast_async": ("cast, async handler", 200_000, "µs", (Goal(3.5, "gen_server"),)),
    "call_async": ("call, async handler", 20_000, "µs", (Goal(8, "gen_server"),)),
    "call_sync": ("call, sync handler, inline", 100_000, "µs", (Goal(0.8, "gen_server"),)),
    "spawn": ("spawn", 50_000, "µs", (Goal(0.9, "gen_server"),)),
    "ping_pong": ("ping-pong, one way", 200_000, "µs", (Goal(2.5, "gen_server"),)),
    "idle": ("idle memory", 100_000, "bytes", (Goal(0.15, "gen_server"), Goal(400))),
}


def run(options: Options) -> Report:
    columns = options.columns(COLUMNS)
    names = selected("--row", options.rows, list(ROWS))
    rounds = options.rounds_or(7)
    rows = {name: Row(label, unit, goals) for name, (label, _, unit, goals) in ROWS.items() if name in names}
    counts = {name: options.scaled(ROWS[name][1]) for name in names}
    report = Report("messaging", COLUMNS, list(rows.values()), {"rounds": rounds, "counts": counts})
    if "gen_server" in columns and shutil.which("erl") is None:
        columns.remove("gen_server")
        report.notes.append(NO_BEAM)

    with tempfile.TemporaryDirectory() as scratch, ExitStack() as alive:
        if "gen_server" in columns:
            compile_beam(Path(scratch))
        lasting = {column: alive.enter_context(start(column, scratch)) for column in columns}
        report.contenders |= {column: contender.hello for column, contender in lasting.items()}
        for number in range(rounds):
            for name, row in rows.items():
                for column in in_turn(columns, number):
                    if name == FRESH:
                        with start(column, scratch) as contender:
                            answer = contender.ask(name, counts[name])
                    else:
                        answer = lasting[column].ask(name, counts[name])
                    row.add(column, number, answer["value"])
            progress(f"messaging: round {number + 1} of {rounds}")
    return report


def compile_beam(into: Path) -> None:
    """`erl` includes its compiler; `erlc` is only another way to call it."""
    source = Path(__file__).with_name("beam.erl")
    compiled = f'compile:file("{source}", [report, {{outdir, "{into}"}}])'
    code = f"case {compiled} of {{ok, _}} -> halt(0); _ -> halt(1) end."
    subprocess.run(["erl", "-noshell", "-eval", code], check=True, timeout=60)


@contextmanager
def start(column: str, scratch: str) -> Iterator[Contender]:
    if column == "gen_server":
        contender = Contender("erl", "-noshell", "-pa", scratch, "-s", "beam", "main")
    else:
        contender = Contender.module(f"messaging_{column}")
    with contender:
        yield contender
