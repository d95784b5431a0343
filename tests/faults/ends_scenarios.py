"""What the sweep of ends drives: small programs, each on a node of its own. Every call out of the
runtime in them passes ``step``.
"""

from __future__ import annotations

import contextvars
import sys
from types import FrameType
from typing import Any

import trio
from trio.lowlevel import enable_ki_protection

import actorkit as ak
from actorkit.policy.supervision.actor_options import is_sound
from actorkit.testing import ScriptedMemory

from .ends_world import Held, Odd, OddError, Scenario, Value, World, step

VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE")


class Plainest(ak.Actor):
    """An actor without init, terminate and handle_info."""

    def __init__(self) -> None:
        step("constructor")
        self.held = Held()

    @ak.call
    def ask(self, what: Any) -> Any:
        step("call")
        return what

    @ak.cast
    def fail(self, *what: Any) -> None:
        step("cast")
        raise OddError(*what)

    @ak.call
    def run(self, function: Any, *args: Any) -> Any:
        step("call")
        return function(self, *args)


class Full(ak.Actor):
    """An actor with every callback."""

    trap_exit = True

    def __init__(self, *others: Any) -> None:
        step("constructor")
        self.held = Held()
        self.odd = Odd()
        self.others = others
        self.later: Any = None

    def init(self) -> None:
        step("init")
        for other in self.others:
            if other.alive:
                self.ctx.monitor(other)
        self.ctx.continue_with(Full.go_on)

    def go_on(self) -> None:
        step("continue")

    def format_status(self) -> object:
        step("format_status")
        return {"odd": 1}

    def handle_info(self, message: Any) -> None:
        step("info")

    def terminate(self, reason: ak.ExitReason) -> None:
        step("terminate")

    @ak.call
    def ask(self, what: Any) -> Any:
        step("call")
        return what

    @ak.call
    async def ask_later(self, what: Any) -> Any:
        step("async call")
        await trio.sleep(0.01)
        step("async call, later")
        return what

    @ak.call
    def ask_somebody(self) -> ak.Later[int]:
        step("call")
        self.later = ak.Later[int]()
        self.ctx.send_after(0.1, self.ctx.ref, "answer")
        self.ctx.continue_with(Full.answer)
        return self.later

    def answer(self) -> None:
        step("continue")
        self.later.set(7)

    @ak.call
    async def ask_other(self, other: Any, what: Any) -> Any:
        step("async call")
        return await other.call(Full.ask, what)

    @ak.call
    async def ask_other_later(self, other: Any, what: Any) -> Any:
        step("async call")
        return await other.call(Full.ask_later, what)

    @ak.cast
    def tell(self, *what: Any) -> None:
        step("cast")

    @ak.cast
    async def tell_later(self, *what: Any) -> None:
        step("async cast")
        await trio.sleep(0.01)
        step("async cast, later")

    @ak.cast
    def fail(self, *what: Any) -> None:
        step("cast")
        raise OddError(*what)

    @ak.call
    def fail_asked(self, *what: Any) -> None:
        step("call")
        raise OddError(*what)

    @ak.call
    async def fail_later(self, *what: Any) -> None:
        step("async call")
        await trio.sleep(0.01)
        raise OddError(*what)

    @ak.call
    def run(self, function: Any, *args: Any) -> Any:
        step("call")
        return function(self, *args)

    @ak.call
    def mark(self) -> None:
        step("call")
        VARIABLE.set(Value())

    @ak.call
    async def nursery(self) -> None:
        step("async call")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.kid)
            nursery.start_soon(self.kid)

    async def kid(self) -> None:
        step("nursery child")
        await trio.sleep(0.01)
        step("nursery child, later")


class Slow(Full):
    """An actor that takes its time to end."""

    async def terminate(self, reason: ak.ExitReason) -> None:
        step("async terminate")
        await trio.sleep(0.1)
        step("async terminate, later")


class FailsAtTheEnd(Full):
    def terminate(self, reason: ak.ExitReason) -> None:
        step("terminate")
        raise OddError("at the end")


