"""``python -m actorkit doctor``: what is in force on this machine, tried out, and how to get the
rest."""

from __future__ import annotations

import argparse
import json
import platform
from typing import Final

from .doctor.examination import Verdict, examine
from .heap import walk
from .heap.interpreter.versions import WHY_UNKNOWN

BROKEN: Final = 1
"""The exit status if something should work here, and did not when it was tried."""

UNSUPPORTED: Final = 2
"""The exit status on an interpreter that the package is not made for."""


def doctor(*, as_json: bool = False) -> int:
    """Try each capability, and print a row for it: it works, or why not and what to do.

    Returns:
        0, also where something is missing: that is no error. ``BROKEN`` or ``UNSUPPORTED`` is one.
    """
    rows = examine()
    language = "C" if walk.IMPLEMENTATION == "c" else "Python"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if as_json:
        table = [{"name": row.name, "verdict": row.verdict.value, "why": row.why} for row in rows]
        print(json.dumps({"python": python, "walk": language, "capabilities": table}, indent=2))
    else:
        print(f"{python}; the heap walk is in {language}")
        for row in rows:
            print(f"  {row.name:20} {row.verdict.value}{': ' + row.why if row.why else ''}")
    if WHY_UNKNOWN is not None:
        return UNSUPPORTED
    return BROKEN if any(row.verdict is Verdict.BROKEN for row in rows) else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m actorkit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    about = "what of the memory budgets works here, tried out in a few seconds, and how to get the rest"
    command = commands.add_parser("doctor", help=about, description=about)
    command.add_argument("--json", action="store_true", help="the same for programs")
    return doctor(as_json=parser.parse_args().json)


if __name__ == "__main__":
    raise SystemExit(main())
