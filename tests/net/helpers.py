"""A node with one listener, and plain trio clients."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

import actorkit as ak


class Client:
    """Bytes in and out of a plain trio stream, line by line or to the end."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def line(self) -> bytes:
        while b"\n" not in self.buffer:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    async def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = await self.stream.receive_some(1 << 20)
            if not data:
                raise EOFError(len(self.buffer))
            self.buffer += data
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    async def ask(self, line: bytes) -> bytes:
        await self.send(line + b"\n")
        return await self.line()

    async def rest(self) -> bytes:
        """Everything that still comes, up to an orderly end."""
        parts = [self.buffer]
        while data := await self.stream.receive_some():
            parts.append(data)
        self.buffer = b""
        return b"".join(parts)

    async def gone(self) -> bool:
        """Wait until the server has closed or reset the connection, whatever it said before."""
        try:
            await self.rest()
        except trio.BrokenResourceError:
            pass
        return True

    def reset(self) -> None:
        """Close with a reset instead of an orderly end."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


class Server:
    """The node, its listener, and what became of its connections."""

    def __init__(self, node: ak.Node, listener: ak.Ref[ak.Listener], events: Any) -> None:
        self.node = node
        self.listener = listener
        self.events = events

    async def address(self) -> Any:
        return (await self.listener.call(ak.Listener.addresses))[0]

    async def counts(self) -> tuple[int, int]:
        return await self.listener.call(ak.Listener.counts)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        where = await self.address()
        stream = await (
            trio.open_unix_socket(where) if isinstance(where, str) else trio.open_tcp_stream(where[0], where[1])
        )
        async with stream:
            yield Client(stream)

    async def ended(self) -> ak.ExitReason:
        """Why the next connection ended."""
        while True:
            event = await self.events.receive()
            if event.ref.kind.role == "worker":
                reason: ak.ExitReason = event.reason
                return reason

    def connections(self) -> list[ak.Ref[Any]]:
        return [ref for ref in self.node.processes() if issubclass(ref.kind.cls, ak.StreamActor)]


@asynccontextmanager
async def serving(spec: ak.ChildSpec[ak.Listener], **options: Any) -> AsyncIterator[Server]:
    async with ak.open_node(ak.supervisor(spec), **options) as node, node.subscribe(ak.ActorExited) as events:
        [listener] = [ref for ref in node.processes() if "Listener" in str(ref)]
        yield Server(node, listener, events)


async def settled() -> None:
    """Wait until every task that can run has run, and the kernel has been asked for news."""
    await trio.testing.wait_all_tasks_blocked(0.005)


def living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


class Echo(ak.StreamActor):
    def received(self, data: bytes) -> None:
        self.write(data + b"\n")


class RawEcho(ak.StreamActor):
    def received(self, data: bytes) -> None:
        self.write(data)
