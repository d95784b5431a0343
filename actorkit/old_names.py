"""Modules that users were told of and that have another name now.

An old path can still be imported, for one release. What is taken from it comes from the new module,
with a DeprecationWarning that names it.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["OLD_MODULES", "keep_old_modules"]

OLD_MODULES = {
    "actorkit.heap.adapters": "actorkit.heap.python.adapters",
    "actorkit.heap.blocks": "actorkit.heap.python.blocks",
    "actorkit.heap.interruption": "actorkit.heap.python.interruption",
    "actorkit.heap.portable_clock": "actorkit.heap.python.clock",
    "actorkit.heap.pure_walk": "actorkit.heap.python.walk",
    "actorkit.heap.slabs": "actorkit.heap.own_heaps",
    "actorkit.heap.stack_depth": "actorkit.heap.interpreter.stack_depth",
    "actorkit.pressure.live": "actorkit.pressure.live_bytes",
    "actorkit.pressure.process": "actorkit.pressure.process_memory",
}
"""Old path, new path. An entry goes one release after it came."""


class _OldModule(ModuleType):
    """Stands where the module was."""

    def __init__(self, path: str, now: str) -> None:
        super().__init__(path, f"Deprecated: this is ``{now}`` now.")
        self.__spec__ = ModuleSpec(path, None)  # for ``importlib.util.find_spec``
        self._now = now

    def __dir__(self) -> list[str]:
        return dir(import_module(self._now))

    def __getattr__(self, name: str) -> object:
        if (
            name.startswith("__") and name != "__all__"
        ):  # the import system and debuggers look for these in every module
            raise AttributeError(name)
        value: object = getattr(import_module(self._now), name)
        warnings.warn(
            f"{self.__name__} is {self._now} now; the old path goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return value


def keep_old_modules() -> None:
    """Make the old paths importable. Their packages have been imported."""
    for path, now in OLD_MODULES.items():
        package, _, name = path.rpartition(".")
        sys.modules[path] = module = _OldModule(path, now)
        setattr(sys.modules[package], name, module)
