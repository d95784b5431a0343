"""Actors that the messaging tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
import trio.testing

import actorkit as ak


class Puppet(ak.Actor):
    """Does what it is told, in its own name, and keeps what it is sent."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @ak.call
    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        """A synchronous method: it runs inline when the puppet is idle."""
        return function(self, *args)

    @ak.call
    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """An asynchronous method: ``function`` is an async function of the puppet."""
        return await function(self, *args)

    @ak.cast
    def tell(self, function: Callable[..., Any], *args: Any) -> None:
        function(self, *args)

    @ak.cast
    async def begin(self, function: Callable[..., Any], *args: Any) -> None:
        await function(self, *args)

    @ak.cast
    def note(self, value: Any) -> None:
        self.seen.append(value)

    @ak.call
    def all_seen(self) -> list[Any]:
        return self.seen

    @ak.call
    async def all_seen_later(self) -> list[Any]:
        return self.seen

    def handle_info(self, message: Any) -> None:
        self.seen.append(message)


class Trapper(Puppet):
    trap_exit = True


class Gate(ak.Actor):
    """Stays in a handler until the test opens it."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.entered = trio.Event()
        self.seen: list[Any] = []

    @ak.call
    async def hold(self) -> str:
        self.entered.set()
        await self.opened.wait()
        return "held"

    @ak.cast
    def note(self, value: Any) -> None:
        self.seen.append(value)

    @ak.call
    def count(self) -> int:
        return len(self.seen)

    def handle_info(self, message: Any) -> None:
        self.seen.append(message)


def gate(node: ak.Node, cls: type[Gate] = Gate, **options: Any) -> tuple[ak.Ref[Gate], Any]:
    """A gate that is in its handler, and its object."""
    made: list[Gate] = []

    def factory() -> Gate:
        made.append(cls())
        return made[0]

    ref = node.spawn(ak.child(factory).with_(**options))
    ref.cast(Gate.hold)
    return ref, made[0]


async def settle() -> None:
    """Wait until nothing runs."""
    await trio.testing.wait_all_tasks_blocked()


def crash(_: Any) -> None:
    raise ValueError("crash on demand")


def linked_to(node: ak.Node, ref: ak.Ref[Any]) -> int:
    info = node.process_info(ref)
    return 0 if info is None else len(info.links)
