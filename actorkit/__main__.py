"""``python -m actorkit doctor``: what is in force on this machine, and how to get the rest."""

from __future__ import annotations

import argparse
import platform

import attrs

from .heap import walk
from .heap.capabilities import capabilities, remedies


def doctor() -> int:
    """Print each capability, and for each that is missing the reason. Returns 0: a missing one is
    no error."""
    found, missing = capabilities(), remedies()
    language = "C" if walk.IMPLEMENTATION == "c" else "Python"
    print(f"{platform.python_implementation()} {platform.python_version()}; the heap walk is in {language}")
    for name, there in attrs.asdict(found).items():
        print(f"  {name:16} {'yes' if there else 'no: ' + missing.get(name, '')}")
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m actorkit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what of the memory budgets is in force here, and how to get the rest")
    parser.parse_args()
    return doctor()


if __name__ == "__main__":
    raise SystemExit(main())
