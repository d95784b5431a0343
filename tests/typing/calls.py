"""``ref.call``: the arguments are checked against the method, and the answer has the method's
return type.
"""

from __future__ import annotations

from typing import Any, assert_type

import actorkit as ak
from tests.typing.actors import Box, Chat, LoudRoom, Room


async def answers(room: ak.Ref[Room], chat: ak.Ref[Chat]) -> None:
    """The type of an answer is the same from plain and async methods, and when it is given
    later.
    """
    assert_type(await room.call(Room.join, chat), int)
    assert_type(await room.call(Room.join, chat, loud=True), int)
    assert_type(await room.call(Room.topic, 10), str)
    assert_type(await room.call(Room.vote, "tea?"), bool)
    assert_type(await room.call(Room.vote_slowly, subject="tea?"), bool)
    assert_type(await room.call(Room.position), tuple[float, float])
    assert_type(await room.call(Room.sum, 1, 2, x=0.5), float)
    await room.call(Room.total, x=0.5)  # error: mypy
    # mypy: one of the names might be ``self``. Declare ``def total(self, /, **named)``, as ``sum``
    # does.
    assert_type(await room.within(2).call(Room.topic, 10), str)
    assert_type(await room.within(2).call(Room.vote, "tea?"), bool)


async def wrong_arguments(room: ak.Ref[Room], chat: ak.Ref[Chat]) -> None:
    """Too many or too few arguments, a wrong type, and an unknown name are refused."""
    await room.call(Room.join)  # error
    await room.call(Room.join, 3)  # error
    await room.call(Room.join, chat, chat, chat)  # error
    await room.call(Room.join, chat, shout=True)  # error
    await room.call(Room.topic, "ten")  # error
    await room.call(Room.position, 1)  # error
    await room.call(Room.sum, "one")  # error
    await room.within(2).call(Room.topic, "ten")  # error


async def wrong_actor(room: ak.Ref[Room], loud: ak.Ref[LoudRoom], chat: ak.Ref[Chat]) -> None:
    """A method of another class is refused. A subclass takes what its base takes, but not the other
    way round.
    """
    assert_type(await loud.call(Room.topic, 3), str)
    assert_type(await loud.call(LoudRoom.volume), float)
    await chat.call(Room.topic, 3)  # error
    await room.call(LoudRoom.volume)  # error
    as_room: ak.Ref[Room] = loud
    as_loud: ak.Ref[LoudRoom] = room  # error
    print(as_room, as_loud)


async def wrong_answers(room: ak.Ref[Room]) -> None:
    """An answer is used as something that it is not, or it was not awaited."""
    number: int = await room.call(Room.topic, 3)  # error
    text: str = room.call(Room.topic, 3)  # error
    # mypy takes the declared type for the answer's: it must be what call gives by itself, as above.
    vote: ak.Later[bool] = await room.call(Room.vote, "tea?")  # error: pyright
    print(number, text, vote)


async def no_method(room: ak.Ref[Room]) -> None:
    """What is not a method is refused: a name, an answer, an attribute of the ref."""
    await room.call("topic", 3)  # error
    await room.topic(3)  # error
    await room.within("2").call(Room.topic, 3)  # error


async def generics(numbers: ak.Ref[Box[int]]) -> None:
    """A generic actor's ref knows the type of what is in it."""
    assert_type(await numbers.call(Box[int].get), int)
    numbers.cast(Box[int].put, 3)
    numbers.cast(Box[int].put, "three")  # error
    await numbers.call(Box[str].get)  # error


async def unknown(anybody: ak.Ref[Any]) -> None:
    """A ref to any actor takes any message; the answer still has its type."""
    assert_type(await anybody.call(Room.topic, 3), str)
    await anybody.call(Room.topic, "ten")  # error
