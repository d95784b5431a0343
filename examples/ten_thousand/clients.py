"""One client of the load generator, through all of its connections.

How it works. The client's task waits for its socket and takes all the lines that are there. When
the answer comes that it was waiting for, the next request is sent at once, from there.
"""

from __future__ import annotations

import errno
import random
import socket
import time
from typing import TYPE_CHECKING

import trio

from . import protocol

if TYPE_CHECKING:
    from .load import Load

__all__ = ["Client", "Latencies", "Room"]

SPEAKS_EVERY = 10
"""Turns."""


class Latencies:
    """Seconds from a request to its reply."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def summary(self) -> dict[str, float]:
        values = sorted(self.values)
        if not values:
            return {"p50": 0.0, "p99": 0.0, "max": 0.0}
        return {"p50": values[len(values) // 2], "p99": values[len(values) * 99 // 100], "max": values[-1]}


class Room:
    """What the clients of one room share."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: list[Client] = []
        self.said: dict[bytes, Client] = {}
        """Every line that this room may send, and the client that said it."""
        self.roll_call = b""
        self.heard_roll_call: set[Client] = set()


class Client:
    """A client, through all of its connections."""

    __slots__ = (
        "ask_at",
        "connections",
        "crashing",
        "expected",
        "greedy",
        "keeps",
        "load",
        "number",
        "online",
        "request",
        "room",
        "say_again_at",
        "seq",
        "sock",
        "speaking",
        "times",
        "turns",
    )

    def __init__(self, load: Load, number: int, room: Room) -> None:
        self.load = load
        self.number = number
        self.room = room
        self.sock: socket.socket | None = None
        self.online = False  # welcomed, and the connection is still there
        self.connections = 0
        self.crashing = False  # it was this client's wish
        self.turns = 0
        self.seq = 0
        self.request = b""
        self.expected = b""  # the reply to ``request``; empty when nothing is asked
        self.speaking = False  # the request is a SAY
        self.times = 0  # that the request was sent
        self.ask_at = 0.0
        self.say_again_at = 0.0
        self.greedy = False
        self.keeps = 0  # bytes that its connection should say it keeps

    # -- requests --

    def send(self, line: bytes) -> None:
        assert self.sock is not None
        try:
            sent = self.sock.send(line)
        except OSError:
            return  # the connection is going; its reader sees it too, and asks again on the next one
        if sent != len(line):  # one short line, and the socket's buffer is full: nobody reads any more
            self.sock.shutdown(socket.SHUT_RDWR)

    def ask(self, *, speaking: bool) -> None:
        """Send the next request; while offline, leave it for the next connection."""
        load, seq = self.load, self.seq
        self.seq = seq + 1
        self.ask_at = time.perf_counter()
        self.times = 0
        self.speaking = speaking
        if speaking:
            text = b"it is %d's turn to speak, line %d" % (self.number, seq)
            self.request = protocol.say(seq, text)
            self.expected = protocol.said(self.number, seq, text)[:-1]
            self.room.said[self.expected] = self
            load.saying[self] = None
            load.says_asked += 1
        else:
            self.request = protocol.echo(seq, b"%d" % (self.number * 1_000_003 + seq * 7919))
            self.expected = self.request[:-1]
            load.echoes_asked += 1
        if self.online:
            self.send_request()

    def send_request(self) -> None:
        load = self.load
        load.lines_out += 1
        self.times += 1
        if self.speaking:
            self.say_again_at = time.perf_counter() + load.patience() * 2 ** min(self.times - 1, 3)
            if self.times > 1:
                load.said_again += 1
        self.send(self.request)

    def answered(self, now: float) -> None:
        """The reply is here, and right."""
        load = self.load
        self.expected = b""
        seconds = now - self.ask_at
        if self.times > 1:  # which of the requests was answered? (Karn's rule)
            load.slowest_repeated = max(load.slowest_repeated, seconds)
        if self.speaking:
            load.says_heard += 1
            del load.saying[self]
            if self.times == 1:
                load.say_heard_after(seconds)
            load.turn_is_over(self)
        else:
            load.echoes_right += 1
            if self.times == 1:
                load.echo_latency.values.append(seconds)
            if (self.turns + self.number // len(load.rooms)) % SPEAKS_EVERY == 0:
                self.ask(speaking=True)
            else:
                load.turn_is_over(self)

    # -- the connection --

    async def run(self) -> None:
        load = self.load
        delay = 0.05
        while True:
            async with load.connecting:
                welcome = await self.connect()
            if welcome is None:
                load.failed_attempts += 1
                await trio.sleep(delay * random.uniform(0.5, 1.5))
                delay = min(delay * 2, 2.0)
                continue
            delay = 0.05
            load.went_online(self)
            await self.listen(welcome)
            load.went_offline(self)
            if not self.greedy:
                await trio.sleep(0.1 * random.uniform(0.5, 1.5))

    async def connect(self) -> bytes | None:
        """Connect and be let into the room. Returns what came after the WELCOME, or None if it
        failed."""
        self.sock = sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        try:
            problem = sock.connect_ex(self.load.address_for(self))
            if problem == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(sock)
                problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem == 0:
                self.connections += 1
                self.send(protocol.hello(self.number, self.room.name))
                while b"\n" not in data:
                    await trio.lowlevel.wait_readable(sock)
                    if not (more := sock.recv(65536)):
                        break
                    data += more
        except OSError:
            pass
        first, newline, rest = data.partition(b"\n")
        if newline and first.startswith(b"WELCOME "):
            return rest
        if data == protocol.BUSY:
            self.load.refused += 1
        elif newline:
            self.load.wrong(self, first)
        sock.close()
        return None

    async def listen(self, tail: bytes) -> None:
        """Read until the end of the stream."""
        load, sock, said = self.load, self.sock, self.room.said
        assert sock is not None
        try:
            while True:
                *lines, tail = tail.split(b"\n")
                if lines:
                    now = time.perf_counter()
                    load.lines_in += len(lines)
                    for line in lines:
                        if line == self.expected:
                            self.answered(now)
                        elif (speaker := said.get(line)) is not None:
                            if speaker is not self:
                                load.heard_from_others += 1
                        else:
                            self.unusual(line)
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(65536)
                if not data:
                    return
                tail += data
        except OSError:  # reset: a crashed actor may have left something unread
            return
        finally:
            sock.close()

    def unusual(self, line: bytes) -> None:
        if line == self.room.roll_call:
            self.load.heard_roll_call(self)
        elif self.greedy and line == protocol.kept(self.keeps)[:-1]:
            self.load.reaction.kept(self)
        else:
            self.load.wrong(self, line)
