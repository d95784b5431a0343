"""A world of a few actors with budgets that hold, pass on and drop things, and an oracle.

The oracle takes the place of the clock's switch, so it sees each boundary before and after the
budget sees it. It measures the actor that is being left in full, whatever the actor's account says.
"""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

import actorkit as ak
from actorkit.heap import clock
from actorkit.runtime.actor.states import DEAD, RUNNING
from actorkit.runtime.base.activations import activation
from actorkit.runtime.budgets.holdings import heap_of, on_stack

KIB = 1024
SLACK = 8 * KIB
"""Bytes that may come from the interpreter's freelists, which no account knows."""

KINDS = ["bytes", "strings", "numbers", "dict", "lists"]


def made(kind: str, size: int) -> Any:
    """Something new of about ``size`` bytes."""
    match kind:
        case "strings":
            return [str(number).zfill(15) for number in range(size // 72)]
        case "numbers":
            return [number + 0.5 for number in range(size // 40)]
        case "dict":
            return dict.fromkeys(range(10**9, 10**9 + size // 80))
        case "lists":
            return [[bytes(50)] for _ in range(size // 192)]
        case _:
            return bytes(size)


class Holder(ak.Actor):
    """Does what it is told: holds, passes on and drops, in many ways."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    @ak.cast
    def grow(self, kind: str, size: int) -> None:
        self.held.append(made(kind, size))

    @ak.cast
    def grow_slowly(self, kind: str, size: int) -> None:
        self.held.append([made("bytes", 500) for _ in range(size // 560)])

    @ak.cast
    def waste(self, kind: str, size: int) -> None:
        for _ in range(5):
            made(kind, size)

    @ak.cast
    def keep(self, what: object, garbage: int = 0) -> None:
        self.held.append(what)
        while garbage > 0:
            garbage -= len(bytes(10 * KIB))

    @ak.call
    def put(self, what: object, garbage: int) -> None:
        Holder.keep(self, what, garbage)

    @ak.call
    async def put_later(self, what: object, garbage: int) -> None:
        await trio.lowlevel.checkpoint()
        Holder.keep(self, what, garbage)

    def handle_info(self, message: Any) -> None:
        self.held.append(message)

    @ak.call
    def make(self, kind: str, size: int) -> Any:
        return made(kind, size)

    @ak.call
    async def make_later(self, kind: str, size: int) -> Any:
        what = made(kind, size)
        await trio.lowlevel.checkpoint()
        return what

    @ak.cast
    async def ask(self, other: ak.Ref[Any], how: Any, kind: str, size: int) -> None:
        for _ in range(3):
            try:
                self.held.append(await other.call(how, kind, size))
            except ak.CallError:
                return

    @ak.cast
    def give(self, other: ak.Ref[Any]) -> None:
        if self.held:
            other.cast(Holder.keep, self.held[-1])

    @ak.cast
    def drop(self) -> None:
        del self.held[-2:]

    @ak.cast
    async def pause(self, gate: trio.Event, kind: str, size: int) -> None:
        local = made(kind, size)
        await gate.wait()
        self.held.append(made(kind, size))
        await trio.lowlevel.checkpoint()
        self.held.append(local)

    @ak.cast
    async def tasks(self, gate: trio.Event, kind: str, size: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(self._task, gate, kind, size // 2)

    async def _task(self, gate: trio.Event, kind: str, size: int) -> None:
        local = made(kind, size)
        await gate.wait()
        self.held.append(local)

    @ak.cast
    def limit(self, size: int) -> None:
        self.ctx.max_heap_size = ak.HeapLimit(size, log=False)


class World:
    """Some holders, the schedule's verbs, and the oracle. ``wrong`` is what the oracle found; it
    must stay empty.
    """

    def __init__(self, node: ak.Node, mock_clock: trio.testing.MockClock) -> None:
        self.node = node
        self.clock = mock_clock
        self.wrong: list[str] = []
        self.ends: dict[Any, ak.ExitReason] = {}
        self.gates: list[trio.Event] = []
        limits = [ak.HeapLimit(size * KIB, log=False) for size in (64, 128, 256)]
        watched = ak.HeapLimit(64 * KIB, log=False, kill=False)
        self.refs: list[Any] = [node.spawn(ak.child(Holder).with_(max_heap_size=limit)) for limit in (*limits, watched)]
        self.sharers: set[Any] = set()
        """Actors that may hold what others hold too."""
        self.inherits: set[Any] = set()
        """Sharers for whom others may have dropped something since the last forced look."""
        self.most = dict.fromkeys(self.refs, 0)
        """The most that an actor can hold, judging by what it was told."""
        self.inside: Any = None
        self.boundaries = 0
        node.engine.step_hook = self.switch

    # --- the oracle ---------------------------------------------------------------------------

    def switch(self, record: Any) -> None:
        left, self.inside = self.inside, record
        if left is None or left.account is None or on_stack(left):
            clock.switch(record)
            return
        self.boundaries += 1
        own = clock.enter(None)  # what the oracle allocates is charged to nobody
        budget = self.node.engine.budgets.all[left]
        judged = budget.account.verdict
        held = heap_of(left).charged
        limit = budget.limit
        clock.enter(own)
        clock.switch(record)
        if judged is None and budget.account.verdict is not None and held <= limit.size:
            self.wrong.append(f"killed at a boundary, with {held} of {limit.size} B")
        self.check(left, "at a boundary")

    def check(self, record: Any, when: str) -> None:
        budget = self.node.engine.budgets.all.get(record)
        if not all(ref.alive for ref in self.sharers):
            self.inherits |= self.sharers
        if record.state == DEAD or budget is None or record in self.inherits:
            return
        held = heap_of(record).charged
        if held > budget.limit.size + SLACK and budget.account.verdict is None and not budget.over:
            if budget.account.due and not budget.limit.kill and record.state == RUNNING:
                return  # it is only watched, and looks at its next boundary
            self.wrong.append(f"{when}: {held} of {budget.limit.size} B unnoticed, known: {budget.known}")

    async def settle(self, what: str) -> None:
        """Check all actors at a moment when nothing runs."""
        await trio.testing.wait_all_tasks_blocked()
        self.node.engine.budgets.validate()
        for ref in self.refs:
            self.check(ref, f"after {what}")
            if ref.alive and ref.account.verdict is not None:
                self.wrong.append(f"after {what}: sentenced, and alive")

    def ended(self, ref: Any, reason: ak.ExitReason) -> None:
        self.ends[ref] = reason
        if isinstance(reason, ak.MemoryLimit):
            if self.most[ref] * 1.4 + SLACK < reason.limit:
                self.wrong.append(f"killed with at most {self.most[ref]} of {reason.limit} B")
        elif not (isinstance(reason, ak.Crash) and reason.type == "MemoryError"):  # a request beyond the hard cap
            self.wrong.append(f"ended with {reason}")

    # --- the schedule -------------------------------------------------------------------------

    async def step(self, verb: str, one: int, two: int, kind: str, size: int) -> None:
        ref, other = self.refs[one], self.refs[two]
        size *= KIB
        if verb not in ("drop", "limit", "waste"):
            self.most[ref] += 3 * size if verb == "ask" else 2 * size if verb == "pause" else size
        else:
            self.most[ref] += size if verb == "waste" else 0
        match verb:
            case "cast":
                ref.cast(Holder.keep, made(kind, size), 200 * KIB)
            case "cast_by_keyword":
                ref.cast(Holder.keep, what=made(kind, size))
            case "send":
                ref.send(made(kind, size))
            case "call":
                await self.call(ref, Holder.put, kind, size)
            case "call_queued":
                await self.call(ref, Holder.put_later, kind, size)
            case "ask":
                how = Holder.make if size % 2048 else Holder.make_later
                ref.cast(Holder.ask, other, how, kind, size)
                self.most[other] += size
            case "give":
                self.most[other] += self.most[ref]
                self.sharers |= {ref, other}
                ref.cast(Holder.give, other)
            case "share":
                what = made(kind, size)
                self.most[other] += size
                self.sharers |= {ref, other}
                self.inherits |= {ref, other}
                ref.cast(Holder.keep, what)
                other.cast(Holder.keep, what)
            case "drop":
                self.inherits |= self.sharers
                ref.cast(Holder.drop)
            case "pause" | "tasks":
                gate = trio.Event()
                self.gates.append(gate)
                ref.cast(getattr(Holder, verb), gate, kind, size)
            case "open":
                self.inherits |= self.sharers  # drops that waited may happen now
                while self.gates:
                    self.gates.pop().set()
            case "limit":
                ref.cast(Holder.limit, max(size, 48 * KIB))
            case "second":
                self.clock.jump(4)
                self.inherits = set()
                self.sharers = {ref for ref in self.sharers if ref.alive}
            case _:
                ref.cast(getattr(Holder, verb), kind, size)
        what = None
        await self.settle(verb)

    async def call(self, ref: Any, how: Any, kind: str, size: int) -> None:
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._call, ref, how, kind, size)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

    async def _call(self, ref: Any, how: Any, kind: str, size: int) -> None:
        try:
            await ref.call(how, made(kind, size), 200 * KIB)
        except ak.CallError:
            pass


activation(World.switch)  # an alarm that comes in here is not in the actor's code

VERBS = [
    "grow", "grow_slowly", "waste", "cast", "cast_by_keyword", "send", "call", "call_queued", "ask", "give", "share",
    "drop", "pause", "tasks", "open", "limit", "second",
]  # fmt: skip
