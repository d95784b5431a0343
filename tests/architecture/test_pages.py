"""docs/architecture.md says what the code says."""

from __future__ import annotations

from tests.architecture.package import modules
from tests.architecture.pages import PAGE, PART, PARTS, caption, made, summary, tables


def test_the_page_is_up_to_date() -> None:
    """Its parts are as the code makes them: python -m tests.architecture pages --write."""
    text = PAGE.read_text(encoding="utf-8")
    assert made(text) == text


def test_all_parts_are_on_the_page() -> None:
    found = [part["name"] for part in PART.finditer(PAGE.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(PARTS)


def test_every_module_says_what_it_is() -> None:
    """The first sentence of its docstring is short enough for a map."""
    assert [name for name, path in modules().items() if not 10 <= len(summary(path)) <= 250] == []


def test_every_table_of_transitions_says_what_it_is() -> None:
    """The page's drawings have captions; and tables are found at all."""
    assert {name for _, name, _ in tables()} >= {"LADDER", "CHILD_TRANSITIONS"}
    assert [name for module, name, _ in tables() if not caption(module, name)] == []
