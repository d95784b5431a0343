"""The optional extensions; everything else of the package's configuration is in pyproject.toml.

They are built where they can work (on a CPython whose insides are known) and where there is a C
compiler.
Everywhere else the package is complete without them, with the weaker guarantees that
``actorkit.heap.capabilities`` names.
"""

import runpy
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("actorkit/heap/c")
HEADERS = sorted(str(header) for header in SOURCES.parent.rglob("*.h"))
EXTENSIONS = [
    Extension(f"actorkit.heap.c.{name}", [str(SOURCES / f"{name}.c")], depends=HEADERS, optional=True)
    for name in ("_clock", "_walk")
]

why_unknown = runpy.run_path("actorkit/heap/interpreter/versions.py")["WHY_UNKNOWN"]

setup(ext_modules=EXTENSIONS if why_unknown is None else [])
