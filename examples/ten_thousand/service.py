"""The service: rooms, connections, and the tree that keeps them alive.

    top (one_for_one)
    ├── rooms (one_for_one)      a supervisor of its own: rooms may crash more often than the rest
    │   ├── room-0               Room
    │   └── ...
    └── listener                 accepts, and supervises one Member for each connection

There is no error handling in here, and none is missing. Whatever goes wrong in a room or a
connection is an exception that ends that one actor. Its supervisor starts another one, and the
actors that depended on it get a message (``ak.Down``). With ``--memory`` the node has a limit:
before it is reached, connections that hold much are ended, and newcomers are refused. No code here
does that, either; it only sets priorities: rooms are HIGH, connections that hoard are LOW.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time

import psutil
import trio

import actorkit as ak

from . import protocol
from .pipes import STATUS_INTERVAL, commands, emit, raise_descriptor_limit


class OnPurpose(Exception):
    """Somebody asked for this crash."""


class Rejoin:
    """A Member's message to itself: it is time to look for the room again."""


class Room(ak.Actor):
    """Passes on what its members say. While nobody says anything, it is an object and no task."""

    def __init__(self) -> None:
        self.members: set[ak.Ref[Member]] = set()

    @ak.cast
    def join(self, who: ak.Ref[Member]) -> None:
        self.ctx.monitor(who)  # however the member ends, a Down will say so
        self.members.add(who)
        who.cast(Member.joined, len(self.members))

    @ak.cast
    def say(self, line: bytes) -> None:
        for member in self.members:
            member.cast(Member.deliver, line)

    @ak.cast
    def crash(self) -> None:
        raise OnPurpose("a room was told to crash")

    def handle_info(self, message: object) -> None:
        match message:
            case ak.Down(ref=who):
                self.members.discard(who)


class Member(ak.StreamActor):
    """One connection. The actor and its socket end together."""

    def __init__(self) -> None:
        self.client = b""
        self.room_name = ""
        self.room: ak.Ref[Room] | None = None  # None while there is no room to talk to
        self.welcomed = False
        self.hoard: list[bytes] = []

    def received(self, line: bytes) -> None:
        match line.split(b" ", 2):
            case [b"ECHO", _, _]:
                self.write(line + b"\n")
            case [b"SAY", seq, text]:
                if self.room is not None:  # a client that hears no SAID asks again
                    self.room.cast(Room.say, b"SAID %s %s %s\n" % (self.client, seq, text))
            case [b"HELLO", client, room] if not self.client:
                self.client, self.room_name = client, room.decode("ascii")
                self.enter()
            case [b"HOARD", size]:
                self.keep(int(size))
            case [b"CRASH"]:
                raise OnPurpose("a client asked its connection to crash")
            case _:
                raise ValueError(f"not a line of the protocol: {line[:40]!r}")  # ends this connection alone

    def keep(self, size: int) -> None:
        """Keep so many bytes more; 0: let go of all. A connection's own limit bounds what it holds,
        but not the sum over thousands."""
        if size:
            self.hoard.append(b"x" * size)
        else:
            self.hoard.clear()
        # A connection that hoards is the first to go when memory is short; one that only talks is
        # not.
        self.ctx.priority = ak.Priority.LOW if self.hoard else ak.Priority.NORMAL
        self.write(protocol.kept(sum(map(len, self.hoard))))

    def enter(self) -> None:
        """Ask to be let in, by name: another room may bear it now."""
        room: ak.Ref[Room] | None = self.ctx.node.whereis(self.room_name)
        if room is None:  # it is being restarted at this very moment
            self.try_again()
        else:
            self.room = room
            self.ctx.monitor(room)  # should it have ended meanwhile, the Down comes at once
            room.cast(Room.join, self.ctx.ref)

    @ak.cast
    def joined(self, members: int) -> None:
        if not self.welcomed:
            self.welcomed = True
            self.write(protocol.welcome(members))

    @ak.cast
    def deliver(self, line: bytes) -> None:
        self.write(line)  # buffered; a client that does not read is disconnected, and delays nobody

    def handle_info(self, message: object) -> None:
        match message:
            case ak.Down():  # the room is gone; the connection is not
                self.room = None
                self.try_again()
            case Rejoin():
                self.enter()

    def try_again(self) -> None:
        # Not at once, and not all at the same moment: thousands may have lost their room.
        self.ctx.send_after(random.uniform(0.05, 0.5), self.ctx.ref, Rejoin())


