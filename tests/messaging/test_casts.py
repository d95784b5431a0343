"""Casts and infos: what runs for which method, and what is refused at the sender."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import attrs
import pytest
from trio.testing import MockClock

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import Puppet, settle

T = TypeVar("T")


class Room(ak.Actor):
    def __init__(self) -> None:
        self.lines: list[str] = []

    @ak.cast
    def say(self, line: str, *, loud: bool = False) -> None:
        self.lines.append(line.upper() if loud else line)

    @ak.cast
    async def say_later(self, line: str) -> None:
        self.lines.append(line)

    @ak.call
    def all(self) -> list[str]:
        return self.lines

    def helper(self, line: str) -> None:
        self.lines.append("helped")


class LoudRoom(Room):
    def say(self, line: str, *, loud: bool = False) -> None:
        self.lines.append(line + "!")


class LouderRoom(LoudRoom):
    @ak.cast
    async def say(self, line: str, *, loud: bool = False) -> None:  # type: ignore[override]
        self.lines.append(line + "!!")


class Kitchen(ak.Actor):
    @ak.cast
    def say(self, line: str) -> None: ...


async def lines(room: ak.Ref[Any]) -> list[str]:
    found: list[str] = await room.call(Room.all)
    return found


@conforms("SRV-09")
async def test_cast_runs_the_method_with_its_arguments(node: ak.Node, clock: MockClock) -> None:
    """SRV-09: a cast is accepted at once and handled later, positional and keyword arguments
    included.
    """
    room = node.spawn(Room)
    assert room.cast(Room.say, "a") is True
    assert room.cast(Room.say, "b", loud=True)
    assert room.cast(Room.say, line="c")
    assert room.cast(Room.say_later, "d")
    await settle()
    assert await lines(room) == ["a", "B", "c", "d"]


@pytest.mark.parametrize(("cls", "heard"), [(Room, "a"), (LoudRoom, "a!"), (LouderRoom, "a!!")])
async def test_dispatch_is_by_name(node: ak.Node, clock: MockClock, cls: type[Room], heard: str) -> None:
    """Dispatch is by name: an override wins, decorated again or not, sync or async, whichever
    class's method the sender names.
    """
    room = node.spawn(cls)
    for named in cls.__mro__:
        if issubclass(named, Room):
            assert room.cast(named.say, "a")
    await settle()
    assert set(await lines(room)) == {heard}


async def test_a_call_method_can_be_cast(node: ak.Node, clock: MockClock) -> None:
    """A method declared with @call may be cast, by a sender that does not want the answer."""
    room = node.spawn(Room)
    assert room.cast(Room.all)
    await settle()
    assert room.alive


@pytest.mark.parametrize(
    "method", [Room.helper, Room.__init__, Kitchen.say, len, "say", None, lambda room: None, Room.handle_info]
)
async def test_undeclared_and_foreign_methods_are_refused(node: ak.Node, clock: MockClock, method: Any) -> None:
    """A message that the receiver's class does not declare is refused at the sender, even if
    another class has a message of that name.
    """
    room = node.spawn(Room)
    with pytest.raises(ak.NotAMessage, match="Room"):
        room.cast(method, "x")
    with pytest.raises(ak.NotAMessage):
        await room.call(method, "x")
    with pytest.raises(ak.NotAMessage):
        await room.within(3).call(method, "x")
    with pytest.raises(ak.NotAMessage):
        await room.cast_wait(method, "x")
    assert room.alive
    assert await lines(room) == []


async def test_a_sibling_override_is_foreign(node: ak.Node, clock: MockClock) -> None:
    """A method of a subclass is not a message of an instance of the base class."""
    room = node.spawn(Room)
    with pytest.raises(ak.NotAMessage, match="another class"):
        room.cast(LouderRoom.say, "x")
    with pytest.raises(ak.NotAMessage, match=r"LoudRoom\.say"):
        room.cast(LoudRoom.say, "x")


async def test_bound_methods_are_refused(node: ak.Node, clock: MockClock) -> None:
    """A bound method belongs to one instance; the refusal says what to name instead."""
    room = node.spawn(Room)
    with pytest.raises(ak.NotAMessage, match=r"bound method Room\.say"):
        room.cast(Room().say, "x")  # type: ignore[arg-type]


async def test_an_override_that_is_no_function_is_refused(node: ak.Node, clock: MockClock) -> None:
    """An override that is not a plain method is refused."""

    class Odd(Room):
        say = staticmethod(print)  # type: ignore[assignment]

    with pytest.raises(ak.NotAMessage, match="overrides a message with"):
        node.spawn(Odd).cast(Room.say, "x")


def test_decorators_return_the_plain_function() -> None:
    """A declared method can still be used directly; what is not a method cannot be declared."""
    room = Room()
    room.say("x")
    assert room.lines == ["x"]
    with pytest.raises(TypeError, match="plain method"):
        ak.cast(staticmethod(print))  # type: ignore[type-var]


async def test_wrapped_methods(node: ak.Node, clock: MockClock) -> None:
    """A user's decorator under @call or @cast is what runs, whatever its wrapper is called, around
    a sync or an async method.
    """

    def twice(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(self: Any, n: int) -> Any:
            return function(self, 2 * n)

        return wrapper

    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(self: Any, n: int) -> Any:
            return function(self, n + 1)

        return wrapper

    class Wrapped(ak.Actor):
        @ak.call
        @twice
        def plain(self, n: int) -> int:
            return n

        @ak.call
        @twice
        async def later(self, n: int) -> int:
            return n

        @ak.call
        @traced
        async def named(self, n: int) -> int:
            return n

    ref = node.spawn(Wrapped)
    for _ in range(2):
        assert await ref.call(Wrapped.plain, 2) == 4
        assert await ref.call(Wrapped.later, 3) == 6
        assert await ref.call(Wrapped.named, 4) == 5
    assert node.process_info(ref).mailbox == 0  # type: ignore[union-attr]


@dataclass
class DataRoom(ak.Actor):
    topic: str
    seen: list[str] = field(default_factory=list)

    @ak.cast
    def say(self, line: str) -> None:
        self.seen.append(f"{self.topic}:{line}")

    @ak.call
    def all(self) -> list[str]:
        return self.seen


@attrs.define
class SlottedRoom(ak.Actor):
    topic: str
    seen: list[str] = attrs.Factory(list)

    @ak.cast
    def say(self, line: str) -> None:
        self.seen.append(f"{self.topic}:{line}")

    @ak.call
    def all(self) -> list[str]:
        return self.seen


@dataclass(slots=True)
class SlottedData(ak.Actor):
    topic: str
    seen: list[str] = field(default_factory=list)

    @ak.cast
    def say(self, line: str) -> None:
        self.seen.append(f"{self.topic}:{line}")

    @ak.call
    def all(self) -> list[str]:
        return self.seen


class Box(ak.Actor, Generic[T]):
    __slots__ = ("seen", "topic")

    def __init__(self, topic: T) -> None:
        self.topic = topic
        self.seen: list[str] = []

    @ak.cast
    def say(self, line: str) -> None:
        self.seen.append(f"{self.topic}:{line}")

    @ak.call
    def all(self) -> list[str]:
        return self.seen


class Inherited(SlottedRoom):
    pass


@pytest.mark.parametrize("cls", [DataRoom, SlottedRoom, SlottedData, Box, Box[str], Inherited])
async def test_every_kind_of_class(node: ak.Node, clock: MockClock, cls: Any) -> None:
    """Dataclasses, attrs, slots, generics and inheritance work, without a ritual call of
    super().__init__().
    """
    ref = node.spawn(cls, "t")
    assert ref.cast(cls.say, "x")
    await settle()
    assert await ref.call(cls.all) == ["t:x"]


@conforms("SRV-20")
async def test_default_handle_info_logs_and_drops(
    node: ak.Node, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """SRV-20: without handle_info a message is logged, bounded, and dropped; the actor lives."""
    room = node.spawn(Room)
    with caplog.at_level(logging.WARNING, "actorkit"):
        assert room.send("x" * 100_000)
        await settle()
    assert room.alive
    assert "no handle_info" in caplog.text
    assert len(caplog.text) < 2_000


@conforms("SRV-10")
async def test_send_reaches_handle_info(node: ak.Node, clock: MockClock) -> None:
    """SRV-10: any object may be sent, None and tuples included."""
    puppet = node.spawn(Puppet)
    for message in (None, (1, 2), "x", puppet):
        assert puppet.send(message)
    await settle()
    assert await puppet.call(Puppet.all_seen) == [None, (1, 2), "x", puppet]


@conforms("SRV-09")
async def test_a_cast_to_the_dead_is_refused_and_counted(node: ak.Node, clock: MockClock) -> None:
    """SRV-09: casting to a dead actor is not an error for the sender: cast returns False, and there
    is a dead letter.
    """
    room = node.spawn(Room)
    room.kill()
    before = node.statistics().dead_letters
    assert room.cast(Room.say, "x") is False
    assert room.send("x") is False
    assert node.statistics().dead_letters == before + 2


@conforms("SIG-14")
async def test_casts_from_inside_keep_their_order(node: ak.Node, clock: MockClock) -> None:
    """SIG-14: what one sender sends to one receiver arrives in that order, casts and infos alike,
    across turns.
    """
    puppet = node.spawn(ak.child(Puppet).with_(mailbox=10_000))

    async def send(me: Puppet) -> None:
        for n in range(0, 2_000, 2):
            puppet.cast(Puppet.note, n)
            puppet.send(n + 1)
            if n % 100 == 0:
                await settle()

    await node.spawn(Puppet).call(Puppet.run, send)
    await settle()
    assert await puppet.call(Puppet.all_seen) == list(range(2_000))
