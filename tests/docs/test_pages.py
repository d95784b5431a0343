"""The pages: their links lead somewhere, the files they name are there, and their lines are
short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "bench/**/*.md", "examples/**/*.md", "changelog.d/*.md")
    for path in ROOT.glob(pattern)
)
WIDTH = 100

LINK = re.compile(r"\[[^\]]*\]\((?P<to>[^)\s]+)\)")
FILE = re.compile(r"(?<![\w/.])(?P<path>(?:actorkit|tests|docs|bench|examples)/[\w./-]+\.(?:py|md|toml|c|h|txt))\b")

HISTORY = re.compile(r"docs/design/\d{4}-")
"""A design note names the files that there were when it was written: 0039 says where they went."""

KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of what is not in a fenced block."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


@cache
def anchors(page: Path) -> set[str]:
    """What a link may name after ``#``: GitHub's form of each heading."""
    found: set[str] = set()
    for _, line in prose(page):
        if line.startswith("#"):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip()).lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading in it."""
    wrong = []
    for number, line in prose(page):
        for link in LINK.finditer(line):
            to, _, anchor = link["to"].partition("#")
            if re.match(r"[a-z]+:", to):
                continue
            target = (page.parent / to).resolve() if to else page
            if not target.exists():
                wrong.append(f"line {number}: there is no {to}")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                wrong.append(f"line {number}: {name_of(target)} has no heading {anchor}")
    assert wrong == []


@pytest.mark.parametrize("page", [page for page in PAGES if not HISTORY.match(name_of(page))], ids=name_of)
def test_files_that_are_named_are_there(page: Path) -> None:
    """``actorkit/…``, ``tests/…`` and the like, in the text and in its examples."""
    text = page.read_text(encoding="utf-8")
    named = {match["path"] for match in FILE.finditer(text)}
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_are_short(page: Path) -> None:
    """All but the rows of tables, which cannot be broken, and indented code."""
    unbroken = ("|", "    ")
    long = [number for number, line in prose(page) if len(line) > WIDTH and not line.startswith(unbroken)]
    assert long == [], f"longer than {WIDTH} characters"


def test_fragments_have_a_kind() -> None:
    """Each file of changelog.d is named as its README says, and says something."""
    for path in (ROOT / "changelog.d").iterdir():
        if path.name != "README.md":
            assert re.fullmatch(rf"(\d+|\+[\w-]+)\.({'|'.join(sorted(KINDS))})(\.\d+)?\.md", path.name), path.name
            assert path.read_text(encoding="utf-8").strip(), path.name


def test_where_things_went_is_true() -> None:
    """Each new path of the table is there."""
    page = ROOT / "docs" / "design" / "0039-where-things-went.md"
    table = page.read_text(encoding="utf-8").split("## Names")[0]
    rows = re.findall(r"^\|[^|]+\|([^|]+)\|$", table, re.MULTILINE)
    now = [ROOT / "actorkit" / path for row in rows for path in re.findall(r"`([^`]+)`", row)]
    assert len(now) > 100
    assert [path.name for path in now if not (path.exists() or path.with_suffix(".py").exists())] == []
