"""A small key-value store, as actors, on a TCP port.

    SET <key> <value> [<seconds>]   OK              the value may expire
    GET <key>                       VALUE <value>   or NONE
    DELETE <key>                    OK              or NONE
    COUNT                           COUNT <keys>

    top (rest_for_one)
    ├── shards (one_for_one)
    │   ├── shard-0      Shard: an eighth of the keys
    │   └── ...
    └── listener         one Connection for each client

The keys are spread over eight shards by their hash. Each shard is an actor, so it does one thing at
a
time: read-modify-write needs no lock. A shard that crashes loses its keys, since this is a cache;
the other shards and all connections go on.

    python -m examples.key_value --port 7777
    python -m examples.key_value --self-test
"""

from __future__ import annotations

import argparse
import sys
import zlib
from dataclasses import dataclass

import trio

import actorkit as ak

SHARDS = 8
YEAR = 366 * 24 * 3600.0


@dataclass(slots=True)
class Entry:
    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A shard's message to itself: sent when the key is set, delivered when its time is over."""

    key: bytes
    version: int


class Shard(ak.Actor):
    """Some of the keys. A ``call`` method returns its reply; only one method runs at a time."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.version = 0

    @ak.call
    def set(self, key: bytes, value: bytes, seconds: float | None) -> None:
        self.version += 1
        self.entries[key] = Entry(value, self.version)
        if seconds is not None:
            self.ctx.send_after(seconds, self.ctx.ref, Expired(key, self.version))

    @ak.call
    def get(self, key: bytes) -> bytes | None:
        entry = self.entries.get(key)
        return None if entry is None else entry.value

    @ak.call
    def delete(self, key: bytes) -> bool:
        return self.entries.pop(key, None) is not None

    @ak.call
    def count(self) -> int:
        return len(self.entries)

    def handle_info(self, message: object) -> None:
        match message:
            case Expired(key, version):
                entry = self.entries.get(key)
                if entry is not None and entry.version == version:  # not set anew since then
                    del self.entries[key]


def shard_of(key: bytes) -> ak.Ref[Shard]:
    """The shard of a key, by name, so that the ref outlives restarts of the shard."""
    return ak.named(Shard, f"shard-{zlib.crc32(key) % SHARDS}")


class Connection(ak.StreamActor):
    """One client. While it waits for a shard, the client's next lines wait, too."""

    async def received(self, line: bytes) -> None:
        try:
            reply = await self.answer(line)
        except ak.CallError:  # the shard crashed under the call; its successor is on its way
            reply = b"ERROR try again"
        self.write(reply + b"\n")

    async def answer(self, line: bytes) -> bytes:
        match line.split():
            case [b"SET", key, value]:
                await shard_of(key).call(Shard.set, key, value, None)
                return b"OK"
            case [b"SET", key, value, seconds]:
                try:
                    lifetime = float(seconds)
                except ValueError:
                    lifetime = -1.0
                if not 0 <= lifetime <= YEAR:  # NaN is not, either
                    return b"ERROR not a number of seconds"
                await shard_of(key).call(Shard.set, key, value, lifetime)
                return b"OK"
            case [b"GET", key]:
                found = await shard_of(key).call(Shard.get, key)
                return b"NONE" if found is None else b"VALUE " + found
            case [b"DELETE", key]:
                return b"OK" if await shard_of(key).call(Shard.delete, key) else b"NONE"
            case [b"COUNT"]:
                total = 0
                for number in range(SHARDS):
                    total += await ak.named(Shard, f"shard-{number}").call(Shard.count)
                return b"COUNT %d" % total
            case _:
                return b"ERROR what?"


def tree(host: str, port: int) -> ak.ChildSpec[ak.Supervisor]:
    names = [f"shard-{number}" for number in range(SHARDS)]
    return ak.supervisor(
        ak.supervisor(
            *[ak.child(Shard).with_(id=name, name=name) for name in names],
            strategy="one_for_one",
            max_restarts=5,
            max_seconds=10,
        ).with_(id="shards"),
        ak.tcp_listener(Connection, host=host, port=port, max_line=4096, max_children=1000, name="listener"),
        strategy="rest_for_one",  # should the shards as a whole fail, clients start afresh as well
        max_restarts=3,
        max_seconds=10,
    )


async def listening_port() -> int:
    listener = ak.named(ak.Listener, "listener")
    addresses = await listener.call(ak.Listener.addresses)
    return int(addresses[0][1])


async def serve(host: str, port: int) -> None:
    async with ak.open_node(tree(host, port)) as node:
        print(f"listening on {host}, port {await listening_port()}", flush=True)
        await node.finished()


# -- The self-test: an ordinary trio client, and a crash. --


class Client:
    """Sends a line, receives a line."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def ask(self, line: bytes) -> bytes:
        await self.stream.send_all(line + b"\n")
        return await self.next_line()

    async def next_line(self) -> bytes:
        while b"\n" not in self.buffer:
            chunk = await self.stream.receive_some()
            if not chunk:
                raise EOFError("the service hung up")
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line


async def expect(client: Client, question: bytes, answer: bytes) -> None:
    got = await client.ask(question)
    if got != answer:
        raise AssertionError(f"{question!r}: expected {answer!r}, got {got!r}")


async def self_test() -> None:
    async with ak.open_node(tree("127.0.0.1", 0)) as node:
        port = await listening_port()
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as first,
            await trio.open_tcp_stream("127.0.0.1", port) as second,
        ):
            one, two = Client(first), Client(second)

            await expect(one, b"GET apple", b"NONE")
            await expect(one, b"SET apple red", b"OK")
            await expect(two, b"GET apple", b"VALUE red")
            await expect(two, b"DELETE apple", b"OK")
            await expect(one, b"DELETE apple", b"NONE")
            await expect(one, b"SING", b"ERROR what?")

            # Many at once, the replies in the order of the questions.
            await first.send_all(b"".join(b"SET key-%d %d\n" % (number, number) for number in range(200)))
            for _ in range(200):
                assert await one.next_line() == b"OK"
            await expect(two, b"COUNT", b"COUNT 200")
            await expect(two, b"GET key-117", b"VALUE 117")

            # A value that expires, and one that was set anew before it could.
            await expect(one, b"SET kept 1 0.2", b"OK")
            await expect(one, b"SET kept 2", b"OK")
            await expect(one, b"SET brief 1 0.4", b"OK")
            await expect(two, b"GET brief", b"VALUE 1")
            with trio.fail_after(5):
                while await two.ask(b"GET brief") != b"NONE":
                    pass
            await expect(two, b"GET kept", b"VALUE 2")

            # A shard crashes. Its keys are gone, everything else is as it was.
            shard = shard_of(b"kept")
            async with node.subscribe(ak.ChildRestarted) as events:
                shard.kill()
                async for _ in events:
                    break
            await expect(one, b"GET kept", b"NONE")
            await expect(one, b"SET kept 3", b"OK")
            await expect(two, b"GET kept", b"VALUE 3")
    print("ok")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7777)
    parser.add_argument("--self-test", action="store_true", help="start, talk to it, print ok")
    options = parser.parse_args()
    if options.self_test:
        trio.run(self_test)
        return 0
    try:
        trio.run(serve, options.host, options.port)
    except KeyboardInterrupt:
        return 130
    return 1  # the tree gave up


if __name__ == "__main__":
    sys.exit(main())