class SlowInit(Full):
    async def init(self) -> None:
        step("async init")
        await trio.sleep(0.01)
        step("async init, later")


class Refuses(ak.Actor):
    def __init__(self, how: Any) -> None:
        step("constructor")
        self.how = how

    def init(self) -> Any:
        step("init")
        if isinstance(self.how, BaseException):
            raise self.how
        return self.how


class Unborn(ak.Actor):
    def __init__(self) -> None:
        step("constructor")
        raise OddError("no")


def factory(*args: Any) -> Full:
    step("factory")
    return Full(*args)


async def process(ctx: ak.ProcessContext, *others: Any) -> None:
    step("process")
    for other in others:
        ctx.link(other)
    async for message in ctx:
        step("process, later")
        if message == "fail":
            raise OddError("process")
        if message == "choose":
            await ctx.receive(wants)
        if message == "end":
            return


def wants(message: Any) -> bool:
    step("predicate")
    return bool(message == "wanted")


async def trapping(ctx: ak.ProcessContext) -> None:
    step("process")
    ctx.trap_exit = True
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kid)
            while not isinstance(await ctx.receive(), ak.Exit):
                step("process, later")
            nursery.cancel_scope.cancel()
    finally:
        step("process, finally")


async def kid() -> None:
    step("nursery child")
    await trio.sleep(3)
    step("nursery child, later")


async def rest(seconds: float = 1.0) -> None:
    await trio.sleep(seconds)


# --- scenarios -----------------------------------------------------------------------------------


async def births(world: World) -> None:
    """Every way to begin, and every way to fail to begin."""
    node = world.node
    hub = node.spawn(Full)
    world.watch(hub)
    for start in (Plainest, Full, SlowInit, Unborn, factory, process, ak.child(Full).with_(name="one")):
        with world.attempt():
            world.watch(node.spawn(start))
        with world.attempt():
            ref = await node.start(start)
            world.watch(ref)
    for how in (ak.IGNORE, ak.Stop(ak.Failure(Odd())), OddError("init"), 7, ak.ActorExit(ak.Failure(Odd()))):
        with world.attempt():
            await node.start(Refuses, how)
    for start in (Plainest, SlowInit, Unborn, process, factory):
        with world.attempt():
            world.watch(await hub.call(Full.run, lambda self, start=start: self.ctx.spawn_link(start)))
        with world.attempt():
            world.watch((await hub.call(Full.run, lambda self, start=start: self.ctx.spawn_monitor(start)))[0])
    await rest()


async def messages(world: World) -> None:
    node = world.node
    ref = node.spawn(Full)
    plain = node.spawn(Plainest)
    narrow = node.spawn(ak.child(Full).with_(mailbox=1))
    world.watch(ref, plain, narrow)
    for one in (ref, narrow):
        one.cast(Full.tell, Odd())
        one.cast(Full.tell_later, Odd())
        one.cast(Full.tell, 2, 3)
        one.send(Odd())
        with world.attempt():
            await one.cast_wait(Full.tell, Odd())
        with world.attempt():
            await one.send_wait(Odd())
    plain.send(Odd())
    node.send_after(0.1, ref, Odd())
    node.send_after(0.1, plain, Odd())
    node.send_after(0.1, ak.named(Full, "nobody"), Odd())
    ak.named(Full, "nobody").send(Odd())
    with world.attempt():
        await ref.call(Full.run, lambda self: setattr(self.ctx, "idle_timeout", 0.3))
    with world.attempt():
        await ref.call(Full.mark)
    ref.cast(Full.tell)
    with world.attempt():
        await ref.call(Full.ask_later, 2)
    await rest()
    plain.cast(Plainest.fail, Odd())
    ref.cast(Full.fail, Odd())
    narrow.cast(Full.fail, Odd())
    await rest()
    ref.cast(Full.tell, Odd())
    ref.send(Odd())


