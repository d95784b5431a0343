"""What was given to ``continue_with`` belongs to its message: a stop, a parent's shutdown and a
request from ``ak.sys`` come after it, a kill comes at once (as in OTP, where handle_continue runs
before any message is received).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import actorkit as ak
from actorkit.runtime.base.trio_internals import FEATURES, Features
from actorkit.testing import Probe
from tests.conformance.marks import conforms
from tests.effort import effort

from .conftest import OpenNode, checked_node

BAD = ak.Failure("bad")

settled = trio.testing.wait_all_tasks_blocked


def one_half(self: Doors, number: int) -> None:
    """One of the three continuations."""
    self.log.append(number)
    if number == 1:
        self.ctx.continue_with(Doors.half, 2)
        self.ctx.continue_with(Doors.half, 3)


def coroutine_of(method: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator whose wrapper is a plain function that returns a coroutine."""

    def wrapper(self: Any, *args: Any) -> Any:
        self.begin("a wrapper")
        return method(self, *args)

    wrapper.__qualname__ = method.__qualname__
    wrapper.__name__ = method.__name__
    return wrapper


class Doors(ak.Actor):
    """Continues, in a chain of three, from the message that ``where`` names."""

    trap_exit = True

    def __init__(self, log: list[Any], where: str) -> None:
        self.log = log
        self.where = where
        self.entered = trio.Event()
        self.gate = trio.Event()
        self.begin("the constructor")

    def begin(self, here: str) -> None:
        if here == self.where:
            self.log.append(here)
            self.ctx.continue_with(Doors.half, 1)

    async def pause(self) -> None:
        """Wait until the test has done its deed."""
        self.entered.set()
        await self.gate.wait()

    def half(self, number: int) -> Any:
        one_half(self, number)

    @ak.call
    def ask(self) -> str:
        self.begin("a call")
        return "answer"

    @ak.call
    async def ask_slowly(self) -> str:
        self.begin("an async call")
        await self.pause()
        return "answer"

    @ak.call
    @coroutine_of
    async def ask_wrapped(self) -> str:
        await trio.lowlevel.checkpoint()
        self.log.append("the coroutine")
        return "answer"

    @ak.call
    def ask_later(self) -> ak.Later[str]:
        self.begin("a call answered later")
        later: ak.Later[str] = ak.Later()
        later.set("answer")
        return later

    @ak.cast
    def tell(self) -> None:
        self.begin("a cast")

    @ak.cast
    async def tell_slowly(self) -> None:
        self.begin("an async cast")
        await self.pause()

    def handle_info(self, message: Any) -> None:
        self.begin("an info")
        self.log.append(message)

    def terminate(self, reason: ak.ExitReason) -> None:
        self.log.append(("terminate", reason))


class WithInit(Doors):
    def init(self) -> Any:
        self.begin("init")


class WithSlowInit(Doors):
    async def init(self) -> Any:
        self.begin("an async init")
        await self.pause()


class SlowHalves(Doors):
    """Its continuations wait in the middle; the deed is done in the first of them."""

    async def half(self, number: int) -> None:
        if number == 1:
            await self.pause()
        await trio.lowlevel.checkpoint()
        one_half(self, number)


CLASSES: dict[str, type[Doors]] = {"init": WithInit, "an async init": WithSlowInit}
METHODS: dict[str, Any] = {
    "a call": Doors.ask,
    "an async call": Doors.ask_slowly,
    "a call answered later": Doors.ask_later,
    "a call through a wrapper": Doors.ask_wrapped,
    "a cast": Doors.tell,
    "an async cast": Doors.tell_slowly,
}
DOORS = ["the constructor", "init", "an async init", *METHODS, "an info", "a timer"]
DEEDS: dict[str, Callable[[ak.Node, Any], None]] = {
    "a stop": lambda node, ref: ref.stop(ak.SHUTDOWN),
    "the parent's shutdown": lambda node, ref: node.engine.shutdown_child(ref, ak.SHUTDOWN),
}


async def ask(ref: Any, method: Any) -> None:
    with suppress(ak.CalleeDied):  # the stop came first
        assert await ref.call(method) == "answer"


