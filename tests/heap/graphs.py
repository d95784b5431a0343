"""Random object graphs of all the kinds that the walk must know."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import functools
import io
import random
import types
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import attrs
from hypothesis import strategies as st

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment, unused-ignore]

__all__ = ["KINDS", "Graph", "Recipe", "build", "recipe_of", "recipes"]


class Plain:
    """Has its attributes in an inline values array."""

    def method(self) -> None:
        pass


# Held here, since the interpreter's cache of attribute lookups may hold such a name, or drop it, at
# any moment.
NAMES = [f"attribute{i}" for i in range(1000)]


class Wide:
    """Has more attributes than shared keys can hold."""


class Slotted:
    __slots__ = ("a", "b", "c")


class SlottedWithDict(Slotted):
    pass


class Finalized:
    def __del__(self) -> None:
        pass


@attrs.frozen
class Frozen:
    a: Any
    b: Any


class MyList(list[Any]):
    pass


class MyDict(dict[Any, Any]):
    pass


class MySet(set[Any]):
    pass


class MyTuple(tuple[Any, ...]):
    pass


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyBytes(bytes):
    pass


class MyFloat(float):
    pass


class MyDeque(collections.deque[Any]):
    pass


class MyOrdered(collections.OrderedDict[Any, Any]):
    pass


Point = collections.namedtuple("Point", "x y")


class Suspend:
    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[object, None, None]:
        yield self.value


async def pause(value: object, other: object) -> object:
    kept = [value]
    for _ in [other, kept]:  # the iterator and the list are on the value stack only
        await Suspend(value)
    return kept


async def nested(value: object, other: object) -> object:
    async with Context(value):
        return [await pause(value, other), other]


class Context:
    def __init__(self, value: object) -> None:
        self.value = value

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


def generate(value: object, other: object) -> Iterator[object]:
    kept = [value]
    yield kept
    yield other


def closure(value: object, other: object) -> Callable[..., object]:
    def inner(default: object = other, *, named: object = other) -> object:
        return value, default, named

    return inner


def started(coroutine: Any) -> Any:
    coroutine.send(None)
    return coroutine


def exception(value: object) -> Exception:
    try:
        raise ValueError(value)
    except ValueError as error:
        error.__traceback__ = None  # the frames would hold it
        return error


Pick = Callable[[], Any]


def _many(rng: random.Random, pick: Pick, most: int) -> list[Any]:
    return [pick() for _ in range(rng.randrange(most))]


def _plain(rng: random.Random, pick: Pick) -> Plain:
    made: Any = Plain()
    made.a, made.b = pick(), pick()
    chance = rng.random()
    if chance < 0.2:
        made.c = [pick()]
    elif chance < 0.3:
        made.__dict__  # noqa: B018 - makes a real dict
    elif chance < 0.35:
        setattr(made, rng.choice(NAMES), pick())
    elif chance < 0.4:
        made.__dict__ = {"x": pick()}
    return made


def _wide(rng: random.Random, pick: Pick) -> Wide:
    made = Wide()
    for i in range(rng.randrange(60)):
        setattr(made, NAMES[i], pick())
    return made


def _slotted(cls: type, pick: Pick) -> Any:
    made = cls()
    made.a = pick()
    made.b = pick()
    return made


def _with_attribute(made: Any, pick: Pick) -> Any:
    made.attribute = pick()
    return made


def _written(text: bool, rng: random.Random) -> Any:
    if text:
        stream = io.StringIO()
        for _ in range(rng.randrange(5)):
            stream.write("x" * rng.randrange(300))
        if rng.random() < 0.5:
            stream.seek(0)
            stream.read(1)
        return stream
    binary = io.BytesIO()
    binary.write(rng.randbytes(rng.randrange(2000)))
    return binary


KINDS: dict[str, Callable[[random.Random, Pick], Any]] = {
    "list": lambda rng, pick: _many(rng, pick, 6),
    "tuple": lambda rng, pick: tuple(_many(rng, pick, 6)),
    "dict": lambda rng, pick: {rng.choice(["aa", "bb", "cc", rng.random()]): pick() for _ in range(rng.randrange(8))},
    "str dict": lambda rng, pick: {f"k{rng.randrange(10**6)}": pick() for _ in range(rng.randrange(20))},
    "set": lambda rng, pick: {rng.random() for _ in range(rng.randrange(12))},
    "frozenset": lambda rng, pick: frozenset(str(rng.random()) for _ in range(rng.randrange(12))),
    "instance": _plain,
    "instance again": _plain,
    "wide": _wide,
    "slots": lambda rng, pick: _slotted(Slotted, pick),
    "slots and dict": lambda rng, pick: _with_attribute(_slotted(SlottedWithDict, pick), pick),
    "frozen": lambda rng, pick: Frozen(pick(), pick()),
    "finalized": lambda rng, pick: _with_attribute(Finalized(), pick),
    "generator": lambda rng, pick: _advanced(generate(pick(), pick())),
    "coroutine": lambda rng, pick: started(pause(pick(), pick())),
    "nested coroutine": lambda rng, pick: started(nested(pick(), pick())),
    "closure": lambda rng, pick: closure(pick(), pick()),
    "partial": lambda rng, pick: functools.partial(generate, pick(), other=pick()),
    "method": lambda rng, pick: types.MethodType(generate, pick()),
    "bound": lambda rng, pick: _plain(rng, pick).method,
    "deque": lambda rng, pick: collections.deque(_many(rng, pick, 200)),
    "str": lambda rng, pick: f"x{rng.randrange(10**9)}",
    "wide str": lambda rng, pick: "é€"[rng.randrange(2) :] * rng.randrange(2, 50),
    "emoji": lambda rng, pick: "\U0001f600" * rng.randrange(2, 9),
    "long str": lambda rng, pick: "y" * rng.randrange(400, 5000),
    "int": lambda rng, pick: rng.randrange(10**40),
    "negative": lambda rng, pick: -rng.randrange(10**6, 10**20),
    "float": lambda rng, pick: rng.random(),
    "complex": lambda rng, pick: complex(rng.random(), 1.0),
    "bytes": lambda rng, pick: rng.randbytes(rng.randrange(2, 600)),
    "bytearray": lambda rng, pick: bytearray(rng.randrange(1000)),
    "MyList": lambda rng, pick: _with_attribute(MyList(_many(rng, pick, 4)), pick),
    "MyDict": lambda rng, pick: _with_attribute(MyDict(a=pick()), pick),
    "MySet": lambda rng, pick: _with_attribute(MySet([rng.random()]), pick),
    "MyTuple": lambda rng, pick: _with_attribute(MyTuple(_many(rng, pick, 4)), pick),
    "MyInt": lambda rng, pick: _with_attribute(MyInt(rng.randrange(10**30)), pick),
    "MyStr": lambda rng, pick: _with_attribute(MyStr("é" * rng.randrange(9) + "x"), pick),
    "MyBytes": lambda rng, pick: _with_attribute(MyBytes(rng.randbytes(9)), pick),
    "MyFloat": lambda rng, pick: _with_attribute(MyFloat(rng.random()), pick),
    "MyDeque": lambda rng, pick: _with_attribute(MyDeque(_many(rng, pick, 4)), pick),
    "MyOrdered": lambda rng, pick: _with_attribute(MyOrdered(a=pick()), pick),
    "namedtuple": lambda rng, pick: Point(pick(), pick()),
    "weakref": lambda rng, pick: _with_weakref(_plain(rng, pick)),
    "iterator": lambda rng, pick: iter([pick(), pick()]),
    "map": lambda rng, pick: map(str, [pick(), pick()]),
    "cell": lambda rng, pick: types.CellType(pick()),
    "memoryview": lambda rng, pick: memoryview(bytearray(300)),
    "datetime": lambda rng, pick: datetime.datetime.now(),
    "decimal": lambda rng, pick: decimal.Decimal(rng.randrange(10**40)),
    "array": lambda rng, pick: array.array("d", [1.0] * rng.randrange(1, 50)),
    "OrderedDict": lambda rng, pick: collections.OrderedDict((str(i), pick()) for i in range(rng.randrange(9))),
    "defaultdict": lambda rng, pick: collections.defaultdict(list, {1: [pick()]}),
    "namespace": lambda rng, pick: types.SimpleNamespace(a=pick()),
    "exception": lambda rng, pick: exception(pick()),
    "StringIO": lambda rng, pick: _written(True, rng),
    "BytesIO": lambda rng, pick: _written(False, rng),
    "repeated": lambda rng, pick: _repeated(pick()),
}


UNCOUNTED = frozenset({"numpy array", "object array", "array on a buffer", "view of an array"})
"""Kinds whose memory is NumPy's own: the hook that counts the frees of Python's memory does not see
all of it, so test_numpy tests them.
"""

if numpy is not None:

    def _objects(rng: random.Random, pick: Pick) -> Any:
        array: Any = numpy.empty(rng.randrange(1, 9), dtype=object)
        for number in range(len(array)):
            array[number] = pick()
        return array if rng.random() < 0.5 else array[::2]

    KINDS |= {
        "numpy array": lambda rng, pick: numpy.zeros(rng.randrange(1, 500)),
        "object array": _objects,
        "array on a buffer": lambda rng, pick: numpy.frombuffer(bytearray(rng.randrange(1, 900)), "u1"),
        "view of an array": lambda rng, pick: numpy.frombuffer(rng.randbytes(900), "u1")[rng.randrange(9) :: 2],
    }


def _advanced(generator: Iterator[object]) -> Iterator[object]:
    next(generator)
    return generator


def _with_weakref(obj: object) -> list[object]:
    return [weakref.ref(obj), obj]


def _repeated(obj: object) -> tuple[object, ...]:
    return (obj, [obj, obj], obj)


@attrs.frozen
class Recipe:
    """What to build. The same recipe makes the same graph."""

    kinds: tuple[str, ...]
    seed: int
    held: int
    """How many of the objects are held from outside."""
    cycles: int
    """How many references go back."""


@attrs.define
class Graph:
    root: Any
    held: list[Any]


def build(recipe: Recipe) -> Graph:
    rng = random.Random(recipe.seed)
    pool: list[Any] = []

    def pick() -> Any:
        return rng.choice(pool[-50:]) if pool and rng.random() < 0.8 else rng.randrange(1000, 10**6)

    for kind in recipe.kinds:
        pool.append(KINDS[kind](rng, pick))
    if not pool:
        pool.append([])
    lists = [obj for obj in pool if type(obj) in (list, MyList)]
    instances = [obj for obj in pool if type(obj) in (Plain, SlottedWithDict, MyDict)]
    for _ in range(recipe.cycles):
        if lists:
            rng.choice(lists).append(rng.choice(pool))
        if instances:
            rng.choice(instances).back = rng.choice(pool)
    root: Any = Plain()
    root.items = [rng.choice(pool) for _ in range(max(1, len(pool) // 4))]
    root.last = pool[-1]
    return Graph(root, [rng.choice(pool) for _ in range(recipe.held)])


def recipe_of(seed: int, size: int, held: int, cycles: int, without: frozenset[str] = frozenset()) -> Recipe:
    rng = random.Random(seed)
    kinds = [kind for kind in KINDS if kind not in without]
    return Recipe(tuple(rng.choice(kinds) for _ in range(size)), seed, held, cycles)


recipes: st.SearchStrategy[Recipe] = st.builds(
    Recipe,
    kinds=st.lists(st.sampled_from(list(KINDS)), max_size=40).map(tuple),
    seed=st.integers(0, 2**32),
    held=st.integers(0, 5),
    cycles=st.integers(0, 8),
)
