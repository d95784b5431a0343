"""The arrows between the layers go one way, and ``policy`` is pure: read from the imports, nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "actorkit"

LAYERS = [
    {"reasons", "log"},
    {"errors"},
    {"policy"},
    {"heap", "pressure"},
    {"runtime"},
    {"behaviours"},
    {"governor", "admission", "net", "observer", "testing", "cli", "__main__"},
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


@pytest.mark.parametrize("path", sorted((PACKAGE / "policy").glob("*.py")), ids=lambda p: p.name)
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


def test_private_names_of_trio_stay_in_one_module() -> None:
    """Nothing but ``runtime/trio_internals.py`` imports from trio's private modules."""
    for path in modules():
        if path.name != "trio_internals.py":
            for line, name in imports(path):
                assert not name.startswith("trio._"), f"{path.name}:{line}: {name}"
