"""Some knowledge has one home, and a list of the few places that copy it for speed."""

from __future__ import annotations

import ast
from collections.abc import Callable

from tests.architecture.package import modules, tree_of

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
