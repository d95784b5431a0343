"""Types that lie, raise, or change things when they are asked: the walk does not break, loop or
call them.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest

from actorkit.heap.python import walk as pure_walk
from tests.heap.alone import ALONE
from tests.heap.frees import load

try:
    from actorkit.heap.c import _walk
except ImportError:
    WALKS: list[Any] = [pure_walk]
else:
    WALKS = [_walk, pure_walk]


@pytest.fixture(params=WALKS, ids=lambda walk: walk.__name__.rpartition(".")[2])
def walk(request: pytest.FixtureRequest) -> Any:
    return request.param


def measure(walk: Any, *roots: object) -> Any:
    return walk.measure(roots, (), (), (), -1, True, 10**6, True)


called: list[str] = []


class Shouting:
    """Every method that could be called by mistake."""

    def __sizeof__(self) -> NoReturn:
        called.append("sizeof")
        raise RuntimeError

    def __hash__(self) -> int:
        called.append("hash")
        return hash("__builtins__")

    def __eq__(self, other: object) -> bool:
        called.append("eq")
        return True

    def __len__(self) -> NoReturn:
        called.append("len")
        raise RuntimeError

    def __bool__(self) -> NoReturn:
        called.append("bool")
        raise RuntimeError

    def __iter__(self) -> NoReturn:
        called.append("iter")
        raise RuntimeError

    def __getattribute__(self, name: str) -> NoReturn:
        called.append(name)
        raise RuntimeError

    def __del__(self) -> None:
        called.append("del")


class ShoutingList(Shouting, list[Any]):
    pass


class ShoutingDict(Shouting, dict[Any, Any]):
    pass


class ShoutingStr(Shouting, str):
    pass


class ShoutingInt(Shouting, int):
    pass


def test_no_method_is_called(walk: Any) -> None:
    key = Shouting()
    table = {key: [1.5], "x": [2.5]}
    held = [
        table,
        table,
        [Shouting()],
        ShoutingList([[1.5]]),
        ShoutingDict(a=[1.5]),
        ShoutingStr("x"),
        ShoutingInt(1 << 99),
    ]
    called.clear()
    figures = measure(walk, held)
    again = measure(walk, *held)
    assert called == []
    assert figures[2] > 7
    assert again[2] > 7


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        called.append(name)
        return super().__getattribute__(name)

    def __eq__(cls, other: object) -> bool:
        called.append("eq")
        return True

    def __hash__(cls) -> int:
        return 1

    def __instancecheck__(cls, instance: object) -> bool:
        called.append("instancecheck")
        return True

    def __subclasscheck__(cls, subclass: type) -> bool:
        called.append("subclasscheck")
        return True


class OfMeta(metaclass=Meta):
    pass


def test_no_method_of_a_metaclass_is_called() -> None:
    """The walk in C calls no method of a metaclass. The pure walk keeps what it knows of types in a
    dict, which calls some.
    """
    if len(WALKS) < 2:
        pytest.skip("the extension is not built")
    held = [OfMeta(), OfMeta()]
    called.clear()
    assert measure(WALKS[0], held)[2] >= 3
    assert called == []


class Upsetting(type):
    """Its ``__hash__`` and ``__eq__`` empty the object that is being walked."""

    def __hash__(cls) -> int:
        victims.clear()
        others.append([(number,) for number in range(100)])  # where the victims were
        return 1

    def __eq__(cls, other: object) -> bool:
        victims.clear()
        return cls is other


victims: list[Any] = []
others: list[Any] = []


def test_the_sums_by_type_of_types_that_upset_the_graph(walk: Any) -> None:
    """In sums by type, types are keys, so a metaclass is asked after all; nothing but the sums
    depends on its answer.
    """
    made: list[Any] = [Upsetting(f"Made{n}", (), {"__slots__": ("held",)}) for n in range(12)]
    for _ in range(3):
        victims.clear()
        for cls in made:
            obj = cls()
            obj.held = [[None]]
            victims.append(obj)
        del obj
        *_, sums = walk.measure((victims,), (), (), (), -1, False, 0, pure_walk.BY_TYPE)
        assert not victims
        others.clear()
        if walk is not pure_walk:
            assert {cls.__name__: count for cls, (count, _) in sums.items()} == (
                {"list": 1 + 2 * 12} | {cls.__name__: 1 for cls in made}
            )


def test_a_hash_that_raises(walk: Any) -> None:
    class Raising(type):
        def __hash__(cls) -> int:
            raise LookupError

    held = [Raising.__new__(Raising, "Made", (), {})() for _ in range(3)]
    with suppress(LookupError):
        walk.measure((held,), (), (), (), -1, False, 0, pure_walk.BY_TYPE)
    if walk is not pure_walk:
        assert measure(walk, held)[2] >= 4


class Mutating:
    """A key whose ``__eq__`` and ``__hash__`` change the dict that holds it."""

    tables: ClassVar[list[Any]] = []

    def __hash__(self) -> int:
        for table in Mutating.tables:
            table.clear()
        return hash("__builtins__")

    def __eq__(self, other: object) -> bool:
        for table in Mutating.tables:
            table.clear()
        return True


def test_keys_that_change_their_dict(walk: Any) -> None:
    table: dict[Any, Any] = {Mutating(): [1.5], "x": [2.5], Mutating(): [3.5]}
    several = {Mutating(), "x"}
    lengths = len(table), len(several)
    Mutating.tables = [table, several]
    try:
        figures = measure(walk, [table, several, table])
        assert figures[2] >= 1
        assert (len(table), len(several)) == lengths
    finally:
        Mutating.tables = []


def test_half_made_objects_of_the_standard_library(walk: Any) -> None:
    """Some half-made objects have a ``__sizeof__`` that relies on their ``__init__``. A process of
    its own walks them, since a failure would be a crash and not an exception.
    """
    code = f"""
