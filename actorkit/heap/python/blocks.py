"""How many bytes come back to the allocator when an object is freed: the twin of ``_blocks.h``.

An object is one block or several: a list has its array, a dict its keys table, an instance (up to
3.12) its values. Each block is rounded up as the allocators do it: to 16 bytes up to 512, and
beyond that to what malloc makes of it.

Most types answer through their C-level ``__sizeof__``. What that does not tell is read from memory
(``heap/interpreter/memory.py``). Where the offsets are not known, ``EXACT`` is False and an
estimate takes its place.

No ``__sizeof__`` written in Python is called.
"""

from __future__ import annotations

import io
import struct
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from types import MethodDescriptorType
from typing import Any

from ..interpreter import memory
from ..interpreter.versions import WHY_UNKNOWN

__all__ = [
    "EXACT",
    "block_bytes",
    "dict_str_keys",
    "flags_of",
    "is_namespace",
    "mro_of",
    "native_base",
    "sizer_for",
    "string_io_parts",
]

Sizer = Callable[[Any], int]

_POINTER = struct.calcsize("P")

EXACT = memory.READABLE
"""Are the sizes those of the C walk? Otherwise they are estimates."""

_HEAP_TYPE = 1 << 9
_ORDERED_NODE = 32
_DEQUE_BLOCK = 66 * _POINTER
_INT_HEADER = int.__basicsize__
_DIGIT_BITS, _DIGIT_BYTES = sys.int_info.bits_per_digit, sys.int_info.sizeof_digit


def _of_type(name: str) -> Callable[[type], Any]:
    """Reads an attribute of a class past whatever its metaclass may define."""
    getter: Any = type.__dict__[name]
    return lambda cls: getter.__get__(cls, type)


mro_of: Callable[[type], tuple[type, ...]] = _of_type("__mro__")
flags_of: Callable[[type], int] = _of_type("__flags__")
_base_of: Callable[[type], type | None] = _of_type("__base__")
_basic_of: Callable[[type], int] = _of_type("__basicsize__")
_item_of: Callable[[type], int] = _of_type("__itemsize__")
_module_of: Callable[[type], object] = _of_type("__module__")
_namespace_of: Callable[[type], Any] = _of_type("__dict__")


def block_bytes(requested: int) -> int:
    """The block that an allocator makes of a request."""
    if requested <= 512:
        return (requested + 15) & ~15 if requested else 16
    return (requested + _POINTER + 15) & ~15


# --- Classes ----------------------------------------------------------------------------------


class _Probe:
    """An ordinary class: it shows the traversal of all classes made by a class statement."""


_CLASS_TRAVERSE = memory.traverse_of(_Probe) if EXACT else 0


def _is_python_class(cls: type) -> bool:
    if EXACT:
        return memory.traverse_of(cls) == _CLASS_TRAVERSE
    return bool(flags_of(cls) & _HEAP_TYPE) and "__module__" in _namespace_of(cls)


def native_base(cls: type) -> type:
    """The nearest type up the chain of layouts that was not made by a class statement."""
    while _is_python_class(cls):
        base = _base_of(cls)
        if base is None:
            break
        cls = base
    return cls


# --- Dicts -------------------------------------------------------------------------------------


def _dict_table_bytes(mapping: dict[Any, Any]) -> int:
    if not EXACT:
        table = dict.__sizeof__(mapping) - _basic_of(type(mapping))
        return block_bytes(table) if table > 0 else 0
    request = memory.table_of(mapping)
    return block_bytes(request) if request else 0


def _ordered_nodes_bytes(mapping: OrderedDict[Any, Any]) -> int:
    """The linked list beside the dict: one node for each key, and a table of pointers to them."""
    nodes = dict.__len__(mapping) * _ORDERED_NODE
    if not EXACT:
        return nodes
    beyond = OrderedDict.__sizeof__(mapping) - _basic_of(type(mapping))
    pointers = beyond - memory.keys_table(mapping) - nodes
    return nodes + block_bytes(pointers) if pointers > 0 else nodes


def dict_str_keys(mapping: dict[Any, Any]) -> list[Any]:
    """The keys that a traversal leaves out: those of a dict that has only str keys, if they are its
    own."""
    if EXACT:
        return list(dict.__iter__(mapping)) if memory.has_only_str_keys(mapping) else []
    names = list(dict.__iter__(mapping))
    return names if all(type(name) is str for name in names) else []


def is_namespace(mapping: dict[Any, Any]) -> bool:
    """Is this plain dict a module's globals? No key is compared by code of its own."""
    if EXACT and not memory.has_plain_str_keys(mapping):
        return False
    return "__builtins__" in mapping


# --- Instances ---------------------------------------------------------------------------------


def _instance_values_bytes(obj: object, cls: type, flags: int) -> tuple[int, int]:
    """What its attribute values take: (bytes inside the instance's own block, bytes in a separate
    block)."""
    if not EXACT:
        return 0, 0
    inside, request = memory.instance_values(obj, cls, flags)
    return inside, block_bytes(request) if request else 0


def string_io_parts(buffer: object) -> tuple[int, list[object]]:
    """What a StringIO hides: (bytes, referents)."""
    requests, referents = memory.string_io_parts(buffer)
    return sum(map(block_bytes, requests)), referents


