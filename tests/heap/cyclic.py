"""Kinds of objects that hold themselves, over one reference or several: nothing frees them but a
collection."""

from __future__ import annotations

import collections
import contextvars
import functools
import itertools
import random
import types
import weakref
from collections.abc import Callable, Generator
from typing import Any

from tests.heap.graphs import Pick

__all__ = ["CYCLIC"]


class Plain:
    def method(self) -> None:
        pass


class Slotted:
    __slots__ = ("__weakref__", "a", "b", "c")


class Finalized:
    def __del__(self) -> None:
        pass


class Raising:
    error: Any = None

    def fail(self, deep: int, held: object) -> None:
        if deep:
            self.fail(deep - 1, [held])
        raise ValueError(held, self)


def _ring(number: int, pick: Pick) -> list[Any]:
    """Doubly linked dicts in a ring."""
    ring: list[dict[str, Any]] = [{"value": pick() if at < 2 else at * 1.5} for at in range(number)]
    for at, each in enumerate(ring):
        each["next"], each["previous"] = ring[(at + 1) % number], ring[at - 1]
    return ring[:1]


def _list(pick: Pick) -> list[Any]:
    made = [pick(), pick(), pick()]
    made.append(made)
    return made


def _dict(rng: random.Random, pick: Pick) -> dict[Any, Any]:
    made: dict[Any, Any] = {f"key {rng.randrange(10**6)}": pick(), 3: pick()}
    made["self"] = made
    return made


def _str_dict(rng: random.Random, pick: Pick) -> dict[str, Any]:
    made: dict[str, Any] = {f"k{rng.randrange(10**6)}": pick() for _ in range(rng.randrange(30))}
    made["self"] = (made,)
    return made


def _tuple(pick: Pick) -> tuple[Any, ...]:
    kept: list[Any] = []
    made = (pick(), kept, str(id(kept)))
    kept.append(made)
    return made


def _instance(rng: random.Random, pick: Pick) -> Any:
    made: Any = Plain()
    made.a, made.me, made.data = pick(), made, bytes(rng.randrange(800))
    if rng.random() < 0.3:
        made.__dict__  # noqa: B018 - makes a real dict
    return made


def _parent(rng: random.Random, pick: Pick) -> Any:
    made: Any = Plain()
    made.children = []
    for _ in range(rng.randrange(4)):
        child: Any = Plain()
        child.parent, child.x = made, pick()
        made.children.append(child)
    return made


def _slots(pick: Pick) -> Any:
    made: Any = Slotted()
    made.a, made.b = pick(), made
    return made


def _linked_slots(rng: random.Random, pick: Pick) -> Any:
    first: Any = Slotted()
    first.a, last = pick(), first
    for at in range(rng.randrange(20)):
        node: Any = Slotted()
        node.a, node.b, last.c = at * 2.5, last, node
        last = node
    return first


def _finalized(pick: Pick) -> Any:
    made: Any = Finalized()
    made.a, made.me = pick(), made
    return made


def _closure(value: object) -> Callable[..., object]:
    box: list[object] = [value]

    def inner() -> object:
        return inner, value, box

    return inner


def _function_attributes(value: object) -> Callable[..., object]:
    def inner(*, default: object = value) -> object:
        return default

    inner.me = inner  # type: ignore[attr-defined]
    return inner


def _waiting(value: object) -> Generator[Any, Any, None]:
    kept = [value]
    me = yield kept
    yield me


def _generator(pick: Pick) -> Any:
    made = _waiting(pick())
    next(made)
    made.send(made)
    return made


async def _coroutine_in_itself(value: object, box: list[Any]) -> None:
    for _ in [value, box]:
        await _Suspend()


class _Suspend:
    def __await__(self) -> Generator[None, None, None]:
        yield


def _coroutine(pick: Pick) -> Any:
    box: list[Any] = []
    made = _coroutine_in_itself(pick(), box)
    box.append(made)
    made.send(None)
    return made


def _error(rng: random.Random, pick: Pick) -> Any:
    """An exception whose traceback has frames that hold it."""
    made = Raising()
    try:
        made.fail(rng.randrange(4), pick())
    except ValueError as error:
        made.error = error
    return made


def _held_by_its_frames(value: object) -> Any:
    try:
        raise ValueError(value)
    except ValueError as error:
        kept = [error, value]
        error.kept = kept  # type: ignore[attr-defined]
        return kept


def _method(pick: Pick) -> Any:
    made: Any = Plain()
    made.callback, made.x = made.method, pick()
    return made


def _weak(pick: Pick) -> Any:
    made: Any = Plain()
    made.x, made.me, made.weak = pick(), made, weakref.ref(made)
    made.others = weakref.WeakKeyDictionary({made: pick()})
    return made


def _weak_with_callback(pick: Pick) -> Any:
    made: Any = Plain()
    made.x, made.me = pick(), made
    made.weak = weakref.ref(made, lambda _, kept=made.x: None)
    return made


def _weak_values(pick: Pick) -> Any:
    made: Any = Plain()
    made.x, made.me = pick(), made
    made.named = weakref.WeakValueDictionary({"me": made})
    return made


def _partial(pick: Pick) -> Any:
    kept: list[Any] = []
    made = functools.partial(kept.append, pick())
    kept.append(made)
    return made


