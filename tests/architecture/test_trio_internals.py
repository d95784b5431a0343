"""Private names of trio stay in one module, and what that module found out is asked of the node."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator

import attrs
import trio

from tests.architecture.package import PACKAGE, imports, modules, tree_of

INTERNALS = PACKAGE / "runtime" / "base" / "trio_internals.py"
IN_HOT_CODE = {"trio_cancel_status", "trio_runner"}
"""What ``reads_tasks`` makes private attributes of."""


def private_names_of_trio() -> set[str]:
    """The attributes with one underscore of all of trio's classes, and its private globals."""
    names: set[str] = set()
    modules = [m for name, m in sys.modules.items() if name.startswith(f"{trio.__name__}._")]
    for module in modules:
        for name, member in inspect.getmembers(module):
            if name.startswith("GLOBAL_"):
                names.add(name)
            if inspect.isclass(member) and member.__module__.split(".")[0] == trio.__name__:
                names.update(dir(member))
                if attrs.has(member):
                    names.update(field.name for field in attrs.fields(member))
                if inspect.isfunction(member.__init__):
                    names.update(member.__init__.__code__.co_names)
    return {n for n in names if n.startswith("GLOBAL_") or (n[:1] == "_" and n[:2] != "__")}


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def foreign_attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of all attributes but of ``self`` and ``cls``, by dot or by ``getattr``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if not is_own(node.value):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            asks = ("getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller")
            if called in asks and not is_own(node.args[0]):
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield node.lineno, argument.value


def test_private_names_of_trio_stay_in_one_module() -> None:
    """Nothing but ``runtime/trio_internals.py`` imports from trio's private modules."""
    for path in modules().values():
        if path != INTERNALS:
            for line, name in imports(path):
                assert not name.startswith("trio._"), f"{path.name}:{line}: {name}"


OURS = {("runtime/actor/record.py", "_done"), ("runtime/actor/record.py", "_value"), ("policy/key_table.py", "_hash")}
"""Attributes of our own (of ``Later``, of a table's keys) that are called like one of trio's."""


def test_private_attributes_of_trio_stay_in_one_module() -> None:
    """Nor does anything else read or write a private attribute of trio's objects."""
    private = private_names_of_trio()
    assert private >= {
        "_cancel_status", "_children", "_parent_task", "_nested_child_finished", "_abort_func",
        "_next_send_fn", "_schedule_points", "_runner", "_child_nurseries", "_scope", "_tasks", "_owner",
        "GLOBAL_RUN_CONTEXT", "GLOBAL_PARKING_LOT_BREAKER",
    }  # fmt: skip
    found = {
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in modules().values()
        if path != INTERNALS
        for line, name in foreign_attributes(tree_of(path))
        if name in private and (path.relative_to(PACKAGE).as_posix(), name) not in OURS
    }
    assert not found
    assert any(name in private for _, name in foreign_attributes(tree_of(INTERNALS)))


OPTIONS = PACKAGE / "runtime" / "life" / "node_settings.py"


def test_features_are_the_nodes() -> None:
    """Only the default of ``open_node`` is what was detected: all else asks its node."""
    for path in modules().values():
        if path != INTERNALS:
            uses = [
                node for node in ast.walk(tree_of(path))
                if isinstance(node, ast.Name) and node.id == "FEATURES"
            ]  # fmt: skip
            assert len(uses) == (path == OPTIONS), f"{path.name}: {[use.lineno for use in uses]}"


def test_hot_code_is_marked() -> None:
    """Who reads a private attribute of a task by its other name is one of two functions, and marked
    with ``reads_tasks``: without that there is no such attribute."""
    users = set()
    for path in modules().values():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                read = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)} & IN_HOT_CODE
                if read:
                    marks = {getattr(mark, "id", "") for mark in node.decorator_list}
                    assert "reads_tasks" in marks, f"{path.name}:{node.lineno}: {node.name}"
                    users.add(node.name)
    assert users == {"call", "_pump"}
