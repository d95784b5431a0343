"""The server of `python -m bench connections` in actorkit: a room is an actor, a connection is an
actor.
"""

import trio

import actorkit as ak
from bench.worker import asker_gone, gc_settings, say

ROOMS = 100
MAX_LINE = 4096


class Room(ak.Actor):
    def __init__(self) -> None:
        self.members: set[ak.Ref[Connection]] = set()

    @ak.cast
    def join(self, who: "ak.Ref[Connection]", welcome: bytes) -> None:
        self.members.add(who)
        self.ctx.monitor(who)
        who.cast(Connection.deliver, welcome)

    @ak.cast
    def say(self, line: bytes) -> None:
        for member in self.members:
            member.cast(Connection.deliver, line)

    def handle_info(self, message: object) -> None:
        match message:
            case ak.Down(ref=who):
                self.members.discard(who)


def room(number: int) -> ak.Ref[Room]:
    return ak.named(Room, f"room-{number}")


class Connection(ak.StreamActor):
    room: ak.Ref[Room]

    def received(self, line: bytes) -> None:
        if line.startswith(b"E"):
            self.write(line + b"\n")
        elif line.startswith(b"B"):
            self.room.cast(Room.say, line + b"\n")
        elif line.startswith(b"J"):
            self.room = room(int(line[1:]))
            self.room.cast(Room.join, self.ctx.ref, line + b"\n")

    @ak.cast
    def deliver(self, line: bytes) -> None:
        self.write(line)


tree = ak.supervisor(
    *(ak.child(Room).with_(name=f"room-{number}") for number in range(ROOMS)),
    ak.tcp_listener(Connection, port=0, host="127.0.0.1", max_line=MAX_LINE, max_children=20_000, name="listener"),
)


async def main() -> None:
    async with ak.open_node(tree) as node:
        addresses = await node.whereis("listener").call(ak.Listener.addresses)
        say(port=addresses[0][1], gc=gc_settings())
        await asker_gone()


if __name__ == "__main__":
    trio.run(main)