def _deque(pick: Pick) -> Any:
    made = collections.deque([pick()] * 3)
    made.append(made)
    return made


def _with_itself(made: Any) -> Any:
    made["me"] = made
    return made


def _set(rng: random.Random, pick: Pick) -> Any:
    member: Any = Plain()
    made = {member, 1.5, f"x{rng.random()}", *range(1000, 1000 + rng.randrange(20))}
    member.set, member.other = made, pick()
    return made


def _frozenset(pick: Pick) -> Any:
    member: Any = Plain()
    made = frozenset([member])
    member.set, member.other = made, pick()
    return made


def _iterator(make: Callable[[list[Any]], Any], pick: Pick) -> Any:
    kept = [pick(), pick()]
    made = make(kept)
    kept.append(made)
    next(made)
    return made


def _cached(value: object) -> Any:
    @functools.lru_cache
    def function(argument: object) -> object:
        return [value, argument, function]

    function(1)
    function(2.5)
    return function


def _namespace(pick: Pick) -> Any:
    made = types.SimpleNamespace(a=pick())
    made.me = made
    return made


def _context(pick: Pick) -> Any:
    made = contextvars.Context()
    made.run(VARIABLE.set, [made, pick()])
    return made


VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE")


def _large(rng: random.Random, pick: Pick) -> Any:
    made: list[Any] = [bytes(rng.randrange(5000)), pick(), bytearray(rng.randrange(3000)), "é" * rng.randrange(2000)]
    made.append(made)
    return made


def _cell(pick: Pick) -> Any:
    made: Any = types.CellType()
    made.cell_contents = [pick(), made]
    return made


def _property_owner(pick: Pick) -> Any:
    made: Any = Plain()
    made.slot, made.proxy, made.x = property(made.method), types.MappingProxyType({"me": made}), pick()
    return made


def _default_dict(pick: Pick) -> Any:
    return _with_itself(collections.defaultdict(list, {"a": pick()}))


def _class(rng: random.Random, pick: Pick) -> Any:
    value = pick()

    class Made:
        held = value

        def method(self, argument: object = value) -> object:
            return argument, Made

    if rng.random() < 0.3:

        class Derived(Made):
            __slots__ = ("a", "b")

        derived: Any = Derived()
        derived.a = derived
        return derived
    made: Any = Made()
    made.me = made
    return made


CODE = "def function(argument, default=x):\n    return [function, argument, default, 1234567.5, 'a long text' * 30]"


def _executed(pick: Pick) -> Any:
    namespace = {"x": pick()}
    exec(CODE, namespace)
    return namespace["function"]


def _module(pick: Pick) -> Any:
    made: Any = types.ModuleType("made")
    made.me, made.x = made, pick()
    exec(CODE, made.__dict__)
    return [made, made.function]


def _named_tuple(rng: random.Random, pick: Pick) -> Any:
    made: Any = collections.namedtuple(f"Made{rng.randrange(9)}", ["a", "b"])  # type: ignore[misc]
    return made(pick(), [made])


CYCLIC: dict[str, Callable[[random.Random, Pick], Any]] = {
    "ring": lambda rng, pick: _ring(rng.randrange(1, 20), pick),
    "list": lambda rng, pick: _list(pick),
    "dict": _dict,
    "str dict": _str_dict,
    "tuple": lambda rng, pick: _tuple(pick),
    "instance": _instance,
    "parent": _parent,
    "slots": lambda rng, pick: _slots(pick),
    "linked slots": _linked_slots,
    "finalized": lambda rng, pick: _finalized(pick),
    "closure": lambda rng, pick: _closure(pick()),
    "function": lambda rng, pick: _function_attributes(pick()),
    "generator": lambda rng, pick: _generator(pick),
    "coroutine": lambda rng, pick: _coroutine(pick),
    "error": _error,
    "error in its frames": lambda rng, pick: _held_by_its_frames(pick()),
    "bound method": lambda rng, pick: _method(pick),
    "weak key": lambda rng, pick: _weak(pick),
    "weak with callback": lambda rng, pick: _weak_with_callback(pick),
    "weak value": lambda rng, pick: _weak_values(pick),
    "partial": lambda rng, pick: _partial(pick),
    "deque": lambda rng, pick: _deque(pick),
    "OrderedDict": lambda rng, pick: _with_itself(collections.OrderedDict(a=pick(), b=pick())),
    "defaultdict": lambda rng, pick: _default_dict(pick),
    "set": _set,
    "frozenset": lambda rng, pick: _frozenset(pick),
    "cycle": lambda rng, pick: _iterator(itertools.cycle, pick),
    "enumerate": lambda rng, pick: _iterator(enumerate, pick),
    "chain": lambda rng, pick: _iterator(itertools.chain, pick),
    "lru_cache": lambda rng, pick: _cached(pick()),
    "namespace": lambda rng, pick: _namespace(pick),
    "context": lambda rng, pick: _context(pick),
    "large": _large,
    "cell": lambda rng, pick: _cell(pick),
    "class": _class,
    "executed": lambda rng, pick: _executed(pick),
    "module": lambda rng, pick: _module(pick),
    "named tuple": _named_tuple,
    "property and proxy": lambda rng, pick: _property_owner(pick),
}
