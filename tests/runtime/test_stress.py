"""Random programs of actors and processes, and what must hold whatever they do.

Each round is one node with random settings and a dozen or so actors that run random scripts:
messages, calls (inline, queued, cancelled, late), nurseries, shields, swallowed cancellations,
locks, links, kills, crashes, leaks. Time is virtual. ``ACTORKIT_STRESS_SECONDS`` says how long to
go on, ``ACTORKIT_STRESS_SEED`` where to begin. A failure names its seed.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.actor.states import DEAD, IDLE, RUNNING
from actorkit.runtime.base.trio_internals import FEATURES, Features
from actorkit.runtime.life.worker import Worker

from .conftest import assert_closed_clean

ROUNDS = 150
SECONDS = float(os.environ.get("ACTORKIT_STRESS_SECONDS", "0"))
FIRST_SEED = int(os.environ.get("ACTORKIT_STRESS_SEED", "0"))

OWNER: contextvars.ContextVar[Any] = contextvars.ContextVar("owner", default=None)


class Planned(Exception):
    """A crash that the script asked for."""


class World:
    """One round: what happens, what must hold, and what did not hold."""

    def __init__(self, seed: int, node: ak.Node, features: Features) -> None:
        self.random = random.Random(seed)
        self.node = node
        self.features = features
        self.refs: list[Any] = []
        self.sent: Counter[Any] = Counter()
        self.last: dict[Any, int] = {}
        self.active: Counter[Any] = Counter()
        self.causes: dict[Any, set[str]] = {}
        self.lock = trio.Lock()
        self.scopes: list[trio.CancelScope] = []
        self.managers: list[Any] = []
        self.laters: list[Any] = []
        self.violations: list[str] = []
        self.steps = 0
        self.closing = False
        self.told: Any = None
        node.engine.step_hook = self.hook

    def hook(self, record: Any) -> None:
        if self.node.engine.current is not record:
            self.violate(f"the hook was told {record}, current is {self.node.engine.current}")
        self.told = record

    def violate(self, what: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(what)

    def cause(self, ref: Any, why: str) -> None:
        self.causes.setdefault(ref, set()).add(why)

    def step(self, ref: Any) -> None:
        """Called in a step of ``ref``'s code."""
        self.steps += 1
        if self.node.engine.current is not ref or self.told is not ref:
            self.violate(f"current is {self.node.engine.current}, told {self.told}, in a step of {ref}")
        if ref.state != RUNNING:
            self.violate(f"a step of {ref} in state {ref.state}")
        if OWNER.get() not in (None, ref):
            self.violate(f"{ref} sees the context variable of {OWNER.get()}")
        if not self.steps % 16:
            self.check_token()

    def check_token(self) -> None:
        node = self.node
        tokens = sum(holder.token for holder in node.engine.holders.values() if isinstance(holder, Worker))
        if tokens + node.engine.grant > 1 or bool(tokens + node.engine.grant) != node.engine.busy:
            self.violate(f"{tokens} tokens, grant={node.engine.grant}, busy={node.engine.busy}")
        if node.engine.starting not in (0, 1):
            self.violate(f"starting={node.engine.starting}")

    @contextlib.contextmanager
    def activation(self, ref: Any, sender: Any, number: int) -> Iterator[None]:
        self.active[ref] += 1
        if self.active[ref] != 1:
            self.violate(f"{ref} is activated twice at once")
        if number:
            pair = (sender, ref)
            if number <= self.last.get(pair, 0):
                self.violate(f"message {number} of {sender} to {ref} after {self.last[pair]}")
            self.last[pair] = number
        self.step(ref)
        try:
            yield
        finally:
            self.active[ref] -= 1

    def number(self, sender: Any, receiver: Any) -> int:
        self.sent[sender, receiver] += 1
        return self.sent[sender, receiver]

    def pick(self) -> Any:
        return self.random.choice(self.refs)

    def spawn(self, parent: Any = None, link: bool = False) -> None:
        if len(self.refs) > 60 or self.closing:
            return
        chance = self.random.random()
        mailbox = self.random.choice([3, 20, 1024, 1024])
        scheduling = self.random.choice(["max", "high", "normal", "normal", "normal", "low"])
        overflow = self.random.choice(["reject", "reject", "wait", "drop_oldest", "drop_newest"])
        try:
            if chance < 0.2:
                spec: Any = ak.child(process, self)
            elif chance < 0.4:
                spec = ak.child(Careful, self)
            elif chance < 0.45:
                spec = ak.child(Unborn, self)
            else:
                spec = ak.child(Stressed, self)
            spec = spec.with_(mailbox=mailbox, scheduling=scheduling, overflow=overflow)
            ref = parent.spawn_link(spec) if link and parent is not None else self.node.spawn(spec)
        except (ak.StartFailed, ak.NodeStopped):
            return
        if link:
            self.cause(ref, "link")
            self.cause(parent, "link")
        self.refs.append(ref)

    def explain(self, event: ak.ActorExited) -> None:
        """Does this death have a cause?"""
        causes = self.causes.get(event.ref, set())
        reason = event.reason
        # An actor that leaves a scope open may be cancelled in it, by a Cancelled of no other
        # origin.
        leaks = ("RuntimeError", "Cancelled", "BaseExceptionGroup")
        if "link" in causes or self.closing:
            ok = not isinstance(reason, ak.Crash) or reason.type.rpartition(".")[2] in ("Planned", *leaks)
        elif isinstance(reason, ak.Normal):
            ok = "stop" in causes or event.ref.kind.process
        elif isinstance(reason, ak.Killed):
            ok = "kill" in causes
        elif isinstance(reason, ak.Failure):
            ok = "exit" in causes
        elif isinstance(reason, ak.Crash):
            kind = reason.type.rpartition(".")[2]
            ok = (kind == "Planned" and "crash" in causes) or (kind in leaks and "leak" in causes)
        else:
            ok = False
        if not ok:
            self.violate(f"{event.ref} ended with {reason!r}, causes known: {sorted(causes)}")

    # --- scripts --------------------------------------------------------------------------------

    def script(self, depth: int) -> list[tuple[str, int]]:
        words = self.random.choices(list(OPERATIONS), list(OPERATIONS.values()), k=self.random.randint(0, 4))
        return [(word, depth - 1) for word in words] if depth > 0 else []

    def now(self, ctx: Any, word: str, depth: int) -> bool:
        """Do an operation that needs no await. False: it is not one of those."""
        if word == "cast":
            other = self.pick()
            if other.kind.process:
                other.send((ctx, self.number(ctx, other), self.script(depth)))
            else:
                method = self.random.choice([Stressed.sync, Stressed.work, Stressed.ask])
                for _ in range(self.random.randint(1, 3)):
                    other.cast(method, ctx, self.number(ctx, other), self.script(depth))
        elif word == "info":
            other = self.pick()
            other.send((ctx, self.number(ctx, other), self.script(depth)))
        elif word == "after":
            self.node.send_after(self.random.random(), self.pick(), (None, 0, self.script(depth)))
        elif word == "spawn":
            self.spawn()
        elif word == "spawn_link":
            self.spawn(ctx, True)
        elif word == "link":
            other = self.pick()
            self.cause(ctx, "link")
            self.cause(other, "link")
            ctx.link(other)
        elif word == "monitor":
            ctx.monitor(self.pick())
        elif word == "kill":
            other = self.pick()
            self.cause(other, "kill")
            other.kill()
        elif word == "kill_self":
            self.cause(ctx, "kill")
            ctx.kill()
        elif word == "exit":
            other = self.pick()
            self.cause(other, "exit")
            other.exit(ak.Failure("exit"))
        elif word == "stop":
            other = self.pick()
            self.cause(other, "stop")
            if not other.kind.process:
                other.stop()
        elif word == "crash":
            self.cause(ctx, "crash")
            raise Planned
        elif word == "exit_now":
            self.cause(ctx, "exit")
            ctx.exit_now(ak.Failure("exit"))
        elif word == "variable":
            OWNER.set(ctx)
        elif word == "leak_scope" and self.features.cancel_status:
            self.cause(ctx, "leak")
            scope = trio.CancelScope()
            scope.__enter__()
            self.scopes.append(scope)
        elif word == "cancel_leaked" and self.scopes:
            self.random.choice(self.scopes).cancel()
        elif word == "answer" and self.laters:
            self.laters.pop().set("late")
        elif word == "broken":
            with contextlib.suppress(ZeroDivisionError):
                1 / 0  # noqa: B018
        else:
            return False
        return True

    async def run(self, ctx: Any, script: list[tuple[str, int]], kid: bool = False) -> None:
        """Run a script in an async handler, a process or one of their tasks."""
        for word, depth in script:
            self.step(ctx)
            if kid and word in ("crash", "exit_now", "leak_scope", "variable", "stop", "link"):
                continue
            if self.now(ctx, word, depth):
                continue
            if word == "checkpoint":
                await trio.lowlevel.checkpoint()
            elif word == "sleep":
                await trio.sleep(self.random.random() * 2)
            elif word == "call":
                await self.call(ctx, depth)
            elif word == "cancelled_call":
                with trio.move_on_after(self.random.choice([0, 0.01, 1])):
                    await self.call(ctx, depth)
            elif word == "nursery":
                async with trio.open_nursery() as nursery:
                    for _ in range(self.random.randint(1, 3)):
                        nursery.start_soon(self.run, ctx, self.script(depth), True)
                    if self.random.random() < 0.3:
                        nursery.cancel_scope.cancel()
            elif word == "shield":
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.random.random() * 3)
            elif word == "swallow":
                try:
                    await trio.sleep(self.random.random())
                except trio.Cancelled:
                    if kid:
                        raise
            elif word == "cleanup":
                try:
                    await trio.sleep(self.random.random())
                finally:
                    self.step(ctx)
                    with trio.move_on_after(0.1, shield=True):
                        await trio.sleep(1)
            elif word == "lock":
                lock = self.lock
                try:
                    async with lock:
                        await trio.sleep(0.1)
                except trio.BrokenResourceError:
                    if self.lock is lock:
                        self.lock = trio.Lock()
            elif word == "hold_lock" and not kid and self.features.lock_breaker:
                lock = trio.Lock()
                self.cause(ctx, "leak")
                await lock.acquire()
            elif word == "leak_nursery" and not kid:
                self.cause(ctx, "leak")
                manager = trio.open_nursery()
                self.managers.append(manager)
                nursery = await manager.__aenter__()
                nursery.start_soon(trio.sleep, 1)
            elif word == "send_wait":
                with trio.move_on_after(self.random.choice([0, 1])), contextlib.suppress(ak.CallError):
                    other = self.pick()
                    await other.send_wait((None, 0, self.script(depth)))
            self.step(ctx)

    async def call(self, ctx: Any, depth: int) -> None:
        other = self.pick()
        if other.kind.process:
            return
        method = self.random.choice([Stressed.sync_call, Stressed.sync_call, Stressed.ask, Stressed.later])
        with contextlib.suppress(ak.CallError):
            if self.random.random() < 0.3:
                await other.within(0.5).call(method, None, 0, self.script(depth))
            else:
                await other.call(method, None, 0, self.script(depth))


