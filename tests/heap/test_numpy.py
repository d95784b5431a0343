"""Arrays, whose memory no traversal shows: the walks predict what is freed. NumPy reports its
blocks to tracemalloc, so tracemalloc does the counting here.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk

numpy = pytest.importorskip("numpy")

BIG = 200_000


@pytest.fixture(autouse=True, params=["in force", "python"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(walk, "_in_force", pure_walk)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def plain() -> Any:
    return numpy.zeros(BIG, dtype="u1")


def view() -> Any:
    return plain()[10:20]


def view_of_a_view() -> Any:
    return plain()[10:2000].reshape(10, -1)[2:4].T


def read_only() -> Any:
    array = plain()
    array.setflags(write=False)
    return array


def objects() -> Any:
    array = numpy.empty(20, dtype=object)
    for number in range(20):
        array[number] = bytearray(BIG // 20)
    return array


def view_of_objects() -> Any:
    return objects()[10:12]


def one_object_many_times() -> Any:
    array = numpy.empty(1000, dtype=object)
    array[:] = "x" * BIG
    return array


def records() -> Any:
    array = numpy.zeros(10, dtype=[("a", "O"), ("b", "i4")])
    array["a"][3] = bytearray(BIG)
    return array


def nested_records() -> Any:
    array = numpy.zeros(10, dtype=[("inner", [("a", "O"), ("b", "i4")]), ("several", "O", (3,))])
    array["inner"]["a"][3] = bytearray(BIG)
    array["several"][2, 1] = bytearray(BIG)
    return array


def row_of_records() -> Any:
    return records()[3]


def record_array() -> Any:
    return numpy.rec.array(numpy.zeros(BIG // 8, dtype=[("a", "f8")]))


def iterator() -> Any:
    return plain().flat


def of_bytes() -> Any:
    return numpy.frombuffer(bytes(BIG), "u1")


def of_a_bytearray() -> Any:
    return numpy.frombuffer(bytearray(BIG), "u1")


def of_a_memoryview() -> Any:
    return numpy.asarray(memoryview(bytearray(BIG)))


def masked() -> Any:
    return numpy.ma.masked_array(numpy.zeros(BIG), mask=numpy.zeros(BIG, dtype=bool))


class WithAttributes(numpy.ndarray):  # type: ignore[misc, name-defined]
    pass


def subclass() -> Any:
    array = numpy.zeros(BIG).view(WithAttributes)
    array.extra = bytearray(BIG)
    return array


def texts() -> Any:
    return numpy.array(["x" * 99] * (BIG // 400))


@pytest.mark.parametrize(
    "make",
    [
        plain,
        view,
        view_of_a_view,
        read_only,
        objects,
        view_of_objects,
        one_object_many_times,
        records,
        nested_records,
        row_of_records,
        record_array,
        iterator,
        of_bytes,
        of_a_bytearray,
        of_a_memoryview,
        masked,
        subclass,
        texts,
    ],
)
def test_what_is_freed(make: Callable[[], Any], traced: None) -> None:
    walk.measure([[make()]])  # imports, caches
    roots = [[make()]]
    gc.collect(1)
    usage = walk.measure(roots)
    before = tracemalloc.get_traced_memory()[0]
    roots.clear()
    freed = before - tracemalloc.get_traced_memory()[0]
    assert freed > BIG * 0.8
    assert abs(usage.private - freed) < max(2000, freed / 100)
    assert usage.exact


def test_an_array_held_elsewhere() -> None:
    array, elements = plain(), objects()
    assert walk.measure([[array, array[10:20], array.flat, array.view(WithAttributes)]]).private < 4000
    assert walk.measure([[elements, elements[10:12]]]).private < 4000
    held = elements[5]
    usage = walk.measure([[elements.copy()]], cycles=True)
    assert usage.private < 4000
    assert usage.shared > BIG * 0.9
    del elements
    assert held


def test_an_array_that_holds_itself() -> None:
    array = objects()
    array[0] = array
    actor = [array]
    del array
    usage = walk.measure([actor], cycles=True)
    assert usage.private < 1000
    assert usage.after_gc > BIG * 0.9
    actor[0][0] = None


def test_strings_of_variable_width() -> None:
    """Strings of variable width are estimated, since their arena cannot be seen."""
    long = numpy.array(["x" * 100] * 1000, dtype=numpy.dtypes.StringDType())
    assert 110_000 < walk.size_of(long) < 120_000
    short = numpy.array(["x" * 10] * 1000, dtype=numpy.dtypes.StringDType())
    assert 16_000 < walk.size_of(short) < 17_000


def test_looking_changes_nothing() -> None:
    roots = [[objects(), view(), row_of_records(), iterator()]]
    first = walk.measure(roots)
    assert first == walk.measure(roots) == walk.measure(roots)
