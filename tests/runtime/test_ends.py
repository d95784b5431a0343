"""An end cannot fail: whatever users' code, a log handler, a text or the receiver of an event
raises, links, monitors and supervisors are told, names are released, callers hear of it, and the
node stops. (All steps: tests/faults/ends_sweep.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.runtime.base.trio_internals import fatal_leaf
from tests.net.helpers import serving

from .conftest import OpenNode


class Plain(BaseException):
    """A BaseException that is not an Exception."""


ANY = [ValueError, Plain, GeneratorExit, KeyboardInterrupt, SystemExit]
FATAL = [KeyboardInterrupt, SystemExit]


class Thrower:
    """Raises once, at one door."""

    def __init__(self, door: str, error: type[BaseException]) -> None:
        self.door = door
        self.error: BaseException | None = error(door)
        self.raised: BaseException | None = None

    def at(self, door: str) -> None:
        if door == self.door and self.error is not None:
            error, self.error = self.error, None
            self.raised = error
            raise error


class Actor(ak.Actor):
    """Every kind of users' code in one class."""

    def __init__(self, thrower: Thrower) -> None:
        self.thrower = thrower
        thrower.at("constructor")

    def init(self) -> None:
        self.thrower.at("init")
        self.ctx.continue_with(Actor.go_on)

    def go_on(self) -> None:
        self.thrower.at("continue")

    def handle_info(self, message: Any) -> None:
        self.thrower.at(message if isinstance(message, str) else "down")

    def terminate(self, reason: ak.ExitReason) -> None:
        self.thrower.at("terminate")

    @ak.cast
    def tell(self) -> None:
        self.thrower.at("cast")

    @ak.cast
    async def tell_later(self) -> None:
        await trio.lowlevel.checkpoint()
        self.thrower.at("async cast")

    @ak.call
    def ask(self) -> None:
        self.thrower.at("inline call")

    @ak.call
    async def ask_later(self) -> None:
        await trio.lowlevel.checkpoint()
        self.thrower.at("async call")

    @ak.call
    async def nursery(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.kid)

    async def kid(self) -> None:
        await trio.lowlevel.checkpoint()
        self.thrower.at("nursery child")


async def watcher(ctx: ak.ProcessContext, other: Any, told: list[Any]) -> None:
    """Is linked to an actor and monitors it, and waits until both have told it of the
    actor's end.
    """
    ctx.trap_exit = True
    ctx.monitor(other)
    ctx.link(other)
    while len(told) < 2:
        message = await ctx.receive()
        if isinstance(message, ak.Down) or message.source is other:
            told.append(type(message))


async def process(ctx: ak.ProcessContext, thrower: Thrower) -> None:
    async for message in ctx:
        thrower.at(message)


async def task(thrower: Thrower) -> None:
    await trio.lowlevel.checkpoint()
    thrower.at("task")


DOORS: dict[str, Callable[[Any], Any]] = {
    "cast": lambda ref: ref.cast(Actor.tell),
    "async cast": lambda ref: ref.cast(Actor.tell_later),
    "info": lambda ref: ref.send("info"),
    "timer": lambda ref: ref.kind.engine.send_after(0.1, ref, ("timer",)),
    "terminate": lambda ref: ref.stop(),
    "inline call": lambda ref: ref.call(Actor.ask),
    "async call": lambda ref: ref.call(Actor.ask_later),
    "nursery child": lambda ref: ref.call(Actor.nursery),
}


async def go_through(door: str, ref: Any) -> None:
    """Ask for the end, and let everything happen."""
    asked = DOORS[door](ref)
    if hasattr(asked, "__await__"):
        try:
            await asked
        except ak.CalleeDied:
            pass
    await trio.sleep(1)