OPERATIONS = {
    "cast": 30,
    "info": 10,
    "call": 20,
    "cancelled_call": 8,
    "checkpoint": 10,
    "sleep": 10,
    "nursery": 8,
    "shield": 3,
    "swallow": 4,
    "cleanup": 4,
    "lock": 6,
    "variable": 5,
    "spawn": 6,
    "spawn_link": 2,
    "link": 1,
    "monitor": 3,
    "kill": 4,
    "kill_self": 1,
    "exit": 2,
    "stop": 2,
    "crash": 2,
    "exit_now": 1,
    "after": 4,
    "answer": 4,
    "send_wait": 5,
    "broken": 1,
    "leak_scope": 1,
    "cancel_leaked": 2,
    "hold_lock": 1,
    "leak_nursery": 1,
}


class Stressed(ak.Actor):
    def __init__(self, world: World) -> None:
        self.world = world

    def _sync(self, sender: Any, number: int, script: Any) -> None:
        world = self.world
        with world.activation(self.ctx, sender, number):
            for word, depth in script:
                world.now(self.ctx, word, depth)
                world.step(self.ctx)

    async def _async(self, sender: Any, number: int, script: Any) -> None:
        with self.world.activation(self.ctx, sender, number):
            await self.world.run(self.ctx, script)

    @ak.cast
    def sync(self, sender: Any, number: int, script: Any) -> None:
        self._sync(sender, number, script)

    @ak.call
    def sync_call(self, sender: Any, number: int, script: Any) -> str:
        self._sync(sender, number, script)
        return "answer"

    @ak.cast
    async def work(self, sender: Any, number: int, script: Any) -> None:
        await self._async(sender, number, script)

    @ak.call
    async def ask(self, sender: Any, number: int, script: Any) -> str:
        await self._async(sender, number, script)
        return "answer"

    @ak.call
    def later(self, sender: Any, number: int, script: Any) -> ak.Later[str]:
        self._sync(sender, number, script)
        answer: ak.Later[str] = ak.Later()
        self.world.laters.append(answer)
        return answer

    def handle_info(self, message: Any) -> Any:
        if isinstance(message, tuple):
            sender, number, script = message
            return self._async(sender, number, script)
        return self._sync(None, 0, [])


