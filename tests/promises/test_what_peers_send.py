"""What a connection keeps of what its peer sends is counted as it comes."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

import actorkit as ak

MIB = 1024 * 1024


class Keeps(ak.StreamActor):
    kept = 0

    def __init__(self) -> None:
        self.held: list[bytes] = []

    def received(self, data: bytes) -> None:
        self.held.append(data)
        Keeps.kept += len(data)


class KeepsLater(Keeps):
    async def received(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        super().received(data)


class Drops(Keeps):
    def received(self, data: bytes) -> None:
        Keeps.kept += len(data)


async def sent(cls: type[Keeps], framing: dict[str, Any], message: bytes, count: int) -> list[ak.ExitReason]:
    """Send so many messages to a connection of the class; the reasons with which actors ended."""
    Keeps.kept = 0
    tree = ak.supervisor(ak.tcp_listener(ak.child(cls).with_(max_heap_size=MIB), port=0, name="l", **framing))
    reasons = []
    async with ak.open_node(tree) as node:
        listener: Any = node.whereis("l")
        ((host, port),) = await listener.call(ak.Listener.addresses)
        with node.subscribe(ak.ActorExited) as ends:
            async with await trio.open_tcp_stream(host, port) as stream:
                try:
                    for _ in range(count):
                        await stream.send_all(message)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
            end = await anext(ends)
            assert isinstance(end, ak.ActorExited)
            reasons.append(end.reason)
    return reasons


FRAMINGS = {
    "lines": ({"max_line": 10_000}, b"x" * 5_000 + b"\n"),
    "short lines": ({"max_line": 10_000}, (b"x" * 40 + b"\n") * 100),
    "as it comes": ({}, b"x" * 5_000),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("cls", [Keeps, KeepsLater])
async def test_what_is_kept(cls: type[Keeps], framing: str, caplog: pytest.LogCaptureFixture) -> None:
    """No time passes, so no sweep finds it."""
    caplog.set_level(logging.CRITICAL, "actorkit")
    [reason] = await sent(cls, *FRAMINGS[framing], 600)
    assert isinstance(reason, ak.MemoryLimit)
    assert Keeps.kept < 1.5 * MIB


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_what_is_dropped(framing: str) -> None:
    options, message = FRAMINGS[framing]
    [reason] = await sent(Drops, options, message, 2_000)
    assert reason == ak.NORMAL
    assert Keeps.kept == 2_000 * len(message.replace(b"\n", b"") if options else message)
