"""``cast``, ``send`` and the rest of a ref."""

from __future__ import annotations

from typing import assert_type

import actorkit as ak
from tests.typing.actors import Chat, Room


async def casts(room: ak.Ref[Room]) -> None:
    """The arguments are checked, and cast returns whether the message was accepted."""
    assert_type(room.cast(Room.say, b"hello"), bool)
    assert_type(room.cast(Room.say, b"hello", times=3), bool)
    assert_type(room.cast(Room.topic, 3), bool)  # a call may be cast: nobody waits for its answer
    assert_type(await room.cast_wait(Room.move, 1.0, 2.0), None)
    room.cast(Room.say, "hello")  # error
    room.cast(Room.say, b"hello", 3)  # error
    room.cast(Room.say)  # error
    room.cast(Room.move, x=1.0)  # error
    room.cast(Chat.deliver, b"hello")  # error
    await room.cast_wait(Room.move, "left", 2.0)  # error


async def sends(room: ak.Ref[Room]) -> None:
    """Any object can be sent, one at a time."""
    assert_type(room.send(("any", object())), bool)
    assert_type(await room.send_wait("any"), None)
    room.send()  # error
    room.send("one", "two")  # error


def control(room: ak.Ref[Room]) -> None:
    """Ending an actor, and looking at it."""
    room.exit(ak.Shutdown())
    room.exit("because")  # error
    room.stop()
    room.stop(ak.Failure("tired"))
    assert_type(room.pid, ak.Pid)
    assert_type(room.alive, bool)
    room.alive = False  # error


class Sheds(ak.Actor):
    """The decorators keep the method's type, with and without options."""

    @ak.cast(sheddable="yes")  # error
    def tick(self) -> None: ...

    @ak.call(later=True)  # error
    def ask(self) -> None: ...


def plain(room: Room) -> None:
    """A declared method stays the plain function that it was, so that unit tests can call it."""
    assert_type(room.sum(1, 2), float)
    room.say("hello")  # error
