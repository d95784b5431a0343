"""The arrows between the layers go one way, and ``policy`` is pure: this is read from the imports,
without running anything.

The table of the layers is in ``tests/architecture/layers.py``, beside the project's other rules of
architecture.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.architecture.debts import listed
from tests.architecture.layers import goes_up
from tests.architecture.package import PACKAGE, imports, module_named, modules

PURE = {"attrs", "__future__"}
IMPURE_STDLIB = {
    "time", "random", "logging", "socket", "select", "selectors", "threading", "asyncio", "os", "io", "subprocess",
    "signal", "datetime", "secrets", "uuid", "tempfile", "pathlib", "shutil", "sched", "queue",
    "multiprocessing", "ssl",
}  # fmt: skip


@pytest.mark.parametrize("module", modules())
def test_imports_go_down(module: str) -> None:
    """A module imports from its own layer and from lower ones, never from the package's public
    face.
    """
    for line, name in imports(modules()[module]):
        assert name != "actorkit", f"line {line} imports the package itself; import from the module"
        imported = module_named(name)
        if imported is not None and f"arrow up: {module} -> {imported}" not in listed():
            assert not goes_up(module, imported), f"line {line}: {module} may not import {imported}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "policy").rglob("*.py")), ids=lambda p: p.name)
def test_policy_is_pure(path: Path) -> None:
    """Policy imports attrs, the pure parts of the standard library, and itself: no trio, clock,
    randomness, logging or I/O.
    """
    for line, name in imports(path):
        top = name.split(".")[0]
        if top != "actorkit":
            assert top in PURE or (top in sys.stdlib_module_names and top not in IMPURE_STDLIB), (
                f"{path.name}:{line}: {name}"
            )
