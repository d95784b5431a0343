"""What the live tests of supervisors share: a lab that notes what its workers do, and tells them
how to start.

``lab.log`` collects "start a", "stop a shutdown", "fail a" …; ``lab.inits["a"]`` says what the
inits of worker a do, with one entry for each start, the last one for good: "ok", "ignore", "stop",
"raise", "nonsense", "hang", or a trio.Event to wait for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio
import trio.testing

import actorkit as ak

S = ak.Supervisor
D = ak.DynamicSupervisor

DIED = ak.Failure("died")
NOT_STARTED = ak.Failure("not started")


def word(reason: ak.ExitReason | None) -> str:
    return type(reason).__name__.lower()


class Lab:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.inits: dict[object, list[Any]] = {}
        self.refs: dict[object, Any] = {}
        self.lives: dict[object, list[Any]] = {}
        self.release = trio.Event()

    def spec(self, name: object, /, cls: Any = None, **fields: Any) -> ak.ChildSpec[Any]:
        return ak.child(cls or Worker, self, name).with_(**{"id": name, **fields})

    def specs(self, names: Iterable[object], cls: Any = None, **fields: Any) -> list[ak.ChildSpec[Any]]:
        return [self.spec(name, cls, **fields) for name in names]

    def born(self, name: object, ref: Any) -> None:
        self.refs[name] = ref
        self.lives.setdefault(name, []).append(ref)

    def next_init(self, name: object) -> Any:
        plan = self.inits.get(name, ["ok"])
        return plan.pop(0) if len(plan) > 1 else plan[0]

    def take(self) -> list[str]:
        log, self.log = self.log, []
        return log


class Worker(ak.Actor):
    """Traps exits, so that it can say how it was stopped."""

    trap_exit = True

    def __init__(self, lab: Lab, name: object) -> None:
        self.lab, self.name = lab, name
        lab.born(name, self.ctx.ref)

    async def init(self) -> Any:
        plan = self.lab.next_init(self.name)
        self.lab.log.append(f"start {self.name}" if plan == "ok" else f"{plan} {self.name}")
        match plan:
            case "ignore":
                return ak.IGNORE
            case "stop":
                return ak.Stop(NOT_STARTED)
            case "raise":
                raise ValueError("no luck")
            case "nonsense":
                return 42
            case "hang":
                await trio.sleep_forever()
            case trio.Event():
                await plan.wait()
        return None

    def handle_info(self, message: object) -> None:
        self.lab.log.append(f"info {self.name} {type(message).__name__}")

    def terminate(self, reason: ak.ExitReason) -> Any:
        self.lab.log.append(f"stop {self.name} {word(reason)}")

    @ak.cast
    def end(self, reason: ak.ExitReason) -> None:
        self.ctx.exit_now(reason)

    @ak.cast
    def crash(self) -> None:
        raise RuntimeError("told to")

    @ak.cast
    async def block(self) -> None:
        await trio.sleep_forever()

    @ak.cast
    async def shielded(self) -> None:
        with trio.CancelScope(shield=True):
            await self.lab.release.wait()


class Quiet(Worker):
    """Does not trap exits: the parent's shutdown ends it at once."""

    trap_exit = False


class Slow(Worker):
    """Takes two seconds to end."""

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.sleep(2)
        super().terminate(reason)


class Own(Worker):
    """Ends with a reason of its own when it is told to stop."""

    def terminate(self, reason: ak.ExitReason) -> None:
        super().terminate(reason)
        if isinstance(self.name, ak.ExitReason):
            self.ctx.exit_now(self.name)
        self.ctx.exit_now(ak.Shutdown("own"))


async def settled() -> None:
    """Let everything that is ready run."""
    await trio.testing.wait_all_tasks_blocked()


def top() -> ak.Ref[S]:
    return ak.named(S, "top")


def dyn() -> ak.Ref[D]:
    return ak.named(D, "dyn")


def tree(*specs: ak.ChildSpec[Any], **flags: Any) -> ak.ChildSpec[Any]:
    """A supervisor named "top"."""
    return ak.supervisor(*specs, **flags).with_(name="top")


def under(*specs: ak.ChildSpec[Any], restart: Any = "temporary", **flags: Any) -> ak.ChildSpec[Any]:
    """A root with the supervisor "top" below it, so that the end of "top" is not the end of the
    node.
    """
    return ak.supervisor(tree(*specs, **flags).with_(restart=restart)).with_(name="root")


async def states(ref: ak.Ref[Any] | None = None) -> dict[object, str]:
    return {info.id: info.state for info in await (ref or top()).call(S.which_children)}


async def counts(ref: ak.Ref[Any] | None = None) -> tuple[int, int, int, int]:
    count = await (ref or top()).call(S.count_children)
    return (count.specs, count.active, count.supervisors, count.workers)


class Reasons:
    """The exit reasons of all actors, by ref, through the node's events."""

    def __init__(self, node: ak.Node) -> None:
        self.stream = node.subscribe(ak.ActorExited, capacity=100_000)

    def __enter__(self) -> Reasons:
        self.stream.__enter__()
        self.seen: dict[Any, ak.ExitReason] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.__exit__()

    def __getitem__(self, ref: Any) -> ak.ExitReason | None:
        for event in self.stream.drain():
            assert isinstance(event, ak.ActorExited)
            self.seen[event.ref] = event.reason
        return self.seen.get(ref)
