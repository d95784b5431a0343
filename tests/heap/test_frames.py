"""The local variables of running frames."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actorkit.heap import walk
from actorkit.heap.python import walk as pure_walk

BIG = 1_000_000
pytest.importorskip("actorkit.heap.c._walk", reason="the extension is not built")
pytestmark = pytest.mark.skipif(walk.IMPLEMENTATION != "c", reason="the pure walk cannot read frames")


def test_locals_of_a_running_frame() -> None:
    def work() -> int:
        data = bytearray(BIG)
        seen = walk.measure((), frames=[sys._getframe()])
        assert seen.exact
        del data
        after = walk.measure((), frames=[sys._getframe()])
        return seen.private - after.private

    assert abs(work() - BIG) < 1000


def test_arguments_cells_and_the_function_itself() -> None:
    def work(argument: object, *rest: object, **named: object) -> int:
        captured = bytearray(BIG)

        def inner() -> object:
            return captured, argument

        return walk.measure((), frames=[sys._getframe()]).private

    private = work(bytearray(BIG), bytearray(BIG), name=bytearray(BIG))
    assert private >= 4 * BIG


def test_what_others_hold_does_not_count() -> None:
    held = bytearray(BIG)

    def work(argument: object) -> int:
        return walk.measure((), frames=[sys._getframe(), sys._getframe()]).private

    assert work(held) < 10_000


@types.coroutine
def suspend() -> Iterator[None]:
    yield


def run(body: Callable[[], Any]) -> Any:
    coroutine = body()
    coroutine.send(None)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def chain() -> tuple[types.FrameType, ...]:
    """The frames of the coroutines that are running, the innermost first."""
    frames = []
    frame = sys._getframe(1)
    while frame.f_code.co_flags & 0x80:
        frames.append(frame)
        assert frame.f_back is not None
        frame = frame.f_back
    return tuple(frames)


def test_running_coroutines() -> None:
    """The running coroutine and those that await it are measured, whether they are given as roots
    too or not: nothing counts twice.
    """

    async def inner(argument: object) -> tuple[int, int, bool]:
        data = bytearray(BIG)
        frames = chain()
        assert len(frames) == 2
        once = walk.measure((), frames=frames).private
        keep = data
        return once, walk.measure((), frames=frames[::-1]).private, keep is data

    async def outer() -> Any:
        mine = bytearray(BIG)
        await suspend()
        return await inner(bytearray(BIG)), mine

    (first, second, _), _ = run(outer)
    # ``data`` twice in one frame still belongs to that frame alone.
    assert 3 * BIG < first < 3 * BIG + 10_000
    assert 3 * BIG < second < 3 * BIG + 10_000


def test_early_stop_in_a_frame() -> None:
    def work() -> int:
        data = [bytearray(1000) for _ in range(1000)]
        over = walk.measure((), frames=[sys._getframe()], limit=100_000).charged
        del data
        return over

    assert 100_000 < work() < 110_000


def test_no_trace_is_left() -> None:
    """The walk takes no snapshot of the locals: what is deleted is really gone."""

    def work() -> tuple[int, int]:
        data: Any = bytearray(10)
        before = sys.getrefcount(data)
        walk.measure((), frames=[sys._getframe()], cycles=True)
        return before, sys.getrefcount(data)

    before, after = work()
    assert before == after


def test_the_pure_walk_says_that_it_cannot() -> None:
    figures = pure_walk.measure((), (), (sys._getframe(),), (), -1, False, 0, False)
    assert figures[:6] == (0, 0, 0, 0, 0, False)
