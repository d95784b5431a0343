"""Plain trio, as its documentation would write it: `serve_tcp`, a handler for each connection that
lets no exception out, a bounded channel to the slow consumer, and a loop that starts the crashing
service again.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from functools import partial

import trio

from bench.survival import protocol
from bench.survival.servers.arguments import Arguments, arguments
from bench.worker import asker_gone, say

logger = logging.getLogger("survival")


async def lines(stream: trio.SocketStream) -> AsyncIterator[bytes]:
    buffered = bytearray()
    async for chunk in stream:
        buffered += chunk
        *complete, rest = buffered.split(b"\n")
        for line in complete:
            yield bytes(line)
        if len(rest) > protocol.MAX_LINE:
            return
        buffered = rest


class Server:
    def __init__(self, args: Arguments) -> None:
        self.args = args
        self.connections = 0
        self.refused = 0
        self.restarts = 0
        self.cache: list[bytes] = []
        self.to_sink, self.from_sink = trio.open_memory_channel[bytes](1024)
        self.to_service, self.for_service = trio.open_memory_channel[str](16)

    async def connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                if self.connections >= self.args.connections:
                    self.refused += 1
                    await stream.send_all(protocol.BUSY)
                    return
                self.connections += 1
                try:
                    await self.serve(stream)
                finally:
                    self.connections -= 1
            except trio.BrokenResourceError:
                pass
            except Exception:
                logger.exception("a connection ends")

    async def serve(self, stream: trio.SocketStream) -> None:
        held: list[bytes] = []
        async for line in lines(stream):
            request = protocol.parse(line)
            match request.verb, *request.arguments:
                case [b"ECHO", *_]:
                    await stream.send_all(line + b"\n")
                case [b"HELLO", _, _]:
                    await stream.send_all(protocol.reply(request, "welcome"))
                case [b"HOLD", size]:
                    held += protocol.rows(int(size))
                    await stream.send_all(protocol.reply(request, len(held) * protocol.ROW))
                case [b"KEEP", size]:
                    held += protocol.pieces(int(size))
                    await stream.send_all(protocol.reply(request, int(size)))
                case [b"DROP"]:
                    held = []
                    await stream.send_all(protocol.reply(request, 0))
                case [b"CACHE", size]:
                    self.cache += protocol.cached(int(size))
                    await stream.send_all(protocol.reply(request, len(self.cache)))
                case [b"GIANT", size, how]:
                    await stream.send_all(protocol.reply(request, protocol.giant(int(size), how)))
                case [b"FEED", count, size]:
                    for _ in range(int(count)):
                        await self.to_sink.send(b" " * int(size))
                    await stream.send_all(protocol.reply(request, int(count)))
                case [b"DUMP"]:
                    await self.to_service.send("crash")
                    await stream.send_all(protocol.reply(request, "told"))

    async def control(self, stream: trio.SocketStream) -> None:
        async with stream:
            async for line in lines(stream):
                request = protocol.parse(line)
                known = {"connections": self.connections, "refused": self.refused, "restarts": self.restarts}
                await stream.send_all(protocol.stats(request, **known))

    async def sink(self) -> None:
        async for _ in self.from_sink:
            await trio.sleep(protocol.SLOW)

    async def service(self) -> None:
        state = protocol.rows(self.args.dump)
        async for what in self.for_service:
            raise RuntimeError(f"{what}, with {len(state)} rows of state")

    async def service_again_and_again(self) -> None:
        while True:
            try:
                await self.service()
            except Exception:
                logger.exception("the service starts again")
                self.restarts += 1


async def main() -> None:
    server = Server(arguments())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.sink)
        nursery.start_soon(server.service_again_and_again)
        ports = []
        for handler in (server.connection, server.control):
            serve = partial(trio.serve_tcp, handler, 0, host="127.0.0.1", backlog=4096)
            ports.append((await nursery.start(serve))[0].socket.getsockname()[1])
        say(ports=dict.fromkeys(protocol.CLASSES, ports[0]), control=ports[1], version=f"trio {trio.__version__}")
        await asker_gone()
        sys.exit()


if __name__ == "__main__":
    trio.run(main)
