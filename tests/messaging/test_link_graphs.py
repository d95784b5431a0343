"""Links and monitors as random graphs, with random exits: which actors die, of what, and which are
told, compared with the rules applied by hand to a plain graph.

The reference knows no mailboxes and no tasks. It has a set of edges, a list of monitors, and a
queue of deaths that it works off in order. Source: the Erlang reference manual, "Processes": links,
monitors, exit signals.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from typing import Any

import attrs
import pytest
import trio.testing

import actorkit as ak
from tests.effort import times
from tests.schedules import run_shuffled

from .kit import Puppet, settle

REASONS: list[ak.ExitReason] = [ak.NORMAL, ak.SHUTDOWN, ak.Failure("oops"), ak.KILL, ak.KILLED, ak.NOPROC]


@attrs.define(eq=False)
class Node:
    """An actor as the reference sees it."""

    number: int
    traps: bool
    reason: ak.ExitReason | None = None
    links: dict[int, None] = attrs.field(factory=dict)
    got: list[tuple[str, int | None, str]] = attrs.field(factory=list)


class Graph:
    """The rules, applied by hand."""

    def __init__(self, traps: list[bool]) -> None:
        self.nodes = [Node(n, trap) for n, trap in enumerate(traps)]
        self.monitors: list[tuple[int, int, int]] = []  # (serial, watcher, watched)

    def link(self, a: int, b: int) -> None:
        one, other = self.nodes[a], self.nodes[b]
        if a == b:
            return
        if other.reason is not None:
            self.signal(b, a, ak.NOPROC)
        else:
            one.links[b] = None
            other.links[a] = None

    def unlink(self, a: int, b: int) -> None:
        self.nodes[a].links.pop(b, None)
        self.nodes[b].links.pop(a, None)

    def monitor(self, serial: int, a: int, b: int) -> None:
        if self.nodes[b].reason is not None:
            self.nodes[a].got.append(("down", b, repr(ak.NOPROC)))
        elif a != b:
            self.monitors.append((serial, a, b))

    def exit_request(self, source: int | None, target: int, reason: ak.ExitReason) -> None:
        node = self.nodes[target]
        if node.reason is not None:
            return
        if isinstance(reason, ak.Kill):
            self.death(target, ak.KILLED)
        elif node.traps:
            node.got.append(("exit", source, repr(reason)))
        elif not isinstance(reason, ak.Normal) or source == target:
            self.death(target, reason)

    def signal(self, source: int, target: int, reason: ak.ExitReason) -> None:
        """A signal over a link."""
        node = self.nodes[target]
        if node.reason is not None:
            return
        if node.traps:
            node.got.append(("exit", source, repr(reason)))
        elif not isinstance(reason, ak.Normal):
            self.die(target, reason)

    def death(self, who: int, reason: ak.ExitReason) -> None:
        self.dying: deque[int] = deque()
        self.die(who, reason)
        while self.dying:
            self.tell(self.dying.popleft())

    def die(self, who: int, reason: ak.ExitReason) -> None:
        self.nodes[who].reason = reason
        self.monitors = [one for one in self.monitors if one[1] != who]
        if not hasattr(self, "dying"):
            self.dying = deque()
        self.dying.append(who)

    def tell(self, who: int) -> None:
        node = self.nodes[who]
        reason = node.reason
        assert reason is not None
        for other in node.links:
            self.nodes[other].links.pop(who, None)
        for other in node.links:
            self.signal(who, other, reason)
        watched = [one for one in self.monitors if one[2] == who]
        self.monitors = [one for one in self.monitors if one[2] != who]
        for _, watcher, _ in watched:
            if self.nodes[watcher].reason is None:
                self.nodes[watcher].got.append(("down", who, repr(reason)))


class Held(Puppet):
    """An actor that can be held in an await."""

    @ak.cast
    async def hold(self, event: Any) -> None:
        await event.wait()


class Trapping(Held):
    trap_exit = True


def seen(graph: dict[Any, int], messages: list[Any]) -> list[tuple[str, int | None, str]]:
    told = []
    for message in messages:
        if isinstance(message, ak.Down):
            told.append(("down", graph[message.ref], repr(message.reason)))
        elif isinstance(message, ak.Exit):
            told.append(("exit", None if message.source is None else graph[message.source], repr(message.reason)))
    return told


def leave(me: Puppet, reason: ak.ExitReason) -> None:
    me.ctx.exit_now(reason)


async def play(seed: int, busy: bool) -> int:
    """Play one graph. ``busy``: some actors are in an await when the signals come, so they end a
    little later. Then only who dies of what, and how often each is told of whom, is compared, not
    the order.
    """
    pick = random.Random(seed)
    size = pick.randrange(2, 10)
    graph = Graph([pick.random() < 0.3 for _ in range(size)])
    released = trio.Event()
    async with ak.open_node() as node, node.subscribe(ak.ActorExited, capacity=10_000) as exits:
        kept: list[Any] = []

        def make(cls: Any) -> Any:
            kept.append(cls())
            return kept[-1]

        refs = [node.spawn(ak.child(make, Trapping if one.traps else Held)) for one in graph.nodes]
        numbers = {ref: n for n, ref in enumerate(refs)}
        ids: dict[int, Any] = {}
        for serial in range(pick.randrange(2, 30)):
            a, b = pick.randrange(size), pick.randrange(size)
            if graph.nodes[a].reason is not None:
                continue
            deed = pick.choice(["link"] * 5 + ["monitor"] * 3 + ["unlink", "demonitor", "exit", "leave", "crash"])
            if busy and deed in ("leave", "crash", "exit"):
                continue
            match deed:
                case "link":
                    if graph.nodes[b].reason is not None and not graph.nodes[a].traps:
                        continue  # the link would end it: that is another death
                    graph.link(a, b)
                    await refs[a].call(Puppet.do, lambda me, ref: me.ctx.link(ref), refs[b])
                case "unlink":
                    graph.unlink(a, b)
                    gone = [one for one in graph.nodes[a].got if one[:2] == ("exit", b)]
                    if gone:
                        continue  # an Exit that was handled is not taken back
                    await refs[a].call(Puppet.do, lambda me, ref: me.ctx.unlink(ref), refs[b])
                case "monitor":
                    graph.monitor(serial, a, b)
                    ids[serial] = await refs[a].call(Puppet.do, lambda me, ref: me.ctx.monitor(ref), refs[b])
                case "demonitor":
                    own = [one for one in graph.monitors if one[1] == a]
                    if own:
                        graph.monitors.remove(own[0])
                        assert await refs[a].call(Puppet.do, lambda me, id: me.ctx.demonitor(id), ids[own[0][0]])
                case "exit":
                    reason = pick.choice(REASONS)
                    graph.exit_request(a, b, reason)
                    refs[a].cast(Puppet.tell, lambda me, ref, why: ref.exit(why), refs[b], reason)
                case "leave":
                    reason = pick.choice(REASONS)
                    graph.death(a, reason)
                    refs[a].cast(Puppet.tell, leave, reason)
                case "crash":
                    reason = ak.Failure("by hand")
                    graph.death(a, reason)
                    refs[a].cast(Puppet.tell, leave, reason)
            await settle()
        if busy:
            for n, ref in enumerate(refs):
                if graph.nodes[n].reason is None and pick.random() < 0.4:
                    ref.cast(Held.hold, released)
            await settle()
            victim, reason = pick.randrange(size), pick.choice([ak.KILL, ak.Failure("once")])
            graph.exit_request(None, victim, reason)
            refs[victim].exit(reason)
            await settle()
            released.set()
        await settle()
        ended = {numbers[e.ref]: e.reason for e in exits.drain()}  # type: ignore[attr-defined]
        told = 0
        for one, ref in zip(graph.nodes, refs, strict=True):
            assert ref.alive == (one.reason is None), f"{one}"
            assert ended.get(one.number) == one.reason
            if one.reason is None:
                got = seen(numbers, kept[one.number].seen)
                told += len(got)
                assert (sorted(map(str, got)) == sorted(map(str, one.got))) if busy else got == one.got, f"{one}"
                info = node.process_info(ref)
                assert info is not None
                assert {numbers[node.engine.actors[pid.number]] for pid in info.links} == set(one.links)
                assert len(info.monitors) == sum(each[1] == one.number for each in graph.monitors)
                assert len(info.monitored_by) == sum(each[2] == one.number for each in graph.monitors)
        return told


@pytest.mark.parametrize("busy", [False, True])
def test_random_graphs(busy: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "actorkit")
    told = 0
    for seed in range(times(60)):
        try:
            told += run_shuffled(seed, play, seed, busy)
        except BaseException as error:
            error.add_note(f"seed {seed}, busy={busy}")
            raise
    assert told > times(60) // 2
