"""What an actor is predicted to hold is really freed when it dies: the runtime clears it, whoever
still holds the actor's ref, its task or the exception that ended it.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
import trio

import actorkit as ak

from .conftest import KIB

ROOM = 8 * KIB
"""What the runtime itself frees and allocates at a death."""


def pieces(count: int) -> list[Any]:
    """Blocks that are large, since the tracer counts the bytes asked for and the walk those of the
    blocks; and few, since freelists keep some.
    """
    return [{f"key {number}": [bytes(40_000)]} for number in range(count // 100)]


class Holder(ak.Actor):
    __slots__ = ("dynamic", "held", "later")

    def __init__(self) -> None:
        self.held = pieces(1000)
        self.dynamic = bytearray(100 * KIB)

    @ak.cast
    async def wait(self) -> None:
        local = pieces(1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._task, pieces(500))
            await trio.sleep_forever()
        del local

    async def _task(self, part: Any) -> None:
        async with aclosing(endless(part)) as parts:
            async for _ in parts:
                await trio.sleep_forever()

    @ak.call
    async def fail(self) -> None:
        local = pieces(500)
        await trio.lowlevel.checkpoint()
        raise RuntimeError(len(local))

    @ak.cast
    def take(self, what: Any) -> None:
        self.later = what


async def endless(part: Any) -> AsyncGenerator[Any, None]:
    while True:
        yield part


async def process(ctx: ak.ProcessContext) -> None:
    local = pieces(2000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
    del local


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    tracemalloc.stop()
    gc.enable()


async def dies(node: ak.Node, ref: Any) -> None:
    ref.kill()
    await node.stopped(ref)


async def crashes(node: ak.Node, ref: Any) -> None:
    with suppress(ak.CalleeDied):
        await ref.call(Holder.fail)


@pytest.mark.parametrize(
    ("how", "end"),
    [("idle", dies), ("waiting", dies), ("mailbox", dies), ("process", dies), ("idle", crashes), ("budget", dies)],
)
async def test_it_comes_free(how: str, end: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "actorkit")
    async with ak.open_node() as node:
        ref: Any = None
        for _ in range(3):  # caches are filled by the first ones
            if ref is not None:
                await end(node, ref)
                await trio.testing.wait_all_tasks_blocked()
            tracemalloc.stop()
            tracemalloc.start()
            spec: Any = ak.child(process) if how == "process" else ak.child(Holder)
            ref = node.spawn(spec.with_(max_heap_size="8 MiB") if how == "budget" else spec)
            await trio.testing.wait_all_tasks_blocked()
            if how == "waiting":
                ref.cast(Holder.wait)
            if how == "mailbox":
                await ak.sys.suspend(ref)
                for _ in range(25):
                    ref.cast(Holder.take, pieces(100))
            await trio.testing.wait_all_tasks_blocked()
            info = node.process_info(ref, walk=True)
            assert info is not None
        before = tracemalloc.get_traced_memory()[0]
        await end(node, ref)
        await trio.testing.wait_all_tasks_blocked()
        freed = before - tracemalloc.get_traced_memory()[0]
        predicted = info.memory.charged
        assert predicted > 300 * KIB
        assert abs(freed - predicted) <= predicted // 100 + ROOM
