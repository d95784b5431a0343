"""What depends on the version of the interpreter is in one folder: a port looks nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.package import PACKAGE, imports, modules, tree_of

FOLDER = PACKAGE / "heap" / "interpreter"
INSIDES = re.compile(r"\bPython\.h\b|\bpycore_\w+|\bPy_BUILD_CORE\w*|\bPY_\w*VERSION\w*|\bPy_GIL_DISABLED\b")
"""What a C file asks that must be compiled for one version of the interpreter."""

FIELDS = re.compile(
    r"\b(?:ma_keys|ma_values|dk_\w+|DK_\w+|DICT_KEYS_\w+|localsplus|stacktop|f_frame|f_executable|prev_instr|cframe"
    r"|ob_refcnt|lv_tag|_gc_\w+|_PyGC\w*|_PyFrame_\w+|_PyInterpreterState\w*|ht_cached_keys|generations)\b"
)
"""What is inside of objects, frames and the interpreter, or looks there."""

C_FILES = [path for path in sorted((PACKAGE / "heap").rglob("*.[ch]")) if path.parent != FOLDER]
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_c_files_do_not_ask_for_the_version(path: Path) -> None:
    """Internal headers, the macros that open them, and the macros of the version."""
    assert INSIDES.findall(COMMENT.sub("", path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_c_files_do_not_look_inside(path: Path) -> None:
    """They ask the functions of this folder."""
    assert FIELDS.findall(COMMENT.sub("", path.read_text(encoding="utf-8"))) == []


def test_there_is_something_to_look_at() -> None:
    """The pattern finds what it is for, where that belongs."""
    assert len(C_FILES) > 10
    found = {match for path in FOLDER.glob("*.h") for match in INSIDES.findall(path.read_text(encoding="utf-8"))}
    assert {"Python.h", "Py_BUILD_CORE_MODULE", "PY_VERSION_HEX", "Py_GIL_DISABLED", "pycore_frame"} <= found


IN_PYTHON = {"version_info", "hexversion", "dis", "opcode", "Py_GIL_DISABLED"}
"""What a module in Python asks that depends on the version."""


def asked(path: Path) -> set[str]:
    """Which of these the module names: as an attribute, a text, or an import."""
    nodes = list(ast.walk(tree_of(path)))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names |= {name for _, absolute in imports(path) for name in absolute.split(".")}
    return names & IN_PYTHON


def test_modules_do_not_ask_for_the_version() -> None:
    """Nor do they look at opcodes."""
    found = {name: asked(path) for name, path in modules().items() if path.parent != FOLDER}
    assert {name: what for name, what in found.items() if what} == {}
    assert {what for path in FOLDER.glob("*.py") for what in asked(path)} >= {"version_info", "dis", "Py_GIL_DISABLED"}