async def calls(world: World) -> None:
    node = world.node
    callee = node.spawn(Full)
    caller = node.spawn(Full)
    failing = [node.spawn(Full) for _ in range(4)]
    plain = [node.spawn(Plainest) for _ in range(2)]
    world.watch(callee, caller, *failing, *plain)
    for ref in (callee, callee.within(2)):
        with world.attempt():
            await ref.call(Full.ask, 1)
        with world.attempt():
            await ref.call(Full.ask_later, 2)
        with world.attempt():
            await ref.call(Full.ask_somebody)
    for method in (Full.ask_other, Full.ask_other_later):
        with world.attempt():
            await caller.call(method, callee, 3)
    with world.attempt():
        await callee.call(Full.nursery)
    with world.attempt():
        callee.cast(Full.tell_later)
        await callee.call(Full.ask, 4)
    with trio.move_on_after(0.005):
        with world.attempt():
            await callee.call(Full.ask_later, 5)
    with world.attempt():
        await caller.call(Full.ask_other_later, caller, 6)
    with world.attempt():
        await failing[0].call(Full.fail_asked, Odd())
    with world.attempt():
        await failing[1].call(Full.fail_later, Odd())
    with world.attempt():
        failing[2].cast(Full.tell_later)
        await failing[2].call(Full.fail_asked, Odd())
    with world.attempt():
        await plain[0].call(Plainest.run, fail)
    with world.attempt():
        await plain[1].call(Plainest.run, lambda self: self.ctx.exit_now(ak.Failure(Odd())))
    with world.attempt():
        await caller.call(Full.ask_other_later, failing[3], 1)
    await rest()


def fail(_: Any) -> None:
    raise OddError("asked")


async def exits(world: World) -> None:
    """Links and monitors, and every way to end."""
    node = world.node
    ends: list[Any] = [
        lambda ref: ref.cast(Full.fail, Odd()),
        lambda ref: ref.exit(ak.Failure(Odd())),
        lambda ref: ref.stop(),
        lambda ref: ref.stop(ak.Failure(Odd())),
        lambda ref: ref.kill(),
        lambda ref: (ref.cast(Full.tell_later), ref.send("x"), ref.kill()),
    ]
    for number, end in enumerate(ends):
        cls = (Full, Slow, FailsAtTheEnd)[number % 3]
        ref = node.spawn(ak.child(cls).with_(name=f"number {number}"))
        watcher = node.spawn(Full, ref)
        linked = node.spawn(Plainest)
        together = node.spawn(process, ref)
        world.watch(ref, watcher, linked, together)
        with world.attempt():
            await watcher.call(Full.run, link, ref)
        with world.attempt():
            await linked.call(Plainest.run, link, ref)
        await rest(0.001)
        end(ref)
        await rest(0.3)
    one, other = node.spawn(Plainest), node.spawn(Plainest)
    world.watch(one, other)
    with world.attempt():
        await one.call(Plainest.run, link, other)
    with world.attempt():
        await one.call(Plainest.run, lambda self: self.ctx.exit_now(ak.Shutdown(Odd())))
    await rest()


def link(self: Any, other: Any) -> None:
    self.ctx.link(other)


async def restarts(world: World) -> None:
    node = world.node
    for strategy in ("one_for_one", "one_for_all", "rest_for_one"):
        children = [
            ak.child(Full).with_(id=f"{strategy} a", name=f"{strategy} a", backoff=ak.Backoff(0.1, jitter=0)),
            ak.child(factory).with_(id=f"{strategy} b", name=f"{strategy} b"),
            ak.child(process).with_(id=f"{strategy} c", name=f"{strategy} c"),
        ]
        supervisor = None
        with world.attempt():
            supervisor = await node.start(ak.supervisor(*children, strategy=strategy, max_restarts=30))
        if supervisor is None:
            continue
        world.watch(supervisor)
        for letter in "abc":
            ref = node.whereis(f"{strategy} {letter}")
            world.watch(ref)
            if letter == "c" and ref is not None:
                ref.send("fail")
            elif letter == "b" and ref is not None:
                with world.attempt():
                    await ref.call(Full.fail_asked, Odd())
            elif ref is not None:
                ref.cast(Full.fail, Odd())
            await rest(0.5)
        await rest(60)  # the longest backoff
        for letter in "abc":
            ref = node.whereis(f"{strategy} {letter}")
            world.watch(ref)
            if ref is None and supervisor.alive:
                world.problems.append(f"the supervisor of {strategy} has not started {letter} again")
        with world.attempt():
            await supervisor.call(ak.Supervisor.terminate_child, f"{strategy} a")
        with world.attempt():
            await supervisor.call(ak.Supervisor.restart_child, f"{strategy} a")
        with world.attempt():
            await supervisor.call(ak.Supervisor.which_children)
        supervisor.stop()
        await rest(0.5)