@pytest.mark.parametrize("error", ANY)
@pytest.mark.parametrize("door", DOORS)
async def test_those_around_it_are_told_whatever_it_raised(
    opened: OpenNode, door: str, error: type[BaseException], autojump_clock: trio.testing.MockClock
) -> None:
    """Links, monitors, the name, the supervisor, and a task that waits for the end are told; a
    fatal exception comes out, alone.
    """
    thrower = Thrower(door, error)
    told: list[Any] = []
    reasons: list[Any] = []
    again: list[bool] = []
    tree = ak.supervisor(ak.child(Actor, thrower).with_(name="it"))
    caught: BaseException | None = None

    async def wait_for(node: ak.Node, ref: Any) -> None:
        reasons.append(await node.stopped(ref))

    try:
        async with trio.open_nursery() as outer:
            try:
                async with opened(tree=tree, kill_timeout=60) as node:
                    ref = node.whereis("it")
                    assert ref is not None
                    node.spawn(watcher, ref, told)
                    outer.start_soon(wait_for, node, ref)
                    await trio.sleep(0.01)
                    began = trio.current_time()
                    try:
                        await go_through(door, ref)
                    finally:
                        again.append(node.whereis("it") is not ref)
            except BaseException as raised:
                caught = raised
            assert trio.current_time() - began < 4
    except BaseExceptionGroup as group:
        raise AssertionError("who waited for its end was not told") from group
    assert thrower.raised is not None
    assert caught is (thrower.raised if error in FATAL else None)
    assert not ref.alive
    assert len(reasons) == 1
    if error not in FATAL:
        assert again == [True]
    assert sorted(kind.__name__ for kind in told) == ["Down", "Exit"]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("error", FATAL)
@pytest.mark.parametrize(
    "door",
    ["constructor", "factory", "init", "continue", "inline call", "process", "task", "restart", "sys", "registry"],
)
async def test_interrupts_leave_alone_through_every_door(
    opened: OpenNode,
    door: str,
    error: type[BaseException],
    grouped: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """KeyboardInterrupt and SystemExit come out of open_node as they are, even where users' code
    runs in the host's own task, and even from within a group.
    """
    leaf = error("here")
    raised = BaseExceptionGroup("a nursery's", [ValueError(), leaf]) if grouped else leaf
    armed = door != "restart"

    def throw(*_: Any) -> Any:
        if armed:
            raise raised

    class Here(ak.Actor):
        def __init__(self, at: str = "") -> None:
            if at == door:
                throw()

        def init(self) -> None:
            if door == "init":
                throw()
            self.ctx.continue_with(Here.go_on)

        def go_on(self) -> None:
            if door == "continue":
                throw()

        @ak.call
        def ask(self) -> None:
            throw()

        @ak.cast
        def fail(self) -> None:
            raise ValueError

    async def runs(*_: Any) -> None:
        throw()

    tree = ak.supervisor(ak.task_supervisor(name="jobs"), ak.registry(name="registry"))
    with pytest.raises(error) as caught:
        async with opened(tree=tree) as node:
            if door in ("constructor", "factory", "process"):
                start: Any = {"constructor": Here, "factory": throw, "process": runs}[door]
                node.spawn(ak.child(start, "constructor"))
            elif door == "task":
                jobs = ak.named(ak.TaskSupervisor, "jobs")
                await (await jobs.call(ak.TaskSupervisor.run, runs)).result()
            elif door == "restart":
                await node.start(ak.supervisor(ak.child(Here, "restart").with_(name="it")))
                armed = True
                ak.named(Here, "it").cast(Here.fail)
            elif door == "sys":
                await ak.sys.replace_state(node.spawn(ak.child(Plainest)), throw)
            elif door == "registry":
                registry = ak.named(ak.Registry, "registry")
                ref = node.spawn(Plainest)
                await registry.call(ak.Registry.register, ref, 1)
                await registry.call(ak.Registry.update_value, ref, 1, throw)
            else:
                await node.spawn(Here).call(Here.ask)
            await trio.sleep(1)
    assert caught.value is leaf


class Plainest(ak.Actor):
    """An actor with nothing of its own."""


# --- what decides nothing
# -----------------------------------------------------------------------------


class _Handler(logging.Handler):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        raise self.error("of a log handler")


@pytest.fixture(params=ANY)
def raising_log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Handler]:
    """The application's log handler raises each time."""
    handler = _Handler(request.param)
    log = logging.getLogger("actorkit")
    log.addHandler(handler)
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    yield handler
    log.removeHandler(handler)


