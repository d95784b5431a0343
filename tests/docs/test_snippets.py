"""The Python blocks of the pages run, in order, and print what the pages say they print.

The blocks of one page run in one namespace, in a process of their own. A ``text`` block that a line
ending in "prints:" leads to is compared with the output of the block before it; ``…`` in it stands
for anything on that line. ``<!-- not run -->`` before a block leaves it out.

Time stands still in the blocks while anything happens, and jumps to the next deadline when nothing
has happened for a tenth of a second: what they print does not depend on the machine's speed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "docs/tutorial.md", "docs/extending.md")

SEPARATOR = "\x1e"

RUNNER = """
import sys, trio, trio.testing
page, separator = sys.argv[1], sys.argv[2]
run = trio.run
trio.run = lambda *args, **options: run(*args, **{"clock": trio.testing.MockClock(autojump_threshold=0.1), **options})
namespace = {"__name__": "__main__"}
for block in sys.stdin.read().split(separator):
    line, _, source = block.partition("\\n")
    exec(compile("\\n" * int(line) + source, page, "exec"), namespace)
    print(separator, end="", flush=True)
"""


@attrs.frozen
class Snippet:
    """A Python block: its line in the page, its text, and what it should print if the page says
    so."""

    line: int
    source: str
    prints: str | None


@attrs.frozen
class Fence:
    line: int
    language: str
    text: str
    lead: str
    """The last line with text before it."""


def fences(page: str) -> Iterator[Fence]:
    lines = page.splitlines()
    number = 0
    lead = ""
    while number < len(lines):
        line = lines[number]
        if line.startswith("```"):
            end = next(n for n in range(number + 1, len(lines)) if lines[n] == "```")
            yield Fence(number + 1, line[3:].strip(), "\n".join(lines[number + 1 : end]), lead)
            number, lead = end + 1, ""
        else:
            lead = line.strip() or lead
            number += 1


def snippets(page: str) -> list[Snippet]:
    found: list[Snippet] = []
    previous: Fence | None = None
    for fence in fences(page):
        if fence.language == "python" and fence.lead != "<!-- not run -->":
            found.append(Snippet(fence.line, fence.text, None))
        elif fence.language == "text" and fence.lead.endswith("prints:"):
            assert previous is not None, f"line {fence.line}: nothing before it prints"
            assert previous.language == "python", f"line {fence.line}: no Python block before it"
            found[-1] = attrs.evolve(found[-1], prints=fence.text)
        previous = fence
    return found


def matches(expected: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page: str) -> None:
    """Every Python block of the page runs, and prints what the page shows."""
    blocks = snippets((ROOT / page).read_text(encoding="utf-8"))
    assert blocks, f"no Python blocks in {page}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER, page, SEPARATOR],
        input=SEPARATOR.join(f"{block.line}\n{block.source}" for block in blocks),
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    printed = done.stdout.split(SEPARATOR)
    assert done.returncode == 0, f"block {len(printed)} of {page} failed:\n{done.stderr[-4_000:]}"
    for block, output in zip(blocks, printed, strict=False):
        if block.prints is not None:
            assert matches(block.prints, output), f"{page}:{block.line} printed\n{output}\nnot\n{block.prints}"


def test_snippets_are_found() -> None:
    """The reader of pages itself: languages, lines, what prints, what is not run."""
    page = "x\n```python\na\n```\nIt prints:\n\n```text\n1 … 2\n```\n"
    page += "<!-- not run -->\n```python\nb\n```\n```python\nc\n```\n"
    assert snippets(page) == [Snippet(2, "a", "1 … 2"), Snippet(14, "c", None)]
    assert matches("1 … 2", "1 and 2\n")
    assert not matches("1 … 2", "1 and\n2\n")
