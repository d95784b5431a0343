"""Writes docs/conformance.md from the catalogue and from the tests that bear its ids: ``python -m
tests.conformance.table``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .catalogue import CASES, SUITES, Case
from .marks import ROOT, Marked, marked_tests

DOCUMENT = ROOT / "docs" / "conformance.md"

HEAD = """# Conformance

What the test suites of Erlang/OTP and Elixir assert, case by case, and how actorkit stands to it.
`python -m tests.conformance.table` writes this table from tests/conformance/catalogue.toml and from
the tests that bear the ids. A test fails when it is out of date, when a case has no row, or when
one that applies has no test.

*Same* means the same behaviour in Python's way: errors are exceptions, milliseconds are seconds, a
pid is a ref. Where something is *different*, the tests assert our behaviour, and
[semantics.md](semantics.md) has the row, in the section that is linked.
*Not applicable* is only what cannot exist here.
"""


def _verdict(case: Case) -> str:
    if case.verdict == "differs":
        anchor = "".join(c for c in case.section.lower().replace(" ", "-") if c.isalnum() or c in "-_")
        return f"[differs](semantics.md#{anchor}): {case.why}"
    return f"{case.verdict}: {case.why}" if case.why else case.verdict


def _tests(tests: list[Marked]) -> str:
    files = Counter(marked.file.removeprefix("tests/") for marked in {(m.file, m.test): m for m in tests}.values())
    return ", ".join(f"{file} ({count})" for file, count in files.items())


def document() -> str:
    """The whole text."""
    found = marked_tests()
    lines = [HEAD]
    for suite in SUITES:
        lines += [f"## {suite.title}\n", "| id | asserted | ours | tests |", "|---|---|---|---|"]
        for case in suite.cases:
            cells = (case.id, case.what, _verdict(case), _tests(found.get(case.id, [])))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    counts = Counter(case.verdict for case in CASES.values())
    tests = {(m.file, m.test) for marks in found.values() for m in marks}
    lines += ["## Counts\n", "| | cases |", "|---|---|"]
    for verdict in ("same", "differs", "not applicable", "needs two nodes"):
        lines.append(f"| {verdict} | {counts[verdict]} |")
    lines += [
        f"| all | {len(CASES)} |",
        "",
        f"{len(tests)} test functions bear ids; many are run with many parameters.",
    ]
    return "\n".join(lines) + "\n"


def write(path: Path = DOCUMENT) -> None:
    path.write_text(document())


if __name__ == "__main__":
    write()
