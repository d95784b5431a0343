"""actorkit: a connection is an actor with a budget, the slow consumer is an actor with a bounded
mailbox, the service is an actor under its own supervisor. With ACTORKIT_PURE=1 in the environment
it is the same without the C extension.
"""

from __future__ import annotations

import inspect
from collections import deque
from dataclasses import dataclass
from typing import Any

import attrs
import trio

import actorkit as ak
from actorkit.heap.capabilities import capabilities
from bench.survival import protocol
from bench.survival.servers.arguments import Arguments, arguments
from bench.worker import asker_gone, say


class Sink(ak.Actor):
    @ak.cast
    async def take(self, message: bytes) -> None:
        await trio.sleep(protocol.SLOW)


class Cache(ak.Actor):
    """Entries that can be had again, at a price: it drops the oldest ones when the node is short of
    memory.
    """

    def __init__(self) -> None:
        self.entries: deque[bytes] = deque()

    def init(self) -> None:
        self.ctx.watch_memory()

    @ak.cast
    def fill(self, size: int, asker: ak.Ref[Connection], request: protocol.Request) -> None:
        self.entries += protocol.cached(size)
        asker.cast(Connection.tell, protocol.reply(request, len(self.entries)))

    def handle_info(self, message: object) -> None:
        if isinstance(message, ak.MemoryPressure):
            for _ in range(min(len(self.entries), -(-message.please_free // protocol.CACHED))):
                self.entries.popleft()


class Service(ak.Actor):
    def __init__(self, size: int) -> None:
        self.state = protocol.rows(size)

    @ak.cast
    def crash(self) -> None:
        raise RuntimeError(f"told to crash, with {len(self.state)} rows of state")


SINK = ak.named(Sink, "sink")
CACHE = ak.named(Cache, "cache")
SERVICE = ak.named(Service, "service")


class Connection(ak.StreamActor):
    def __init__(self) -> None:
        self.held: list[bytes] = []

    def received(self, line: bytes) -> None:
        request = protocol.parse(line)
        match request.verb, *request.arguments:
            case [b"ECHO", *_]:
                self.write(line + b"\n")
            case [b"HELLO", _, klass]:
                give_priority(self.ctx, klass.decode())
                self.write(protocol.reply(request, "welcome"))
            case [b"HOLD", size]:
                self.held += protocol.rows(int(size))
                self.write(protocol.reply(request, len(self.held) * protocol.ROW))
            case [b"KEEP", size]:
                self.held += protocol.pieces(int(size))
                self.write(protocol.reply(request, int(size)))
            case [b"DROP"]:
                self.held = []
                self.write(protocol.reply(request, 0))
            case [b"CACHE", size]:
                CACHE.cast(Cache.fill, int(size), self.ctx.ref, request)
            case [b"GIANT", size, how]:
                self.write(protocol.reply(request, protocol.giant(int(size), how)))
            case [b"FEED", count, size]:
                accepted = sum(bool(SINK.cast(Sink.take, b" " * int(size))) for _ in range(int(count)))
                self.write(protocol.reply(request, accepted))
            case [b"DUMP"]:
                SERVICE.cast(Service.crash)
                self.write(protocol.reply(request, "told"))

    @ak.cast
    def tell(self, line: bytes) -> None:
        self.write(line)


class Control(ak.StreamActor):
    """Answers STATS, whatever the others do."""

    async def received(self, line: bytes) -> None:
        node = self.ctx.node
        known: dict[str, Any] = {"restarts": node.statistics().restarts, "kills": Watch.kills}
        listener = node.whereis("connections")
        if listener is not None:
            known["connections"], known["refused"] = await listener.call(ak.Listener.counts)
        known |= governor_says(node)
        self.write(protocol.stats(protocol.parse(line), **known))


@dataclass
class Watch:
    """Counts the connections and services that a budget, or the node's shortage of memory, has
    ended."""

    kills = 0

    @classmethod
    async def run(cls, node: ak.Node, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with node.subscribe(ak.ActorExited) as events:
            task_status.started()
            async for event in events:
                assert isinstance(event, ak.ActorExited)
                cls.kills += type(event.reason).__name__ in ("MemoryLimit", "MemoryPressure")


# -- the governor: all that is known of it here ----------------------------------------------------
# Each of these does nothing on a version of actorkit that lacks the feature.


def governed(args: Arguments) -> dict[str, Any]:
    """The options of ``open_node`` that put a governor in charge of the whole node. Without the
    extension, which alone sees inside a message, they add a fence around each step.
    """
    fence = ak.GovernorSettings(step_fence=not capabilities().stop_in_handler)
    wanted: dict[str, Any] = {"memory_limit": args.memory_limit, "governor": fence}
    accepted = inspect.signature(ak.open_node).parameters
    return {name: value for name, value in wanted.items() if name in accepted}


def give_priority(ctx: Any, klass: str) -> None:
    """Which connections are given up first."""
    if hasattr(ak, "Priority"):
        ctx.priority = ak.Priority[klass.upper()]


def critical(spec: Any) -> Any:
    """A spec whose actors are never killed to free memory."""
    if hasattr(ak, "Priority") and "priority" in attrs.fields_dict(ak.ChildSpec):
        return spec.with_(priority=ak.Priority.CRITICAL)
    return spec


def exempt() -> dict[str, Any]:
    """For the listener that accepts connections even when memory is short."""
    return {"control": True} if "control" in inspect.signature(ak.tcp_listener).parameters else {}


def governor_says(node: Any) -> dict[str, Any]:
    """The governor's level, for the timeline, and its latest action; nothing without a governor."""
    memory = getattr(node, "memory", None)
    if memory is None:
        return {}
    known: dict[str, Any] = {"level": memory.level.name}
    data = memory.data()
    known["live"], known["resident"] = data.live, data.resident
    if receipts := memory.receipts():
        last = receipts[-1]
        known["latest"] = f"{last.action}: {last.because}"[:200]
    return known


# --------------------------------------------------------------------------------------------------


def tree(args: Arguments) -> Any:
    def listener(connection: Any, name: str, connections: int, **more: Any) -> Any:
        return ak.tcp_listener(
            connection,
            port=0,
            max_line=protocol.MAX_LINE,
            max_children=connections,
            backlog=4096,
            refusal=protocol.BUSY,
            name=name,
            **more,
        )

    # A service with so much state is made to crash in a loop. OTP's intensity of 3 in 5 s would end
    # the node, as it should, so the limit is raised here to let it go on.
    services = ak.supervisor(
        ak.child(Sink).with_(name="sink", max_heap_size=args.service_budget),
        ak.child(Cache).with_(name="cache", max_heap_size=args.service_budget),
        ak.child(Service, args.dump).with_(name="service", max_heap_size=args.service_budget),
        max_restarts=1000,
        max_seconds=1,
    ).with_(id="services")
    return ak.supervisor(
        services,
        listener(ak.child(Connection).with_(max_heap_size=args.budget), "connections", args.connections),
        critical(listener(critical(ak.child(Control)), "control", 10, **exempt())),
    )


async def port(node: ak.Node, name: str) -> int:
    listener: Any = node.whereis(name)
    addresses = await listener.call(ak.Listener.addresses)
    return int(addresses[0][1])


async def main() -> None:
    args = arguments()
    options = governed(args)
    async with ak.open_node(tree(args), **options) as node, trio.open_nursery() as nursery:
        await nursery.start(Watch.run, node)
        ports = dict.fromkeys(protocol.CLASSES, await port(node, "connections"))
        found = attrs.asdict(node.capabilities)
        in_force = ", ".join(name for name, here in found.items() if here) or "nothing"
        governor = "a governor" if options else "no governor"
        say(
            ports=ports,
            control=await port(node, "control"),
            version=f"actorkit with {governor}",
            capabilities=f"in force: {in_force}" + ("" if found["stop_in_handler"] else ", a fence around each step"),
        )
        await asker_gone()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
