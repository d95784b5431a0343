"""The actors that the cases talk to."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

import actorkit as ak

T = TypeVar("T")


class Room(ak.Actor):
    """Messages of every kind: plain and async, answered now and later."""

    def __init__(self, name: str, *, size: int = 10) -> None:
        self.name = name
        self.size = size

    @ak.call
    def join(self, who: ak.Ref[Chat], loud: bool = False) -> int:
        return self.size

    @ak.call
    async def topic(self, length: int) -> str:
        return self.name[:length]

    @ak.call
    def vote(self, subject: str) -> ak.Later[bool]:
        return ak.Later[bool]()

    @ak.call
    async def vote_slowly(self, subject: str) -> ak.Later[bool]:
        return ak.Later[bool]()

    @ak.cast
    def say(self, line: bytes, *, times: int = 1) -> None: ...

    @ak.cast(sheddable=True)
    def move(self, x: float, y: float) -> None: ...

    @ak.call(sheddable=True)
    def position(self) -> tuple[float, float]:
        return 0.0, 0.0

    @ak.call
    def sum(self, /, *numbers: int, **named: float) -> float:
        return sum(numbers) + sum(named.values())

    @ak.call
    def total(self, **named: float) -> float:
        return sum(named.values())


class LoudRoom(Room):
    """A subclass, for variance."""

    @ak.call
    def volume(self) -> float:
        return 11.0


class Chat(ak.StreamActor):
    """A connection."""

    room = ak.named(Room, "lobby")

    def __init__(self, lobby: ak.Ref[Room] | None = None) -> None:
        self.lobby = lobby

    def received(self, line: bytes) -> None:
        self.room.cast(Room.say, line)
        self.write(line)

    @ak.cast
    def deliver(self, line: bytes) -> None:
        self.write(line)


class Box(ak.Actor, Generic[T]):
    """A generic actor."""

    def __init__(self, content: T) -> None:
        self.content = content

    @ak.call
    def get(self) -> T:
        return self.content

    @ak.cast
    def put(self, content: T) -> None:
        self.content = content


async def ticker(ctx: ak.ProcessContext, seconds: float, to: ak.Ref[Room]) -> None:
    """A process."""
    while True:
        await trio.sleep(seconds)
        to.send("tick")


async def fetch(url: str, *, retries: int = 3) -> bytes:
    """What a task supervisor runs."""
    return url.encode() * retries
