"""What the governor's tests share: a node whose memory figures come from the test, and actors that
hold things.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.runtime.budgets.holdings import heap_of
from actorkit.testing import ScriptedMemory
from tests.validated import validating

_validated = validating()

MIB = 1024 * 1024


class Holder(ak.Actor):
    """Holds bytes."""

    def __init__(self, size: int = 0) -> None:
        self.held = [bytes(size)]

    @ak.call
    def hold(self, size: int) -> None:
        self.held.append(bytes(size))

    @ak.call
    def let_go(self) -> None:
        self.held.clear()

    @ak.call
    def here(self) -> ak.Ref[Any]:
        return self.ctx.ref


class Watching(Holder):
    """Lets go of what it holds when it is asked to."""

    def __init__(self, size: int = 0) -> None:
        super().__init__(size)
        self.told: list[ak.MemoryPressure] = []

    def init(self) -> None:
        self.ctx.watch_memory()

    def handle_info(self, message: object) -> None:
        assert isinstance(message, ak.MemoryPressure)
        self.told.append(message)
        if message.level >= ak.MemoryLevel.CONSERVE:
            self.held.clear()

    @ak.call
    def heard(self) -> list[ak.MemoryPressure]:
        return self.told


class Memory:
    """A scripted source whose figures follow what the node's actors really hold: ``base`` and the
    actors' heaps are live; ``sticky`` pages are never given back.
    """

    def __init__(self, limit: int = 100 * MIB, base: int = 10 * MIB, sticky: bool = False) -> None:
        self.base = base
        self.sticky = sticky
        self.node: ak.Node | None = None
        self.highest = 0
        self.source = ScriptedMemory(limit=limit, used=self.used, live=self.live)

    def live(self) -> int:
        actors: Any = () if self.node is None else self.node.processes()
        return self.base + sum(heap_of(record).charged for record in actors)

    def used(self) -> int:
        now = self.live()
        self.highest = max(self.highest, now)
        return self.highest if self.sticky else now


@pytest.fixture
def memory(caplog: pytest.LogCaptureFixture) -> Memory:
    """100 MiB, of which 10 are used."""
    caplog.set_level(logging.CRITICAL, "actorkit")
    return Memory()


async def level_is(node: ak.Node, level: ak.MemoryLevel) -> None:
    """Wait until the governor is at this level."""
    await until(lambda: node.memory is not None and node.memory.level == level)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the governor has looked often enough for ``condition``."""
    with trio.fail_after(40):
        while not condition():
            await trio.sleep(0.5)
