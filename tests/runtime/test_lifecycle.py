"""Life and death of an actor: which methods are called, in which order, with which reason, and what
is left of the actor.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import sys
import traceback
import tracemalloc
import weakref
from typing import Any, Generic, TypeVar

import attrs
import pytest
import trio
import trio.testing

import actorkit as ak
from tests.conformance.marks import conforms
from tests.counting import lines_run

from .conftest import OpenNode

T = TypeVar("T")


class Big:
    """An object that can be watched by a weak reference."""


async def reason_of(node: ak.Node, ref: ak.Ref[Any], act: Any = None) -> ak.ExitReason | None:
    """Do ``act``, wait for the end of ``ref``, and return its reason."""
    reasons: list[ak.ExitReason | None] = []

    async def note() -> None:
        reasons.append(await node.stopped(ref))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note)
        await trio.testing.wait_all_tasks_blocked()
        if act is not None:
            act()
    return reasons[0]


# --- init -----------------------------------------------------------------------------------------


class Init(ak.Actor):
    """Does in init what it is told to."""

    def __init__(self, log: list[Any], what: Any = None, sends: bool = False) -> None:
        self.log = log
        self.what = what
        if sends:
            self.ctx.ref.cast(Init.note, "sent in the constructor")

    async def init(self) -> Any:
        self.log.append("init")
        what = self.what
        if isinstance(what, BaseException):
            raise what
        if isinstance(what, float):
            await trio.sleep(what)
            return None
        if isinstance(what, trio.Event):
            await what.wait()
            return None
        if callable(what):
            return what(self)
        self.log.append("init returned")
        return what

    @ak.cast
    def note(self, word: str) -> None:
        self.log.append(word)

    @ak.call
    def ask(self) -> str:
        return "answer"

    def slow_half(self, number: int) -> None:
        self.log.append(f"continued {number}")
        if number < 3:
            self.ctx.continue_with(Init.slow_half, number + 1)

    def terminate(self, reason: ak.ExitReason) -> None:
        self.log.append(("terminate", reason))


async def test_init_is_the_first_message(opened: OpenNode) -> None:
    """Messages that were sent right after the spawn, and by the constructor itself, come after
    init, in order.
    """
    async with opened() as node:
        log: list[Any] = []
        ref = node.spawn(Init, log, None, True)
        ref.cast(Init.note, "sent after")
        assert await ref.call(Init.ask) == "answer"
        assert log == ["init", "init returned", "sent in the constructor", "sent after"]


async def test_calls_wait_for_an_async_init(opened: OpenNode, autojump_clock: Any) -> None:
    """A call to an actor whose init is under way is queued, not run inline."""
    async with opened() as node:
        log: list[Any] = []
        ref = node.spawn(Init, log, 2.0)
        assert await ref.call(Init.ask) == "answer"
        assert trio.current_time() >= 2
        assert log == ["init"]


@conforms("SRV-01", "PL-01")
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (ak.Stop(ak.Shutdown("no need")), ak.Shutdown("no need")),
        (ak.Stop(ak.Failure("no disk")), ak.Failure("no disk")),
        ("nonsense", ak.BadReturn("Init.init, which must return None, ak.IGNORE or ak.Stop(reason)", "'nonsense'")),
        (KeyError("x"), ak.Crash("KeyError", "'x'")),
        (lambda self: self.ctx.exit_now(ak.Failure("left")), ak.Failure("left")),
    ],
)
async def test_an_init_that_fails(opened: OpenNode, what: Any, reason: ak.ExitReason) -> None:
    """A waiting starter gets StartFailed with the reason; the actor is gone; terminate does not run
    (as in OTP); callers fail.
    """
    async with opened() as node, node.subscribe(ak.ActorExited) as events:
        log: list[Any] = []
        with pytest.raises(ak.StartFailed) as caught:
            await node.start(Init, log, what)
        assert caught.value.reason == reason
        ref = node.spawn(Init, log, what)
        with pytest.raises(ak.CalleeDied) as died:
            await ref.call(Init.ask)
        assert died.value.reason == reason
        assert [event.reason for event in events.drain()] == [reason, reason]
        assert [entry for entry in log if isinstance(entry, tuple)] == []
        assert node.statistics().actors == 0


@conforms("SRV-01")
async def test_an_init_that_ignores(opened: OpenNode) -> None:
    """An init that ignores gives no error and no actor; the reason is Normal, and terminate does
    not run.
    """
    async with opened() as node, node.subscribe(ak.ActorExited) as events:
        log: list[Any] = []
        assert await node.start(Init, log, ak.IGNORE) is None
        await trio.testing.wait_all_tasks_blocked()
        assert [event.reason for event in events.drain()] == [ak.NORMAL]
        assert log == ["init", "init returned"]


@conforms("SRV-01", "PL-01")
async def test_an_init_that_is_late_is_killed(opened: OpenNode, autojump_clock: Any) -> None:
    """The actor is killed after its spec's ``init_timeout``; its reason says so; terminate does not
    run.
    """
    async with opened() as node:
        log: list[Any] = []
        with pytest.raises(ak.StartFailed) as caught:
            await node.start(ak.child(Init, log, 100.0).with_(init_timeout=2.0))
        assert caught.value.reason == ak.InitTimeout(2.0)
        assert trio.current_time() == pytest.approx(2, abs=0.1)
        assert log == ["init"]
        ref = await node.start(ak.child(Init, log, 1.0).with_(init_timeout=2.0))
        await trio.sleep(10)
        assert ref is not None
        assert ref.alive


async def test_an_init_that_answers_later(opened: OpenNode, autojump_clock: Any) -> None:
    """An init that returns a Later is done when the Later is set; an exception given to the Later
    fails the start and ends the actor.
    """
    async with opened() as node:
        log: list[Any] = []
        later: ak.Later[None] = ak.Later()
        node.engine.timers.after(1, later.set, None)
        assert await node.start(Init, log, later) is not None
        later = ak.Later()
        node.engine.timers.after(1, later.fail, KeyError("no"))
        with pytest.raises(ak.StartFailed) as caught:
            await node.start(Init, log, later)
        assert caught.value.reason == ak.Crash("KeyError", "'no'")
        assert node.statistics().actors == 1
        with pytest.raises(ak.StartFailed) as caught:
            await node.start(ak.child(Init, log, ak.Later()).with_(init_timeout=3))
        assert caught.value.reason == ak.InitTimeout(3)
        assert node.statistics().actors == 1


async def test_a_stop_waits_for_init(opened: OpenNode, autojump_clock: Any) -> None:
    """An actor that is told to stop before or during its init ends after init, with terminate (as
    in OTP).
    """
    async with opened() as node:
        for wait in (False, True):
            log: list[Any] = []
            ref = node.spawn(Init, log, 1.0)
            if wait:
                await trio.testing.wait_all_tasks_blocked()
            assert await reason_of_now(node, ref) == ak.NORMAL
            assert log == ["init", ("terminate", ak.NORMAL)]


async def reason_of_now(node: ak.Node, ref: ak.Ref[Any]) -> ak.ExitReason | None:
    ref.stop()
    return await node.stopped(ref)


async def test_killed_in_its_constructor(opened: OpenNode) -> None:
    """Neither init nor any message runs."""

    class Suicide(Init):
        def __init__(self, log: list[Any]) -> None:
            super().__init__(log, None, True)
            self.ctx.kill()

    async with opened() as node:
        log: list[Any] = []
        ref = node.spawn(Suicide, log)
        assert not ref.alive
        with pytest.raises(ak.StartFailed) as caught:
            await node.start(Suicide, log)
        assert caught.value.reason == ak.KILLED
        await trio.testing.wait_all_tasks_blocked()
        assert log == []


@conforms("SRV-11")
async def test_continuations_run_before_queued_messages(opened: OpenNode) -> None:
    """Continuations from init and from a message run, chained too, in the order in which they were
    asked for.
    """
    async with opened() as node:
        log: list[Any] = []

        def two(self: Init) -> None:
            self.ctx.continue_with(Init.slow_half, 1)
            self.ctx.continue_with(Init.slow_half, 3)

        ref = node.spawn(Init, log, two)
        ref.cast(Init.note, "queued")
        await ref.call(Init.ask)
        assert log == ["init", "continued 1", "continued 3", "continued 2", "continued 3", "queued"]


# --- terminate
# --------------------------------------------------------------------------------------


class Ends(ak.Actor):
    """Ends in every way."""

    def __init__(self, log: list[Any], trap: bool = False) -> None:
        self.log = log
        self.ctx.trap_exit = trap

    @ak.cast
    def stop(self, reason: ak.ExitReason) -> None:
        self.ctx.stop(reason)
        self.log.append("stopping")

    @ak.call
    def stop_with_reply(self) -> str:
        self.ctx.stop(ak.Shutdown("bye"))
        return "reply"

    @ak.call
    async def stop_with_late_reply(self) -> str:
        self.ctx.stop()
        await trio.lowlevel.checkpoint()
        return "reply"

    @ak.cast
    def exit_now(self, reason: ak.ExitReason) -> None:
        try:
            self.ctx.exit_now(reason)
        finally:
            self.log.append("unwound")

    @ak.cast
    async def exit_now_later(self, reason: ak.ExitReason) -> None:
        await trio.lowlevel.checkpoint()
        self.ctx.exit_now(reason)

    @ak.cast
    def crash(self) -> None:
        raise KeyError("crash")

    @ak.cast
    async def crash_later(self) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("crash")

    @ak.cast
    async def stop_and_crash(self) -> None:
        self.ctx.stop(ak.SHUTDOWN)
        await trio.lowlevel.checkpoint()
        raise KeyError("crash")

    @ak.cast
    async def sleep(self) -> None:
        await trio.sleep_forever()

    @ak.cast
    def note(self, word: str) -> None:
        self.log.append(word)

    @ak.cast
    async def link(self, other: ak.Ref[Any]) -> None:
        self.ctx.link(other)

    def handle_info(self, message: Any) -> None:
        self.log.append(message)

    def terminate(self, reason: ak.ExitReason) -> Any:
        self.log.append(("terminate", reason))


KEY_ERROR = ak.Crash("KeyError", "'crash'")
BAD = ak.Failure("bad")


@pytest.mark.parametrize(
    ("act", "reason", "terminated"),
    [
        (lambda ref: ref.stop(), ak.NORMAL, True),
        (lambda ref: ref.stop(ak.Shutdown("x")), ak.Shutdown("x"), True),
        (lambda ref: ref.cast(Ends.stop, BAD), BAD, True),
        (lambda ref: ref.cast(Ends.exit_now, ak.NORMAL), ak.NORMAL, True),
        (lambda ref: ref.cast(Ends.exit_now, BAD), BAD, True),
        (lambda ref: ref.cast(Ends.exit_now_later, BAD), BAD, True),
        (lambda ref: ref.cast(Ends.crash), KEY_ERROR, True),
        (lambda ref: ref.cast(Ends.crash_later), KEY_ERROR, True),
        (lambda ref: ref.cast(Ends.stop_and_crash), KEY_ERROR, True),
        (lambda ref: ref.exit(BAD), BAD, False),
        (lambda ref: ref.exit(ak.SHUTDOWN), ak.SHUTDOWN, False),
        (lambda ref: ref.kill(), ak.KILLED, False),
        (lambda ref: ref.exit(ak.KILL), ak.KILLED, False),
        (lambda ref: (ref.cast(Ends.sleep), ref.kill()), ak.KILLED, False),
    ],
)
async def test_terminate_is_called_when_otp_calls_it(
    opened: OpenNode, act: Any, reason: ak.ExitReason, terminated: bool
) -> None:
    """terminate runs once, for a stop, an exit of the actor's own and a crash; not for a kill, nor
    for an exit signal that the actor does not trap.
    """
    async with opened() as node:
        log: list[Any] = []
        ref = node.spawn(Ends, log)
        assert await reason_of(node, ref, lambda: act(ref)) == reason
        calls = [entry for entry in log if isinstance(entry, tuple)]
        assert calls == ([("terminate", reason)] if terminated else [])


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda ref: ref.kill(), ak.KILLED),
        (lambda ref: ref.exit(BAD), None),
        (lambda ref: ref.exit(ak.NORMAL), None),
    ],
)
async def test_signals_to_one_that_traps_exits(opened: OpenNode, act: Any, reason: ak.ExitReason | None) -> None:
    """A kill ends the actor without terminate; other signals are messages."""
    async with opened() as node:
        log: list[Any] = []
        ref = node.spawn(Ends, log, True)
        act(ref)
        await trio.testing.wait_all_tasks_blocked()
        assert ref.alive == (reason is None)
        assert [type(entry) for entry in log] == ([] if reason else [ak.Exit])


@conforms("SRV-16")
@pytest.mark.parametrize("trap", [False, True])
async def test_the_parents_shutdown(opened: OpenNode, trap: bool) -> None:
    """The actor ends with terminate if it traps exits, otherwise without; the node is the parent of
    actors outside a tree.
    """
    log: list[Any] = []
    async with opened() as node:
        node.spawn(Ends, log, trap)
    assert log == ([("terminate", ak.SHUTDOWN)] if trap else [])


@conforms("SRV-16")
@pytest.mark.parametrize("trap", [False, True])
async def test_the_shutdown_by_a_supervisor(opened: OpenNode, trap: bool) -> None:
    """A supervisor's shutdown does the same."""
    log: list[Any] = []
    tree = ak.supervisor(ak.child(Ends, log, trap).with_(id="child"), strategy="one_for_one")
    async with opened(tree=tree):
        pass
    assert log == ([("terminate", ak.SHUTDOWN)] if trap else [])


