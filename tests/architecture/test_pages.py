"""docs/architecture.md says what the code says, and so do the tables of docs/semantics.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.package import PACKAGE, ROOT, modules, tree_of
from tests.architecture.pages import PAGE, PART, PARTS, caption, made, summary, tables


@pytest.mark.parametrize("page", PARTS, ids=lambda page: page.name)
def test_the_page_is_up_to_date(page: Path) -> None:
    """Its parts are as the code makes them: python -m tests.architecture pages --write."""
    assert made(page) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PARTS, ids=lambda page: page.name)
def test_all_parts_are_on_the_page(page: Path) -> None:
    found = [part["name"] for part in PART.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(PARTS[page])


def test_every_module_says_what_it_is() -> None:
    """The first sentence of its docstring is short enough for a map."""
    assert [name for name, path in modules().items() if not 10 <= len(summary(path)) <= 250] == []


def test_every_table_of_transitions_says_what_it_is() -> None:
    """The page's drawings have captions; and tables are found at all."""
    assert {name for _, name, _ in tables()} >= {"LADDER", "CHILD_TRANSITIONS"}
    assert [name for module, name, _ in tables() if not caption(module, name)] == []


def defined(path: str) -> set[str]:
    """The functions, classes and methods of a file: ``select``, ``Record``, ``Record.cast``."""
    found: set[str] = set()
    for node in tree_of(PACKAGE / path).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            found.update(f"{node.name}.{each.name}" for each in node.body if isinstance(each, methods))
    return found


def test_walks_lead_through_the_files() -> None:
    """Each row of a walk names a file, and a function that is in it."""
    rows = re.findall(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 30
    assert [f"{path}: {function}" for path, function in rows if function not in defined(path)] == []


def test_files_below_the_package_are_there() -> None:
    """Whatever else the page calls a file or a folder is one, below ``actorkit/`` or of tests."""
    text = PART.sub("", PAGE.read_text(encoding="utf-8"))
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", text)) - {"actorkit/", "design/"}
    homes = {path: ROOT if path.startswith("tests/") else PACKAGE for path in named}
    assert sorted(path for path, home in homes.items() if not (home / path).exists()) == []


def test_every_kind_of_change_has_its_tests() -> None:
    """In *Where to put a change*: the files, at least one, and its tests."""
    table = PAGE.read_text(encoding="utf-8").partition("## Where to put a change")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+) \|$", table, re.MULTILINE)[1:]
    assert len(rows) > 30
    assert [
        change for change, files, tests in rows if ".py`" not in files or not re.search("`tests/|folder", tests)
    ] == []
