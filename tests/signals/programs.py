"""What runs in a process of its own: ``python -m tests.signals.programs CASE``, with CASE as
``Case.dump`` writes it.

It says lines on standard output: *ready* at the spot, *stopping* when something holds up the stop,
*tick* when SIGUSR1 has been handled, what came out of each ``open_node`` and out of the run, and
which actors had their last word.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import attrs
import trio

import actorkit as ak
import actorkit.cli

ticks = 0
ticked = threading.Event()
config: Config


@attrs.frozen
class Config:
    spot: str
    phase: str
    runner: str
    nodes: str
    around: str
    catch: bool
    hold: int
    slow: bool
    stop_timeout: float
    standstill: float


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


@trio.lowlevel.enable_ki_protection
def unwound(who: str) -> None:
    """Called in a ``finally`` to say that it ran. Protected, so that a second Ctrl-C does not cut
    that line short.
    """
    say(f"{who} unwound")


def on_tick(*_: object) -> None:
    global ticks
    ticks += 1
    ticked.set()
    say("tick")


async def hold() -> None:
    """Wait until the last signal has been handled."""
    while ticks < config.hold:
        await trio.sleep(0.005)


def loop() -> None:
    try:
        say("ready")
        while True:
            pass
    finally:
        unwound("spot")


async def rest() -> None:
    try:
        say("ready")
        await trio.sleep(math.inf)
    finally:
        unwound("spot")


def shape(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"Group[{', '.join(shape(each) for each in error.exceptions)}]"
    return type(error).__name__


# --- the other actors ------------------------------------------------------------------------


class Keeper(ak.Actor):
    trap_exit = True

    def __init__(self, name: str) -> None:
        self.name = name

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.sleep(0.01)
        say(f"{self.name} saved")


async def unwinds(ctx: ak.ProcessContext, name: str) -> None:
    try:
        say(f"{name} entered")
        await trio.sleep(math.inf)
    finally:
        unwound(name)


@trio.lowlevel.enable_ki_protection
async def slowly() -> None:
    """Hold up the stop. Protected: a Ctrl-C that strikes here would end the task that should hold
    up the stop until the next one.
    """
    say("stopping")
    await hold()


class Slow(ak.Actor):
    trap_exit = True

    async def terminate(self, reason: ak.ExitReason) -> None:
        await slowly()


# --- spots -----------------------------------------------------------------------------------

Children = list[Any]
Body = Callable[[ak.Node], Any]


async def finished(node: ak.Node) -> None:
    await node.finished()


async def at_once(node: ak.Node) -> None:
    pass


class LoopInConstructor(ak.Actor):
    def __init__(self) -> None:
        loop()


class LoopInInit(ak.Actor):
    def init(self) -> None:
        loop()


class LoopInAsyncInit(ak.Actor):
    async def init(self) -> None:
        await trio.lowlevel.checkpoint()
        loop()


class SleepsInInit(ak.Actor):
    async def init(self) -> None:
        await rest()


class Looper(ak.Actor):
    @ak.cast
    def cast_it(self) -> None:
        loop()

    @ak.cast
    async def cast_async(self) -> None:
        await trio.lowlevel.checkpoint()
        loop()

    @ak.call
    def plain(self) -> None:
        loop()

    @ak.call
    async def asynchronous(self) -> None:
        await trio.lowlevel.checkpoint()
        loop()

    @ak.cast
    async def wait(self) -> None:
        await rest()

    @ak.cast
    async def call_it(self, other: ak.Ref[Looper]) -> None:
        await other.call(Looper.plain)

    @ak.cast
    async def in_nursery(self) -> None:
        async def child() -> None:
            await trio.lowlevel.checkpoint()
            loop()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep(math.inf)

    @ak.cast
    def later(self) -> None:
        self.ctx.send_after(0.001, self.ctx.ref, "now")

    @ak.cast
    async def in_thread(self) -> None:
        try:
            say("ready")
            await trio.to_thread.run_sync(ticked.wait)
        finally:
            unwound("spot")

    @ak.cast
    async def shielded(self) -> None:
        try:
            with trio.CancelScope(shield=True):
                say("ready")
                await hold_one()
        finally:
            unwound("spot")

    def handle_info(self, message: object) -> None:
        loop()


async def hold_one() -> None:
    """Wait until one signal has been handled. A task that is shielded from the others would end
    only with the last one.
    """
    while ticks < 1:
        await trio.sleep(0.005)


class Continuer(ak.Actor):
    def init(self) -> None:
        self.ctx.continue_with(Continuer.go_on)

    @ak.cast
    def go_on(self) -> None:
        loop()


async def process(ctx: ak.ProcessContext) -> None:
    await trio.lowlevel.checkpoint()
    loop()


async def task() -> None:
    await trio.lowlevel.checkpoint()
    loop()


class Flooder(ak.Actor):
    other: ak.Ref[Flooder]
    count = 0

    @ak.cast
    def begin(self, other: ak.Ref[Flooder]) -> None:
        self.other = other
        for _ in range(10):
            other.cast(Flooder.pong, self.ctx.ref)

    @ak.cast
    def pong(self, other: ak.Ref[Flooder]) -> None:
        other.cast(Flooder.pong, self.ctx.ref)
        self.count += 1
        if self.count == 1_000:
            say("ready")


class Connection(ak.StreamActor):
    def received(self, line: bytes) -> None:
        loop()


class TerminateHolds(ak.Actor):
    trap_exit = True

    async def terminate(self, reason: ak.ExitReason) -> None:
        try:
            say("ready")
            await hold()
        finally:
            unwound("spot")


class TerminateSleeps(ak.Actor):
    trap_exit = True

    async def terminate(self, reason: ak.ExitReason) -> None:
        await rest()


class TerminateShielded(ak.Actor):
    trap_exit = True

    async def terminate(self, reason: ak.ExitReason) -> None:
        try:
            say("ready")
            with trio.CancelScope(shield=True):
                await hold_one()
        finally:
            unwound("spot")


class TerminateLoops(ak.Actor):
    trap_exit = True

    def terminate(self, reason: ak.ExitReason) -> None:
        loop()


class TerminateLoopsAsync(ak.Actor):
    trap_exit = True

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.lowlevel.checkpoint()
        loop()


async def finally_loops(ctx: ak.ProcessContext) -> None:
    try:
        await trio.sleep(math.inf)
    finally:
        loop()


def patient(cls: Any) -> Any:
    return ak.child(cls).with_(shutdown=math.inf)


def named(cls: Any, name: str = "it") -> Any:
    return ak.child(cls).with_(name=name)


def casting(method: Any) -> Body:
    async def body(node: ak.Node) -> None:
        ak.named(Looper, "it").cast(method)
        await node.finished()

    return body


async def spawn_loop(node: ak.Node) -> None:
    node.spawn(LoopInConstructor)


async def parked(node: ak.Node) -> None:
    say("ready")
    await node.finished()


async def flood(node: ak.Node) -> None:
    ak.named(Flooder, "it").cast(Flooder.begin, node.whereis("other"))
    await node.finished()


async def flood_of_calls(node: ak.Node) -> None:
    counted = node.spawn(Counter)
    while True:
        if await counted.call(Counter.add) == 1_000:
            say("ready")


class Counter(ak.Actor):
    count = 0

    @ak.call
    def add(self) -> int:
        self.count += 1
        return self.count


async def call_plain(node: ak.Node) -> None:
    await node.spawn(Looper).call(Looper.plain)


async def call_async(node: ak.Node) -> None:
    await node.spawn(Looper).call(Looper.asynchronous)


async def call_by_actor(node: ak.Node) -> None:
    ak.named(Looper, "it").cast(Looper.call_it, node.spawn(Looper))
    await node.finished()


async def send(node: ak.Node) -> None:
    ak.named(Looper, "it").send("hello")
    await node.finished()


async def run_task(node: ak.Node) -> None:
    await ak.named(ak.TaskSupervisor, "jobs").call(ak.TaskSupervisor.run, task)
    await node.finished()


async def connect(node: ak.Node) -> None:
    [(host, port)] = await ak.named(ak.Listener, "listener").call(ak.Listener.addresses)
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(b"hello\n")
        await node.finished()


async def loop_in_body(node: ak.Node) -> None:
    await trio.lowlevel.checkpoint()
    loop()


def spawn_slow(node: ak.Node) -> None:
    """The tree stops first, so an actor that holds up the stop of these must be outside the tree
    too.
    """
    if config.slow:
        node.spawn(patient(Slow))


async def outside(node: ak.Node) -> None:
    spawn_slow(node)
    node.spawn(patient(TerminateHolds))


async def loop_outside(node: ak.Node) -> None:
    spawn_slow(node)
    node.spawn(patient(TerminateLoops))


SPOTS: dict[str, tuple[Callable[[], Children], Body]] = {
    "init sleeps": (lambda: [ak.child(SleepsInInit)], finished),
    "the root's init sleeps": (lambda: [ak.child(SleepsInInit)], finished),
    "loop in a constructor": (lambda: [ak.child(LoopInConstructor)], finished),
    "loop in init": (lambda: [ak.child(LoopInInit)], finished),
    "loop in async init": (lambda: [ak.child(LoopInAsyncInit)], finished),
    "loop in a constructor spawned by the body": (list, spawn_loop),
    "all parked": (lambda: [ak.child(Counter)], parked),
    "flood of casts": (lambda: [named(Flooder), named(Flooder, "other")], flood),
    "flood of calls": (list, flood_of_calls),
    "async handlers wait": (lambda: [named(Looper)], casting(Looper.wait)),
    "loop in a cast": (lambda: [named(Looper)], casting(Looper.cast_it)),
    "loop in an async cast": (lambda: [named(Looper)], casting(Looper.cast_async)),
    "loop in a call": (list, call_async),
    "loop in an inline call by the body": (list, call_plain),
    "loop in an inline call by an actor": (lambda: [named(Looper)], call_by_actor),
    "loop in handle_info": (lambda: [named(Looper)], send),
    "loop in continue": (lambda: [ak.child(Continuer)], finished),
    "loop after a timer": (lambda: [named(Looper)], casting(Looper.later)),
    "loop in a process": (lambda: [ak.child(process)], finished),
    "loop in a nursery's child": (lambda: [named(Looper)], casting(Looper.in_nursery)),
    "loop in a task": (lambda: [ak.task_supervisor(name="jobs")], run_task),
    "loop in received": (lambda: [ak.tcp_listener(Connection, port=0, max_line=100, name="listener")], connect),
    "loop in the body": (list, loop_in_body),
    "in a thread": (lambda: [named(Looper)], casting(Looper.in_thread)),
    "shielded": (lambda: [named(Looper)], casting(Looper.shielded)),
    "terminate waits": (lambda: [patient(TerminateHolds)], at_once),
    "terminate waits for ever": (lambda: [patient(TerminateSleeps)], at_once),
    "shielded terminate": (lambda: [patient(TerminateShielded)], at_once),
    "loop in terminate": (lambda: [patient(TerminateLoops)], at_once),
    "loop in async terminate": (lambda: [patient(TerminateLoopsAsync)], at_once),
    "loop in a process's finally": (lambda: [patient(finally_loops)], at_once),
    "terminate outside the tree waits": (list, outside),
    "loop in terminate outside the tree": (list, loop_outside),
}
"""The children and the body for each spot."""


# --- nodes -----------------------------------------------------------------------------------


async def node(name: str, children: Children, body: Body, stop_timeout: float) -> None:
    """Open one node, and say what came out of it."""
    tree = ak.supervisor(
        ak.child(Keeper, name).with_(id="keeper"), ak.child(unwinds, name).with_(id="unwinds"), *children
    )
    if name == "inner" and config.spot == "the root's init sleeps":
        tree = children[-1]
    try:
        limit = "64 GiB" if config.nodes == "governed" else None
        async with ak.open_node(tree, name=name, stop_timeout=stop_timeout, kill_timeout=0.5, memory_limit=limit) as it:
            await body(it)
    except BaseException as error:
        say(f"{name}: {shape(error)}")
        raise
    say(f"{name}: nothing")


async def inner() -> None:
    make, body = SPOTS[config.spot]
    children = make()
    if config.slow and "outside" not in config.spot:
        slow = patient(Slow).with_(id="slow")
        # It is told to stop before the spot, or after it.
        children = [*children, slow] if config.phase == "serving" else [slow, *children]
    await node("inner", children, body, config.stop_timeout)


async def nodes() -> None:
    if config.nodes in ("one", "governed"):
        await inner()
    elif config.nodes == "in a body":

        async def body(_: ak.Node) -> None:
            await inner()

        await node("outer", [], body, config.stop_timeout)
    elif config.nodes == "in a handler":

        async def host(ctx: ak.ProcessContext) -> None:
            await inner()

        spec = ak.child(host).with_(shutdown=math.inf, restart="temporary", id="host")

        async def over(it: ak.Node) -> None:
            [ref] = [e.ref for e in it.tree().children if e.id == "host"]  # type: ignore[union-attr]
            await it.stopped(ref)

        await node("outer", [spec], over, config.stop_timeout + 2)
    else:
        there = trio.Event()

        async def other(it: ak.Node) -> None:
            there.set()
            await first_is_over.wait()

        first_is_over = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node, "outer", [], other, config.stop_timeout)
            await there.wait()
            nursery.start_soon(one_of_two, first_is_over)


async def one_of_two(over: trio.Event) -> None:
    await inner()
    over.set()


async def hosted() -> None:
    try:
        await nodes()
    except KeyboardInterrupt:
        if not config.catch:
            raise
        say("caught")


async def main() -> str:
    if config.around == "nothing":
        await hosted()
    else:
        async with trio.open_nursery() as nursery:
            if config.around == "a nursery":
                await hosted()
            else:
                nursery.start_soon(hosted)
    return "done"


def run(text: str) -> None:
    """The whole program."""
    global config
    config = Config(**json.loads(text))
    actorkit.cli.STANDSTILL_SECONDS = config.standstill
    real = signal.pthread_kill

    def press(thread: int, number: int) -> None:
        """Press once only: if the machine stands still for a moment after that, the next press
        would force the exit.
        """
        actorkit.cli.STANDSTILL_SECONDS = 600.0
        real(thread, number)

    signal.pthread_kill = press
    signal.signal(signal.SIGUSR1, on_tick)
    try:
        result = (ak.run if config.runner == "ak" else trio.run)(main)
    except BaseException as error:
        over(shape(error))
        raise
    over(f"returned {result!r}")


def over(outcome: str) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a tick that comes late must not end the program
    say(f"run: {outcome}")


if __name__ == "__main__":
    run(sys.argv[1])
