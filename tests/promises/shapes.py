"""Shapes of data, and the ways in which an actor's code makes it.

Each shape has a function that adds one more piece, of some two kilobytes, to what a ``Keeper``
holds. How large a piece really is was found by tracemalloc when this was imported. Each piece has a
``Token``; how many tokens there are is read from the reference count of their class, so asking
leaves no trace.
"""

from __future__ import annotations

import enum
import importlib.util
import itertools
import json
import re
import sys
import tracemalloc
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["OUTSIDE", "PIECE", "Keeper", "Shape", "Token", "Way", "grow", "lead", "tokens"]

BYTES = 2000
"""What a piece holds, more or less; see ``PIECE``."""


class Shape(enum.Enum):
    """How the data is built that an actor keeps. The value says it for the docs."""

    FLAT = "bytes objects in a list"
    NESTED = "small lists, dicts and strings within each other"
    TREE = "a tree whose nodes know their parents"
    LINKED = "a list of nodes that are linked both ways"
    OWNER = "parts that refer to what holds them"
    CLOSURES = "functions with cells"
    GENERATORS = "suspended generators with local variables"
    TRACEBACKS = "exceptions that are kept with their frames"
    CLASSES = "classes made at run time, with data in them"
    DEQUE = "deques"
    ORDERED = "ordered dicts"
    ARRAY = "arrays of numbers"
    BYTEARRAY = "bytearrays that grow"
    LARGE = "blocks of 100 kB"
    NUMPY = "numpy arrays"
    SHARED = "objects that somebody else holds as well"

    @property
    def cyclic(self) -> bool:
        """Does it keep itself alive until the collector comes?"""
        return self in CYCLIC

    @property
    def why_missing(self) -> str | None:
        """Why it cannot be had here."""
        if self is Shape.NUMPY and importlib.util.find_spec("numpy") is None:
            return "numpy is not installed"
        return None


CYCLIC = {Shape.TREE, Shape.LINKED, Shape.OWNER, Shape.TRACEBACKS, Shape.CLASSES}


class Way(enum.Enum):
    """How deep in other code an actor makes its data. The value says it for the docs."""

    PLAIN = "a loop in the function itself"
    CONSTRUCTOR = "`__init__` of an object that it makes"
    PROPERTY = "a property"
    SORT_KEY = "the key function of a sort"
    MAP = "a function that `map` calls"
    GENERATOR = "a generator that `sum` consumes"
    JSON_HOOK = "an `object_hook` of json"
    SUBSTITUTION = "a function that `re.sub` calls"
    FINALISER = "`__del__`"

    @property
    def from_c(self) -> bool:
        """Is there code in C between the actor's function and the one that makes the data?"""
        return self is not Way.PLAIN


class Token:
    """There is one in each piece."""

    __slots__ = ()


_TOKENS_AT_FIRST = sys.getrefcount(Token)


def tokens() -> int:
    """How many pieces there are: each instance refers to its class."""
    return sys.getrefcount(Token) - _TOKENS_AT_FIRST


class Keeper:
    """What holds the pieces where there is no actor's object to hold them."""

    def __init__(self) -> None:
        self.held: list[Any] = []


OUTSIDE: list[Any] = []
"""The other holder of what is shared."""

_GROW: dict[Shape, Callable[[list[Any]], object]] = {}


def grown(shape: Shape) -> Callable[[Callable[[list[Any]], object]], Callable[[list[Any]], object]]:
    """This function adds a piece of the shape to a list of them."""

    def enter(function: Callable[[list[Any]], object]) -> Callable[[list[Any]], object]:
        _GROW[shape] = function
        return function

    return enter


def grow(shape: Shape, held: list[Any]) -> None:
    """One more piece."""
    _GROW[shape](held)


@grown(Shape.FLAT)
def _(held: list[Any]) -> None:
    held.append((Token(), bytes(BYTES)))


@grown(Shape.NESTED)
def _(held: list[Any]) -> None:
    held.append({"token": Token(), "rows": [[f"{id(held)} {len(held)} {number}"] for number in range(10)]})


class Node:
    def __init__(self, parent: Node | None) -> None:
        self.parent = parent
        self.children: list[Node] = []
        self.data = (Token(), bytes(BYTES - 300))


@grown(Shape.TREE)
def _(held: list[Any]) -> None:
    if not held:
        held.append(Node(None))
    child = Node(held[0])
    held[0].children.append(child)


class Linked:
    def __init__(self, before: Linked | None) -> None:
        self.before = before
        self.after: Linked | None = None
        self.data = (Token(), bytes(BYTES - 100))
        if before is not None:
            before.after = self


