"""Builds the tests' counting hook with the local compiler. The program ``truth`` uses it too."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "_frees.c"


def build(directory: Path) -> Path | None:
    """Build the extension and return its path; None if there is no compiler or there are no
    headers.
    """
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    include = Path(sysconfig.get_paths()["include"])
    if shutil.which(compiler[0]) is None or not (include / "Python.h").exists():
        return None
    target = directory / f"_frees{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [*compiler, "-shared", "-fPIC", "-O1", f"-I{include}", str(SOURCE), "-o", str(target)]
    built = subprocess.run(command, capture_output=True, check=False)
    return target if built.returncode == 0 else None


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("_frees", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
