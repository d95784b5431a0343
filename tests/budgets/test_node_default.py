"""The limit that a node gives by default is for workers: what holds the node's tables is exempt."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.runtime.actor.actor_base import ActorBase, NodesOwn
from bench.load import raise_descriptor_limit
from tests.effort import times

from .conftest import KIB

DEFAULT = ak.HeapLimit("64 KiB", log=False)


class Worker(ak.Actor):
    pass


class Shelf(ak.Registry):
    """A registry of a user's own."""


class Groups(ak.ProcessGroups):
    """Groups of a user's own. As an attribute, ``kind`` says nothing about its role."""

    kind = "worker"

    def __init__(self) -> None:
        pass


async def process(ctx: ak.ProcessContext) -> None:
    await ctx.receive()


async def refs_and_limits(tree: ak.ChildSpec[Any] | None = None, *specs: Any) -> dict[str, Any]:
    """The limit of each actor in the tree, and of what is spawned besides, by what it is."""
    async with ak.open_node(tree, max_heap_size=DEFAULT) as node:
        for spec in specs:
            node.spawn(spec)
        found: list[Any] = list(node.processes())
        return {ref.started_as: ref.max_heap_size for ref in found}


async def test_what_the_package_brings_is_exempt() -> None:
    """Supervisors of each kind, listeners, registries and groups have no limit, their children the
    node's."""
    tree = ak.supervisor(
        ak.registry(name="names"),
        ak.process_groups(name="groups"),
        ak.dynamic_supervisor().with_(name="rooms"),
        ak.task_supervisor(name="jobs"),
        ak.partition_supervisor(ak.child(Worker), name="counters", partitions=1),
        ak.tcp_listener(ak.StreamActor, port=0, max_line=100, name="listener"),
        ak.child(Worker).with_(id="worker", name="worker"),
        ak.child(process).with_(name="process"),
    )
    limits = await refs_and_limits(tree)
    assert {who for who, limit in limits.items() if limit is None} == {
        "Supervisor",
        "Registry 'names'",
        "ProcessGroups 'groups'",
        "DynamicSupervisor 'rooms'",
        "TaskSupervisor 'jobs'",
        "PartitionSupervisor 'counters'",
        "Listener 'listener'",
    }
    assert {who for who, limit in limits.items() if limit is not None} == {
        "Worker",
        "Worker 'worker'",
        "process 'process'",
    }
    assert all(limit.size == 64 * KIB for limit in limits.values() if limit is not None)


async def test_a_spec_that_gives_a_limit_has_it() -> None:
    """Whatever the actor is: then it is meant. What the spec leaves open comes from the node."""
    limits = await refs_and_limits(
        None,
        ak.registry(name="names").with_(max_heap_size="1 MiB"),
        ak.supervisor().with_(max_heap_size="2 MiB"),
        ak.child(Worker).with_(max_heap_size=0),
    )
    assert limits["Registry 'names'"].size == 1024 * KIB
    assert limits["Supervisor"].size == 2048 * KIB
    assert limits["Supervisor"].log is False
    assert limits["Worker"] is None


async def test_supervisors_and_registries_of_a_users_own() -> None:
    """A class of the user's that a spec calls a supervisor, or that is made of a registry, is none
    of the workers either; started as a class or by a spec."""
    limits = await refs_and_limits(
        None,
        ak.child(Worker).with_(kind="supervisor", name="boss"),
        ak.child(Shelf, "unique", "shelf").with_(name="shelf"),
        ak.child(lambda: Groups()).with_(name="made"),
    )
    assert limits == {"Worker 'boss'": None, "Shelf 'shelf'": None, "Groups 'made'": None}


def actors_of_the_package() -> set[type]:
    package = import_module("actorkit")
    modules = [
        import_module(found.name)
        for found in pkgutil.walk_packages(package.__path__, "actorkit.")
        if not found.name.endswith(("__main__", "._clock", "._walk"))
        and not found.name.startswith("actorkit.doctor")  # it runs programs as a user's
    ]
    return {
        cls
        for module in modules
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, ActorBase) and cls.__module__.startswith("actorkit.")
    }


def test_each_actor_of_the_package_says_what_it_is() -> None:
    """What the package brings is marked as the node's own, but for the bases of users' actors."""
    assert {cls.__qualname__ for cls in actors_of_the_package() if not issubclass(cls, NodesOwn)} == {
        "ActorBase",
        "Actor",
        "StreamActor",
    }


CONNECTIONS = min(times(400), 10_000)


class Keeper(ak.StreamActor):
    """Answers; told to keep, it keeps what it was sent."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def received(self, line: bytes) -> None:
        if line.startswith(b"keep"):
            self.kept.append(line + bytes(len(line)))
        self.write(line[:1] + b"\n")


async def test_connections_under_a_small_default() -> None:
    """The listener lives, however many connections there are. The limit is each connection's: one
    in twenty keeps more than it may, and ends; all others answer."""
    raise_descriptor_limit(2 * CONNECTIONS + 200)
    tree = ak.supervisor(ak.tcp_listener(Keeper, port=0, host="127.0.0.1", max_line=8 * KIB, name="door"))
    options: dict[str, Any] = {"max_heap_size": DEFAULT}
    async with ak.open_node(tree, **options) as node:
        with node.subscribe(ak.ActorExited, capacity=100_000) as exits:
            door: Any = ak.named(ak.Listener, "door")
            [where] = await door.call(ak.Listener.addresses)
            streams = []
            for _ in range(CONNECTIONS):
                stream = await trio.open_tcp_stream(*where)
                streams.append(stream)
                await stream.send_all(b"hello\n")
                assert await stream.receive_some() == b"h\n"
            greedy, modest = streams[::20], [stream for n, stream in enumerate(streams) if n % 20]
            line = b"keep" + b"x" * 4000 + b"\n"
            for stream in greedy:
                with pytest.raises((trio.BrokenResourceError, EOFError)):
                    while True:
                        await stream.send_all(line)
                        if not await stream.receive_some():
                            raise EOFError
            for stream in modest:
                await stream.send_all(b"and you?\n")
                assert await stream.receive_some() == b"a\n"
            assert (await door.call(ak.Listener.counts))[0] == len(modest)
            reasons = [(await exits.receive()).reason for _ in greedy]  # type: ignore[attr-defined]
            assert all(isinstance(reason, ak.MemoryLimit) and reason.limit == 64 * KIB for reason in reasons)
            for stream in streams:
                await stream.aclose()


@pytest.mark.parametrize("value", [None, "1 MiB"])
async def test_an_actor_may_still_set_its_own(value: Any) -> None:
    """``ctx.max_heap_size`` is the actor's own affair, with a node's default or without."""

    class Setter(ak.Actor):
        @ak.call
        def limit(self) -> ak.HeapLimit | None:
            self.ctx.max_heap_size = value
            return self.ctx.max_heap_size

    async with ak.open_node(max_heap_size=DEFAULT) as node:
        limit = await node.spawn(Setter).call(Setter.limit)
        assert (None if limit is None else limit.size) == (None if value is None else 1024 * KIB)