async def test_a_shutdown_waits_for_the_message_at_hand(opened: OpenNode, autojump_clock: Any) -> None:
    """An actor that traps exits and is suspended goes on to the end of its handler, then
    terminates, overtaking its mailbox.
    """

    class Busy(Ends):
        @ak.cast
        async def work(self) -> None:
            await trio.sleep(2)
            self.log.append("worked")

    log: list[Any] = []
    async with opened() as node:
        ref = node.spawn(Busy, log, True)
        ref.cast(Busy.work)
        ref.cast(Busy.note, "in the mailbox")
        await trio.testing.wait_all_tasks_blocked()
    assert log == ["worked", ("terminate", ak.SHUTDOWN)]


async def test_a_stop_overtakes_the_mailbox(opened: OpenNode) -> None:
    """Queued messages become dead letters."""
    async with opened() as node:
        log: list[Any] = []
        ref = node.spawn(Ends, log)
        for _ in range(10):
            ref.cast(Ends.note, "queued")
        ref.stop()
        ref.stop(BAD)
        await trio.testing.wait_all_tasks_blocked()
        assert log == [("terminate", ak.NORMAL)]
        assert node.statistics().dead_letters == 10


async def test_a_stop_with_a_reply(opened: OpenNode) -> None:
    """The answer still goes out: inline, queued, and after a suspension."""
    async with opened() as node:
        log: list[Any] = []
        ref = node.spawn(Ends, log)
        assert await ref.call(Ends.stop_with_reply) == "reply"
        await trio.testing.wait_all_tasks_blocked()
        assert not ref.alive
        ref = node.spawn(Ends, log)
        ref.cast(Ends.note, "first")
        assert await ref.call(Ends.stop_with_reply) == "reply"
        ref = node.spawn(Ends, log)
        assert await ref.call(Ends.stop_with_late_reply) == "reply"
        await trio.testing.wait_all_tasks_blocked()
        assert log == [
            ("terminate", ak.Shutdown("bye")),
            "first",
            ("terminate", ak.Shutdown("bye")),
            ("terminate", ak.NORMAL),
        ]


