"""The arrows between the layers go one way, and ``policy`` is pure: read from the imports, nothing is run."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

PACKAGE = Path(__file__).parent.parent / "actorkit"

LAYERS = [
    {"reasons", "log"},
    {"errors"},
    {"policy"},
    {"heap", "pressure"},
    {"runtime"},
    {"supervision", "behaviours", "otp"},
    {"governor", "net", "observer", "testing", "cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

PURE = {"attrs", "__future__"}
IMPURE_STDLIB = {
    "time", "random", "logging", "socket", "select", "selectors", "threading", "asyncio", "os", "io", "subprocess",
    "signal", "datetime", "secrets", "uuid", "tempfile", "pathlib", "shutil", "sched", "queue",
    "multiprocessing", "ssl",
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of everything that the file imports, also inside functions."""
    parts = ("actorkit", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield node.lineno, node.module or ""
                continue
            base = ".".join(parts[: len(parts) - node.level])
            if node.module:
                yield node.lineno, f"{base}.{node.module}"
            else:
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"


def layer_of(name: str) -> str | None:
    """The layer that an absolute name belongs to; None outside the package and for the package itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "actorkit" and len(parts) > 1 else None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    """A module imports from its own layer and from lower ones, never from the package's face."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no place among the layers: give it one in LAYERS"
    for line, name in imports(path):
        layer = layer_of(name)
        if name == "actorkit":
            raise AssertionError(f"{path.name}:{line} imports the package itself; import from the module")
        if layer is not None:
            assert LEVEL[layer] <= LEVEL[own], f"{path.name}:{line}: {own} may not import {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "policy").rglob("*.py")), ids=lambda p: p.name)
def test_policy_is_pure(path: Path) -> None:
    """Policy knows attrs, the standard library's pure parts, and itself: no trio, clock, randomness, logging or I/O."""
    for line, name in imports(path):
        top = name.split(".")[0]
        if top != "actorkit":
            assert top in PURE or (top in sys.stdlib_module_names and top not in IMPURE_STDLIB), (
                f"{path.name}:{line}: {name}"
            )


def test_the_layers_are_told_apart() -> None:
    """The check itself finds an arrow that goes up."""
    assert LEVEL["runtime"] > LEVEL["policy"]
    assert layer_of("actorkit.runtime.node") == "runtime"
    assert layer_of("actorkit") is None
    assert layer_of("trio") is None


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
    """(line, name) of all attributes but those of ``self`` and ``cls``, by dot or by ``getattr``."""
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
    for path in modules():
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
        for path in modules()
        if path != INTERNALS
        for line, name in foreign_attributes(ast.parse(path.read_text()))
        if name in private and (path.relative_to(PACKAGE).as_posix(), name) not in OURS
    }
    assert not found
    assert any(name in private for _, name in foreign_attributes(ast.parse(INTERNALS.read_text())))


OPTIONS = PACKAGE / "runtime" / "life" / "node_settings.py"


def test_features_are_the_nodes() -> None:
    """Only the default of ``open_node`` is what was detected: all else asks its node."""
    for path in modules():
        if path != INTERNALS:
            uses = [
                node for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Name) and node.id == "FEATURES"
            ]  # fmt: skip
            assert len(uses) == (path == OPTIONS), f"{path.name}: {[use.lineno for use in uses]}"


def test_hot_code_is_marked() -> None:
    """Who reads a private attribute of a task by its other name is one of two functions, and marked
    with ``reads_tasks``: without that there is no such attribute."""
    users = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                read = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)} & IN_HOT_CODE
                if read:
                    marks = {getattr(mark, "id", "") for mark in node.decorator_list}
                    assert "reads_tasks" in marks, f"{path.name}:{node.lineno}: {node.name}"
                    users.add(node.name)
    assert users == {"call", "_pump"}
