"""A connection ends after what ``connected`` and ``received`` have given to ``continue_with``."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actorkit as ak

from .helpers import serving


class Continues(ak.StreamActor):
    """Continues three times, from ``connected`` or from the line "go"; each continuation waits a
    little.
    """

    trap_exit = True

    def __init__(self, log: list[Any], where: str, slow: bool) -> None:
        self.log = log
        self.where = where
        self.half = Continues.slow_half if slow else Continues.quick_half

    def connected(self) -> None:
        if self.where == "connected":
            self.begin()

    def received(self, line: bytes) -> None:
        self.log.append(line)
        if line == b"go" and self.where == "received":
            self.begin()

    def begin(self) -> None:
        self.write(b"begun\n")
        self.ctx.continue_with(self.half, 1)

    def quick_half(self, number: int) -> None:
        self.log.append(number)
        self.write(b"%d\n" % number)
        if number < 3:
            self.ctx.continue_with(self.half, number + 1)

    async def slow_half(self, number: int) -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        self.quick_half(number)

    def terminate(self, reason: ak.ExitReason) -> None:
        self.log.append(("terminate", type(reason)))


class ContinuesSlowly(Continues):
    async def connected(self) -> None:
        await trio.lowlevel.checkpoint()
        super().connected()

    async def received(self, line: bytes) -> None:
        await trio.lowlevel.checkpoint()
        super().received(line)


@pytest.mark.parametrize("deed", ["the peer closes", "the peer resets", "a stop", "the node stops"])
@pytest.mark.parametrize("where", ["connected", "received"])
@pytest.mark.parametrize("slow", [False, True], ids=["plain continuations", "async continuations"])
@pytest.mark.parametrize("cls", [Continues, ContinuesSlowly])
async def test_the_end_waits(cls: type[Continues], slow: bool, where: str, deed: str) -> None:
    """Whatever ends the connection, and at whatever step, a chain that has begun runs to its end,
    before the next line and terminate.
    """
    for steps in range(8):
        log: list[Any] = []
        async with serving(ak.tcp_listener(cls, log, where, slow, port=0, max_line=100)) as server:
            async with server.client() as client:
                await client.send(b"go\nlast\n")
                assert await client.line() == b"begun"
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                if deed == "the peer closes":
                    await client.stream.send_eof()
                elif deed == "the peer resets":
                    client.reset()
                elif deed == "a stop":
                    for ref in server.connections():
                        ref.stop()
                if deed != "the node stops":
                    await server.ended()
                else:
                    server.node.engine.shutdown_child(server.node.root, ak.SHUTDOWN)
                    await server.ended()
        assert [entry for entry in log if isinstance(entry, int)] == [1, 2, 3], log
        assert isinstance(log[-1], tuple), log
        assert b"last" not in log or log.index(b"last") > log.index(3), log
