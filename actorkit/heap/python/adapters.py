"""Types that hold memory which no traversal shows, and what they hold.

An adapter returns the bytes that are freed with the object besides its own block, and the objects
to which it has references that the garbage collector does not see. Types are registered by name, so
nothing is imported for the sake of an adapter, and a walk that meets no such object does not pay
for it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import blocks

__all__ = ["ADAPTERS"]


def numpy_array(array: Any) -> tuple[int, Sequence[object]]:
    """Its data, if it owns them; otherwise the array or buffer that it is a view of. The elements,
    if they are objects."""
    if not array.flags.owndata:
        return 0, (() if array.base is None else (array.base,))
    if array.dtype.char == "T":
        return array.nbytes + _characters(array), ()
    return array.nbytes, _elements(array) if array.dtype.hasobject else ()


def _elements(array: Any) -> list[object]:
    if array.dtype.fields is None:
        return list(array.ravel(order="K"))
    found: list[object] = []
    for name in array.dtype.names:
        if array.dtype.fields[name][0].hasobject:
            found += _elements(array[name])
    return found


def _characters(array: Any) -> int:
    """The characters of variable-width strings, a byte each. They are in an arena unless they are
    short."""
    numpy: Any = sys.modules["numpy"]
    lengths = numpy.strings.str_len(array)
    return int(lengths[lengths > _SHORT].sum())


_SHORT = 15


def numpy_void(scalar: Any) -> tuple[int, Sequence[object]]:
    """A row of a structured array is a view of the array; a copied row has bytes of its own."""
    return (scalar.nbytes, ()) if scalar.base is None else (0, (scalar.base,))


def numpy_iterator(iterator: Any) -> tuple[int, Sequence[object]]:
    """The array that it iterates over."""
    return 0, (iterator.base,)


def memory_map(mapped: Any) -> tuple[int, Sequence[object]]:
    """The mapped bytes: not the allocator's, but given back with the object all the same."""
    return (0 if mapped.closed else len(mapped)), ()


def string_io(buffer: Any) -> tuple[int, Sequence[object]]:
    """The characters, four bytes each; as long as it is only written to, parts or a string under
    construction."""
    if blocks.EXACT:
        return blocks.string_io_parts(buffer)
    if buffer.closed:
        return 0, ()
    where = buffer.tell()
    length = buffer.seek(0, 2)
    buffer.seek(where)
    return length, ()


def c_data(data: Any) -> tuple[int, Sequence[object]]:
    """The buffer of a ctypes object, if it owns one that is not inside the object itself."""
    import ctypes

    size = ctypes.sizeof(data)
    return (size if data._b_needsfree_ and size > 16 else 0), ()


def lru_cache(function: Any) -> tuple[int, Sequence[object]]:
    """The links of its ring. The ring holds them too, and a traversal shows only the cache's own
    reference."""
    facts = functools._lru_cache_wrapper.cache_info(function)
    return (0 if facts.maxsize is None else facts.currsize * _LINK), ()


_LINK = 64

ADAPTERS: dict[str, Callable[[Any], tuple[int, Sequence[object]]]] = {
    "numpy.ndarray": numpy_array,
    "numpy.void": numpy_void,
    "numpy.flatiter": numpy_iterator,
    "mmap.mmap": memory_map,
    "_io.StringIO": string_io,
    "_ctypes._CData": c_data,
    "functools._lru_cache_wrapper": lru_cache,
}
