"""Some knowledge has one home, and a list of the few places that copy it for speed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable

import attrs

import actorkit as ak
from actorkit.runtime.life.node_settings import NodeSettings
from tests.architecture.package import PACKAGE, modules, tree_of

STORAGE = {
    "runtime.actor.mailbox",  # its home
    # The hot paths, written out; the docstring of mailbox.py says which.
    "runtime.actor.call_door",
    "runtime.actor.record",
    "runtime.budgets.budgeted_record",
    "runtime.budgets.holdings",
    "runtime.life.birth",
    "runtime.life.death",
    "runtime.life.pump",
}


def where(found: Callable[[ast.AST], bool]) -> set[str]:
    """The modules that have such a node."""
    return {name for name, path in modules().items() if any(map(found, ast.walk(tree_of(path))))}


def test_the_storage_of_mailboxes_has_one_home() -> None:
    """Who else wants something of a mailbox calls its methods."""
    assert where(lambda node: isinstance(node, ast.Attribute) and node.attr in {"inbox", "outbox"}) <= STORAGE | {
        "heap.python.clock"  # the twin of what C does
    }


def test_imports_are_relative_within_the_package() -> None:
    """One style, in stubs too: docs/style.md. The examples in docstrings import as users do."""

    def absolute(node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom):
            return node.level == 0 and (node.module or "").split(".")[0] == "actorkit"
        return isinstance(node, ast.Import) and any(each.name.split(".")[0] == "actorkit" for each in node.names)

    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in files
        for node in ast.walk(tree_of(path))
        if absolute(node)
    ]
    assert found == []


def test_a_ref_is_asked_and_not_examined() -> None:
    """Only ``runtime.actor`` knows which refs are records."""

    def examines(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "isinstance"
            and "Record" in {getattr(one, "id", "") for one in ast.walk(node.args[1])}
        )

    assert {name for name in where(examines) if not name.startswith("runtime.actor.")} == set()


def test_the_options_of_a_node_are_told_where_users_read_them() -> None:
    """``ak.open_node`` says in its docstring what ``NodeSettings`` has, and what it adds itself."""
    told = inspect.getdoc(ak.open_node) or ""
    own = [name for name in inspect.signature(ak.open_node).parameters if f"{name}: " not in told]
    assert own == []
    assert [each.name for each in attrs.fields(NodeSettings) if f"``{each.name}``" not in told] == []
