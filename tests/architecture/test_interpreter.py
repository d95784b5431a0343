"""What depends on the version of the interpreter is in one folder: a port looks nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.package import PACKAGE

FOLDER = PACKAGE / "heap" / "interpreter"
INSIDES = re.compile(r"\bPython\.h\b|\bpycore_\w+|\bPy_BUILD_CORE\w*|\bPY_\w*VERSION\w*|\bPy_GIL_DISABLED\b")
"""What a C file asks that must be compiled for one version of the interpreter."""

C_FILES = [path for path in sorted((PACKAGE / "heap").rglob("*.[ch]")) if path.parent != FOLDER]
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_c_files_do_not_ask_for_the_version(path: Path) -> None:
    """Internal headers, the macros that open them, and the macros of the version."""
    assert INSIDES.findall(COMMENT.sub("", path.read_text(encoding="utf-8"))) == []


def test_there_is_something_to_look_at() -> None:
    """The pattern finds what it is for, where that belongs."""
    assert len(C_FILES) > 10
    found = {match for path in FOLDER.glob("*.h") for match in INSIDES.findall(path.read_text(encoding="utf-8"))}
    assert {"Python.h", "Py_BUILD_CORE_MODULE", "PY_VERSION_HEX", "Py_GIL_DISABLED", "pycore_frame"} <= found
