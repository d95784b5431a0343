"""Peers that mean harm, each a function of the address and a source of randomness. Tests use them;
`python -m tests.net.hostile SECONDS [SEED]` lets them attack for minutes, compares nothing, and
only says what became of the node.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import actorkit as ak
from actorkit.runtime.actor.record import Record
from bench.soak.invariants import consistent, left
from bench.worker import rss

MAX_LINE = 200
HANG = 60.0
"""Seconds after which an answer that should come at once is taken for lost: far more than any
working machine needs.
"""

Address = tuple[str, int]


class Echo(ak.StreamActor):
    """Crashes at a line that is not ASCII."""

    def received(self, data: bytes) -> None:
        data.decode("ascii")
        self.write(data + b"\n")


async def _gone(stream: trio.SocketStream, seconds: float = 0.2) -> None:
    with trio.move_on_after(seconds):
        while await stream.receive_some(65_536):
            pass


def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def slow_loris(stream: trio.SocketStream, rand: random.Random) -> None:
    for _ in range(rand.randint(1, 20)):
        await stream.send_all(b"a")
        await trio.sleep(rand.random() / 100)


async def half_open(stream: trio.SocketStream, rand: random.Random) -> None:
    await stream.send_all(b"a" * rand.randrange(MAX_LINE))
    await stream.send_eof()
    await _gone(stream)


async def reset(stream: trio.SocketStream, rand: random.Random) -> None:
    await stream.send_all(b"a\n" * rand.randint(0, 50) + b"b")
    _reset(stream)


async def oversized(stream: trio.SocketStream, rand: random.Random) -> None:
    for _ in range(rand.randint(1, 20)):
        await stream.send_all(b"a" * 65_536)
    await _gone(stream)


async def junk(stream: trio.SocketStream, rand: random.Random) -> None:
    await stream.send_all(rand.randbytes(rand.randint(1, 5_000)))
    await _gone(stream)


async def empty_lines(stream: trio.SocketStream, rand: random.Random) -> None:
    await stream.send_all(b"\n" * rand.randint(1, 20_000))
    await _gone(stream)


async def deaf(stream: trio.SocketStream, rand: random.Random) -> None:
    with trio.move_on_after(0.3):
        while True:
            await stream.send_all(b"a" * 190 + b"\n")


async def nothing(stream: trio.SocketStream, rand: random.Random) -> None:
    if rand.random() < 0.5:
        _reset(stream)


KINDS: tuple[Callable[[trio.SocketStream, random.Random], Awaitable[None]], ...] = (
    slow_loris, half_open, reset, oversized, junk, empty_lines, deaf, nothing,
)  # fmt: skip


async def attack(address: Address, rand: random.Random, counts: Counter[str]) -> None:
    """Play one hostile peer."""
    kind = rand.choice(KINDS)
    counts[kind.__name__] += 1
    try:
        stream = await trio.open_tcp_stream(*address)
        try:
            await kind(stream, rand)
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        counts["cut off"] += 1


async def well_behaved(address: Address, done: trio.Event, counts: Counter[str]) -> None:
    """A well-behaved peer among them, which must notice nothing."""
    async with await trio.open_tcp_stream(*address) as stream:
        number = 0
        while not done.is_set():
            number += 1
            line = b"%d\n" % number
            with trio.fail_after(HANG):
                await stream.send_all(line)
                answer = b""
                while not answer.endswith(b"\n"):
                    data = await stream.receive_some(1_000)
                    assert data, "the well-behaved peer was cut off"
                    answer += data
            assert answer == line
            counts["answers to the well-behaved"] += 1
            await trio.sleep(0.005)


async def siege(
    seconds: float, seed: int, peers: int = 30, most: float = float("inf"), answers: int = 0, look_every: int = 50
) -> dict[str, Any]:
    """Attack a node with a listener, and return what was seen. The siege ends after that many
    seconds, or when ``most`` peers have come, one of them has crashed its connection, and the
    well-behaved peer has had that many answers. The books are checked each time ``look_every``
    peers have come and gone.
    """
    rand = random.Random(seed)
    counts: Counter[str] = Counter()
    problems: list[str] = []
    listener = ak.tcp_listener(Echo, port=0, max_line=MAX_LINE, max_unsent=10_000, linger=0.2, name="listener")
    async with ak.open_node(ak.supervisor(listener, max_restarts=0), call_timeout=HANG) as node:
        [(host, port)] = await ak.named(ak.Listener, "listener").call(ak.Listener.addresses)
        address = (host, port)
        base = len(node.engine.actors)
        sizes: list[int] = []

        def hear() -> None:
            for event in crashes.drain():
                assert isinstance(event, ak.ActorCrashed)
                counts["crashes"] += 1
                if "Echo" not in event.who:
                    problems.append(f"{event.who} crashed: {event.reason}")

        def enough() -> bool:
            come = sum(counts[kind.__name__] for kind in KINDS)
            return come >= most and counts["crashes"] > 0 and counts["answers to the well-behaved"] >= answers

        async def one_after_another() -> None:
            nonlocal gone
            while not enough():
                await attack(address, rand, counts)
                hear()
                gone += 1
                if gone % look_every == 0:
                    sizes.append(rss())
                    problems.extend(consistent(node))

        gone = 0
        with node.subscribe(ak.ActorCrashed, capacity=1_000_000) as crashes:
            done = trio.Event()
            async with trio.open_nursery() as outer:
                outer.start_soon(well_behaved, address, done, counts)
                with trio.move_on_after(seconds):
                    async with trio.open_nursery() as nursery:
                        for _ in range(peers):
                            nursery.start_soon(one_after_another)
                done.set()
            with trio.move_on_after(HANG):
                while len(node.engine.actors) != base:
                    await trio.sleep(0.02)
            if len(node.engine.actors) != base:
                problems.append(f"{len(node.engine.actors) - base} connections are left")
            problems += consistent(node)
            hear()
        ends = await ak.named(ak.Listener, "listener").call(ak.Listener.counts)
        if ends[0]:
            problems.append(f"the listener counts {ends[0]} connections")
    problems += left(node)
    gc.collect()
    alive = sum(isinstance(thing, Record) for thing in gc.get_objects())
    half = sizes[len(sizes) // 2 :]
    if half and max(half) > 1.1 * min(half) + 4 * 2**20:
        problems.append(f"RSS went from {min(half):,} to {max(half):,} in the second half")
    return {"counts": dict(counts), "problems": problems, "records": alive, "rss": half}


def main() -> int:
    seconds, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    logging.getLogger("actorkit").setLevel(logging.CRITICAL + 1)
    descriptors = len(os.listdir("/proc/self/fd"))
    seen = trio.run(siege, seconds, seed)
    if len(os.listdir("/proc/self/fd")) > descriptors:
        seen["problems"].append("descriptors are left open")
    counts = seen["counts"]
    total = sum(counts.get(kind.__name__, 0) for kind in KINDS)
    print(f"hostile: {total:,} peers in {seconds:.0f} s, seed {seed}: ", end="")
    print(", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())))
    if seen["rss"]:
        print(f"hostile: RSS {min(seen['rss']) / 2**20:.1f} to {max(seen['rss']) / 2**20:.1f} MiB in the second half")
    for problem in seen["problems"]:
        print(f"  WRONG: {problem}")
    print(f"hostile: {'clean' if not seen['problems'] else 'NOT clean'}")
    return 1 if seen["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
