"""`python -m bench NAME`: run one benchmark, print its table, optionally write its JSON."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import budget, connections, governor, heap, messaging, million, page_costs, pages, passes
from bench.harness import ContenderError, Options, Report
from bench.soak import __main__ as soak
from bench.survival import __main__ as survival
from bench.survival import watch

BENCHMARKS: dict[str, Callable[[Options], Report]] = {
    "messaging": messaging.run,
    "million": million.run,
    "connections": connections.run,
    "budget": budget.run,
    "heap": heap.run,
    "pages": pages.run,
    "page_costs": page_costs.run,
    "governor": governor.run,
    "passes": passes.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] == "survival":  # a benchmark of another kind, with its own options
        return survival.main(words[1:])
    if words and words[0] == "soak":
        return soak.main(list(words[1:]))
    if words and words[0] == "survive":
        return watch.main(words[1:])
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog="survival, survive, soak: see --help there"
    )
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round here")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take the median of")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round: does it run?")
    parser.add_argument("--only", action="append", default=[], metavar="COLUMN", help="only this column (may repeat)")
    parser.add_argument(
        "--row", action="append", default=[], metavar="ROW", help="messaging, passes: only this row (may repeat)"
    )
    parser.add_argument(
        "--count", type=int, metavar="N", help="million: actors; connections: connections; passes: only this number"
    )
    parser.add_argument(
        "--base", type=Path, metavar="PATH", help="budget, page_costs: a working tree to compare with, in turn"
    )
    args = parser.parse_args(argv)
    if args.rounds is not None and args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: at least 1")
    if args.count is not None and args.count < 1:
        parser.error(f"--count {args.count}: at least 1")
    if args.row and args.name not in ("messaging", "passes"):
        parser.error("--row: only messaging and passes can be run by rows")
    if args.count and args.name == "messaging":
        parser.error("--count: not for messaging, whose rows have a count each")

    if args.base and args.name not in ("budget", "page_costs"):
        parser.error("--base: only budget and page_costs compare with another working tree")

    options = Options(args.rounds, args.quick, tuple(args.only), tuple(args.row), args.count, args.base)
    try:
        report = BENCHMARKS[args.name](options)
    except ValueError as error:
        parser.error(str(error))
    except ContenderError as error:
        print(f"bench {args.name}: {error}", file=sys.stderr)
        return 1
    if args.quick:
        report.notes.append("--quick: this shows that it runs; do not quote its figures")
    print(report.table())
    if args.json is not None:
        args.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
