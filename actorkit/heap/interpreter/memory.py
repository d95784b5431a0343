"""How objects lie in memory, for the walk in Python: the twin of ``_layout.h`` and ``_dicts.h``.

Some of what a walk has to know no ``__sizeof__`` tells: how much an instance's values take, and
whether a dict shares its keys. It is read from memory, with ctypes, at the offsets of the versions
that are known. Where they are not, ``READABLE`` is False and nothing else here may be called, but
for ``bytes_before_object``.

All functions return the bytes that CPython requests from its allocator, not the blocks that it
gets.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, Final

from .versions import WHY_UNKNOWN

ctypes: Any
try:
    import ctypes as _ctypes

    ctypes = _ctypes
except ImportError:  # an interpreter built without it
    ctypes = None

__all__ = [
    "BYTES_IO_SHOWS_BUFFER",
    "HAS_COUNTS",
    "HAVE_GC",
    "IMMORTAL",
    "INLINE_VALUES",
    "MANAGED_DICT",
    "READABLE",
    "bytes_before_object",
    "has_only_str_keys",
    "has_plain_str_keys",
    "instance_values",
    "keys_table",
    "string_io_parts",
    "table_of",
    "traverse_of",
]

_POINTER: Final = struct.calcsize("P")
_VERSION: Final = sys.version_info[:2]

READABLE: Final = WHY_UNKNOWN is None and ctypes is not None and _POINTER == 8
"""Are the offsets known?"""

HAS_COUNTS: Final = WHY_UNKNOWN is None and hasattr(sys, "getrefcount")
"""Does ``sys.getrefcount`` say how many references there are, its argument among them?"""

IMMORTAL: Final = 1 << 31 if _VERSION >= (3, 12) else 0
"""The bit in the reference count of an object that never dies. Before 3.12 there were none."""

BYTES_IO_SHOWS_BUFFER: Final = _VERSION >= (3, 12)
"""Does the traversal of a BytesIO visit its buffer?"""

# Type flags, the same in all versions.
INLINE_VALUES: Final = 1 << 2
_MANAGED_WEAKREF: Final = 1 << 3
MANAGED_DICT: Final = 1 << 4
HAVE_GC: Final = 1 << 14

# Offsets in bytes, the same in 3.11 to 3.13.
_TYPE_TRAVERSE: Final = 184
_DICT_KEYS, _DICT_VALUES = 32, 40
_KEYS_HEADER: Final = 32  # references, then one byte each: log2 of the size, log2 of the index bytes, kind
_KEYS_USABLE, _KEYS_USED = 16, 24
_TYPE_CACHED_KEYS: Final = 872 if _VERSION == (3, 11) else 880

_GENERAL_KEYS, _STR_KEYS = 0, 1
_GENERAL_ENTRY, _STR_ENTRY = 24, 16

# The offsets in a StringIO: the buffer of four-byte characters and its length; the state; and what
# characters are accumulated in, as long as they are.
_TEXT_BUFFER, _TEXT_LENGTH, _TEXT_STATE, _TEXT_PARTS = 16, 40, 48, 56
_ACCUMULATING: Final = 2

# How much shorter than its type says the header of a text is, by the kind of the text.
_ASCII_LESS, _COMPACT_LESS = 24, 8


def _word(address: int) -> int:
    return int(ctypes.c_size_t.from_address(address).value)


def _byte(address: int) -> int:
    return int(ctypes.c_ubyte.from_address(address).value)


def traverse_of(cls: type) -> int:
    """The address of the function by which the collector traverses the instances of the class."""
    return _word(id(cls) + _TYPE_TRAVERSE)


def bytes_before_object(flags: int) -> int:
    """What lies in front of an object in its block: GC links and managed pointers."""
    managed = MANAGED_DICT if _VERSION == (3, 11) else MANAGED_DICT | _MANAGED_WEAKREF
    return (16 if flags & HAVE_GC else 0) + (16 if flags & managed else 0)


# --- Dicts -------------------------------------------------------------------------------------


def _shared_values(keys: int) -> int:
    length = _word(keys + _KEYS_USABLE) + _word(keys + _KEYS_USED)
    return ((length + 2 + 7) & ~7) + length * _POINTER


def _own_values(values: int) -> int:
    length = _byte(values)
    return ((length + 7) & ~7) + (length + 1) * _POINTER


def keys_table(mapping: dict[Any, Any]) -> int:
    """The table of a dict's keys, if it is this dict's own; 0 for the shared empty one."""
    keys = _word(id(mapping) + _DICT_KEYS)
    if _word(keys) != 1:
        return 0
    usable = (2 << _byte(keys + 8)) // 3
    entry = _GENERAL_ENTRY if _byte(keys + 10) == _GENERAL_KEYS else _STR_ENTRY
    return _KEYS_HEADER + (1 << _byte(keys + 9)) + usable * entry


def table_of(mapping: dict[Any, Any]) -> int:
    """What a dict has beside itself: its table of keys, or its array of values."""
    values = _word(id(mapping) + _DICT_VALUES)
    if not values:
        return keys_table(mapping)
    if _VERSION < (3, 13):
        return _shared_values(_word(id(mapping) + _DICT_KEYS))
    embedded = _byte(values + 2)
    return 0 if embedded else _own_values(values)


def has_only_str_keys(mapping: dict[Any, Any]) -> bool:
    """Are all keys of this dict texts, in a table that is its own?"""
    keys = _word(id(mapping) + _DICT_KEYS)
    return not _word(id(mapping) + _DICT_VALUES) and _word(keys) == 1 and _byte(keys + 10) != _GENERAL_KEYS


def has_plain_str_keys(mapping: dict[Any, Any]) -> bool:
    """Are all keys texts, as in a module's globals? Then a look-up runs no code of theirs."""
    return _byte(_word(id(mapping) + _DICT_KEYS) + 10) == _STR_KEYS