class Terminates(ak.Actor):
    """Its terminate does what it is told to."""

    def __init__(self, what: str) -> None:
        self.what = what

    @ak.cast
    def stop(self) -> None:
        self.ctx.stop()

    @ak.call
    def crash(self) -> None:
        raise KeyError("first")

    async def terminate(self, reason: ak.ExitReason) -> None:
        if self.what == "raise":
            raise ValueError("in terminate")
        if self.what == "sleep":
            await trio.sleep(1_000)
        if self.what == "stop":
            self.ctx.stop(BAD)
        if self.what == "exit":
            self.ctx.exit_now(BAD)
        if self.what == "message":
            self.ctx.ref.cast(Terminates.stop)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("raise", ak.Crash("ValueError", "in terminate")),
        ("exit", BAD),
        ("stop", ak.NORMAL),
        ("message", ak.NORMAL),
        ("nothing", ak.NORMAL),
    ],
)
async def test_what_terminate_may_do(opened: OpenNode, what: str, reason: ak.ExitReason) -> None:
    """A terminate that raises or exits gives the reason (as in OTP); a stop or a message in it
    changes nothing.
    """
    async with opened() as node:
        ref = node.spawn(Terminates, what)
        assert await reason_of(node, ref, ref.stop) == reason


async def test_a_terminate_that_hangs_can_be_killed(opened: OpenNode, autojump_clock: Any) -> None:
    """The kill is the reason then; the callers had theirs at the crash."""
    async with opened() as node:
        ref = node.spawn(Terminates, "sleep")
        with pytest.raises(ak.CalleeDied) as caught:
            await ref.call(Terminates.crash)
        assert caught.value.reason == ak.Crash("KeyError", "'first'")
        assert ref.alive
        assert await reason_of(node, ref, ref.kill) == ak.KILLED