async def gives_up(world: World) -> None:
    node = world.node
    with world.attempt():
        inner = ak.supervisor(ak.child(Full).with_(name="often"), max_restarts=1).with_(id="inner")
        outer = await node.start(ak.supervisor(inner, ak.child(Slow).with_(id=Id()), max_restarts=3))
        world.watch(outer)
    for _ in range(5):
        ref = node.whereis("often")
        world.watch(ref)
        if ref is not None:
            ref.cast(Full.fail, Odd())
        await rest(0.2)
    for how in (OddError("init"), ak.Stop(ak.Failure(Odd())), 7):
        with world.attempt():
            spec = ak.child(Refuses, how).with_(id=Id())
            await node.start(ak.supervisor(ak.child(Full), spec, ak.child(SlowInit).with_(id="never")))
    for cls in (Unborn, SlowInit):
        with world.attempt():
            await node.start(ak.supervisor(ak.child(Slow), ak.child(cls)))
    await rest()


class Id(Odd):
    """A child's id. Where a spec is made, asking for the id's text is not a step: an id without a
    text is refused there, in its author's call.
    """

    __hash__ = object.__hash__

    @enable_ki_protection
    def __repr__(self) -> str:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code is is_sound.__code__:
                return "odd"
            frame = frame.f_back
        return super().__repr__()


async def dynamic(world: World) -> None:
    node = world.node
    supervisor = None
    with world.attempt():
        supervisor = await node.start(ak.dynamic_supervisor(max_restarts=30))
    if supervisor is None:
        return
    world.watch(supervisor)
    refs: list[Any] = []
    for start in (Full, SlowInit, process, factory, Unborn):
        with world.attempt():
            spec = ak.child(start).with_(restart="transient", id=Id())
            refs.append(await supervisor.call(ak.DynamicSupervisor.start_child, spec))
    world.watch(*refs)
    for ref in refs[:3]:
        if ref.kind.process:
            ref.send("fail")
        else:
            ref.cast(Full.fail, Odd())
    await rest()
    for ref in refs[2:]:
        with world.attempt():
            await supervisor.call(ak.DynamicSupervisor.terminate_child, ref)
    await rest()


async def shutdowns(world: World) -> None:
    """Actors that end with the node, which the sweep stops right away."""
    node = world.node
    for cls in (Full, Slow, FailsAtTheEnd, Plainest):
        world.watch(node.spawn(cls))
    for function in (process, trapping):
        world.watch(node.spawn(function))
    with world.attempt():
        tree = ak.supervisor(
            ak.child(Slow).with_(id=Id()),
            ak.child(Full).with_(id="brutal", shutdown="brutal_kill"),
            ak.child(FailsAtTheEnd).with_(id="fails"),
            ak.child(Slow).with_(id="too slow", shutdown=0.05),
            ak.supervisor(ak.child(trapping), ak.child(Slow).with_(id="inner")),
        )
        world.watch(await node.start(tree))
    busy = node.spawn(Full)
    world.watch(busy)
    busy.cast(Full.tell_later)
    busy.cast(Full.tell_later)
    busy.send(Odd())
    node.send_after(0.05, busy, Odd())
    await rest(0.001)
    world.stop_now = True


