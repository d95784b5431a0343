"""Random abuse with other people's C extensions: ``python -m tests.prove.extensions --seed N
--minutes M``.

A child process does one round a seed, from N on (``extensions_rounds``). When it crashes, hangs or
finds something wrong, its seed is told and another child goes on with the next seed. So a run goes
on where another has ended, and a seed that went wrong is tried alone with ``--rounds 1``.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent.parent
HANG = 600
"""Seconds after which a round is taken to hang."""


@attrs.define
class Tally:
    """What all children together have come to."""

    seed: int
    """The next one."""
    rounds: int = 0
    wrong: list[str] = attrs.field(factory=list)
    last: str = ""


def run_child(tally: Tally, until: float, rounds: int) -> None:
    """Run one child until it ends, is late, or has nothing left to do."""
    before = tally.rounds
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.prove.extensions_rounds",
        str(tally.seed),
        str(rounds),
    ]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}
    with (
        subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child,
        selectors.DefaultSelector() as selector,
    ):
        assert child.stdout is not None
        assert child.stderr is not None
        os.set_blocking(child.stderr.fileno(), False)
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        said, complained = b"", b""
        heard = time.monotonic()
        open_pipes = 2
        while open_pipes and time.monotonic() < until:
            if time.monotonic() - heard > HANG:
                child.send_signal(signal.SIGABRT)  # faulthandler tells where it hangs
                tally.wrong.append(f"seed {tally.seed}: hangs")
                heard = time.monotonic()
            for key, _ in selector.select(1):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                    open_pipes -= 1
                elif key.fileobj is child.stderr:
                    complained = (complained + data)[-20_000:]
                else:
                    heard = time.monotonic()
                    said += data
                    *lines, said = said.split(b"\n")
                    for line in lines:
                        take(tally, line.decode())
                        if tally.rounds % 20 == 0:
                            print(f"{tally.rounds} rounds, {len(tally.wrong)} wrong", flush=True)
        if open_pipes:
            child.kill()  # time is up; this round counts for nothing
        elif child.wait() != 0:
            tally.wrong.append(f"seed {tally.seed}: exit status {child.returncode}")
            print(tally.wrong[-1], complained.decode(errors="replace")[-3_000:], sep="\n", flush=True)
            if tally.rounds == before:
                sys.exit("not even one round")
            tally.seed += 1


def take(tally: Tally, line: str) -> None:
    """A line of a child: ``SEED ok WHAT`` or ``SEED wrong WHAT``."""
    seed, verdict, what = line.split(" ", 2)
    tally.seed = int(seed) + 1
    tally.rounds += 1
    tally.last = what
    if verdict != "ok":
        tally.wrong.append(f"seed {seed}: {what}")
        print(tally.wrong[-1], flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=10**9, help="at most so many")
    args = parser.parse_args(argv)
    tally = Tally(args.seed)
    until = time.monotonic() + args.minutes * 60
    while time.monotonic() < until and tally.rounds < args.rounds and len(tally.wrong) < 50:
        run_child(tally, until, args.rounds - tally.rounds)
    print(f"last round: {tally.last}")
    bad = f"{len(tally.wrong)} wrong: {'; '.join(tally.wrong[:10])}" if tally.wrong else "all right"
    print(f"extensions: seeds {args.seed} to {tally.seed - 1}, {tally.rounds} rounds, {bad}")
    return 1 if tally.wrong or not tally.rounds else 0


if __name__ == "__main__":
    sys.exit(main())
