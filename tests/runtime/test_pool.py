"""The pool: every known way in which a handler can corrupt a task that others use, and what happens
instead.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import textwrap
import weakref
from contextlib import ExitStack
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.base.trio_internals import make_trap

from .conftest import OpenNode, checked_node

MANY = 10_000 if os.environ.get("ACTORKIT_STRESS_SECONDS") else 3_000

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default="unset")

pytestmark = pytest.mark.autojump  # assert_sound sleeps


class Echo(ak.Actor):
    """A well-behaved actor, to see whether others are hit."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @ak.call
    def now(self, x: Any) -> Any:
        return x

    @ak.call
    async def later(self, x: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return x

    @ak.call
    async def slow(self, seconds: float) -> str:
        await trio.sleep(seconds)
        return "slept"

    @ak.cast
    def note(self, x: Any) -> None:
        self.seen.append(x)

    @ak.call
    async def noted(self) -> list[Any]:
        return self.seen


async def assert_sound(node: ak.Node, echoes: int = 5) -> None:
    """Check that other actors run, suspend, sleep and answer as if nothing had happened."""
    refs = [node.spawn(Echo) for _ in range(echoes)]
    answers = []

    async def ask(ref: ak.Ref[Echo]) -> None:
        assert await ref.call(Echo.later, 1) == 1
        answers.append(await ref.call(Echo.slow, 0.01))

    async with trio.open_nursery() as nursery:
        for ref in refs:
            nursery.start_soon(ask, ref)
    assert answers == ["slept"] * echoes
    for ref in refs:
        ref.kill()


# --- cancel scopes ------------------------------------------------------------------------------


class ScopeLeaver(ak.Actor):
    def __init__(self) -> None:
        self.stack = ExitStack()
        self.scopes: list[trio.CancelScope] = []

    def _open(self) -> trio.CancelScope:
        scope = trio.CancelScope()
        self.stack.enter_context(scope)
        self.scopes.append(scope)
        return scope

    @ak.cast
    def open_sync(self, out: list[trio.CancelScope]) -> None:
        out.append(self._open())

    @ak.cast
    async def open_async(self, out: list[trio.CancelScope]) -> None:
        out.append(self._open())
        await trio.lowlevel.checkpoint()
        out.append(self._open())

    @ak.cast
    async def open_and_raise(self, out: list[trio.CancelScope]) -> None:
        out.append(self._open())
        await trio.lowlevel.checkpoint()
        raise KeyError("after opening a scope")

    @ak.call
    def open_inline(self, out: list[trio.CancelScope]) -> None:
        out.append(self._open())
        out.append(self._open())

    @ak.cast
    def open_and_exit_the_interpreter(self, out: list[trio.CancelScope]) -> None:
        out.append(self._open())
        raise SystemExit(3)


@pytest.mark.parametrize("method", [ScopeLeaver.open_sync, ScopeLeaver.open_async, ScopeLeaver.open_and_raise])
async def test_a_scope_left_open_costs_its_actor_and_nobody_else(
    opened: OpenNode, method: Any, autojump_clock: Any
) -> None:
    """A handler that leaves a cancel scope open dies; cancelling that scope later hits no other."""
    async with opened() as node:
        scopes: list[trio.CancelScope] = []
        ref = node.spawn(ScopeLeaver)
        ref.cast(method, scopes)
        if node.engine.features.cancel_status or method is ScopeLeaver.open_and_raise:
            reason = await node.stopped(ref)
            assert isinstance(reason, ak.Crash)
        else:
            await trio.sleep(1)
        await assert_sound(node)
        for scope in scopes:
            scope.cancel()
        await trio.sleep(1)
        await assert_sound(node)
        assert node.engine.features.cancel_status is False or node.statistics().repairs >= 1


async def test_a_scope_left_open_is_cancelled_while_others_wait_on_the_worker(autojump_clock: Any) -> None:
    """An actor that suspends on the same worker afterwards is not reached by the scope that was
    left open.
    """
    async with checked_node(max_idle=1) as node:
        scopes: list[trio.CancelScope] = []
        first = node.spawn(ScopeLeaver)
        second = node.spawn(Echo)
        first.cast(ScopeLeaver.open_sync, scopes)
        second.cast(Echo.slow, 5)
        await trio.sleep(1)
        scopes[0].cancel()
        await trio.sleep(1)
        assert second.alive
        assert not first.alive
        assert await second.call(Echo.later, 7) == 7


async def test_an_inline_handler_that_leaves_a_scope_open_is_blamed_not_its_caller(autojump_clock: Any) -> None:
    """The callee dies, the caller gets CalleeDied, and the scopes of the caller's task are as
    before.
    """
    async with checked_node() as node:
        ref = node.spawn(ScopeLeaver)
        scopes: list[trio.CancelScope] = []
        with trio.CancelScope() as own:
            with pytest.raises(ak.CalleeDied):
                await ref.call(ScopeLeaver.open_inline, scopes)
            assert not ref.alive
            for scope in scopes:
                scope.cancel()
            await trio.sleep(1)
        assert not own.cancelled_caught
        await assert_sound(node)


async def test_system_exit_with_a_scope_left_open_still_leaves_the_node_as_it_is(opened: OpenNode) -> None:
    """SystemExit outweighs the damage that its handler did."""
    with pytest.raises(SystemExit) as caught:
        async with opened() as node:
            node.spawn(ScopeLeaver).cast(ScopeLeaver.open_and_exit_the_interpreter, [])
            await trio.sleep_forever()
    assert caught.value.code == 3


# --- nurseries ----------------------------------------------------------------------------------


class NurseryLeaver(ak.Actor):
    manager: Any
    ended: list[str]

    @ak.cast
    async def leave(self, out: list[str], shielded: float = 0) -> None:
        self.manager = trio.open_nursery()
        nursery = await self.manager.__aenter__()
        nursery.start_soon(self._kid, out, shielded)
        await trio.lowlevel.checkpoint()

    @ak.cast
    async def leave_at_once(self, out: list[str]) -> None:
        self.manager = trio.open_nursery()
        nursery = await self.manager.__aenter__()
        nursery.start_soon(self._kid, out, 0)

    @ak.cast
    async def leave_two(self, out: list[str]) -> None:
        for _ in range(2):
            await self.leave(out)

    @ak.cast
    async def leave_and_interrupt(self, out: list[str]) -> None:
        self.manager = trio.open_nursery()
        nursery = await self.manager.__aenter__()
        nursery.start_soon(self._raise_when_cancelled)
        await trio.lowlevel.checkpoint()

    async def _kid(self, out: list[str], shielded: float) -> None:
        try:
            with trio.CancelScope(shield=bool(shielded)):
                await trio.sleep(shielded or 1_000_000)
            await trio.sleep_forever()
        finally:
            out.append("kid ended")

    async def _raise_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(4)


@pytest.mark.parametrize("method", [NurseryLeaver.leave, NurseryLeaver.leave_at_once, NurseryLeaver.leave_two])
async def test_a_nursery_left_open_costs_its_actor_and_nobody_else(
    opened: OpenNode, method: Any, autojump_clock: Any
) -> None:
    """The actor dies, the nursery's tasks are cancelled, and the node's own nursery stays clean."""
    async with opened() as node:
        ended: list[str] = []
        ref = node.spawn(NurseryLeaver)
        innocent = node.spawn(Echo)
        ref.cast(method, ended)
        innocent.cast(Echo.later, 1)
        assert isinstance(await node.stopped(ref), ak.Crash)
        await trio.sleep(1)
        assert innocent.alive
        assert node.engine.workers == len(node.engine.idle)
        assert ended == ["kid ended"] * (2 if method is NurseryLeaver.leave_two else 1)
        await assert_sound(node)


async def test_a_shielded_task_in_a_nursery_left_open_holds_up_nobody(opened: OpenNode, autojump_clock: Any) -> None:
    """The token is given away before the runtime waits for such a task."""
    async with opened() as node:
        ended: list[str] = []
        ref = node.spawn(NurseryLeaver)
        ref.cast(NurseryLeaver.leave, ended, 1_000)
        assert isinstance(await node.stopped(ref), ak.Crash)
        await assert_sound(node)
        assert not ended
        await trio.sleep(1_001)
        assert ended == ["kid ended"]


async def test_system_exit_from_a_task_in_a_nursery_left_open_goes_out(autojump_clock: Any) -> None:
    """What must leave the runtime does so even while a nursery is being finished for its
    handler.
    """
    with pytest.raises(SystemExit) as caught:
        async with checked_node() as node:
            node.spawn(NurseryLeaver).cast(NurseryLeaver.leave_and_interrupt, [])
            await trio.sleep_forever()
    assert caught.value.code == 4


# --- locks --------------------------------------------------------------------------------------


class LockUser(ak.Actor):
    def __init__(self, lock: trio.Lock) -> None:
        self.lock = lock

    @ak.cast
    async def acquire(self) -> None:
        await self.lock.acquire()

    @ak.cast
    def acquire_sync(self) -> None:
        self.lock.acquire_nowait()

    @ak.cast
    def release(self) -> None:
        self.lock.release()

    @ak.cast
    async def acquire_and_sleep(self) -> None:
        await self.lock.acquire()
        await trio.sleep_forever()

    @ak.call
    async def use(self) -> str:
        async with self.lock:
            await trio.sleep(0.01)
            return "used"


@pytest.mark.parametrize("method", [LockUser.acquire, LockUser.acquire_sync])
async def test_a_lock_held_past_its_message_costs_its_actor(method: Any, autojump_clock: Any) -> None:
    """The actor dies when the message ends; a task that wants the lock gets BrokenResourceError,
    not another task's lock.
    """
    async with checked_node() as node:
        lock = trio.Lock()
        ref = node.spawn(LockUser, lock)
        other = node.spawn(LockUser, lock)
        first, second = [], []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note_reason, node, ref, first)
            nursery.start_soon(_note_reason, node, other, second)
            await trio.testing.wait_all_tasks_blocked()
            ref.cast(method)
            other.cast(LockUser.acquire)
        assert isinstance(first[0], ak.Crash)
        assert "lock" in first[0].message
        assert second[0].type.endswith("BrokenResourceError")
        await assert_sound(node)