async def processes(world: World) -> None:
    node = world.node
    ref = node.spawn(process)
    world.watch(ref, node.spawn(process, ref), node.spawn(trapping))
    for message in ("x", "choose", "y", "wanted", "z"):
        ref.send(message)
    await rest(0.1)
    for last in ("end", "fail"):
        ref = node.spawn(process)
        world.watch(ref)
        ref.send(last)
        await rest(0.1)
    other = node.spawn(trapping)
    world.watch(other)
    await rest(0.1)
    other.exit(ak.Failure(Odd()))
    await rest(4)


async def tasks(world: World) -> None:
    node = world.node
    supervisor = None
    with world.attempt():
        supervisor = await node.start(ak.task_supervisor(name="jobs"))
    if supervisor is None:
        return
    owner = node.spawn(Full)
    world.watch(supervisor, owner)
    for function in (work, fails):
        with world.attempt():
            task = await supervisor.call(ak.TaskSupervisor.run, function, 1)
            world.watch(task.ref)
            await task.result()
        with world.attempt():
            task = await supervisor.call(ak.TaskSupervisor.run_linked, owner, function, 1)
            world.watch(task.ref)
            await task.result()
        with world.attempt():
            world.watch(await supervisor.call(ak.TaskSupervisor.start, function, 2))
    with world.attempt():
        task = await supervisor.call(ak.TaskSupervisor.run, work, 9)
        world.watch(task.ref)
        await task.shutdown()
    with world.attempt():
        async with ak.task_stream(supervisor, work, range(4), max_concurrency=2) as results:
            async for _ in results:
                pass
    await rest()


async def work(number: int) -> int:
    step("task")
    await trio.sleep(0.01 * number)
    step("task, later")
    return number


async def fails(number: int) -> int:
    step("task")
    raise OddError(Odd())


async def registries(world: World) -> None:
    node = world.node
    listener = node.spawn(ak.child(Full).with_(name="listener"))
    world.watch(listener)
    registry = groups = None
    with world.attempt():
        registry = await node.start(ak.registry(name="registry", listeners=[ak.named(Full, "listener")]))
        groups = await node.start(ak.process_groups(name="groups"))
    if registry is None or groups is None:
        return
    world.watch(registry, groups)
    with world.attempt():
        await groups.call(ak.ProcessGroups.monitor, listener)
    refs = [node.spawn(cls) for cls in (Full, Slow, Plainest)] + [node.spawn(process)]
    world.watch(*refs)
    for number, ref in enumerate(refs):
        with world.attempt():
            await registry.call(ak.Registry.register, ref, number)
        with world.attempt():
            await groups.call(ak.ProcessGroups.join, "all", ref)
    with world.attempt():
        await registry.call(ak.Registry.match, lambda key, ref, value: step("predicate"))
    with world.attempt():
        await registry.call(ak.Registry.update_value, refs[0], 0, update)
    with world.attempt():
        await ak.Registry.dispatch(registry, 1, lambda entries: step("host"))
    with world.attempt():
        await ak.via(Full, "registry", 0).call(Full.ask, 1)
    with world.attempt():
        await groups.call(ak.ProcessGroups.broadcast, "all", Odd())
    refs[0].cast(Full.fail, Odd())
    refs[1].stop(ak.Failure(Odd()))
    refs[2].cast(Plainest.fail, Odd())
    refs[3].send("fail")
    await rest()
    for number, ref in enumerate(refs):
        if registry.alive and not ref.alive:
            with world.attempt():
                if await registry.call(ak.Registry.lookup, number):
                    world.problems.append("a dead actor is in the registry")
    registry.kill()
    groups.kill()
    await rest()


def update(value: Any) -> Any:
    step("update")
    return value


class Line(ak.StreamActor):
    def __init__(self) -> None:
        step("constructor")
        self.held = Held()

    def init(self) -> None:
        step("init")

    def connected(self) -> None:
        step("connected")

    def received(self, data: bytes) -> None:
        step("received")
        if data == b"fail":
            raise OddError("line")
        self.write(data + b"\n")

    def handle_info(self, message: Any) -> None:
        step("info")

    def terminate(self, reason: ak.ExitReason) -> None:
        step("terminate")


