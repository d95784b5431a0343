"""Plain asyncio, as its documentation would write it: `start_server`, streams with `drain`, a
bounded queue to the slow consumer, and a loop that starts the crashing service again.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import sys

from bench.survival import protocol
from bench.survival.servers.arguments import Arguments, arguments
from bench.worker import say

logger = logging.getLogger("survival")


class Server:
    def __init__(self, args: Arguments) -> None:
        self.args = args
        self.connections = 0
        self.refused = 0
        self.restarts = 0
        self.cache: list[bytes] = []
        self.to_sink: asyncio.Queue[bytes] = asyncio.Queue(1024)
        self.to_service: asyncio.Queue[str] = asyncio.Queue(16)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.connections >= self.args.connections:
                self.refused += 1
                writer.write(protocol.BUSY)
                await writer.drain()
                return
            self.connections += 1
            try:
                await self.serve(reader, writer)
            finally:
                self.connections -= 1
        except ConnectionError:
            pass
        except Exception:
            logger.exception("a connection ends")
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: list[bytes] = []
        while line := await reader.readline():
            request = protocol.parse(line.rstrip(b"\n"))
            match request.verb, *request.arguments:
                case [b"ECHO", *_]:
                    writer.write(line)
                case [b"HELLO", _, _]:
                    writer.write(protocol.reply(request, "welcome"))
                case [b"HOLD", size]:
                    held += protocol.rows(int(size))
                    writer.write(protocol.reply(request, len(held) * protocol.ROW))
                case [b"KEEP", size]:
                    held += protocol.pieces(int(size))
                    writer.write(protocol.reply(request, int(size)))
                case [b"DROP"]:
                    held = []
                    writer.write(protocol.reply(request, 0))
                case [b"CACHE", size]:
                    self.cache += protocol.cached(int(size))
                    writer.write(protocol.reply(request, len(self.cache)))
                case [b"GIANT", size, how]:
                    writer.write(protocol.reply(request, protocol.giant(int(size), how)))
                case [b"FEED", count, size]:
                    for _ in range(int(count)):
                        await self.to_sink.put(b" " * int(size))
                    writer.write(protocol.reply(request, int(count)))
                case [b"DUMP"]:
                    await self.to_service.put("crash")
                    writer.write(protocol.reply(request, "told"))
            await writer.drain()

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = protocol.parse(line.rstrip(b"\n"))
            known = {"connections": self.connections, "refused": self.refused, "restarts": self.restarts}
            writer.write(protocol.stats(request, **known))
            await writer.drain()
        writer.close()

    async def sink(self) -> None:
        while True:
            await self.to_sink.get()
            await asyncio.sleep(protocol.SLOW)

    async def service(self) -> None:
        state = protocol.rows(self.args.dump)
        while what := await self.to_service.get():
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
    asker_gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), asker_gone.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.sink())
        tasks.create_task(server.service_again_and_again())
        ports = []
        for handler in (server.connection, server.control):
            listening = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=4096, limit=protocol.MAX_LINE)
            ports.append(listening.sockets[0].getsockname()[1])
        say(
            ports=dict.fromkeys(protocol.CLASSES, ports[0]),
            control=ports[1],
            version=f"asyncio {platform.python_version()}",
        )
        await asker_gone.wait()
        sys.exit()


if __name__ == "__main__":
    asyncio.run(main())