# --- Strings and numbers -----------------------------------------------------------------------

_COMPACT_HEADER = str.__sizeof__(chr(0x3B1) * 3) - 4 * 2 if WHY_UNKNOWN is None else 56


def _character_bytes(text: str) -> int:
    if str.isascii(text):
        return 1
    highest = ord(max(str.__iter__(text)))
    return 1 if highest < 0x100 else 2 if highest < 0x10000 else 4


def _str_bytes(text: str) -> int:
    if str.isascii(text):
        return block_bytes(str.__sizeof__(text))
    body = _COMPACT_HEADER + (len(text) + 1) * _character_bytes(text)
    utf8 = str.__sizeof__(text) - body
    return block_bytes(body) + (block_bytes(utf8) if utf8 > 0 else 0)


def _str_subclass_sizer(header: int) -> Sizer:
    def size(text: str) -> int:
        data = (str.__len__(text) + 1) * _character_bytes(text)
        utf8 = str.__sizeof__(text) - _basic_of(str) - data
        return block_bytes(header) + block_bytes(data) + (block_bytes(utf8) if utf8 > 0 else 0)

    return size


def _digits_bytes(number: int) -> int:
    return max(1, -(-int.bit_length(number) // _DIGIT_BITS)) * _DIGIT_BYTES


def _int_bytes(number: int) -> int:
    return block_bytes(_INT_HEADER + _digits_bytes(number))


# --- Types -------------------------------------------------------------------------------------


def _is_stdlib_type(cls: type) -> bool:
    return str(_module_of(cls)).partition(".")[0] in sys.stdlib_module_names


# Its __sizeof__ reads through a null pointer as long as __init__ has not run.
_CRASHES_HALF_MADE = struct.Struct


def _trusted_sizeof(cls: type) -> Callable[[object], int] | None:
    """The C-level ``__sizeof__`` that ``cls`` inherits from the standard library."""
    for base in mro_of(cls):
        if base is object:
            return None
        if _is_python_class(base):
            continue
        method = _namespace_of(base).get("__sizeof__")
        if type(method) is MethodDescriptorType:
            return method if _is_stdlib_type(base) and base is not _CRASHES_HALF_MADE else None
    return None


def _beyond(method: Callable[[object], int], obj: object, basic: int) -> int:
    try:
        return max(0, method(obj) - basic)
    except Exception:  # of an object that is closed or half made
        return 0


def _second_block_sizer(cls: type) -> Sizer | None:
    """The sizer of the second block of a container whose structure is known."""
    basic, bases = _basic_of(cls), mro_of(cls)

    def rest(method: Callable[[Any], int]) -> Sizer:
        def size(obj: object) -> int:
            beyond = method(obj) - basic
            return block_bytes(beyond) if beyond > 0 else 0

        return size

    if list in bases:
        return rest(list.__sizeof__)
    if OrderedDict in bases:
        return lambda obj: _dict_table_bytes(obj) + _ordered_nodes_bytes(obj)
    if dict in bases:
        return _dict_table_bytes
    if set in bases:
        return rest(set.__sizeof__)
    if frozenset in bases:
        return rest(frozenset.__sizeof__)
    if bytearray in bases:
        return rest(bytearray.__sizeof__)
    if deque in bases:
        return lambda obj: (deque.__sizeof__(obj) - basic) // _DEQUE_BLOCK * block_bytes(_DEQUE_BLOCK)
    return None


def sizer_for(cls: type) -> Sizer:
    """The function that sizes the instances of ``cls``. It holds no reference to the class."""
    if WHY_UNKNOWN is not None:
        return lambda obj: block_bytes(sys.getsizeof(obj, 64))
    if cls is str:
        return _str_bytes
    if cls is int:
        return _int_bytes
    flags, basic, item, bases = flags_of(cls), _basic_of(cls), _item_of(cls), mro_of(cls)
    header = memory.bytes_before_object(flags) + basic
    if str in bases:
        return _str_subclass_sizer(header)
    # The generic allocation of objects with items adds a sentinel item.
    one_more = item if item and flags & _HEAP_TYPE else 0
    second = _second_block_sizer(cls)
    fixed = native_base(cls) is object or (io.BytesIO in bases and memory.BYTES_IO_SHOWS_BUFFER)
    method = None if second is not None or fixed or tuple in bases or bytes in bases else _trusted_sizeof(cls)
    of_int = int in bases

    def size(obj: Any) -> int:  # refers to no class: it is kept for as long as cls lives
        if of_int:
            items = _digits_bytes(obj) + one_more
        elif item and method is not None:
            items = _beyond(method, obj, basic)
        elif item:
            items = object.__sizeof__(obj) - basic + one_more
        else:
            items = 0
        inside, outside = _instance_values_bytes(obj, type(obj), flags)
        total = block_bytes(header + items + inside) + outside
        if second is not None:
            return total + second(obj)
        if method is not None and not item:
            beyond = _beyond(method, obj, basic)
            return total + (block_bytes(beyond) if beyond else 0)
        return total

    if not flags & memory.MANAGED_DICT and second is None and method is None and not item and not of_int:
        constant = block_bytes(header)
        return lambda obj: constant
    return size
