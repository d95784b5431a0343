"""What the walk in Python knows of types: how their instances are sized, followed and left alone.

It is learned when an object of the type is met for the first time, kept while the type lives, and
forgotten when stop types or adapters are registered.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from types import CodeType, EllipsisType, FunctionType, ModuleType, NoneType, NotImplementedType
from typing import Any, Final, TypeAlias

from ..interpreter.memory import HAVE_GC
from .blocks import Sizer, flags_of, mro_of, native_base, sizer_for

__all__ = ["Adapter", "TypeFacts", "TypeRegistry", "facts_of", "known_facts"]

Adapter: TypeAlias = Callable[[Any], tuple[int, Sequence[object]]]
"""Tells of one object the bytes and the referents that no traversal shows: see ``walk.adapter``."""

_NEVER: Final = (NoneType, bool, EllipsisType, NotImplementedType, CodeType)
_LEADING_NOWHERE: Final = (str, int, bytes, float, complex, bytearray)
_TYPE_SUBCLASS: Final = 1 << 31


class TypeRegistry:
    """What was registered for all walks in Python. The tuples are replaced, never changed."""

    stop_types: tuple[type, ...] = ()
    by_type: tuple[tuple[type, Adapter], ...] = ()
    by_name: tuple[tuple[bytes, Adapter], ...] = ()


class TypeFacts:
    """What the walk knows of a type. Holds no reference to it."""

    __slots__ = (
        "adapter",
        "is_container",
        "is_dict",
        "is_function",
        "is_leaf",
        "is_plain_dict",
        "leads_nowhere",
        "never",
        "of",
        "size",
        "stop",
    )

    def __init__(self, cls: type) -> None:
        bases = mro_of(cls)
        self.never = cls in _NEVER or bool(flags_of(cls) & _TYPE_SUBCLASS) or ModuleType in bases
        self.stop = self.never or any(stop in bases for stop in TypeRegistry.stop_types)
        self.is_function = cls is FunctionType
        self.is_dict = dict in bases
        self.is_plain_dict = cls is dict
        self.is_container = cls in (list, tuple, dict, set, frozenset, deque)
        self.size: Sizer = sizer_for(cls)
        self.adapter = None if self.never else _find_adapter(cls, bases)
        self.leads_nowhere = cls in _LEADING_NOWHERE and self.adapter is None and not self.stop
        self.is_leaf = self.adapter is None and not flags_of(cls) & HAVE_GC
        key = id(cls)
        # Nothing here may refer to the type, or it would live for ever.
        self.of = weakref.ref(cls, lambda _: known_facts.pop(key, None))
        known_facts[key] = self


known_facts: Final[dict[int, TypeFacts]] = {}
"""By the address of the type: the hash of a type may be code of its metaclass."""


def facts_of(cls: type) -> TypeFacts:
    """Looked up, or learned."""
    return known_facts.get(id(cls)) or TypeFacts(cls)


def _find_adapter(cls: type, bases: tuple[type, ...]) -> Adapter | None:
    for registered, adapter in TypeRegistry.by_type:
        if registered in bases:
            return adapter
    if TypeRegistry.by_name:
        for base in mro_of(native_base(cls)):
            name = f"{base.__module__}.{base.__qualname__}".encode()
            for wanted, adapter in TypeRegistry.by_name:
                if name == wanted:
                    return adapter
    return None
