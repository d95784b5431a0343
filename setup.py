"""The optional extensions; everything else of the package's configuration is in pyproject.toml.

They are built where they can work, on CPython with the GIL, and where a C compiler is there. Everywhere else
the package is complete without them, with the weaker guarantees that ``actorkit.heap.capabilities`` names.
"""

import sys
import sysconfig

from setuptools import Extension, setup

EXTENSIONS = [
    Extension(
        "actorkit.heap.c._clock",
        ["actorkit/heap/c/_clock.c"],
        depends=["actorkit/heap/c/_heaps.h", "actorkit/heap/c/_pages.h"],
        optional=True,
    ),
    Extension(
        "actorkit.heap.c._walk",
        ["actorkit/heap/c/_walk.c"],
        depends=[f"actorkit/heap/c/{name}.h" for name in ("_blocks", "_census", "_layout", "_messages")],
        optional=True,
    ),
    Extension("actorkit.heap.c._refusal", ["actorkit/heap/c/_refusal.c"], optional=True),
]

supported = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(ext_modules=EXTENSIONS if supported else [])
