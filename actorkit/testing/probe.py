"""Probe: an actor that collects what it is sent, for a test to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import trio

from ..behaviours.actor import Actor, child
from ..runtime.actor import links
from ..runtime.actor.actor_base import NodesOwn
from ..runtime.actor.notices import MonitorId
from ..runtime.actor.ref import Ref
from ..runtime.node import Node

__all__ = ["Probe"]

M = TypeVar("M")


class _Collector(NodesOwn, Actor):
    trap_exit = True

    def __init__(self, probe: Probe) -> None:
        self.probe = probe

    def handle_info(self, message: Any) -> None:
        self.probe._got(message)


class Probe:
    """An actor on ``node`` that keeps every message it gets, and exit signals as ``ak.Exit``.

    Give ``probe.ref`` to the code under test, then ``receive`` what it should have sent. Use a
    probe from the test's own task.

    Args:
        node: where its actor lives; it ends with the node.
        name: registers the actor under this name.

    Example::

        async with ak.open_node() as node:
            probe = Probe(node)
            room = node.spawn(Room, probe.ref)
            probe.monitor(room)
            room.kill()
            down = await probe.receive(ak.Down)
            assert down.reason == ak.KILLED
    """

    def __init__(self, node: Node, *, name: str | None = None) -> None:
        self.received: list[Any] = []
        """All messages so far, in order, with those that ``receive`` has returned."""
        self._unread: list[Any] = []
        self._news = trio.lowlevel.ParkingLot()
        self._node = node
        self.ref: Ref[Any] = node.spawn(child(_Collector, self).with_(name=name, mailbox=1_000_000))
        """The probe's address."""

    def _got(self, message: Any) -> None:
        self.received.append(message)
        self._unread.append(message)
        self._news.unpark_all()

    @overload
    async def receive(self, *, within: float = ...) -> Any: ...
    @overload
    async def receive(self, wanted: type[M], *, within: float = ...) -> M: ...
    @overload
    async def receive(self, wanted: Callable[[Any], object], *, within: float = ...) -> Any: ...
    async def receive(self, wanted: Any = None, *, within: float = 1.0) -> Any:
        """Wait for a message, and return it: the oldest one that has not been returned yet and that
        is ``wanted``.

        Args:
            wanted: a class, or a predicate; None: any message.
            within: seconds of trio's clock (with ``autojump_clock`` they cost no time).

        Raises AssertionError after that time, with what did come.
        """
        test = (lambda m: isinstance(m, wanted)) if isinstance(wanted, type) else wanted
        with trio.move_on_after(within):
            await trio.lowlevel.checkpoint()
            while True:
                for index, message in enumerate(self._unread):
                    if test is None or test(message):
                        return self._unread.pop(index)
                await self._news.park()
        raise AssertionError(f"no {wanted or 'message'} within {within:g} s; unread are {self._unread!r:.500}")

    async def nothing(self, wanted: Any = None, *, within: float = 1.0) -> None:
        """Check that nothing that is ``wanted`` comes ``within`` so many seconds. Raises
        AssertionError if it does."""
        try:
            message = await self.receive(wanted, within=within)
        except AssertionError:
            return
        raise AssertionError(f"{message!r:.500} came, and nothing should")

    def monitor(self, other: Ref[Any]) -> MonitorId:
        """Monitor ``other`` from the probe: when it ends, the probe gets an ``ak.Down``."""
        record = self._node.engine.resolve(self.ref)
        assert record is not None
        return links.monitor(self._node.engine, record, self._node.engine.resolve(other), other)

    def link(self, other: Ref[Any]) -> None:
        """Link the probe with ``other``: when ``other`` ends the probe gets an ``ak.Exit``, and
        when the probe ends it ends ``other``."""
        record, target = self._node.engine.resolve(self.ref), self._node.engine.resolve(other)
        assert record is not None
        assert target is not None, f"{other!r}: nobody to link to"
        links.link(self._node.engine, record, target)
