"""What the tests of budgets share: a node, and how its actors ended."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.heap import clock

needs_the_extension = pytest.mark.skipif(
    not clock.COUNTS_ALLOCATIONS, reason="without the extension nothing is seen or refused inside a message"
)
without_the_extension = pytest.mark.skipif(
    clock.COUNTS_ALLOCATIONS, reason="the extension counts allocations: no account is due before it could be over"
)

KIB = 1024
MIB = 1024 * KIB


class Ends:
    """Listens to the ends of actors."""

    def __init__(self, node: ak.Node, stream: ak.EventStream) -> None:
        self.node = node
        self._stream = stream
        self._seen: dict[Any, ak.ExitReason] = {}

    async def of(self, ref: ak.Ref[Any]) -> Any:
        """The reason with which ``ref`` ended; waits for it."""
        with trio.fail_after(50):
            while ref not in self._seen:
                event = await self._stream.receive()
                assert isinstance(event, ak.ActorExited)
                self._seen[event.ref] = event.reason
        return self._seen[ref]


@pytest.fixture
async def ends(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Ends]:
    """A node (``ends.node``), and the reasons of all ends on it."""
    caplog.set_level(logging.CRITICAL, "actorkit")
    async with ak.open_node() as node:
        with node.subscribe(ak.ActorExited, capacity=100_000) as stream:
            yield Ends(node, stream)
