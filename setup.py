"""Builds the optional C extensions; everything else is in pyproject.toml.

An extension that does not build is left out: actorkit then uses its pure Python twin. That is the case
without a compiler, on interpreters other than CPython, on versions whose layout the extension
does not know, and on free-threaded builds.
"""

import sys
import sysconfig

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []
    return [
        Extension(
            "actorkit.heap._walk",
            ["actorkit/heap/_walk.c"],
            depends=["actorkit/heap/_blocks.h", "actorkit/heap/_layout.h"],
            optional=True,
        ),
    ]


setup(ext_modules=extensions())
