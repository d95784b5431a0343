"""The server of `python -m bench connections` in plain trio, as trio's own documentation would
write it.

It has `serve_tcp` and a handler per connection. trio leaves open how a room's message gets to its
members, so both usual answers are here:

lock      the handler that got the message writes to each member's stream in turn, under that
          connection's lock. The least memory; a member that does not read holds up the room.
channel   each connection has a bounded channel and a second task that writes what comes out of it.
          A member that does not read loses messages, and nobody waits for it.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import trio

from bench.worker import asker_gone, gc_settings, say

ROOMS = 100
MAX_LINE = 4096

Handler = Callable[[trio.SocketStream], Awaitable[None]]


async def lines(stream: trio.SocketStream) -> AsyncIterator[bytes]:
    """The lines of a stream, without their newlines."""
    buffered = bytearray()
    async for chunk in stream:
        buffered += chunk
        *complete, rest = buffered.split(b"\n")
        for line in complete:
            yield bytes(line)
        if len(rest) > MAX_LINE:
            return
        buffered = rest


class LockedMember:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.lock = trio.Lock()

    async def write(self, line: bytes) -> None:
        async with self.lock:
            await self.stream.send_all(line)


async def handle_with_lock(rooms: list[set[LockedMember]], stream: trio.SocketStream) -> None:
    member = LockedMember(stream)
    room: set[LockedMember] = set()
    try:
        async for line in lines(stream):
            if line.startswith(b"E"):
                await member.write(line + b"\n")
            elif line.startswith(b"B"):
                for other in tuple(room):
                    try:
                        await other.write(line + b"\n")
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        room.discard(other)
            elif line.startswith(b"J"):
                room = rooms[int(line[1:])]
                room.add(member)
                await member.write(line + b"\n")
    except trio.BrokenResourceError:
        pass
    finally:
        room.discard(member)


Outbox = trio.MemorySendChannel[bytes]


async def handle_with_channel(rooms: list[set[Outbox]], stream: trio.SocketStream) -> None:
    async def write_all(pending: trio.MemoryReceiveChannel[bytes]) -> None:
        async for line in pending:
            await stream.send_all(line)

    outbox, pending = trio.open_memory_channel[bytes](1024)
    room: set[Outbox] = set()
    try:
        async with trio.open_nursery() as nursery, outbox:
            nursery.start_soon(write_all, pending)
            async for line in lines(stream):
                if line.startswith(b"E"):
                    await outbox.send(line + b"\n")
                elif line.startswith(b"B"):
                    for other in room:
                        try:
                            other.send_nowait(line + b"\n")
                        except trio.WouldBlock:
                            pass
                elif line.startswith(b"J"):
                    room = rooms[int(line[1:])]
                    room.add(outbox)
                    await outbox.send(line + b"\n")
            room.discard(outbox)
    except* trio.BrokenResourceError:
        pass
    finally:
        room.discard(outbox)


async def main(variant: str) -> None:
    handlers: dict[str, Handler] = {
        "lock": partial(handle_with_lock, [set() for _ in range(ROOMS)]),
        "channel": partial(handle_with_channel, [set() for _ in range(ROOMS)]),
    }
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handlers[variant], 0, host="127.0.0.1"))
        say(port=listeners[0].socket.getsockname()[1], gc=gc_settings())
        await asker_gone()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