async def enter(node: ak.Node, nursery: trio.Nursery, door: str, log: list[Any], cls: type[Doors]) -> Any:
    """An actor that is about to run the message ``door``, or has been called inline."""
    where = {"a timer": "an info", "a call through a wrapper": "a wrapper"}.get(door, door)
    ref: Any = node.spawn(cls, log, where)
    if door in METHODS:
        method = METHODS[door]
        if method in (Doors.ask, Doors.ask_later):  # inline
            assert await ref.call(method) == "answer"
        elif "call" in door:
            nursery.start_soon(ask, ref, method)
            await trio.lowlevel.checkpoint()
        else:
            ref.cast(method)
    elif door == "an info":
        ref.send("info")
    elif door == "a timer":
        node.send_after(0.001, ref, "info")
        await trio.sleep(0.001)
    return ref


async def go(ref: Any) -> None:
    """Let an actor that pauses go on."""
    for _ in range(50):
        await trio.lowlevel.checkpoint()
        if ref.obj is not None:
            ref.obj.gate.set()


def ends_in_order(log: list[Any]) -> None:
    """Check that the chain is whole if it has begun, and that ``terminate`` is last."""
    numbers = [entry for entry in log if isinstance(entry, int)]
    assert numbers in ([1, 2, 3], []), log
    assert log[-1] == ("terminate", ak.SHUTDOWN), log
    if not numbers:
        assert log[:-1] == []  # the stop has overtaken the message