async def test_the_first_untrappable_reason_counts(opened: OpenNode) -> None:
    """Of several exits that come while the actor is suspended, the first is its reason."""
    async with opened() as node:
        ref = node.spawn(Ends, [])
        ref.cast(Ends.sleep)
        await trio.testing.wait_all_tasks_blocked()

        def act() -> None:
            ref.exit(BAD)
            ref.exit(ak.SHUTDOWN)
            ref.kill()
            ref.stop()

        assert await reason_of(node, ref, act) == BAD


# --- idle timeout
# -------------------------------------------------------------------------------------


class Idle(ak.Actor):
    def __init__(self, seconds: float) -> None:
        self.log: list[float] = []
        self.ctx.idle_timeout = seconds

    @ak.call
    def look(self) -> list[float]:
        return list(self.log)

    @ak.call
    async def work(self, seconds: float) -> None:
        await trio.sleep(seconds)

    @ak.call
    def off(self) -> None:
        self.ctx.idle_timeout = None

    def handle_info(self, message: Any) -> None:
        assert isinstance(message, ak.IdleTimeout)
        self.log.append(trio.current_time())


@conforms("SRV-12")
async def test_the_idle_timeout(opened: OpenNode, autojump_clock: Any) -> None:
    """The timeout comes again and again, counts anew from each message, does not count while a
    handler runs, and can be switched off.
    """
    async with opened() as node:
        start = trio.current_time()
        ref = node.spawn(Idle, 10.0)
        await trio.sleep(25)
        seen = await ref.call(Idle.look)
        assert [t - start for t in seen] == pytest.approx([10, 20])
        await ref.within(100).call(Idle.work, 25)
        await trio.sleep(5)
        assert len(await ref.call(Idle.look)) == 2
        await trio.sleep(11)
        assert len(await ref.call(Idle.look)) == 3
        await ref.call(Idle.off)
        await trio.sleep(100)
        assert len(await ref.call(Idle.look)) == 3
        ref.kill()
        assert len(node.engine.timers) == 0