async def _note_reason(node: ak.Node, ref: ak.Ref[Any], out: list[Any]) -> None:
    out.append(await node.stopped(ref))


async def test_a_lock_released_in_a_later_message_is_a_crash_of_that_actor(
    opened: OpenNode, autojump_clock: Any
) -> None:
    """A lock belongs to the message that took it, so a later message may not release it."""
    async with opened() as node:
        lock = trio.Lock()
        ref = node.spawn(LockUser, lock)
        ref.cast(LockUser.acquire)
        ref.cast(LockUser.acquire_and_sleep)
        await trio.sleep(1)
        ref.cast(LockUser.release)
        await trio.sleep(1)
        ref.kill()
        await trio.sleep(1)
        assert not ref.alive
        await assert_sound(node)


async def test_a_lock_held_at_death_breaks(opened: OpenNode, autojump_clock: Any) -> None:
    """The worker of an actor that is killed while it holds a lock is retired, so trio breaks the
    lock; no other actor inherits it.
    """
    async with opened() as node:
        lock = trio.Lock()
        ref = node.spawn(LockUser, lock)
        ref.cast(LockUser.acquire_and_sleep)
        await trio.sleep(1)
        ref.kill()
        await trio.sleep(1)
        other = node.spawn(LockUser, lock)
        with pytest.raises(ak.CalleeDied) as caught:
            await other.call(LockUser.use)
        assert caught.value.reason.type.endswith("BrokenResourceError")
        await assert_sound(node)