@pytest.mark.parametrize("door", [*DOORS, "init", "continue"])
async def test_a_log_handler_that_raises_changes_nothing(
    opened: OpenNode, raising_log: _Handler, door: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A crash is reported; the supervisor restarts, the caller gets CalleeDied, and the node goes
    on and stops.
    """
    thrower = Thrower("", ValueError)
    tree = ak.supervisor(ak.child(Actor, thrower).with_(name="it"))
    async with opened(tree=tree) as node:
        ref = node.whereis("it")
        thrower.door = door
        if door in ("init", "continue"):
            ref = node.spawn(Actor, thrower)
            await trio.sleep(1)
            assert not ref.alive
        else:
            await go_through(door, ref)
            new = node.whereis("it")
            assert new is not None
            assert new is not ref
            await new.call(Actor.ask)
    assert raising_log.count > 0


async def test_other_log_calls_change_nothing_either(
    opened: OpenNode, raising_log: _Handler, autojump_clock: trio.testing.MockClock
) -> None:
    """The same holds for a supervisor that gives up, a process and a task that fail, an unexpected
    message, an unkillable actor, a timer's callback and a failed start.
    """

    class Stubborn(ak.Actor):
        @ak.cast
        async def stay(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)

    thrower = Thrower("x", ValueError)

    async def failing() -> None:
        raise ValueError

    def callback() -> None:
        raise ValueError

    async with opened(tree=ak.supervisor(ak.task_supervisor(name="jobs")), kill_timeout=1) as node:
        plain = node.spawn(Plainest)
        plain.send("what is this?")
        far = node.spawn(process, thrower)
        far.send("x")
        often = await node.start(
            ak.supervisor(ak.child(Actor, Thrower("", ValueError)).with_(name="it"), max_restarts=0)
        )
        assert often is not None
        ak.named(Actor, "it").send("x")
        it = node.whereis("it")
        assert it is not None
        it.exit(ak.Failure("now"))
        jobs = ak.named(ak.TaskSupervisor, "jobs")
        with pytest.raises(ak.TaskFailed):
            await (await jobs.call(ak.TaskSupervisor.run, failing)).result()
        with pytest.raises(ak.StartFailed):
            await node.start(ak.supervisor(ak.child(Actor, Thrower("init", ValueError))))
        stubborn = node.spawn(Stubborn)
        stubborn.cast(Stubborn.stay)
        await trio.sleep(0.1)
        stubborn.kill()
        node.engine.timers.after(0.1, callback)
        await trio.sleep(4)
        assert [ref.alive for ref in (plain, far, often, it, stubborn)] == [True, False, False, False, False]
    assert raising_log.count >= 6


class Odd:
    """An object whose texts raise."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error
        self.quiet = False

    def __repr__(self) -> str:
        if self.quiet:
            return "Odd"
        raise self.error("of a repr")

    __str__ = __repr__

    __hash__ = object.__hash__


class OddError(Exception):
    def __str__(self) -> str:
        raise self.args[0]("of a str")

    __repr__ = __str__


@pytest.mark.parametrize("error", ANY)
@pytest.mark.parametrize(
    "where", ["exception", "detail", "message", "child id", "child id, not started", "stop", "ref"]
)
async def test_a_text_that_raises_changes_nothing(
    opened: OpenNode, where: str, error: type[BaseException], autojump_clock: trio.testing.MockClock
) -> None:
    """The text of an exception, of a reason's detail, of a message, of a child's id, or of what
    should be a ref may raise.
    """

    class Fails(ak.Actor):
        def __init__(self, refuses: bool = False) -> None:
            self.refuses = refuses

        def init(self) -> Any:
            return ak.Stop(ak.Failure(Odd(error))) if self.refuses else None

        @ak.call
        def fail(self) -> None:
            if where == "exception":
                raise OddError(error)
            self.ctx.exit_now(ak.Failure(Odd(error)))

    # A child's id must have a text when the spec is made; it may lose it later.
    identity = Odd(error)
    identity.quiet = True
    spec = ak.child(Fails).with_(name="it", id=identity)
    odd = ak.child(Fails, True).with_(id=identity)
    identity.quiet = False
    tree = ak.supervisor(
        spec, ak.child(Fails).with_(name="other"), ak.registry(name="registry"), strategy="one_for_all"
    )
    async with opened(tree=tree) as node:
        it = ak.named(Fails, "it")
        registry = node.whereis("registry")
        if where == "message":
            it.send(Odd(error))
            ak.named(Fails, "nobody").send(Odd(error))
        elif where == "child id, not started":
            with pytest.raises(ak.StartFailed) as failed:
                await node.start(ak.supervisor(odd))
            assert "Odd" in str(failed.value)
        elif where == "stop":
            ref = node.whereis("it")
            assert ref is not None
            ref.stop(ak.Failure(Odd(error)))
        elif where == "ref":
            with pytest.raises(ak.NotAlive):
                await ak.named(ak.Registry, "registry").call(ak.Registry.register, Odd(error), 1)  # type: ignore[arg-type]
            assert node.whereis("registry") is registry
        else:
            with pytest.raises(ak.CalleeDied) as died:
                await it.call(Fails.fail)
            assert str(died.value)
        await trio.sleep(1)
        assert node.root is not None
        assert node.root.alive
        assert node.whereis("it") is not None
        entry = node.tree()
        assert entry is not None
        assert list(entry.lines())


@pytest.mark.parametrize("error", ANY)
async def test_a_subscriber_that_raises_ends_nobody_else(
    opened: OpenNode, error: type[BaseException], autojump_clock: trio.testing.MockClock
) -> None:
    """A receiver of events, an actor or a stream, raises when it is told: the actor that ended has
    ended all the same, and its supervisor restarts it.
    """

    class Subscriber(ak.Actor):
        def init(self) -> None:
            self.ctx.subscribe(ak.ActorExited)

        def handle_info(self, message: Any) -> None:
            raise error("of a subscriber")

    class Stream(ak.EventStream):
        def put(self, event: ak.SystemEvent) -> None:
            if error not in FATAL:
                raise error("of a stream")

    again: list[bool] = []
    tree = ak.supervisor(ak.child(Actor, Thrower("cast", ValueError)).with_(name="it"))
    caught: BaseException | None = None
    try:
        async with opened(tree=tree) as node:
            node.spawn(Subscriber)
            await trio.sleep(0.1)
            with Stream(node.engine.events, (ak.SystemEvent,), 10):
                ref = node.whereis("it")
                ak.named(Actor, "it").cast(Actor.tell)
                try:
                    await trio.sleep(1)
                finally:
                    again.append(node.whereis("it") not in (None, ref))
    except BaseException as raised:
        caught = raised
    assert type(caught) is (error if error in FATAL else type(None))
    if error not in FATAL:
        assert again == [True]


@pytest.mark.parametrize("error", ANY)
async def test_finalisers_and_comparisons_change_nothing(
    opened: OpenNode,
    error: type[BaseException],
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception in ``__del__`` of what an actor held goes to Python's hook for unraisable
    exceptions; a context variable's value whose ``__eq__`` raises is kept.
    """
    import contextvars
    import sys

    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: unraisable.append(what.exc_type))
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    class Value:
        def __eq__(self, other: object) -> bool:
            raise error("of a comparison")

        __hash__ = object.__hash__

    class Held:
        def __del__(self) -> None:
            raise error("of a finaliser")

    class Holds(ak.Actor):
        def __init__(self) -> None:
            self.held = Held()
            variable.set(Value())

        @ak.call
        def mark(self) -> None:
            variable.set(Value())

        @ak.call
        def is_marked(self) -> bool:
            return isinstance(variable.get(None), Value)

        @ak.cast
        def tell(self) -> None:
            variable.set(Value())

    async with opened() as node:
        ref = node.spawn(Holds)
        await ref.call(Holds.mark)
        ref.cast(Holds.tell)
        await trio.sleep(0.1)
        assert await ref.call(Holds.is_marked)
        ref.kill()
        assert unraisable == [error]
        assert node.whereis("nobody") is None


@pytest.mark.parametrize("error", [ValueError, Plain, GeneratorExit])
def test_a_size_that_raises_keeps_nothing_from_being_shed(error: type[BaseException]) -> None:
    """``__sizeof__`` of what a message brings is users' code too, and may raise."""
    from actorkit.governor.shed import _size

    class Sized:
        def __sizeof__(self) -> int:
            raise error("of a size")

    assert _size((print, (Sized(), b"x" * 1_000), None)) > 1_000


@pytest.mark.parametrize("error", ANY)
async def test_a_tasks_listener_that_raises_keeps_nobody_from_being_told(
    opened: OpenNode, error: type[BaseException], autojump_clock: trio.testing.MockClock
) -> None:
    """``Task.when_ended`` calls each listener, and the task's result is there."""
    leaf = error("of a listener")
    told: list[str] = []

    def fails() -> None:
        raise leaf

    caught: BaseException | None = None
    try:
        async with opened(tree=ak.supervisor(ak.task_supervisor(name="jobs"))):
            jobs = ak.named(ak.TaskSupervisor, "jobs")
            one = await jobs.call(ak.TaskSupervisor.run, task, Thrower("", ValueError))
            one.when_ended(fails)
            one.when_ended(lambda: told.append("the other"))
            await one.result()
            await trio.sleep(1)
    except BaseException as raised:
        caught = raised
    assert told == ["the other"]
    assert caught is (leaf if error in FATAL else None)


# --- what is no exit reason
# ---------------------------------------------------------------------------


class Ends(ak.Actor):
    """Gives what it is told as its reason."""

    @ak.call
    def end(self, how: str) -> str:
        reason: Any = "text"
        try:
            if how == "exit_now":
                self.ctx.exit_now(reason)
            elif how == "stop":
                self.ctx.stop(reason)
            elif how == "exit":
                self.ctx.exit(reason)
            elif how == "Stop":
                ak.Stop(reason)
            else:
                raise ak.ActorExit(reason)
        except TypeError as error:
            return str(error)
        return ""


@pytest.mark.parametrize("how", ["exit_now", "stop", "exit", "Stop", "ActorExit"])
async def test_what_is_no_exit_reason_is_refused_in_an_actor(opened: OpenNode, how: str) -> None:
    """TypeError comes where the reason is given, with the remedy; the actor lives."""
    async with opened() as node:
        ref = node.spawn(Ends)
        assert "it is not an exit reason; give one, such as ak.Failure('text')" in await ref.call(Ends.end, how)
        assert ref.alive


@pytest.mark.parametrize("end", ["exit", "stop"])
@pytest.mark.parametrize("kind", ["ref", "named", "via"])
async def test_what_is_no_exit_reason_is_refused_from_outside(opened: OpenNode, end: str, kind: str) -> None:
    """The reason is refused through refs, named refs and registries' refs."""
    tree = ak.supervisor(ak.registry(name="registry"), ak.child(Ends).with_(name="it"))
    async with opened(tree=tree) as node:
        ref: Any = node.whereis("it")
        await ak.named(ak.Registry, "registry").call(ak.Registry.register, ref, "key")
        target: Any = {"ref": ref, "named": ak.named(Ends, "it"), "via": ak.via(Ends, "registry", "key")}[kind]
        for reason in ("text", 7, ValueError(), ak.Failure):
            with pytest.raises(TypeError, match="it is not an exit reason"):
                getattr(target, end)(reason)
        assert ref.alive


# --- connections
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ANY)
@pytest.mark.parametrize("door", ["connected", "received", "async received"])
async def test_a_connections_end_cannot_fail(door: str, error: type[BaseException]) -> None:
    """What a connection's callback raises ends the connection, and its peer sees that."""
    leaf = error("here")

    class Line(ak.StreamActor):
        def connected(self) -> None:
            if door == "connected":
                raise leaf

        def received(self, data: bytes) -> None:
            raise leaf

    class AsyncLine(Line):
        async def received(self, data: bytes) -> None:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            raise leaf

    cls = AsyncLine if door == "async received" else Line
    caught: BaseException | None = None
    closed = False
    try:
        async with serving(ak.tcp_listener(cls, port=0, max_line=10)) as server:
            with trio.CancelScope(shield=True):
                async with server.client() as client:
                    try:
                        await client.send(b"x\n")
                    except trio.BrokenResourceError:
                        pass
                    closed = await client.gone()
            await trio.lowlevel.checkpoint()
    except BaseException as raised:
        caught = fatal_leaf(raised)
    assert closed
    assert caught is (leaf if error in FATAL else None)


async def test_a_step_that_found_the_stack_full_is_taken_again(opened: OpenNode) -> None:
    """The step is taken again from a fresh stack, and so are the steps after it, in order."""

    class Plain(ak.Actor):
        @ak.call
        async def ask(self) -> None:
            await trio.sleep_forever()

    async with opened() as node, trio.open_nursery() as nursery:
        record: Any = node.spawn(Plain)
        order: list[str] = []
        full = 3

        def note(name: str) -> Any:
            def noted(*_: Any) -> None:
                nonlocal full
                if name == "second" and full:
                    full -= 1
                    raise RecursionError
                order.append(name)

            return noted

        async def call() -> None:
            try:
                await record.call(Plain.ask)
            except ak.CalleeDied:
                order.append("its caller")

        for name in ("first", "second", "third"):
            record.need_relations().call_at_exit(note(name))
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        record.kill()
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        assert "its caller" in order
        assert [name for name in order if name != "its caller"] == ["first", "second", "third"]
        assert full == 0
        assert not node.engine.unsettled