import {walk.__name__} as walk
import array, collections, io, itertools, struct, weakref
for cls in (struct.Struct, io.StringIO, io.BytesIO, io.BufferedReader, io.BufferedRandom, io.BufferedRWPair,
            io.TextIOWrapper, io.FileIO, collections.deque, collections.OrderedDict, collections.defaultdict,
            array.array, weakref.ref, itertools.chain, list, dict, set, frozenset, bytearray, BaseException, property):
    for made in (cls, type("Made", (cls,), {{}}) if cls is not struct.Struct else cls):
        try:
            held = [made.__new__(made)]
        except TypeError:
            continue
        walk.measure((held,), (), (), (), -1, True, 10**6, False)
        walk.census([((held,), ())])
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", ALONE + code], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr


def test_a_namespace_of_a_class_with_keys_that_compare() -> None:
    key = Shouting.__new__(Shouting)
    made = type("Made", (list,), {})
    held = [made([1.5]), {key: 1}]
    called.clear()
    for walk in WALKS:
        measure(walk, held)
    assert called == []


def test_a_traversal_that_visits_what_it_does_not_own(walk: Any, hook_path: Path) -> None:
    """The walk ends, and counts the target of the traversal that lies at most twice."""
    hook = load(hook_path)
    tree = [[0.5 + n] for n in range(100)]
    size = measure(walk, tree)[0]
    liar = hook.liar(tree)
    tree.append(liar)
    holder = [tree]
    del tree
    figures = measure(walk, holder)
    assert size <= figures[0] < 2 * size + 1000
    deep: Any = []
    liars = []
    for _ in range(200):
        deep = [deep, [1.5]]
        liars.append(hook.liar(deep))
        deep.append(liars[-1])
    liars.clear()
    holder.append(deep)
    assert measure(walk, deep)[2] < 10**6
    assert measure(walk, holder)[2] < 10**6
    # An owner whose traversal lies about the owner itself.
    holder.append(hook.liar(holder))
    assert measure(walk, holder)[2] < 10**6


def test_deep_nesting(walk: Any) -> None:
    """Deep nesting does no harm, since the walk has a stack of its own."""
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    assert measure(walk, deep)[2] == 20_001
    while deep:
        deep = deep[0]


def test_wrong_arguments(walk: Any) -> None:
    if walk is pure_walk:
        pytest.skip("the door checks")
    for wrong in (
        (None, (), (), (), -1, False, 1, False),
        ((), 7, (), (), -1, False, 1, False),
        ((), (), (7,), (), -1, False, 1, False),
    ):
        with pytest.raises(TypeError):
            walk.measure(*wrong)
    with pytest.raises(TypeError):
        walk.census([7])
    with pytest.raises(TypeError):
        walk.census([((), (), ())])
    with pytest.raises(TypeError):
        walk.register((1,), (), ())
    assert measure(walk, [1.5])[0] > 0
    assert sys.getrefcount(walk) > 0