class Careful(Stressed):
    """An actor with init, terminate and trapped exits."""

    trap_exit = True

    async def init(self) -> None:
        with self.world.activation(self.ctx, None, 0):
            await trio.lowlevel.checkpoint()
            self.ctx.continue_with(Careful.go_on)

    def go_on(self) -> None:
        self._sync(None, 0, self.world.script(1))

    async def terminate(self, reason: ak.ExitReason) -> None:
        with self.world.activation(self.ctx, None, 0):
            await trio.lowlevel.checkpoint()


class Unborn(Stressed):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        world.cause(self.ctx, "crash")
        raise Planned


async def process(ctx: ak.ProcessContext, world: World) -> None:
    world.step(ctx)
    with world.activation(ctx, None, 0):
        for _ in range(world.random.randint(1, 8)):
            message = await ctx.receive()
            world.step(ctx)
            if isinstance(message, tuple):
                sender, number, script = message
                if number:
                    if number <= world.last.get((sender, ctx), 0):
                        world.violate(f"message {number} of {sender} to {ctx} out of order")
                    world.last[sender, ctx] = number
                await world.run(ctx, script)


async def one_round(seed: int) -> int:
    """Raises AssertionError with the seed when an invariant does not hold; returns the number of
    steps.
    """
    settings = random.Random(seed)
    features = FEATURES if settings.random() < 0.75 else Features.degraded()
    options = {
        "max_idle": settings.choice([0, 1, 2, 16]),
        "quantum": settings.choice([1, 2, 8, 64]),
        "slice_seconds": settings.choice([0.000_01, 0.000_5]),
        "kill_timeout": 1_000.0,
    }
    node: Any = None
    with trio.fail_after(100_000):
        async with (
            ak.open_node(features=features, **options) as node,
            node.subscribe(ak.ActorExited, capacity=100_000) as events,
        ):
            world = World(seed, node, features)
            for _ in range(settings.randint(5, 30)):
                world.spawn()
            for _ in range(settings.randint(10, 80)):
                if not world.refs:
                    break
                ref = world.pick()
                script = world.script(4)
                number = world.number(None, ref)
                if ref.kind.process:
                    ref.send((None, number, script))
                elif settings.random() < 0.5:
                    ref.cast(settings.choice([Stressed.work, Stressed.sync]), None, number, script)
                else:
                    ref.send((None, number, script))
                chance = settings.random()
                if chance < 0.3:
                    await trio.lowlevel.checkpoint()
                elif chance < 0.4:
                    await trio.sleep(settings.random())
                elif chance < 0.45:
                    with trio.move_on_after(settings.random()):
                        await world.call(None, 2)
                world.check_token()
                if node.engine.current is not None:
                    world.violate(f"current is {node.engine.current} in the host's task")
            if settings.random() < 0.7:
                await quiet(world)
            for event in events.drain():
                world.explain(event)
            world.closing = True
        for event in events.drain():
            world.explain(event)
    for record, count in world.active.items():
        if count:
            world.violate(f"{record} is still in {count} activations")
    assert not world.violations, f"seed {seed}: " + "\n".join(world.violations)
    try:
        assert_closed_clean(node)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    return world.steps