async def test_a_lock_used_within_its_message_is_fine(opened: OpenNode, autojump_clock: Any) -> None:
    """Two actors take turns with a lock."""
    async with opened() as node:
        lock = trio.Lock()
        refs = [node.spawn(LockUser, lock) for _ in range(5)]
        used = []

        async def use(ref: ak.Ref[LockUser]) -> None:
            for _ in range(3):
                used.append(await ref.call(LockUser.use))

        async with trio.open_nursery() as nursery:
            for ref in refs:
                nursery.start_soon(use, ref)
        assert used == ["used"] * 15
        assert node.statistics().crashes == 0


# --- context variables --------------------------------------------------------------------------


class Variables(ak.Actor):
    @ak.cast
    def put(self, x: Any) -> None:
        self.token = VARIABLE.set(x)

    @ak.cast
    async def put_async(self, x: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.token = VARIABLE.set(x)
        await trio.lowlevel.checkpoint()
        assert VARIABLE.get() is x

    @ak.call
    def put_inline(self, x: Any) -> None:
        self.token = VARIABLE.set(x)

    @ak.cast
    def reset(self) -> None:
        VARIABLE.reset(self.token)

    @ak.call
    def get(self) -> Any:
        return VARIABLE.get()

    @ak.call
    async def get_async(self) -> Any:
        before = VARIABLE.get()
        await trio.lowlevel.checkpoint()
        assert VARIABLE.get() is before
        return before

    @ak.call
    async def get_in_a_task(self) -> Any:
        out = []

        async def look() -> None:
            out.append(VARIABLE.get())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
        return out[0]


@pytest.mark.parametrize("method", [Variables.put, Variables.put_async, Variables.put_inline])
async def test_context_variables_belong_to_one_actor(opened: OpenNode, method: Any) -> None:
    """What a handler sets stays with its actor from message to message, and no other actor
    sees it.
    """
    async with opened() as node:
        refs = [node.spawn(Variables) for _ in range(3)]
        for number, ref in enumerate(refs[:2]):
            if method is Variables.put_inline:
                await ref.call(method, number)
            else:
                ref.cast(method, number)
        for _ in range(2):
            for get in (Variables.get_async, Variables.get, Variables.get_in_a_task):
                assert [await ref.call(get) for ref in refs] == [0, 1, "unset"]
        assert VARIABLE.get() == "unset"


async def test_a_context_variable_can_be_reset_in_a_later_message(opened: OpenNode) -> None:
    """The token is still good there; afterwards the actor holds no context of its own."""
    async with opened() as node:
        ref = node.spawn(Variables)
        ref.cast(Variables.put_async, 5)
        assert await ref.call(Variables.get_async) == 5
        assert ref.variables is not None
        ref.cast(Variables.reset)
        assert await ref.call(Variables.get_async) == "unset"
        assert ref.alive
        ref.cast(Variables.put, 6)
        assert await ref.call(Variables.get) == 6


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise ValueError("not comparable")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("method", [Variables.put, Variables.put_async, Variables.put_inline])
async def test_a_context_variable_whose_value_cannot_be_compared(opened: OpenNode, method: Any) -> None:
    """The runtime compares contexts, so it may call a value's ``__eq__``: an exception there
    crashes no actor.
    """
    token = VARIABLE.set(Incomparable())
    try:
        async with opened() as node:
            ref = node.spawn(Variables)
            value = Incomparable()
            if method is Variables.put_inline:
                await ref.call(method, value)
            else:
                ref.cast(method, value)
            assert await ref.call(Variables.get_async) is value
            assert await ref.call(Variables.get) is value
            ref.kill()
            await trio.lowlevel.checkpoint()
            await assert_sound(node)
    finally:
        VARIABLE.reset(token)


class Spawner(ak.Actor):
    def __init__(self, depth: int) -> None:
        assert VARIABLE.get() == "unset"
        VARIABLE.set(depth)
        self.child = self.ctx.spawn(Spawner, depth - 1) if depth else None
        assert VARIABLE.get() == depth

    @ak.call
    def more(self, depth: int) -> list[Any]:
        return [self.ctx.spawn(Spawner, depth), VARIABLE.get()]


async def test_nested_activations_use_contexts_of_their_own(opened: OpenNode) -> None:
    """Constructors run within constructors within an inline call: no context is entered twice."""
    async with opened() as node:
        ref = node.spawn(Spawner, 5)
        made, value = await ref.call(Spawner.more, 7)
        assert value == 5
        assert made.alive
        assert node.statistics().actors == 6 + 8
        assert VARIABLE.get() == "unset"


# --- what a parked worker holds -------------------------------------------------------------------


class Big:
    """An object that can be watched by a weak reference."""


class Holder(ak.Actor):
    def __init__(self, big: Big) -> None:
        self.big = big

    @ak.cast
    async def wait(self, other: Big) -> None:
        local = self.big
        await trio.sleep_forever()
        del local

    @ak.cast
    async def pass_through(self, other: Big) -> None:
        await trio.lowlevel.checkpoint()

    @ak.cast
    def touch(self, other: Big) -> None:
        pass

    @ak.cast
    async def crash(self, other: Big) -> None:
        local = self.big
        await trio.lowlevel.checkpoint()
        try:
            raise KeyError(local)
        except KeyError as error:
            kept = error
            raise ValueError(local) from kept

    @ak.call
    async def answer(self, other: Big) -> Big:
        await trio.lowlevel.checkpoint()
        return other


@pytest.mark.parametrize("method", [Holder.wait, Holder.pass_through, Holder.touch, Holder.crash])
async def test_a_parked_worker_holds_nothing_of_the_last_actor(
    opened: OpenNode, method: Any, autojump_clock: Any
) -> None:
    """The state, message and locals of a dead actor are free at once, without the cycle
    collector.
    """
    gc.disable()
    try:
        async with opened() as node:
            big, other = Big(), Big()
            watched = [weakref.ref(big), weakref.ref(other)]
            ref = node.spawn(Holder, big)
            ref.cast(method, other)
            del big, other
            await trio.sleep(1)
            ref.kill()
            await trio.sleep(1)
            assert not ref.alive
            assert [w() for w in watched] == [None, None]
    finally:
        gc.enable()


async def test_an_answer_is_not_held_by_the_worker_that_gave_it(opened: OpenNode, autojump_clock: Any) -> None:
    """Only the caller holds the reply's value."""
    gc.disable()
    try:
        async with opened() as node:
            ref = node.spawn(Holder, Big())
            answer = await ref.call(Holder.answer, Big())
            watched = weakref.ref(answer)
            await trio.sleep(1)
            del answer
            assert watched() is None
    finally:
        gc.enable()


# --- stop and growth ------------------------------------------------------------------------------


class Feeder(ak.Actor):
    def __init__(self) -> None:
        self.ctx.ref.cast(Feeder.feed)

    @ak.cast
    def feed(self) -> None:
        self.ctx.ref.cast(Feeder.feed)


class AsyncFeeder(ak.Actor):
    def __init__(self) -> None:
        self.ctx.ref.cast(AsyncFeeder.feed)

    @ak.cast
    async def feed(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ctx.ref.cast(AsyncFeeder.feed)


@pytest.mark.parametrize("cls", [Feeder, AsyncFeeder])
@pytest.mark.parametrize("way", ["end", "cancel", "raise"])
async def test_a_node_full_of_actors_that_feed_themselves_stops(opened: OpenNode, cls: Any, way: str) -> None:
    """The stop does not start successors forever, however the body is left."""
    with trio.CancelScope() as outer:
        try:
            async with opened() as node:
                for _ in range(50):
                    node.spawn(cls)
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
                if way == "cancel":
                    outer.cancel()
                    await trio.lowlevel.checkpoint()
                if way == "raise":
                    raise KeyError("out of the body")
        except KeyError:
            assert way == "raise"
    assert outer.cancelled_caught == (way == "cancel")


async def test_the_pool_grows_by_what_suspends_and_shrinks_again(autojump_clock: Any) -> None:
    """Thousands of actors suspend at once: there are as many workers and a few more, and afterwards
    no more than max_idle.
    """
    gc.disable()
    try:
        await _suspend_many()
    finally:
        gc.enable()


async def _suspend_many() -> None:
    async with checked_node(max_idle=16) as node:
        refs = [node.spawn(Echo) for _ in range(MANY)]
        for ref in refs:
            ref.cast(Echo.slow, 100)
        await trio.sleep(50)
        statistics = node.statistics()
        assert MANY <= statistics.workers <= MANY + 20
        assert statistics.workers_started <= MANY + 20
        await trio.sleep(100)
        assert node.statistics().workers == node.statistics().parked <= 16
        assert node.statistics().workers_started <= MANY + 20
        await assert_sound(node)


async def test_handlers_that_suspend_for_one_step_need_few_workers(opened: OpenNode) -> None:
    """2,000 actors with one checkpoint each share a handful of workers."""
    async with opened() as node:
        refs = [node.spawn(Echo) for _ in range(2_000)]
        for ref in refs:
            ref.cast(Echo.later, 1)
        for ref in refs:
            assert await ref.call(Echo.later, 2) == 2
        assert node.statistics().workers_started <= 30


@pytest.mark.parametrize("max_idle", [0, 1])
async def test_a_pool_that_keeps_no_worker(opened: OpenNode, max_idle: int, autojump_clock: Any) -> None:
    """A pool with max_idle=0 only costs time."""
    async with opened(max_idle=max_idle) as node:
        await assert_sound(node, 20)
        await trio.sleep(1)
        assert node.statistics().workers <= max_idle


# --- exceptions of every kind ---------------------------------------------------------------------


class Raiser(ak.Actor):
    @ak.call
    def now(self, error: Any) -> None:
        raise error

    @ak.cast
    def now_cast(self, error: Any) -> None:
        raise error

    @ak.call
    async def at_once(self, error: Any) -> None:
        raise error

    @ak.call
    async def after_a_step(self, error: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    @ak.call
    async def in_a_task(self, error: Any) -> None:
        async def kid() -> None:
            await trio.lowlevel.checkpoint()
            raise error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kid)

    @ak.call
    async def foreign(self, after: bool) -> None:
        if after:
            await trio.lowlevel.checkpoint()
        await asyncio.sleep(0)

    @ak.call
    async def foreign_future(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()
        finally:
            loop.close()

    @ak.call
    async def raw(self, what: Any) -> None:
        class Awaitable:
            def __await__(self) -> Any:
                yield what

        await Awaitable()

    @ak.call
    async def raw_wake_up(self) -> None:
        class Awaitable:
            def __await__(self) -> Any:
                yield make_trap(lambda _: trio.lowlevel.Abort.SUCCEEDED)

        await Awaitable()


WAYS = [Raiser.now, Raiser.at_once, Raiser.after_a_step, Raiser.in_a_task]


@pytest.mark.parametrize(
    "error", [StopIteration(1), StopAsyncIteration(), GeneratorExit(), ak.ActorDead("x"), RecursionError()]
)
@pytest.mark.parametrize("method", WAYS)
async def test_any_other_exception_is_a_crash_of_its_actor(opened: OpenNode, method: Any, error: BaseException) -> None:
    """For StopIteration, StopAsyncIteration, GeneratorExit and the like the caller gets CalleeDied,
    and other actors live on.
    """
    async with opened() as node:
        ref = node.spawn(Raiser)
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.call(method, error)
        assert isinstance(caught.value.reason, ak.Crash)
        assert not ref.alive
        await assert_sound(node)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", [*WAYS, Raiser.now_cast])
async def test_what_must_leave_the_runtime_stops_the_node(opened: OpenNode, method: Any, error: Any) -> None:
    """KeyboardInterrupt and SystemExit come out of open_node as they are: before and after a
    suspension, inline, and from a task.
    """
    with pytest.raises(error) as caught:
        async with opened() as node:
            other = node.spawn(Echo)
            ref = node.spawn(Raiser)
            if method is Raiser.now_cast:
                ref.cast(method, error())
                await trio.sleep_forever()
            else:
                await ref.call(method, error())
    assert type(caught.value) is error
    assert not other.alive
    assert not ref.alive


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize("kid", [False, True])
async def test_what_must_leave_the_runtime_from_a_process(
    opened: OpenNode, error: Any, suspend: bool, kid: bool
) -> None:
    """They leave a process as they leave a handler: unwrapped, and the node stops."""

    async def process(ctx: ak.ProcessContext) -> None:
        if suspend:
            await trio.lowlevel.checkpoint()
        if kid:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
        raise error

    async def fail() -> None:
        raise error

    with pytest.raises(error):
        async with opened() as node:
            node.spawn(process)
            await trio.sleep_forever()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_must_leave_the_runtime_from_a_constructor(opened: OpenNode, error: Any) -> None:
    """They come out of spawn, in the task that called it."""

    class Unborn(ak.Actor):
        def __init__(self) -> None:
            raise error

    class Parent(ak.Actor):
        @ak.cast
        def spawn(self) -> None:
            self.ctx.spawn(Unborn)

    with pytest.raises(error):
        async with opened() as node:
            node.spawn(Unborn)
    with pytest.raises(error):
        async with opened() as node:
            node.spawn(Parent).cast(Parent.spawn)
            await trio.sleep_forever()


@pytest.mark.parametrize(
    ("method", "argument"),
    [(Raiser.foreign, False), (Raiser.foreign, True), (Raiser.raw, None), (Raiser.raw, "nonsense")],
)
async def test_a_foreign_await_is_a_crash_of_its_actor(opened: OpenNode, method: Any, argument: Any) -> None:
    """asyncio's awaits, and others that are not trio's, end the actor with trio's explanation."""
    async with opened() as node:
        ref = node.spawn(Raiser)
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.call(method, argument)
        assert caught.value.reason.type == "TypeError"
        await assert_sound(node)


async def test_a_foreign_future_is_a_crash_of_its_actor(opened: OpenNode) -> None:
    """A future of asyncio's ends the actor."""
    async with opened() as node:
        with pytest.raises(ak.CalleeDied):
            await node.spawn(Raiser).call(Raiser.foreign_future)
        await assert_sound(node)


class Saver(ak.Actor):
    def __init__(self) -> None:
        self.saved: BaseException | None = None

    @ak.call
    async def save(self) -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                self.saved = error
                raise
        assert self.saved is not None
        return self.saved


@pytest.mark.parametrize("method", [Raiser.now, Raiser.at_once, Raiser.after_a_step])
async def test_a_saved_cancellation_raised_again_is_a_crash(opened: OpenNode, method: Any) -> None:
    """A Cancelled that was not asked for ends the actor that raises it, and nothing else."""
    async with opened() as node:
        saved = await node.spawn(Saver).call(Saver.save)
        ref = node.spawn(Raiser)
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.call(method, saved)
        assert isinstance(caught.value.reason, ak.Crash)
        await assert_sound(node)


class Shared(ak.Actor):
    """Waits inside the handler that caught an exception which others hold too."""

    @ak.call
    async def wait(self, error: Exception, caught: trio.Event, go_on: trio.Event) -> str:
        try:
            raise error
        except ValueError:
            caught.set()
        await go_on.wait()
        return "went on"


async def test_an_exception_that_is_shared_with_a_suspended_handler(opened: OpenNode) -> None:
    """A crash with an exception whose traceback leads through another actor's suspended frame
    leaves that frame alone.
    """
    async with opened() as node:
        error = ValueError("shared")
        caught, go_on = trio.Event(), trio.Event()
        answers = []

        async def ask() -> None:
            answers.append(await node.spawn(Shared).call(Shared.wait, error, caught, go_on))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await caught.wait()
            with pytest.raises(ak.CalleeDied):
                await node.spawn(Raiser).call(Raiser.after_a_step, error)
            go_on.set()
        assert answers == ["went on"]


# --- recursion ------------------------------------------------------------------------------------


class Deep(ak.Actor):
    @ak.call
    def dig(self, depth: int) -> int:
        return self._dig(depth)

    @ak.call
    async def dig_async(self, depth: int) -> int:
        await trio.lowlevel.checkpoint()
        return self._dig(depth)

    def _dig(self, depth: int) -> int:
        return 0 if depth == 0 else 1 + self._dig(depth - 1)


class Nested(ak.Actor):
    def __init__(self, depth: int) -> None:
        if depth:
            self.ctx.spawn(Nested, depth - 1)


@pytest.mark.parametrize("method", [Deep.dig, Deep.dig_async])
async def test_a_recursion_error_is_contained(opened: OpenNode, method: Any) -> None:
    """An actor that recurses too deeply crashes; the node stays well."""
    async with opened() as node:
        ref = node.spawn(Deep)
        assert await ref.call(method, 50) == 50
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.call(method, 1_000_000)
        assert caught.value.reason.type == "RecursionError"
        await assert_sound(node)


async def test_constructors_nested_too_deeply_are_contained(opened: OpenNode) -> None:
    """The innermost constructor fails; each outer one gets StartFailed; no half-born actor
    is left.
    """
    async with opened() as node:
        with pytest.raises(ak.StartFailed):
            node.spawn(Nested, 100_000)
        assert node.engine.current is None
        await assert_sound(node)
        assert node.statistics().actors == 0


# --- Ctrl-C ---------------------------------------------------------------------------------------

PROGRAM = """
    import os, signal, sys, threading
    import trio
    import actorkit as ak

    def interrupt_soon():
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    def spin():
        interrupt_soon()
        while True:
            pass

    class Spinner(ak.Actor):
        @ak.cast
        def sync(self): spin()
        @ak.cast
        async def at_once(self): spin()
        @ak.cast
        async def later(self):
            await trio.lowlevel.checkpoint()
            spin()
        @ak.cast
        async def kid(self):
            async def run():
                await trio.lowlevel.checkpoint()
                spin()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
        @ak.call
        def inline(self): spin()
        def handle_info(self, message): spin()

    class Ctor(ak.Actor):
        def __init__(self): spin()

    class Init(ak.Actor):
        def init(self): spin()

    class End(ak.Actor):
        def terminate(self, reason): spin()

    async def process(ctx): spin()

    async def late_process(ctx):
        await trio.lowlevel.checkpoint()
        spin()

    async def main(how):
        async with ak.open_node() as node:
            if how == "ctor": node.spawn(Ctor)
            elif how == "init": node.spawn(Init)
            elif how == "terminate": node.spawn(End).stop()
            elif how == "process": node.spawn(process)
            elif how == "late_process": node.spawn(late_process)
            elif how == "info": node.spawn(Spinner).send("x")
            elif how == "idle": interrupt_soon()
            elif how == "inline": await node.spawn(Spinner).call(Spinner.inline)
            else: node.spawn(Spinner).cast(getattr(Spinner, how))
            await trio.sleep_forever()

    try:
        trio.run(main, sys.argv[1])
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize(
    "how",
    [
        "sync",
        "at_once",
        "later",
        "kid",
        "inline",
        "info",
        "ctor",
        "init",
        "terminate",
        "process",
        "late_process",
        "idle",
    ],
)
def test_ctrl_c_interrupts_a_loop_in_a_handler(how: str) -> None:
    """Ctrl-C ends ``while True: pass`` wherever it is, and comes out of open_node as one
    KeyboardInterrupt.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"could not be interrupted: {out}{err}")
    assert out == "interrupted\n", err
    assert process.returncode == 0