class AsyncLine(Line):
    async def connected(self) -> None:  # type: ignore[override]
        step("async connected")
        await trio.lowlevel.checkpoint()
        step("async connected, later")

    async def received(self, data: bytes) -> None:  # type: ignore[override]
        step("async received")
        await trio.lowlevel.checkpoint()
        step("async received, later")
        self.write(data + b"\n")


async def streams(world: World) -> None:
    node = world.node
    for cls in (Line, AsyncLine):
        listener = None
        with world.attempt():
            listener = await node.start(ak.tcp_listener(cls, port=0, max_line=100))
            world.watch(listener)
        if listener is None:
            continue
        for last in (b"x\n", b"fail\n", None):
            with world.attempt():
                [(host, port)] = await listener.call(ak.Listener.addresses)
                async with await connected(host, port) as stream:
                    await stream.send_all(b"a\nb\n")
                    await stream.receive_some(100)
                    for child in await listener.call(ak.DynamicSupervisor.which_children):
                        world.watch(child.ref)
                        child.ref.send(Odd())
                        if last is None:
                            child.ref.stop()
                    if last is not None:
                        await stream.send_all(last)
                        await stream.receive_some(100)
        await rest(0.1)


async def connected(host: str, port: int) -> trio.SocketStream:
    """Connect without ``trio.open_tcp_stream``, whose nursery makes groups of interrupts."""
    sock = trio.socket.socket()
    try:
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def looking(world: World) -> None:
    """The calls of ak.sys."""
    node = world.node
    ref = node.spawn(Full)
    world.watch(ref)
    for ask in (
        lambda: ak.sys.suspend(ref),
        lambda: ak.sys.trace(ref, lambda traced: step("trace")),
        lambda: ak.sys.get_status(ref),
        lambda: ak.sys.replace_state(ref, replace),
        lambda: ak.sys.resume(ref),
        lambda: ref.call(Full.ask, 1),
        lambda: ref.call(Full.ask_later, 1),
        lambda: ak.sys.no_trace(ref),
    ):
        with world.attempt():
            ref.cast(Full.tell)
            await ask()
    for ask in (lambda: ak.sys.get_state(ref), lambda: ak.sys.replace_state(ref, replace)):
        with world.attempt():
            ref.cast(Full.tell_later)
            await trio.lowlevel.checkpoint()
            await ask()
    with world.attempt():
        await ak.sys.suspend(ref)
        ref.cast(Full.fail, Odd())
        ref.stop()
    await rest()


def replace(state: dict[str, Any]) -> dict[str, Any]:
    step("replace_state")
    return state


class Subscriber(ak.Actor):
    def init(self) -> None:
        step("init")
        self.ctx.subscribe(ak.SystemEvent)

    def handle_info(self, message: Any) -> None:
        step("event, an actor's")


async def subscribed(world: World) -> None:
    node = world.node
    world.watch(node.spawn(Subscriber))
    await rest(0.01)
    refs = [node.spawn(Full), node.spawn(Plainest), node.spawn(process)]
    world.watch(*refs)
    with world.attempt():
        await node.start(ak.supervisor(ak.child(Full).with_(name="watched")))
    refs[0].cast(Full.fail, Odd())
    refs[1].cast(Plainest.fail, Odd())
    refs[2].send("fail")
    ref = node.whereis("watched")
    if ref is not None:
        ref.cast(Full.fail, Odd())
    await rest(0.1)
    refs[0].send(Odd())


async def nested(world: World) -> None:
    """A node within a node, in the host's task and in a process."""
    world.watch(world.node.spawn(has_a_node, world))
    async with ak.open_node(ak.supervisor(ak.child(Full).with_(name="inner"))) as inner:
        ref = ak.named(Full, "inner")
        with world.attempt():
            await ref.call(Full.ask, 1)
        with world.attempt():
            await inner.spawn(Full).call(Full.ask_later, 1)
        with world.attempt():
            await world.node.spawn(Full).call(Full.ask_later, 1)
        ref.cast(Full.fail, Odd())
        await rest()
    with trio.move_on_after(0.05):
        async with ak.open_node(ak.supervisor(ak.child(Slow).with_(name="inner"))) as inner:
            inner.spawn(trapping)
            ref = inner.spawn(Full)
            ref.cast(Full.tell_later)
            await inner.finished()