@conforms("SRV-11")
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("slow", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("door", DOORS)
async def test_an_end_at_any_step_comes_after_the_whole_chain(
    features: Features, autojump_clock: MockClock, door: str, slow: bool, deed: str
) -> None:
    """Through every door, and with time slices of one message, an end is asked for at the n-th
    step, for each n: the chain is whole, or its message has not begun.
    """
    began = 0
    for steps in range(14):
        for slice_seconds in (1e-9, 1000.0):
            log: list[Any] = []
            cls: type[Doors] = CLASSES.get(door, Doors)
            if slow:
                cls = type("Slow", (cls,), {"half": SlowHalves.half})
            async with (
                checked_node(features=features, slice_seconds=slice_seconds) as node,
                trio.open_nursery() as nursery,
            ):
                try:
                    ref = await enter(node, nursery, door, log, cls)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    DEEDS[deed](node, ref)
                    ref.cast(Doors.tell)
                    ref.stop(BAD)  # the first reason counts
                    await go(ref)
                    await node.stopped(ref)
                finally:
                    nursery.cancel_scope.cancel()
            ends_in_order(log)
            began += 1 in log
    assert began


@pytest.mark.parametrize("door", ["a cast", "an async cast", "a call", "init", "an async init", "an info"])
@pytest.mark.parametrize("first", ["stop", "continue"])
async def test_a_stop_of_its_own_comes_after_what_it_continues_with(
    opened: OpenNode, autojump_clock: MockClock, door: str, first: str
) -> None:
    """ctx.stop comes in the message that continues, before or after continue_with: the chain runs,
    then terminate.
    """
    log: list[Any] = []

    class Both(CLASSES.get(door, Doors)):  # type: ignore[misc]
        def begin(self, here: str) -> None:
            if here != self.where:
                return
            if first == "stop":
                self.ctx.stop(ak.SHUTDOWN)
            super().begin(here)
            self.ctx.stop(ak.SHUTDOWN if first == "continue" else BAD)

    async with opened() as node, trio.open_nursery() as nursery:
        ref = await enter(node, nursery, door, log, Both)
        await go(ref)
        await node.stopped(ref)
    assert [e for e in log if e != "info"] == [door, 1, 2, 3, ("terminate", ak.SHUTDOWN)]


async def test_a_stop_in_the_middle_of_a_chain(opened: OpenNode) -> None:
    """A continuation that stops its actor ends after everything that it and the message have
    continued with.
    """
    log: list[Any] = []

    class Stops(Doors):
        def half(self, number: int) -> None:
            if number == 2:
                self.ctx.stop(ak.SHUTDOWN)
            one_half(self, number)

    async with opened() as node:
        ref = node.spawn(Stops, log, "a cast")
        ref.cast(Doors.tell)
        await node.stopped(ref)
    assert log == ["a cast", 1, 2, 3, ("terminate", ak.SHUTDOWN)]


@pytest.mark.parametrize("slow", [False, True], ids=["plain", "async"])
async def test_without_terminate_too(opened: OpenNode, autojump_clock: MockClock, slow: bool) -> None:
    """An actor that has no terminate ends when the chain is done."""
    log: list[Any] = []

    class Plain(ak.Actor):
        def init(self) -> None:
            self.ctx.continue_with(Plain.slow if slow else Plain.quick, 3)

        def quick(self, left: int) -> None:
            log.append(left)
            if left > 1:
                self.ctx.continue_with(Plain.quick, left - 1)

        async def slow(self, left: int) -> None:
            await trio.lowlevel.checkpoint()
            log.append(left)
            if left > 1:
                self.ctx.continue_with(Plain.slow, left - 1)

    async with opened() as node:
        ref = node.spawn(Plain)
        ref.stop()
        assert await node.stopped(ref) == ak.NORMAL
    assert log == [3, 2, 1]


ABRUPT: dict[str, tuple[Callable[[ak.Node, Any], None], ak.ExitReason]] = {
    "a kill": (lambda node, ref: ref.kill(), ak.KILLED),
    "an exit signal": (lambda node, ref: ref.exit(BAD), BAD),
    "the parent's shutdown": (lambda node, ref: node.engine.shutdown_child(ref, ak.SHUTDOWN), ak.SHUTDOWN),
}


@pytest.mark.parametrize("stopped_first", [False, True])
@pytest.mark.parametrize("end", ABRUPT)
@pytest.mark.parametrize("slow", [False, True], ids=["plain", "async"])
async def test_what_wins(
    opened: OpenNode, autojump_clock: MockClock, slow: bool, end: str, stopped_first: bool
) -> None:
    """A kill ends the actor between a message and its continuation, and in the middle of one. For
    an actor that does not trap exits, an exit signal and its parent's shutdown do so too. terminate
    does not run, even after a stop.
    """
    log: list[Any] = []
    act, reason = ABRUPT[end]

    class NotTrapping(SlowHalves if slow else Doors):  # type: ignore[misc]
        trap_exit = False

    async with opened(slice_seconds=1000.0) as node:
        ref = node.spawn(NotTrapping, log, "a call")
        ref.cast(Doors.tell)
        await settled()
        assert await ref.call(Doors.ask) == "answer"
        if slow:
            await settled()
        if stopped_first:
            ref.stop(ak.Shutdown("first"))
        probe = Probe(node)
        probe.monitor(ref)
        act(node, ref)
        assert ref.alive is slow
        assert (await probe.receive(ak.Down)).reason == reason
    assert log == ["a call"]


@pytest.mark.parametrize("how", ["raises", "exit_now", "Stop", "IGNORE"])
@pytest.mark.parametrize("slow", [False, True], ids=["plain", "async"])
async def test_nothing_is_continued_after_a_failure(opened: OpenNode, how: str, slow: bool) -> None:
    """A message that raises continues with nothing, and neither does an init that says not to
    start, even when a stop waits. (In OTP there is then no result that could name a continuation.)
    """
    log: list[Any] = []

    class Fails(Doors):
        def fail(self) -> Any:
            self.ctx.continue_with(Doors.half, 1)
            self.ctx.stop()
            if how == "raises":
                raise KeyError
            if how == "exit_now":
                self.ctx.exit_now(BAD)
            return ak.Stop(BAD) if how == "Stop" else ak.IGNORE if how == "IGNORE" else None

    class FailsSlowly(Fails):
        async def init(self) -> Any:
            await trio.lowlevel.checkpoint()
            return self.fail()

    class FailsAtOnce(Fails):
        def init(self) -> Any:
            return self.fail()

    logging.disable(logging.CRITICAL)
    try:
        async with opened() as node:
            ref = node.spawn(FailsSlowly if slow else FailsAtOnce, log, "nowhere")
            await node.stopped(ref)
    finally:
        logging.disable(logging.NOTSET)
    assert [entry for entry in log if isinstance(entry, int)] == []


async def test_a_chain_that_crashes_ends_there(opened: OpenNode) -> None:
    """A continuation that raises is followed by terminate with its reason, not by the rest of the
    chain, nor by the stop that waits.
    """
    log: list[Any] = []

    class Crashes(Doors):
        def half(self, number: int) -> None:
            one_half(self, number)
            if number == 2:
                self.ctx.exit_now(BAD)

    async with opened() as node:
        ref = node.spawn(Crashes, log, "a call")
        await ref.call(Doors.ask)
        ref.stop()
        assert await node.stopped(ref) == BAD
    assert log == ["a call", 1, 2, ("terminate", BAD)]


async def test_a_chain_without_end_is_killed_at_its_deadline(opened: OpenNode, autojump_clock: MockClock) -> None:
    """A supervisor waits for the chain as for any child that is slow to stop: for its shutdown
    time.
    """
    log: list[Any] = []

    class Endless(Doors):
        async def half(self, number: int) -> None:
            await trio.sleep(0.3)
            self.ctx.continue_with(Doors.half, number)

    class Hangs(Doors):
        async def half(self, number: int) -> None:
            await trio.sleep_forever()

    specs = [ak.child(cls, log, "a cast").with_(id=cls.__name__, shutdown=2) for cls in (Endless, Hangs)]
    async with opened(tree=ak.supervisor(*specs)) as node:
        refs = [r for r in node.processes() if node.process_info(r).kind.endswith(("Endless", "Hangs"))]
        for ref in refs:
            ref.cast(Doors.tell)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        began = trio.current_time()
        node.engine.shutdown_child(node.root, ak.SHUTDOWN)
        reasons = [await node.stopped(ref) for ref in refs]
        assert reasons == [ak.KILLED, ak.KILLED]
        assert trio.current_time() - began == pytest.approx(4, abs=0.5)
    assert log == ["a cast"] * 2


@pytest.mark.parametrize("door", ["a call", "an async call", "a cast", "an async init", "init"])
async def test_sys_looks_at_a_whole_actor(opened: OpenNode, autojump_clock: MockClock, door: str) -> None:
    """get_state, replace_state and suspend are served when the chain is done, whenever they are
    asked for; a kill from within a request is a kill.
    """
    for steps in range(6):
        log: list[Any] = []
        async with opened(slice_seconds=1e-9) as node, trio.open_nursery() as nursery:
            ref = await enter(node, nursery, door, log, CLASSES.get(door, Doors))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()

            def look(state: dict[str, Any], log: list[Any] = log) -> dict[str, Any]:
                log.append("look")
                return state

            nursery.start_soon(ak.sys.replace_state, ref, look)
            nursery.start_soon(ak.sys.suspend, ref)
            await go(ref)
            await settled()
            ref.send("not while suspended")
            await settled()
            assert "not while suspended" not in log
            ref.stop()
            await node.stopped(ref)
        before = [entry for entry in log[: log.index("look")] if isinstance(entry, int)]
        assert before in ([], [1, 2, 3]), log  # none: the look came before the message
        assert before or log[0] == "look", log


async def test_killed_by_the_one_who_looks(opened: OpenNode) -> None:
    """A function of replace_state kills the actor: it runs nothing more, neither a message nor
    terminate.
    """
    log: list[Any] = []
    async with opened() as node, trio.open_nursery() as nursery:
        ref = node.spawn(Doors, log, "an async cast")
        ref.cast(Doors.tell_slowly)
        ref.send("info")
        await settled()

        def kill(state: dict[str, Any]) -> dict[str, Any]:
            ref.kill()
            return state

        async def ask() -> None:
            try:
                await ak.sys.replace_state(ref, kill)
            except ak.CalleeDied:
                log.append("died")

        ref.obj.where = "nowhere"
        nursery.start_soon(ask)
        await settled()
        ref.obj.gate.set()
        assert await node.stopped(ref) == ak.KILLED
    assert "info" not in log
    assert ("terminate", ak.KILLED) not in log


async def test_a_failed_start_of_a_sibling(opened: OpenNode) -> None:
    """The children that started earlier are shut down when their chains are done."""
    log: list[Any] = []

    class Fails(ak.Actor):
        def __init__(self) -> None:
            raise ValueError

    with pytest.raises(ak.StartFailed):
        async with opened(tree=ak.supervisor(ak.child(WithInit, log, "init"), ak.child(Fails))):
            pass
    assert log == ["init", 1, 2, 3, ("terminate", ak.SHUTDOWN)]


async def test_terminate_child(opened: OpenNode) -> None:
    """A child that is terminated just after it has answered still does the second half."""
    log: list[Any] = []
    async with opened(tree=ak.supervisor(ak.child(Doors, log, "a call").with_(id="doors", name="doors"))) as node:
        ref = node.engine.resolve(ak.named(Doors, "doors"))
        assert ref is not None
        assert await ref.call(Doors.ask) == "answer"
        await node.root.call(ak.Supervisor.terminate_child, "doors")
        assert not ref.alive
    assert log == ["a call", 1, 2, 3, ("terminate", ak.SHUTDOWN)]


# --- a model --------------------------------------------------------------------------------------

Op = tuple[Any, ...]
"""("note", n), ("continue", ops, slow), ("stop", n), ("raise", n), ("kill",), ("hold",)"""


class Scripted(ak.Actor):
    """Does what its messages say."""

    def __init__(self, log: list[Any], trap: bool, init: tuple[bool, list[Op]]) -> None:
        self.log = log
        self.ctx.trap_exit = trap
        self.first = init
        self.gate: trio.Event | None = None

    def init(self) -> Any:
        slow, ops = self.first
        return self.slow(ops) if slow else self.quick(ops)

    def one(self, op: Op) -> None:
        match op:
            case ("note", n):
                self.log.append(n)
            case ("continue", ops, slow):
                self.ctx.continue_with(Scripted.slow if slow else Scripted.quick, ops)
            case ("stop", n):
                self.ctx.stop(ak.Shutdown(n))
            case ("raise", n):
                self.ctx.exit_now(ak.Shutdown(n))
            case ("kill",):
                self.ctx.ref.kill()

    def quick(self, ops: list[Op]) -> None:
        for op in ops:
            self.one(op)

    async def slow(self, ops: list[Op]) -> None:
        for op in ops:
            if op == ("hold",):
                self.gate = trio.Event()
                await self.gate.wait()
            else:
                self.one(op)

    @ak.call
    def ask(self, ops: list[Op]) -> None:
        self.quick(ops)

    @ak.cast
    def tell(self, ops: list[Op]) -> None:
        self.quick(ops)

    @ak.cast
    async def tell_slow(self, ops: list[Op]) -> None:
        await self.slow(ops)

    def handle_info(self, message: Any) -> None:
        self.log.append(message.reason)

    def terminate(self, reason: ak.ExitReason) -> None:
        self.log.append(("terminate", reason))
        self.ctx.continue_with(Scripted.quick, [("note", "after its end")])


class Reference:
    """A gen_server as OTP's loop runs it, except that stops and system requests overtake the
    mailbox.
    """

    def __init__(self, trap: bool, init: tuple[bool, list[Op]]) -> None:
        self.log: list[Any] = []
        self.trap = trap
        self.mailbox: deque[tuple[bool, list[Op]]] = deque()
        self.continuations: deque[tuple[bool, list[Op]]] = deque([init])
        self.held: deque[Op] | None = None
        self.stop: ak.ExitReason | None = None
        self.raised: ak.ExitReason | None = None
        self.looks = 0
        self.ended: ak.ExitReason | None = None
        self.in_init = True

    def die(self, reason: ak.ExitReason) -> None:
        if self.ended is None:
            self.ended = reason
            self.held = None

    def ask_to_stop(self, reason: ak.ExitReason) -> None:
        if self.stop is None:
            self.stop = reason

    def run(self, slow: bool, ops: deque[Op]) -> None:
        killed = False
        while ops:
            match ops.popleft():
                case ("note", n):
                    self.log.append(n)
                case ("continue", more, slowly):
                    self.continuations.append((slowly, more))
                case ("stop", n):
                    self.ask_to_stop(ak.Shutdown(n))
                case ("raise", n):
                    if killed or self.in_init:
                        self.die(ak.KILLED if killed else ak.Shutdown(n))
                    else:
                        self.raised = ak.Shutdown(n)
                    return
                case ("kill",):
                    killed = True
                case ("hold",) if slow:
                    if killed:
                        self.die(ak.KILLED)
                    else:
                        self.held = ops
                    return
        if killed:
            self.die(ak.KILLED)
        self.in_init = False

    def pump(self) -> None:
        while self.ended is None and self.held is None:
            if self.raised is not None:
                self.log.append(("terminate", self.raised))
                self.die(self.raised)
                return
            if self.continuations:
                slow, ops = self.continuations.popleft()
                self.run(slow, deque(ops))
                continue
            self.log += ["look"] * self.looks
            self.looks = 0
            if self.stop is not None:
                self.log.append(("terminate", self.stop))
                self.die(self.stop)
            elif self.mailbox:
                slow, ops = self.mailbox.popleft()
                self.run(slow, deque(ops))
            else:
                return

    def release(self) -> None:
        ops, self.held = self.held, None
        if ops is not None:
            self.run(True, ops)

    @property
    def idle(self) -> bool:
        return (
            self.ended is None
            and self.held is None
            and not (self.continuations or self.mailbox or self.stop or self.raised)
        )


def ops_of(deeper: st.SearchStrategy[list[Op]]) -> st.SearchStrategy[list[Op]]:
    numbers = st.integers(0, 99)
    return st.lists(
        st.one_of(
            st.tuples(st.just("note"), numbers),
            st.tuples(st.just("continue"), deeper, st.booleans()),
            st.tuples(st.just("hold")),
            st.tuples(st.sampled_from(["note", "note", "note", "stop", "raise"]), numbers),
            st.tuples(st.sampled_from(["hold", "hold", "hold", "kill"])),
        ),
        max_size=4,
    )


OPS = ops_of(ops_of(ops_of(st.just([("note", "leaf")]))))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["ask", "tell", "tell_slow"]), OPS),
        st.tuples(
            st.sampled_from(["settle", "settle", "release", "release", "stop", "shutdown", "exit", "kill", "look"]),
            st.integers(0, 99),
        ),
    ),
    max_size=10,
)


