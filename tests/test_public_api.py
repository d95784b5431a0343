"""The package's public face: what it exports, that it is documented, and that importing it has no
side effects.
"""

from __future__ import annotations

import inspect
import subprocess
import sys

import actorkit as ak


def public() -> dict[str, object]:
    return {name: value for name, value in vars(ak).items() if not name.startswith("_") and not inspect.ismodule(value)}


def test_every_public_name_is_documented() -> None:
    """Each exported object has a docstring of its own."""
    missing = [
        name
        for name, value in public().items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and not (value.__doc__ or "").strip()
    ]
    assert missing == []


def test_every_public_method_is_documented() -> None:
    """So has each public method of an exported class, its own or inherited."""
    missing = []
    for name, cls in public().items():
        if not inspect.isclass(cls) or not cls.__module__.startswith("actorkit"):
            continue
        for attribute, value in inspect.getmembers(cls):
            if attribute.startswith("_") or not (inspect.isfunction(value) or isinstance(value, property)):
                continue
            owner = next(base for base in cls.__mro__ if attribute in base.__dict__)
            if owner.__module__.startswith("actorkit") and not inspect.getdoc(inspect.getattr_static(cls, attribute)):
                missing.append(f"{name}.{attribute}")
    assert missing == []


def test_import_sets_nothing_up() -> None:
    """Importing changes no signal handler, logging configuration, GC threshold or warning filter,
    and starts no thread.
    """
    program = """
import gc, logging, signal, threading, warnings
import attrs, outcome, trio
def state():
    return (
        [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        list(logging.getLogger().handlers), logging.getLogger().level, gc.get_threshold(), list(warnings.filters),
        threading.active_count(),
    )
before = state()
import actorkit
assert state() == before
assert not logging.getLogger("actorkit").handlers
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_package_is_typed() -> None:
    """The package ships its type information."""
    from importlib.resources import files

    assert files("actorkit").joinpath("py.typed").is_file()
