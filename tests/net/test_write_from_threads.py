"""Connections and other threads: writing from another thread is refused, and nothing of it goes
out.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.runtime.base.trio_internals import FEATURES, Features

from .helpers import serving, settled


class Writer(ak.StreamActor):
    def received(self, line: bytes) -> None:
        self.write(line + b"\n")

    @ak.call
    async def write_in_thread(self, data: bytes) -> str:
        with pytest.raises(RuntimeError) as caught:
            await trio.to_thread.run_sync(self.write, data)
        return str(caught.value)


@pytest.mark.parametrize("features", [FEATURES, Features.degraded()], ids=["full", "degraded"])
@pytest.mark.parametrize("size", [5, 1_000_000])
async def test_a_write_from_a_thread(features: Features, size: int) -> None:
    """A write from a thread raises, names the way in for threads, and leaves neither bytes nor
    counts behind.
    """
    spec = ak.tcp_listener(Writer, port=0, max_line=100)
    async with serving(spec, features=features) as server, server.client() as client:
        assert await client.ask(b"before") == b"before"
        [ref] = server.connections()
        told = await ref.call(Writer.write_in_thread, b"x" * size)
        assert "from_thread" in told
        assert "write" in told
        record: Any = ref
        assert record.obj.connection.unsent == 0
        await settled()
        assert await client.ask(b"after") == b"after"
        assert record.obj.connection.bytes_out == len(b"before\nafter\n")


@pytest.mark.parametrize("features", [FEATURES, Features.degraded()], ids=["full", "degraded"])
async def test_a_full_buffer_from_a_thread(features: Features) -> None:
    """A write from a thread that finds no room does not end the connection as that of a slow
    reader.
    """
    spec = ak.tcp_listener(Writer, port=0, max_line=100, max_unsent=10)
    async with serving(spec, features=features) as server, server.client() as client:
        assert await client.ask(b"before") == b"before"
        [ref] = server.connections()
        record: Any = ref
        record.obj.connection._transport.unsent = 11
        await ref.call(Writer.write_in_thread, b"x" * 5)
        record.obj.connection._transport.unsent = 0
        assert await client.ask(b"after") == b"after"


class Nurse(Writer):
    async def received(self, line: bytes) -> None:
        if line == b"nursery":
            nursery = await trio.open_nursery().__aenter__()
            nursery.start_soon(trio.sleep_forever)
        super().received(line)


@pytest.mark.real_clock("without trio's private names a nursery that was left open is looked after again and again")
@pytest.mark.parametrize("features", [FEATURES, Features.degraded()], ids=["full", "degraded"])
async def test_a_nursery_left_open_in_a_reader(features: Features) -> None:
    """A nursery left open in a reader ends that connection, in the degraded mode too; the node and
    the others live.
    """
    spec = ak.tcp_listener(Nurse, port=0, max_line=100)
    async with serving(spec, features=features) as server, server.client() as other:
        async with server.client() as client:
            await client.send(b"nursery\n")
            await client.rest()
        reason = await server.ended()
        assert isinstance(reason, ak.Crash)
        await settled()
        assert await other.ask(b"fine") == b"fine"