# --- what is left of the state
# -------------------------------------------------------------------------


class Plain(ak.Actor):
    def __init__(self, big: Any) -> None:
        self.big = big

    @ak.cast
    def crash(self) -> None:
        raise KeyError(self.big)

    @ak.cast
    async def crash_later(self) -> None:
        local = self.big
        await trio.lowlevel.checkpoint()
        try:
            raise KeyError(local)
        except KeyError as error:
            raise ValueError(local) from error

    @ak.call
    def crash_inline(self) -> None:
        local = self.big
        raise KeyError(local)

    def method(self) -> Any:
        return self.big


class Slotted(ak.Actor):
    __slots__ = ("__hidden", "big")

    def __init__(self, big: Any) -> None:
        self.big = big
        self.__hidden = big

    def method(self) -> Any:
        return self.big


class SlottedHeir(Slotted):
    __slots__ = "more"

    def __init__(self, big: Any) -> None:
        super().__init__(big)
        self.more = big


class Mixed(Slotted):
    def __init__(self, big: Any) -> None:
        super().__init__(big)
        self.in_dict = big


@attrs.define
class Attrs(ak.Actor):
    big: Any

    def method(self) -> Any:
        return self.big


@attrs.frozen(slots=False)
class AttrsDict(ak.Actor):
    big: Any

    def method(self) -> Any:
        return self.big


@dataclasses.dataclass
class Data(ak.Actor):
    big: Any

    def method(self) -> Any:
        return self.big


@dataclasses.dataclass(slots=True)
class DataSlots(ak.Actor):
    big: Any

    def method(self) -> Any:
        return self.big


class Box(ak.Actor, Generic[T]):
    def __init__(self, big: T) -> None:
        self.big = big

    def method(self) -> T:
        return self.big


class BoxHeir(Box[int]):
    pass


class Fussy(ak.Actor):
    """Its class cannot be subclassed, so its object keeps that class."""

    def __init__(self, big: Any) -> None:
        self.big = big

    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses")

    def method(self) -> Any:
        return self.big


