"""`python -m bench survive`: one case of the survival table, small enough to watch.

Some hundreds of connections under a real limit (a control group where that is permitted, RLIMIT_AS
on the server's process elsewhere), first actorkit, then the same workload against plain trio. The
terminal shows memory against the levels while it happens; at the end a picture of both is written.
Less than a minute.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from bench.load import raise_descriptor_limit
from bench.survival import cases
from bench.survival.__main__ import run_one
from bench.survival.contenders import CONTENDERS, Contender
from bench.survival.limit import make_limit, remove_stale
from bench.survival.picture import PANELS, picture
from bench.survival.runner import Run
from bench.survival.terminal import Screen

CONNECTIONS = 300
REDRAW_SECONDS = 0.25
ADDRESSES = 256 * cases.MIB
"""Under RLIMIT_AS mapped memory counts, and an interpreter maps much that it never touches."""


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    cgroups = not options.rlimit and can_make_groups()
    limit = cases.limit_for(options.connections) + (0 if cgroups else ADDRESSES)
    plan = cases.plan(options.case, options.connections, limit, quick=True)
    raise_descriptor_limit(min(options.connections * 2 + 500, 4_500))
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    remove_stale()
    document: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cases": {options.case: f"{cases.CASES[options.case][0]}: {plan.says}"},
        "limit": limit,
        "runs": [],
    }
    print(f"{options.case} {document['cases'][options.case]}; the limit is {limit / cases.MIB:.0f} MiB\n", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="survival-") as scratch:
            for name in PANELS:
                result = watched(CONTENDERS[name], plan, limit, Path(scratch), cgroups)
                document["runs"].append({"case": options.case, "contender": name, "number": 0, **result})
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    try:
        drawn = picture(document, options.case)
    except ValueError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return 1
    options.svg.write_text(drawn)
    print(f"\nmemory over time, side by side: {options.svg}")
    return 0


def can_make_groups() -> bool:
    """Is there a better limit here than RLIMIT_AS?"""
    with make_limit(64 * cases.MIB)[0] as limit:
        return limit.shared


def watched(contender: Contender, plan: cases.Plan, limit: int, scratch: Path, cgroups: bool) -> dict[str, Any]:
    """One run, drawn as it happens."""
    screen = Screen()

    async def draw(run: Run) -> None:
        while True:
            if run.observer is not None:
                screen.show(contender.name, run.observer.timeline, run.observer.told, limit, run.phase)
            await trio.sleep(REDRAW_SECONDS)

    result = run_one(contender, plan, limit, scratch, cgroups, draw)
    screen.done()
    print(f"{contender.name}: {verdict(result)}\n", flush=True)
    return result


def verdict(result: dict[str, Any]) -> str:
    """How it ended, in a sentence."""
    for why in ("n/a", "problem", "deadline"):
        if why in result:
            return f"{result[why]} ({result['where']})"
    kept = f"{result['kept']} of {result['good']} well-behaved connections are still served"
    if result.get("capacity"):
        kept += f", {result['capacity']:.0%} of what the limit can hold"
    if result["alive"]:
        return f"alive; {kept} ({result['where']})"
    how = "killed by the kernel" if result["killed_by_kernel"] else f"ended with status {result['exit']}"
    return f"dead, {how}; {kept} ({result['where']})"


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench survive", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", choices=[case for case in cases.CASES if case != "S3"], default="S2", help="S2")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help=f"default {CONNECTIONS}")
    parser.add_argument("--svg", type=Path, default=Path("survival.svg"), metavar="FILE", help="default survival.svg")
    parser.add_argument("--rlimit", action="store_true", help="RLIMIT_AS even where a control group could be made")
    options = parser.parse_args(argv)
    if not 50 <= options.connections <= 2_000:
        parser.error("--connections: 50 to 2,000, to be watched; python -m bench survival has no such bound")
    return options


if __name__ == "__main__":
    sys.exit(main())
