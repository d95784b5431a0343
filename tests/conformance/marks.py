"""The marks that tie a test to cases of the catalogue, and how to find them without running a test.

``@conforms("SUP-03")``  the test asserts that case, or a part of it, as the peer does
``@differs("SUP-03")``   the test asserts what ours does where it differs in that case; the case's
                         row in the catalogue says why
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


def conforms(*ids: str) -> Any:
    return pytest.mark.conforms(*ids)


def differs(*ids: str) -> Any:
    return pytest.mark.differs(*ids)


class Marked(NamedTuple):
    """One test that bears a case's id. ``file`` is relative to the repository."""

    file: str
    test: str
    mark: str


@functools.cache
def marked_tests() -> dict[str, list[Marked]]:
    """Every test that bears an id, by id, in the order of files and lines."""
    found: dict[str, list[Marked]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        if "tests.conformance.marks" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                for decorator in node.decorator_list:
                    if (
                        isinstance(decorator, ast.Call)
                        and isinstance(decorator.func, ast.Name)
                        and decorator.func.id in ("conforms", "differs")
                    ):
                        for argument in decorator.args:
                            assert isinstance(argument, ast.Constant), f"{path}: ids are written out"
                            file = path.relative_to(ROOT).as_posix()
                            found[str(argument.value)].append(Marked(file, node.name, decorator.func.id))
    return dict(found)