class WithDel(ak.Actor):
    def __init__(self, big: Any) -> None:
        self.big = big

    def __del__(self) -> None:
        self.big.closed = True

    def method(self) -> Any:
        return self.big


CLASSES = [
    Plain,
    Slotted,
    SlottedHeir,
    Mixed,
    Attrs,
    AttrsDict,
    Data,
    DataSlots,
    Box,
    Box[int],
    BoxHeir,
    WithDel,
]


@pytest.mark.parametrize("cls", CLASSES, ids=str)
async def test_the_state_is_cleared_at_death(opened: OpenNode, cls: Any) -> None:
    """The state is free at once, even if the object or a bound method of it is still held; using
    that raises ActorDead.
    """
    gc.disable()
    try:
        async with opened() as node:
            big = Big()
            watched = weakref.ref(big)
            ref: Any = node.spawn(cls, big)
            obj = ref.obj
            method = obj.method
            assert method() is big
            del big
            pid = str(ref.pid)
            ref.kill()
            assert watched() is None
            for use in (method, lambda: obj.big, lambda: obj.ctx, lambda: setattr(obj, "big", 1)):
                with pytest.raises(ak.ActorDead, match=pid):
                    use()
            assert isinstance(obj, ak.Actor)
            assert not isinstance(obj, (int, trio.abc.Stream))
            assert pid in repr(obj)
            assert not hasattr(ref, "big")
    finally:
        gc.enable()


async def test_a_class_that_refuses_to_be_buried_is_cleared_all_the_same(opened: OpenNode) -> None:
    """The object is simply emptied."""
    async with opened() as node:
        big = Big()
        watched = weakref.ref(big)
        ref: Any = node.spawn(Fussy, big)
        obj = ref.obj
        del big
        ref.kill()
        assert watched() is None
        with pytest.raises(AttributeError):
            obj.method()


@pytest.mark.parametrize("method", [Plain.crash, Plain.crash_later, Plain.crash_inline])
@pytest.mark.parametrize("linked", [False, True])
async def test_no_exception_keeps_the_state_alive(opened: OpenNode, method: Any, linked: bool) -> None:
    """The state is kept by neither the reason, nor the caller's CalleeDied, nor a monitor's Down,
    nor an event, without any help of the cycle collector.
    """

    class Watcher(ak.Actor):
        def __init__(self, log: list[Any]) -> None:
            self.log = log

        @ak.call
        def watch(self, ref: ak.Ref[Any]) -> None:
            self.ctx.monitor(ref)
            if linked:
                self.ctx.trap_exit = True
                self.ctx.link(ref)

        def handle_info(self, message: Any) -> None:
            self.log.append(message)

    gc.disable()
    try:
        async with opened() as node, node.subscribe(ak.SystemEvent) as events:
            big = Big()
            watched = weakref.ref(big)
            ref = node.spawn(Plain, big)
            log: list[Any] = []
            watcher = node.spawn(Watcher, log)
            await watcher.call(Watcher.watch, ref)
            del big
            errors = []
            if method is Plain.crash_inline:
                try:
                    await ref.call(method)
                except ak.CalleeDied as error:
                    errors.append(error)
            else:
                ref.cast(method)
            await trio.testing.wait_all_tasks_blocked()
            assert len(log) == (2 if linked else 1)
            kept = (events.drain(), errors, log)
            assert watched() is None
            del kept
    finally:
        gc.enable()


async def test_a_stillborn_actor_keeps_nothing_alive(opened: OpenNode) -> None:
    """StartFailed holds the reason, not the object, not even through its context."""

    watched: list[Any] = []

    class Broken(ak.Actor):
        def __init__(self) -> None:
            self.big = Big()
            watched.append(weakref.ref(self.big))
            raise KeyError(self)

    class BrokenInit(ak.Actor):
        def __init__(self) -> None:
            self.big = Big()
            watched.append(weakref.ref(self.big))

        def init(self) -> None:
            raise KeyError(self)

    gc.disable()
    try:
        async with opened() as node:
            for cls in (Broken, BrokenInit):
                kept = None
                try:
                    await node.start(cls)
                except ak.StartFailed as error:
                    kept = error
                assert kept is not None
                assert watched.pop()() is None
                assert node.statistics().actors == 0
    finally:
        gc.enable()


