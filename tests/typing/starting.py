"""Everything that starts actors: ``spawn``, ``start``, child specs, supervisors, listeners,
names.
"""

from __future__ import annotations

from typing import assert_type

import actorkit as ak
from tests.typing.actors import Box, Chat, LoudRoom, Room, ticker


def make_room(name: str) -> Room:
    """A callable that returns an actor can start it."""
    return Room(name)


async def spawning(node: ak.Node, room: ak.Ref[Room]) -> None:
    """The constructor's arguments are checked, and the ref knows the class."""
    assert_type(node.spawn(Room, "lobby"), ak.Ref[Room])
    assert_type(node.spawn(Room, "lobby", size=3), ak.Ref[Room])
    assert_type(node.spawn(make_room, "lobby"), ak.Ref[Room])
    assert_type(node.spawn(Box, 3), ak.Ref[Box[int]])
    assert_type(await node.start(Room, "lobby"), ak.Ref[Room] | None)
    node.spawn(Room)  # error
    node.spawn(Room, 3)  # error
    node.spawn(Room, "lobby", colour="red")  # error
    await node.start(Room, 3)  # error


def processes(node: ak.Node, room: ak.Ref[Room]) -> None:
    """A process gets its context from the runtime, and its other arguments from whoever
    starts it.
    """
    assert_type(node.spawn(ticker, 0.5, room), ak.Ref[ak.Process])
    assert_type(ak.child(ticker, 0.5, to=room), ak.ChildSpec[ak.Process])


def specs() -> None:
    """A child spec knows its class; its options are checked."""
    assert_type(ak.child(Room, "lobby"), ak.ChildSpec[Room])
    assert_type(ak.child(Room, "lobby").with_(name="lobby", restart="transient"), ak.ChildSpec[Room])
    ak.child(Room)  # error
    ak.child(Room, 3)  # error
    ak.child(Room, "lobby").with_(restart="sometimes")  # error
    ak.child(Room, "lobby").with_(priority="high")  # error
    ak.child(Room, "lobby").with_(colour="red")  # error
    ak.child(Room, "lobby").with_(max_heap_size="8 MiB", mailbox=10, overflow="drop_oldest")


def supervisors() -> None:
    """Children are specs, and options are those of OTP."""
    assert_type(ak.supervisor(ak.child(Room, "lobby")), ak.ChildSpec[ak.Supervisor])
    assert_type(ak.dynamic_supervisor(max_children=3), ak.ChildSpec[ak.DynamicSupervisor])
    assert_type(ak.task_supervisor(), ak.ChildSpec[ak.TaskSupervisor])
    assert_type(ak.registry("unique", name="carts"), ak.ChildSpec[ak.Registry])
    ak.supervisor(ak.child(Room, "lobby"), strategy="some_for_some")  # error
    ak.supervisor(ak.child(Room, "lobby"), max_restarts="3")  # error
    ak.supervisor(auto_shutdown="always")  # error
    ak.registry("several", name="carts")  # error


def listeners(lobby: ak.Ref[Room]) -> None:
    """A connection is a StreamActor's class, or its spec."""
    assert_type(ak.tcp_listener(Chat, port=7000, max_line=4096), ak.ChildSpec[ak.Listener])
    assert_type(ak.unix_listener(ak.child(Chat, lobby), path="/run/chat"), ak.ChildSpec[ak.Listener])
    ak.tcp_listener(Room, port=7000)  # error
    ak.tcp_listener(Chat)  # error
    ak.tcp_listener(Chat, port=7000, slow_reader="wait")  # error
    ak.tls_listener(Chat, port=7000)  # error


async def names(node: ak.Node) -> None:
    """A name and its class make a ref of that class."""
    assert_type(ak.named(Room, "lobby"), ak.Ref[Room])
    assert_type(ak.via(Room, "rooms", 7), ak.Ref[Room])
    assert_type(ak.partitioned(Room, "rooms", "key"), ak.Ref[Room])
    assert_type(await ak.named(Room, "lobby").call(Room.topic, 3), str)
    ak.named("lobby", Room)  # error
    ak.named(Room)  # error
    await ak.named(Chat, "chat").call(Room.topic, 3)  # error
    assert_type(ak.named(LoudRoom, "lobby").cast(Room.say, b"hello"), bool)


async def supervisors_are_called(top: ak.Ref[ak.Supervisor], pool: ak.Ref[ak.DynamicSupervisor]) -> None:
    """Supervisors are actors: their messages are typed as all others are."""
    assert_type(await top.call(ak.Supervisor.count_children), ak.ChildCounts)
    assert_type(await top.call(ak.Supervisor.which_children), tuple[ak.ChildInfo, ...])
    await pool.call(ak.DynamicSupervisor.start_child, ak.child(Room, "lobby"))
    await pool.call(ak.DynamicSupervisor.start_child, Room)  # error
    await pool.call(ak.Supervisor.delete_child, "lobby")  # error
