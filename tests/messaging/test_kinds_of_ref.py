"""Another kind of ref: the rest of the package needs nothing of a ref but what ``Ref`` lists."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.runtime.actor.record import record_of


class Door(ak.Ref[Any]):
    """A ref that leads to whatever actor stands behind it at the moment; the package does not know
    its class.
    """

    def __init__(self, behind: ak.Ref[Any] | None) -> None:
        self.behind = behind

    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> bool:
        return self.behind is not None and self.behind.cast(method, *args, **kwargs)

    def send(self, message: object, /) -> bool:
        return self.behind is not None and self.behind.send(message)

    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        assert self.behind is not None
        return await self.behind.call(method, *args, **kwargs)

    def resolve_on(self, engine: Any) -> Any:
        return None if self.behind is None else self.behind.resolve_on(engine)

    def resolve(self) -> Any:
        return None if self.behind is None else self.behind.resolve()

    def post_after(self, engine: Any, seconds: float, arguments: tuple[object]) -> Any:
        return engine.timers.after(seconds, self.send_packed, arguments)


class Sink(ak.Actor):
    def __init__(self) -> None:
        self.got: list[object] = []

    def handle_info(self, message: object) -> None:
        self.got.append(message)

    @ak.call
    def seen(self) -> list[object]:
        return self.got

    @ak.call
    def watch(self, other: ak.Ref[Any]) -> None:
        self.ctx.monitor(other)

    @ak.call
    def tie(self, other: ak.Ref[Any]) -> None:
        self.ctx.link(other)

    @ak.call
    def later(self, other: ak.Ref[Any]) -> None:
        self.ctx.send_after(1, other, "in time")


async def test_every_door_takes_it(autojump_clock: Any) -> None:
    """Messages, calls, timers, monitors, links, process_info, sys and threads take a ref of any
    kind.
    """
    async with ak.open_node() as node:
        sink, other = node.spawn(Sink), node.spawn(Sink)
        door = Door(sink)
        door.send(1)
        assert await door.call(Sink.seen) == [1]
        info = node.process_info(door)
        assert info is not None
        assert info.pid == sink.pid
        assert (await ak.sys.get_state(door))["got"] == [1]
        await other.call(Sink.later, door)
        await trio.sleep(2)
        node.from_thread.send(door, "from a thread")
        await trio.sleep(1)
        assert await sink.call(Sink.seen) == [1, "in time", "from a thread"]
        await other.call(Sink.watch, door)
        sink.kill()
        await trio.sleep(1)
        (down,) = await other.call(Sink.seen)
        assert isinstance(down, ak.Down)
        assert down.ref is door


async def test_one_that_leads_to_nobody(autojump_clock: Any) -> None:
    """For a ref that leads to nobody a monitor and a link hear NoProc, sys says that it is dead,
    and process_info is None.
    """
    async with ak.open_node() as node:
        other, tied = node.spawn(Sink), node.spawn(Sink)
        door = Door(None)
        assert node.process_info(door) is None
        with pytest.raises(ak.CalleeDied):
            await ak.sys.get_state(door)
        await other.call(Sink.watch, door)
        (down,) = await other.call(Sink.seen)
        assert isinstance(down, ak.Down)
        assert isinstance(down.reason, ak.NoProc)
        await tied.call(Sink.tie, door)
        await trio.sleep(1)
        assert not tied.alive


async def test_a_stranger() -> None:
    """A ref that does not say where it leads is refused; so is an object that is not a ref."""
    stranger: ak.Ref[Any] = ak.Ref()
    async with ak.open_node() as node:
        for what in (stranger, "lobby", None):
            with pytest.raises(TypeError, match="is not a ref of this node"):
                node.process_info(what)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="give a ref"):
                node.send_after(1, what, "x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="is no record of a local actor"):
            record_of(stranger)