async def play(
    features: Features, trap: bool, init: tuple[bool, list[Op]], steps: list[tuple[str, Any]]
) -> tuple[list[Any], list[Any]]:
    """Run the program on a node and on the reference; return both logs, with the reasons."""
    log: list[Any] = []
    model = Reference(trap, init)
    async with checked_node(features=features, slice_seconds=1000.0) as node, trio.open_nursery() as nursery:

        async def look() -> None:
            with suppress(ak.CalleeDied):
                await ak.sys.replace_state(ref, note)

        def note(state: dict[str, Any]) -> dict[str, Any]:
            log.append("look")
            return state

        async def settle() -> None:
            await settled()
            model.pump()

        ref: Any = node.spawn(Scripted, log, trap, init)
        probe = Probe(node)
        probe.monitor(ref)
        for kind, value in [*steps, ("settle", 0)]:
            match kind:
                case "ask" if model.idle:
                    with suppress(ak.CalleeDied):
                        await ref.call(Scripted.ask, value)
                    model.run(False, deque(value))
                case "tell" | "ask":
                    ref.cast(Scripted.tell, value)
                    model.mailbox.append((False, value))
                case "tell_slow":
                    ref.cast(Scripted.tell_slow, value)
                    model.mailbox.append((True, value))
                case "stop":
                    ref.stop(ak.Shutdown(value))
                    model.ask_to_stop(ak.Shutdown(value))
                case "shutdown":
                    node.engine.shutdown_child(ref, ak.Shutdown(value))
                    if trap:
                        model.ask_to_stop(ak.Shutdown(value))
                    else:
                        model.die(ak.Shutdown(value))
                case "exit":
                    ref.exit(ak.Failure(str(value)))
                    if trap:
                        model.mailbox.append((False, [("note", ak.Failure(str(value)))]))
                    else:
                        model.die(ak.Failure(str(value)))
                case "kill":
                    ref.kill()
                    model.die(ak.KILLED)
                case "settle":
                    await settle()
                case "release":
                    await settle()
                    if ref.alive and ref.obj.gate is not None:
                        ref.obj.gate.set()
                    model.release()
                    await settle()
                case "look":
                    await settle()
                    if model.ended is None:
                        nursery.start_soon(look)
                        model.looks += 1
                        await settle()
        if model.ended is None:
            assert ref.alive, f"dead, after {log}; the reference has {model.log}"
            ref.kill()
            model.die(ak.KILLED)
        log.append((await probe.receive(ak.Down)).reason)
        nursery.cancel_scope.cancel()
    return log, [*model.log, model.ended]


@pytest.mark.parametrize("features", [FEATURES, Features.degraded()], ids=["full", "degraded"])
@given(trap=st.booleans(), init=st.tuples(st.booleans(), OPS), steps=STEPS)
@effort(300)
def test_random_programs_against_a_reference(
    features: Features, trap: bool, init: tuple[bool, list[Op]], steps: list[tuple[str, Any]]
) -> None:
    """Whatever its messages do and whatever others do to it, an actor does the same as the loop of
    a gen_server, in the same order, and ends for the same reason.
    """
    logging.disable(logging.CRITICAL)
    try:
        log, expected = trio.run(play, features, trap, init, steps, clock=MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)
    assert log == expected
