"""Builds the extension ``_refusal.c`` with the local compiler, and loads it.

A built extension stays in ``build/fault_injector`` of the checkout (or in a directory for temporary
files if the checkout cannot be written), in a file named after everything that it was made from:
the interpreter, the source and the compiler's command. So it is built once for each combination,
and a stale one is never loaded. ``CFLAGS`` in the environment are added to the command. Nothing is
downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from actorkit.heap.clock import REFUSABLE

SOURCE = Path(__file__).parent / "_refusal.c"
KEPT = Path(__file__).parent.parent.parent / "build" / "fault_injector"


class NotBuilt(Exception):
    """The extension is not available here; the text says why."""


def command() -> list[str]:
    """The compiler's command, without the paths of source and target."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    include = Path(sysconfig.get_paths()["include"])
    if shutil.which(compiler[0]) is None:
        raise NotBuilt(f"there is no C compiler ({compiler[0]}): install one")
    if not (include / "Python.h").exists():
        raise NotBuilt(f"the headers of Python are not in {include}: install them")
    flags = shlex.split(os.environ.get("CFLAGS", ""))
    return [*compiler, "-shared", "-fPIC", "-O2", *flags, f"-I{include}", f"-DREFUSABLE={REFUSABLE}"]


def built() -> Path:
    """The path of the extension, which is built first if it is not there yet."""
    compile_it = command()
    key = hashlib.sha256(SOURCE.read_bytes() + shlex.join(compile_it).encode()).hexdigest()[:16]
    for directory in (KEPT, Path(tempfile.gettempdir()) / f"actorkit_fault_injector_{os.getuid()}"):
        target = directory / key / f"_refusal{sysconfig.get_config_var('EXT_SUFFIX')}"
        if target.exists():
            return target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=target.parent)
        except OSError:
            continue
        os.close(number)
        done = subprocess.run([*compile_it, str(SOURCE), "-o", name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            os.unlink(name)
            raise NotBuilt(f"it does not compile: {done.stderr.strip()}")
        os.replace(name, target)  # several processes may build it at once
        return target
    raise NotBuilt(f"neither {KEPT} nor the directory for temporary files can be written")


def load() -> Any:
    """Load the extension and return its module. Raises NotBuilt."""
    path = built()
    spec = importlib.util.spec_from_file_location("_refusal", path)
    if spec is None or spec.loader is None:
        raise NotBuilt(f"{path} is no extension")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise NotBuilt(str(error)) from error
    return module