async def test_a_caller_keeps_the_traceback_of_what_it_is_handling(opened: OpenNode) -> None:
    """An inline callee that crashes meanwhile takes nothing from the caller's traceback, although
    Python chains the two.
    """
    async with opened() as node:

        def fail() -> None:
            local = "still here"
            raise ValueError(local)

        try:
            fail()
        except ValueError as error:
            with pytest.raises(ak.CalleeDied):
                await node.spawn(Plain, 1).call(Plain.crash_inline)
            assert "in fail" in "".join(traceback.format_tb(error.__traceback__))
            assert error.__traceback__ is not None
            assert error.__traceback__.tb_next is not None
            assert error.__traceback__.tb_next.tb_frame.f_locals == {"local": "still here"}


# --- reports
# ------------------------------------------------------------------------------------------


class Fat(ak.Actor):
    def __init__(self, state: Any, status: Any = None) -> None:
        self.state = state
        self.status = status

    @ak.cast
    def crash(self) -> None:
        raise KeyError("crash")

    def format_status(self) -> object:
        if isinstance(self.status, BaseException):
            raise self.status
        return super().format_status() if self.status is None else self.status


@conforms("SRV-21", "PL-01")
@pytest.mark.parametrize("through", ["attribute", "format_status"])
@pytest.mark.parametrize("kind", ["bytes", "text", "list", "dict", "nested", "objects", "object", "int"])
async def test_a_crash_report_of_a_large_state_is_small(
    opened: OpenNode, kind: str, through: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A state of 50 MB costs a few kilobytes of report, and is neither copied nor walked."""
    shown: list[object] = []

    class Verbose:
        def __repr__(self) -> str:
            shown.append(self)
            return "x" * 50_000_000

    states: dict[str, Any] = {
        "bytes": lambda: b"x" * 50_000_000,
        "text": lambda: "x" * 50_000_000,
        "list": lambda: [None] * 6_000_000,
        "dict": lambda: dict.fromkeys(range(500_000), "y" * 100),
        "nested": lambda: [["z" * 1_000_000] * 50] * 10,
        "objects": lambda: [Verbose() for _ in range(5)],
        "object": Verbose,
        "int": lambda: 1 << 400_000_000,
    }
    async with opened() as node:
        state = states[kind]()
        ref = node.spawn(Fat, state) if through == "attribute" else node.spawn(Fat, None, state)
        tracemalloc.start()
        try:
            with lines_run() as run:
                ref.cast(Fat.crash)
                await node.stopped(ref) if ref.alive else None
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert not ref.alive
        assert peak < 1_000_000
        assert run.count < 10_000
        assert not shown
    report = next(r.getMessage() for r in caplog.records if "ends: KeyError" in r.getMessage())
    assert len(report) < 12_000
    assert "mailbox: 0 messages" in report


@conforms("SRV-17")
@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), RecursionError()]
)
async def test_a_format_status_that_raises(
    opened: OpenNode, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """The actor ends for its own reason all the same, and no other actor is hit."""
    async with opened() as node:
        ref = node.spawn(Fat, 1, error)
        assert await reason_of(node, ref, lambda: ref.cast(Fat.crash)) == KEY_ERROR
        other = node.spawn(Fat, 1)
        assert await reason_of(node, other, lambda: other.cast(Fat.crash)) == KEY_ERROR


async def test_a_log_handler_that_raises(opened: OpenNode) -> None:
    """A broken filter in the host's logging does not keep an actor from dying, nor the node from
    living.
    """

    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise OSError("disk full")

    logger = logging.getLogger("actorkit")
    broken = Broken()
    logger.addFilter(broken)
    try:
        async with opened() as node:
            ref = node.spawn(Fat, 1)
            assert await reason_of(node, ref, lambda: ref.cast(Fat.crash)) == KEY_ERROR
    finally:
        logger.removeFilter(broken)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups")
async def test_a_group_with_one_exit_in_it_is_that_exit(opened: OpenNode) -> None:
    """``exit_now`` in a task of the actor's nursery ends the actor with that reason."""

    class Grouped(ak.Actor):
        @ak.cast
        async def work(self) -> None:
            async def task() -> None:
                await trio.lowlevel.checkpoint()
                self.ctx.exit_now(BAD)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)

    async with opened() as node:
        ref = node.spawn(Grouped)
        assert await reason_of(node, ref, lambda: ref.cast(Grouped.work)) == BAD
