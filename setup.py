"""The optional extensions; everything else of the package's configuration is in pyproject.toml.

They are built where they can work (on CPython with the GIL) and where there is a C compiler.
Everywhere else the package is complete without them, with the weaker guarantees that
``actorkit.heap.capabilities`` names.
"""

import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("actorkit/heap/c")
HEADERS = sorted(str(header) for header in SOURCES.parent.rglob("*.h"))
EXTENSIONS = [
    Extension(f"actorkit.heap.c.{name}", [str(SOURCES / f"{name}.c")], depends=HEADERS, optional=True)
    for name in ("_clock", "_walk")
]

supported = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(ext_modules=EXTENSIONS if supported else [])
