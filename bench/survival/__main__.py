"""`python -m bench survival`: the survival table. What the columns mean is in
bench/survival/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from bench.harness import machine, progress
from bench.load import raise_descriptor_limit
from bench.survival import cases, report
from bench.survival.contenders import CONTENDERS, Contender
from bench.survival.limit import remove_stale
from bench.survival.runner import Watch, run_case

Document = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    limit = options.limit or cases.limit_for(options.connections)
    plans = {
        case: cases.paced(cases.plan(case, options.connections, limit, options.quick), options.pace)
        for case in options.case or cases.CASES
    }
    document = resumed(options, limit) if options.resume else None
    if document is None:
        document = {
            "benchmark": "survival",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "connections": options.connections,
            "limit": limit,
            "quick": options.quick,
            "pace": options.pace,
            "rlimit": options.rlimit,
            "where": "",
            "cases": {},
            "runs": [],
        }
    document["cases"] |= {case: f"{cases.CASES[case][0]}: {plan.says}" for case, plan in plans.items()}
    document["cases"] = dict(sorted(document["cases"].items()))
    raise_descriptor_limit(min(options.connections * 2 + 500, 4_500))
    # As a Ctrl-C, which trio raises where nothing is left half done, so that the
    # run cleans up.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    for group in remove_stale():
        progress(f"survival: removed {group}, which an earlier run had left behind")
    try:
        with tempfile.TemporaryDirectory(prefix="survival-") as scratch:
            run_all(options, document, plans, limit, Path(scratch))
    except KeyboardInterrupt:
        print(report.table(document))
        print("interrupted; the rest is for --resume", file=sys.stderr)
        return 130
    print(report.table(document))
    return 0


def run_all(
    options: argparse.Namespace, document: Document, plans: dict[str, cases.Plan], limit: int, scratch: Path
) -> None:
    done = {(run["case"], run["contender"], run["number"]) for run in document["runs"]}
    for case, plan in plans.items():
        for name, contender in CONTENDERS.items():
            if options.only and name not in options.only:
                continue
            for number in range(options.runs if contender.subject else 1):
                if (case, name, number) in done:
                    continue
                began = time.monotonic()
                result = run_one(contender, plan, limit, scratch, not options.rlimit)
                document["where"] = result["where"]
                seconds = round(time.monotonic() - began, 1)
                document["runs"].append(
                    {"case": case, "contender": name, "number": number, "seconds": seconds, **result}
                )
                document["runs"].sort(key=lambda run: (run["case"], list(CONTENDERS).index(run["contender"])))
                save(options.json, document)
                progress(f"survival {case}: " + " | ".join(report.cells(name, [result])[:5]) + f" | {seconds:.0f} s")


def run_one(
    contender: Contender, plan: cases.Plan, limit: int, scratch: Path, cgroups: bool, watch: Watch | None = None
) -> Document:
    try:
        return trio.run(run_case, contender, plan, limit, scratch, cgroups, watch)
    except BaseExceptionGroup as group:  # trio wraps a Ctrl-C like any other exception
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        raise


def save(file: Path | None, document: Document) -> None:
    """Write the file whole or not at all: an interrupted write must not lose the earlier runs."""
    if file is not None:
        beside = file.with_name(file.name + ".new")
        beside.write_text(json.dumps(document))
        os.replace(beside, file)


def resumed(options: argparse.Namespace, limit: int) -> Document | None:
    if options.json is None:
        raise SystemExit("--resume: from which --json FILE?")
    if not options.json.exists():
        return None
    document: Document = json.loads(options.json.read_text())
    asked: Document = {
        "connections": options.connections,
        "limit": limit,
        "quick": options.quick,
        "pace": options.pace,
        "rlimit": options.rlimit,
    }
    found = {name: document.get(name, False) for name in asked}
    if asked != found:
        raise SystemExit(f"--resume: {options.json} has {found}; asked for {asked}")
    return document


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench survival", description=__doc__)
    parser.add_argument("--case", action="append", choices=cases.CASES, help="only this one (may repeat)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every run; kept up to date")
    parser.add_argument("--resume", action="store_true", help="go on with what is in FILE")
    parser.add_argument("--only", action="append", choices=CONTENDERS, help="only this contender (may repeat)")
    parser.add_argument("--runs", type=int, default=10, help="of actorkit, in each case (10); the others run once")
    parser.add_argument("--connections", type=int, default=cases.FULL_SIZE, help=f"default {cases.FULL_SIZE}")
    parser.add_argument("--limit", type=mebibytes, metavar="MIB", help="the node's limit (fits connections)")
    parser.add_argument("--pace", type=float, default=1.0, help="offer everything so many times more slowly (1)")
    parser.add_argument("--rlimit", action="store_true", help="RLIMIT_AS on the server's process, not a cgroup")
    parser.add_argument("--quick", action="store_true", help="one run, a shorter storm, 300 connections unless given")
    options = parser.parse_args(argv)
    if options.quick:
        options.runs = 1 if options.runs == 10 else options.runs
        options.connections = 300 if options.connections == cases.FULL_SIZE else options.connections
    if options.connections < 50:
        parser.error("--connections: at least 50")
    if options.pace <= 0 or options.runs < 1:
        parser.error("--pace and --runs: more than 0")
    return options


def mebibytes(text: str) -> int:
    return int(text) * cases.MIB


if __name__ == "__main__":
    sys.exit(main())
