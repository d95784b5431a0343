"""The soaked node's peers: loopback connections that come, talk, misbehave, go, and come again."""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter

import trio

PEERS = 100
SILENCE = 20.0
"""Seconds in which an orderly peer must have its answer: the node may be short of memory, but it is
there.
"""


class Peers:
    """Clients of one node, while ``run`` runs."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(PEERS):
                nursery.start_soon(self.peer, random.Random(self.random.random()))

    async def peer(self, rand: random.Random) -> None:
        while True:
            try:
                with trio.fail_after(SILENCE):
                    stream = await trio.open_tcp_stream("127.0.0.1", self.port)
            except OSError as error:
                cause = error.__cause__.exceptions[0] if isinstance(error.__cause__, BaseExceptionGroup) else error
                self.counts[f"not connected: {cause}"] += 1
                await trio.sleep(0.1)
                continue
            self.counts["connected"] += 1
            try:
                await self.talk(stream, rand)
            except (trio.BrokenResourceError, EOFError, ConnectionError):
                self.counts["ended by the node"] += 1
            except trio.TooSlowError:
                self.violations.append(f"no answer within {SILENCE:.0f} s")
            finally:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
            await trio.sleep(rand.random() / 5)

    async def talk(self, stream: trio.SocketStream, rand: random.Random) -> None:
        for number in range(rand.randint(1, 100)):
            line = b"%d %s" % (number, b"x" * rand.randrange(3_000))
            with trio.fail_after(SILENCE):
                await stream.send_all(line + b"\n")
                answer = await read_line(stream)
            if answer == b"the server is full; try again later":
                self.counts["refused"] += 1
                return
            if answer != line:
                self.violations.append(f"{answer[:50]!r} for {line[:50]!r}")
            self.counts["lines"] += 1
            await trio.sleep(rand.random() / 10)
        ending = rand.choice(["close", "reset", "crash", "half", "too long", "deaf"])
        self.counts[f"end: {ending}"] += 1
        if ending == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()
        elif ending == "crash":
            await stream.send_all(b"crash\n")
            await read_line(stream)
        elif ending == "half":
            await stream.send_eof()
            await trio.sleep(rand.random())
        elif ending == "too long":
            await stream.send_all(b"y" * 10_000)
            await read_line(stream)
        elif ending == "deaf":
            with trio.move_on_after(1):
                while True:
                    await stream.send_all(b"z" * 3_000 + b"\n")


async def read_line(stream: trio.SocketStream) -> bytes:
    parts: list[bytes] = []
    while not parts or not parts[-1].endswith(b"\n"):
        data = await stream.receive_some(65_536)
        if not data:
            raise EOFError
        parts.append(data)
    return b"".join(parts)[:-1]