# --- Instances ---------------------------------------------------------------------------------


def instance_values(obj: object, cls: type, flags: int) -> tuple[int, int]:
    """What its attribute values take: (bytes inside the instance's own block, bytes of another)."""
    if not flags & MANAGED_DICT:
        return 0, 0
    if _VERSION >= (3, 13):
        inside = flags & INLINE_VALUES
        return (_own_values(id(obj) + 2 * _POINTER), 0) if inside else (0, 0)
    if _VERSION == (3, 12):
        # One pointer for both, its lowest bit set if it is to values.
        either = _word(id(obj) - 3 * _POINTER)
        present = bool(either & 1) and either != (1 << 64) - 1
    else:
        present = _word(id(obj) - 4 * _POINTER) != 0
    keys = _word(id(cls) + _TYPE_CACHED_KEYS) if present else 0
    return 0, _shared_values(keys) if keys else 0


def string_io_parts(buffer: object) -> tuple[list[int], list[object]]:
    """What a StringIO hides: (the bytes of each block, referents)."""
    at = id(buffer)
    blocks = [_word(at + _TEXT_LENGTH) * 4] if _word(at + _TEXT_BUFFER) else []
    if _word(at + _TEXT_STATE) & 0xFFFFFFFF != _ACCUMULATING:
        return blocks, []
    if _VERSION == (3, 11):
        # Two lists of strings.
        lists = [_word(at + _TEXT_PARTS), _word(at + _TEXT_PARTS + 8)]
        return blocks, [ctypes.cast(address, ctypes.py_object).value for address in lists if address]
    if _word(at + _TEXT_PARTS):
        kind, length = _word(at + _TEXT_PARTS + 16), _word(at + _TEXT_PARTS + 24)
        header = str.__basicsize__ - (_ASCII_LESS if kind >> 32 < 128 else _COMPACT_LESS)
        blocks.append(header + (length + 1) * (kind & 0xFF))
    return blocks, []