async def quiet(world: World) -> None:
    """Let all scripts end, then look for what was left behind."""
    node = world.node
    for _ in range(50):
        await trio.sleep(100)
        if not node.engine.has_work and not any(
            record.state == RUNNING and not record.kind.process for record in node.engine.actors.values()
        ):
            break
    for record in list(node.engine.actors.values()):
        if record.kind.process:
            if record.state == DEAD or (record.state == IDLE and record.mailbox_length):
                world.violate(f"{record} waits with {record.mailbox_length} messages")
            continue
        if record.state != IDLE or record.inbox or record.outbox:
            world.violate(f"{record} is left with state {record.state}, {record.mailbox_length} messages")
        if record.control is not None or record.worker is not None or record.pending is not None:
            world.violate(f"{record} is left with {record.control}, {record.worker}, {record.pending}")
        if record.relations is not None and (record.relations.kids or record.relations.senders):
            world.violate(f"{record} is left with tasks or waiting senders")
    statistics = node.statistics()
    engine = node.engine
    if engine.busy or engine.grant or engine.starting or engine.current is not None:
        world.violate(
            f"at rest: busy={engine.busy} grant={engine.grant} starting={engine.starting} current={engine.current}"
        )
    if statistics.pending_calls:
        world.violate(f"{statistics.pending_calls} calls are pending at rest")
    if statistics.workers > node.engine.max_idle or statistics.parked != statistics.workers:
        world.violate(f"{statistics.workers} workers at rest, {statistics.parked} parked, of {node.engine.max_idle}")
    if statistics.unkillable or node.engine.dying:
        world.violate(f"{statistics.unkillable} unkillable at rest, {len(node.engine.dying)} dying")


def test_random_programs(caplog: pytest.LogCaptureFixture) -> None:
    """What must hold: activations, token, order, current, quiescence, explained deaths, a pool that
    shrinks, a node that closes.
    """
    logging.getLogger("actorkit").setLevel(logging.CRITICAL)
    end = time.monotonic() + SECONDS
    seed = FIRST_SEED
    steps = 0
    try:
        while seed < FIRST_SEED + ROUNDS or time.monotonic() < end:
            try:
                steps += trio.run(one_round, seed, clock=trio.testing.MockClock(autojump_threshold=0))
            except BaseException as error:
                raise AssertionError(f"seed {seed} (ACTORKIT_STRESS_SEED={seed}): {error!r}") from error
            seed += 1
    finally:
        logging.getLogger("actorkit").setLevel(logging.NOTSET)
    print(f"{seed - FIRST_SEED} seeds, {steps} steps")
    assert steps > 100
