"""The starters that a node or a supervisor keeps, so that the second start of a kind is cheap.

A kept starter must not keep anything alive that was made for one start.

* A class is kept, since its actors share a kind.
* A function is kept if its module has it: then it is there for good anyway.
* A closure, a ``partial``, a bound method, or a function made inside a function is not kept. It
  would hold what it was made with for as long as the node runs.
* A spec whose id or ``options`` are objects of the user's is not kept either.

A start that is not kept gets a starter of its own, which costs about 25 microseconds.

The key is the start together with all of its ``ActorOptions``, so no option can be left out. Keys
are hashed and compared without running any code of the user's.

There are two generations. A starter that is used goes into the young one. When that is full, it
becomes the old one, and the old one is forgotten. So a hit costs one lookup, what is in use stays,
and the number of starters is bounded.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, Final

from ...heap.clock import nobodys
from ...policy.key_table import inert
from ...policy.supervision.actor_options import NOTHING
from ...policy.supervision.child_spec import ChildSpec
from ..actor.record import RecordKind
from .starter import Starter

__all__ = ["GENERATION", "StarterCache"]

GENERATION: Final = 128
"""Starters in one generation; at most twice as many are kept."""

IDENTICAL: Final = frozenset((type, ABCMeta, FunctionType))
"""Types whose objects equal themselves alone, by Python's own code."""


class StarterCache:
    """See the module's docstring. Each owner has its own: a starter knows who owns its actors.

    Args:
        make: makes the starter of a spec.
    """

    __slots__ = ("_make", "_old", "_young", "plain_kinds")

    def __init__(self, make: Callable[[ChildSpec[Any]], Starter]) -> None:
        self._make = make
        self._young: dict[Any, Starter] = {}
        self._old: dict[Any, Starter] = {}
        #: The kinds of classes that were started without options, and whose next start needs no
        #: starter: for the hot path.
        self.plain_kinds: dict[type, RecordKind] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    @nobodys
    def of_spec(self, spec: ChildSpec[Any]) -> Starter:
        """The starter of ``spec``. Raises what making one raises."""
        start: Any = spec.start
        options = spec.actor_options()
        if type(start) not in IDENTICAL:
            start = _class_of(start)
        if start is None or inert(options.id) is not options.id or options.options is not NOTHING:
            return self._make(spec)
        key = (start, options)
        return self._young.get(key) or self._found(key, start, spec)

    @nobodys
    def of_start(self, start: Any) -> Starter:
        """The starter of a class or function without options. Raises what making one raises, and
        InvalidChildSpec."""
        key = start if type(start) in IDENTICAL else _class_of(start)
        if key is None:
            return self._make(ChildSpec(start))
        starter = self._young.get(key) or self._found(key, key, None)
        if starter.cls is not None and starter.kind is not None and starter.kind.plain:
            self.plain_kinds[key] = starter.kind
        return starter

    def get(self, key: str) -> Starter | None:
        """The starter that the owner has ``put`` under this name; None if it was forgotten."""
        return self._young.get(key) or self._promoted(key)

    def put(self, key: Any, starter: Starter) -> Starter:
        """Keep ``starter``."""
        if len(self._young) >= GENERATION:
            self._old, self._young = self._young, {}
            self.plain_kinds.clear()
        self._young[key] = starter
        return starter

    def _promoted(self, key: Any) -> Starter | None:
        starter = self._old.get(key)
        return None if starter is None else self.put(key, starter)

    def _found(self, key: Any, start: Any, spec: ChildSpec[Any] | None) -> Starter:
        """The starter at ``key``, which is not in the young generation."""
        starter = self._promoted(key)
        if starter is None:
            starter = self._make(ChildSpec(start) if spec is None else spec)
            if isinstance(start, type) or _is_its_modules(start):
                self.put(key, starter)
        return starter


def _class_of(start: Any) -> type | None:
    """The class behind ``Box[int]``, or a class of a metaclass of the user's; None for what is no
    class, or whose lookup would run the user's code."""
    start = getattr(start, "__origin__", start)
    if not isinstance(start, type):
        return None
    kind = type(start)
    return start if kind.__hash__ is type.__hash__ and kind.__eq__ is type.__eq__ else None


def _is_its_modules(function: Any) -> bool:
    """Does its module have it under its name? Then it is there for good."""
    module = function.__module__
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for name in function.__qualname__.split("."):
        found = vars(found).get(name) if isinstance(found, (ModuleType, type)) else None
    return (found.__func__ if isinstance(found, staticmethod) else found) is function