async def has_a_node(ctx: ak.ProcessContext, world: World) -> None:
    step("process")
    async with ak.open_node(ak.supervisor(ak.child(Slow).with_(name="inside"))) as node:
        with world.attempt():
            await ak.named(Full, "inside").call(Full.ask, 1)
        await ctx.receive()


async def tree_ends(world: World) -> None:
    """The supervision tree itself gives up."""
    world.gives_up = True
    echo = world.node.whereis("echo")
    for _ in range(2):
        if echo is not None:
            echo.cast(Full.fail, Odd())
        await rest(0.1)
        echo = world.node.whereis("echo")
    if echo is not None:
        with world.attempt():
            await echo.call(Full.ask, 7)


class Heavy(Full):
    """An actor with a budget, which it exceeds."""

    def handle_info(self, message: Any) -> None:
        step("info")
        if isinstance(message, ak.MemoryPressure):
            step("memory pressure")

    @ak.cast
    def keep(self, *what: Any) -> None:
        step("cast")
        self.kept = what

    @ak.cast
    def watch(self) -> None:
        step("cast")
        self.ctx.watch_memory()


async def budgets(world: World) -> None:
    node = world.node
    supervisor = None
    spec = ak.child(Heavy).with_(max_heap_size="64 KiB")
    with world.attempt():
        supervisor = await node.start(ak.supervisor(spec.with_(name="heavy"), max_restarts=30))
    refs = [node.spawn(spec), node.spawn(spec), node.whereis("heavy")]
    world.watch(supervisor, *refs)
    for ref in refs:
        if ref is not None:
            ref.cast(Heavy.keep, Odd(), bytes(1000))
            ref.send(Odd())
            with world.attempt():
                await ref.call(Full.ask_later, [Odd(), Value()])
            with world.attempt():
                await ref.call(Full.run, lambda self: setattr(self, "kept", bytes(200_000)))
    with world.attempt():
        await node.heap_census()
    await rest()


async def governed(world: World) -> None:
    """A node that is short of memory for a while."""
    source = ScriptedMemory(limit=100 * 2**20, used=10 * 2**20)
    spec = ak.supervisor(ak.child(Full).with_(name="inner"))
    async with ak.open_node(spec, memory_source=source, governor=ak.GovernorSettings(reserve=0)) as node:
        for priority in (ak.Priority.LOW, ak.Priority.NORMAL, ak.Priority.CRITICAL):
            ref = node.spawn(ak.child(Heavy).with_(priority=priority))
            ref.cast(Heavy.watch)
            ref.cast(Heavy.keep, bytes(100_000))
        for used in (93, 50):
            source.used = used * 2**20
            source.wake()
            await rest(0.1)


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        births, messages, calls, exits, restarts, gives_up, dynamic, shutdowns, processes, tasks, registries, streams,
        looking, subscribed, nested, tree_ends, budgets, governed,
    )
}  # fmt: skip


class Clerk(ak.Actor):
    """The first child of the tree; it opens the books."""

    def __init__(self, world: World) -> None:
        world.prepare(self.ctx.node)


def tree(world: World, max_restarts: int) -> Any:
    return ak.supervisor(
        ak.child(Clerk, world),
        ak.child(Full).with_(name="echo"),
        ak.child(Slow).with_(name="slow"),
        max_restarts=max_restarts,
    )


async def program(world: World, scenario: Scenario, features: Any) -> None:
    """The host's main function."""
    try:
        spec = tree(world, 1 if scenario is tree_ends else 100)
        async with ak.open_node(spec, kill_timeout=50, slice_seconds=1, features=features):
            try:
                await scenario(world)
                if not world.stop_now:
                    await rest(20)
                    world.check()
                    with world.attempt():
                        if await ak.named(Full, "echo").call(Full.ask, 7) != 7:
                            world.problems.append("a wrong echo")
            finally:
                world.closes()
    finally:
        world.closed()