def tree(rooms: int, hosts: list[str], connections: int) -> ak.ChildSpec[ak.Supervisor]:
    names = [protocol.room_name(number) for number in range(rooms)]
    return ak.supervisor(
        ak.supervisor(
            *[
                ak.child(Room).with_(name=name, id=name, max_heap_size="8 MiB", priority=ak.Priority.HIGH)
                for name in names
            ],
            strategy="one_for_one",
            max_restarts=10,
            max_seconds=5,
        ).with_(id="rooms", name="rooms"),
        *[
            ak.tcp_listener(
                ak.child(Member).with_(max_heap_size="256 KiB"),
                host=host,
                port=0,
                max_line=protocol.MAX_LINE,
                refusal=protocol.BUSY,
                max_children=connections,
                name=f"listener-{number}",
            ).with_(id=f"listener-{number}")
            for number, host in enumerate(hosts)
        ],
        strategy="one_for_one",
        max_restarts=3,
        max_seconds=5,
    )


# -- The rest is for the demonstration only: being watched, and being told to crash. --


class Watch:
    """What the governor does. Without a memory limit there is no governor, and nothing to
    report."""

    def __init__(self, node: ak.Node) -> None:
        self.node = node
        self.kills = 0

    async def levels(self) -> None:
        async with self.node.subscribe(ak.MemoryLevelChanged) as events:
            async for event in events:
                assert isinstance(event, ak.MemoryLevelChanged)
                emit("level", at=time.monotonic(), level=event.level.name, because=event.because)

    async def deaths(self) -> None:
        async with self.node.subscribe(ak.KilledForMemory) as events:
            while True:
                await events.receive()
                self.kills += 1 + len(events.drain())  # a round kills many at once

    def status(self) -> dict[str, object]:
        memory, admission = self.node.memory, self.node.admission
        if memory is None or admission is None:
            return {}
        now = memory.data()
        # The kernel's own high-water mark: what happens between two looks is in it.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {
            "level": now.level.name,
            "used": now.allocated,
            "limit": now.total,
            "source": now.source,
            "peak": peak,
            "killed": self.kills,
            "refused": admission.counts(Member.__qualname__).refused,
        }


async def report(node: ak.Node, watch: Watch) -> None:
    """A status line twice a second."""
    process = psutil.Process()
    while True:
        now = node.statistics()
        census = await node.heap_census()
        members = next((row for row in census.classes if row.label == Member.__qualname__), None)
        emit(
            "status",
            at=time.monotonic(),
            actors=now.actors,
            messages=now.messages,
            crashes=now.crashes,
            restarts=now.restarts,
            dead_letters=now.dead_letters,
            rss=process.memory_info().rss,
            heaps=census.bytes,
            member_heap=0 if members is None else members.bytes // members.actors,
            largest_heap=max((size for _, size in census.actors), default=0),
            memory=watch.status(),
        )
        await trio.sleep(STATUS_INTERVAL)


async def crash(node: ak.Node, name: str, rooms: int) -> None:
    """Crash the actor of that name; report as soon as its successor is at work."""
    names = [protocol.room_name(number) for number in range(rooms)]
    old = node.whereis(name)
    if old is None:
        emit("restarted", name=name, seconds=0.0, rooms=0, problem="nobody has this name")
        return
    pids = {room: ref.pid for room in names if (ref := node.whereis(room)) is not None}
    began = trio.current_time()
    async with node.subscribe(ak.ChildRestarted) as events:
        if name in names:
            old.cast(Room.crash)
        else:
            old.kill()
        async for _ in events:
            new = node.whereis(name)
            if new is not None and new.pid != old.pid:
                break
    fresh = sum((ref := node.whereis(room)) is not None and ref.pid != pids.get(room) for room in names)
    emit("restarted", name=name, seconds=trio.current_time() - began, rooms=fresh)


async def give_up_with(node: ak.Node) -> None:
    await node.finished()
    raise RuntimeError("the tree has ended: some supervisor had more crashes than it was allowed")


async def serve(rooms: int, hosts: list[str], connections: int, memory: str | None) -> None:
    async with (
        ak.open_node(tree(rooms, hosts, connections), memory_limit=memory) as node,
        trio.open_nursery() as nursery,
    ):
        watch = Watch(node)
        if memory is not None:
            nursery.start_soon(watch.levels)
            nursery.start_soon(watch.deaths)
        addresses: list[tuple[str, int]] = []
        for number in range(len(hosts)):
            listener: ak.Ref[ak.Listener] = ak.named(ak.Listener, f"listener-{number}")
            addresses += [(host, port) for host, port, *_ in await listener.call(ak.Listener.addresses)]
        emit("ready", addresses=addresses, actors=node.statistics().actors)
        nursery.start_soon(report, node, watch)
        nursery.start_soon(give_up_with, node)
        async for command in commands():
            match command.split():
                case ["crash", name]:
                    nursery.start_soon(crash, node, name, rooms)
                case _:
                    break
        nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rooms", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True, help="how many to accept at most")
    parser.add_argument("--hosts", nargs="+", default=["127.0.0.1"])
    parser.add_argument("--memory", help="what the service may use, e.g. 256MiB; default: no limit")
    options = parser.parse_args()
    raise_descriptor_limit()
    trio.run(serve, options.rooms, options.hosts, options.connections, options.memory)


if __name__ == "__main__":
    main()