@grown(Shape.LINKED)
def _(held: list[Any]) -> None:
    if not held:
        first = Linked(None)
        held += [first, first]
    held[1] = Linked(held[1])


@grown(Shape.OWNER)
def _(held: list[Any]) -> None:
    held.append({"token": Token(), "owner": held, "data": bytes(BYTES)})


@grown(Shape.CLOSURES)
def _(held: list[Any]) -> None:
    data = (Token(), bytes(BYTES))
    held.append(lambda: data)


def _suspended() -> Iterator[int]:
    data = (Token(), bytes(BYTES))
    yield len(data)


@grown(Shape.GENERATORS)
def _(held: list[Any]) -> None:
    generator = _suspended()
    next(generator)
    held.append(generator)


def _failing() -> None:
    data = (Token(), bytes(BYTES))
    try:
        raise ValueError(len(data))
    except ValueError as error:
        kept = error  # it holds this frame, which holds it
        raise kept from None


@grown(Shape.TRACEBACKS)
def _(held: list[Any]) -> None:
    try:
        _failing()
    except ValueError as error:
        held.append(error)


@grown(Shape.CLASSES)
def _(held: list[Any]) -> None:
    held.append(type("Made", (), {"data": (Token(), bytes(BYTES))}))


@grown(Shape.DEQUE)
def _(held: list[Any]) -> None:
    held.append((Token(), deque(range(10**6, 10**6 + 60))))


@grown(Shape.ORDERED)
def _(held: list[Any]) -> None:
    held.append((Token(), OrderedDict.fromkeys(range(10**6, 10**6 + 20))))


@grown(Shape.ARRAY)
def _(held: list[Any]) -> None:
    held.append((Token(), array("d", bytes(BYTES))))


@grown(Shape.BYTEARRAY)
def _(held: list[Any]) -> None:
    growing = bytearray()
    for _ in range(BYTES // 100):
        growing += bytes(100)
    held.append((Token(), growing))


@grown(Shape.LARGE)
def _(held: list[Any]) -> None:
    held.append((Token(), bytes(100_000)))


@grown(Shape.NUMPY)
def _(held: list[Any]) -> None:
    import numpy  # type: ignore[import-not-found, unused-ignore]

    held.append((Token(), numpy.zeros(BYTES // 8)))


@grown(Shape.SHARED)
def _(held: list[Any]) -> None:
    both = (Token(), bytes(BYTES))
    OUTSIDE.append(both)
    held.append(both)


def _measured(shape: Shape) -> int:
    """What a piece of it takes, in bytes."""
    if shape.why_missing is not None:
        return BYTES
    held: list[Any] = []
    for _ in range(20):  # what the interpreter keeps for reuse is used up
        grow(shape, held)
    running = tracemalloc.is_tracing()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        grow(shape, held)
    after = tracemalloc.get_traced_memory()[0]
    if not running:
        tracemalloc.stop()
    held.clear()
    OUTSIDE.clear()
    return (after - before) // 20


PIECE = {shape: _measured(shape) for shape in _GROW}
"""Bytes of one piece."""


# --- ways -----------------------------------------------------------------------------------------


class _Loop:
    """Runs steps in its constructor, its property or its finaliser."""

    def __init__(self, step: Callable[[], object], constructed: int = 0, finalised: int = 0) -> None:
        self.step = step
        self.count = finalised
        for _ in range(constructed):
            step()

    @property
    def all_of_them(self) -> int:
        for _ in range(self.count):
            self.step()
        return self.count


class _Finalised(_Loop):
    def __del__(self) -> None:
        for _ in range(self.count):
            self.step()


def lead(way: Way, step: Callable[[], object], count: int) -> None:
    """Have ``step()`` called so many times in that way."""
    match way:
        case Way.PLAIN:
            for _ in range(count):
                step()
        case Way.CONSTRUCTOR:
            _Loop(step, constructed=count)
        case Way.PROPERTY:
            _ = _Loop(step, finalised=count).all_of_them
        case Way.SORT_KEY:
            sorted(range(count), key=lambda number: step() or number)
        case Way.MAP:
            list(map(lambda _: step(), range(count)))
        case Way.GENERATOR:
            sum(step() or 1 for _ in range(count))  # type: ignore[misc]
        case Way.JSON_HOOK:
            json.loads("[" + ",".join(itertools.repeat("{}", count)) + "]", object_hook=lambda _: step())
        case Way.SUBSTITUTION:
            re.sub("x", lambda _: str(step() or ""), "x" * count)
        case Way.FINALISER:
            _Finalised(step, finalised=count)
