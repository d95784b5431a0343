"""The tables of the runtime and of trio are in nobody's account: who makes them grow is not charged
for what is in them."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit.runtime.actor.actor_kind import ActorKind
from actorkit.runtime.actor.record import Record
from actorkit.runtime.actor.relations import Relations

from .conftest import KIB, needs_the_extension

LIMIT = ak.HeapLimit("256 KiB", log=False)
MANY = 6_000
"""A table of so many entries takes more than twice the limit."""
SMALL = 64 * KIB
"""No more is left of what it has allocated: garbage, and what freelists hold for others."""


class Other(ak.Actor):
    """Somebody else, who has no limit."""

    @ak.cast
    def hear(self) -> None:
        pass

    @ak.cast
    async def sleep(self) -> None:
        await trio.sleep_forever()

    @ak.call
    async def answer(self) -> None:
        await trio.sleep_forever()

    def handle_info(self, message: Any) -> None:
        pass


async def process(ctx: ak.ProcessContext) -> None:
    await ctx.receive()


class Busy(ak.Actor):
    """Does many things and keeps nothing."""

    others: list[ak.Ref[Other]] = []

    @ak.call
    async def do(self, what: Callable[[Busy], Any]) -> None:
        done = what(self)
        if done is not None:
            await done

    def handle_info(self, message: Any) -> None:
        pass


# --- what one actor does many times ---------------------------------------------------------------


def spawns(self: Busy) -> None:
    for _ in range(MANY):
        self.ctx.spawn(Other)


def spawns_by_name(self: Busy) -> None:
    for number in range(MANY // 12):
        self.ctx.spawn(ak.child(Other).with_(name=f"other {number}"))


def spawns_with_budgets(self: Busy) -> None:
    for _ in range(MANY // 4):
        self.ctx.spawn(ak.child(Other).with_(max_heap_size="64 KiB"))


def spawns_and_monitors(self: Busy) -> None:
    for _ in range(MANY // 8):
        self.ctx.spawn_monitor(Other)


def spawns_and_links(self: Busy) -> None:
    for _ in range(MANY // 4):
        self.ctx.spawn_link(Other)


def spawns_processes(self: Busy) -> None:
    for _ in range(MANY // 12):
        self.ctx.spawn(process)


def spawns_of_many_classes(self: Busy) -> None:
    for cls in CLASSES:
        self.ctx.spawn(cls)


def is_called_by_many_classes(self: Busy) -> None:
    for cls in CLASSES:
        self.ctx.spawn(cls).cast(Other.hear)


def starts_timers(self: Busy) -> None:
    for other in self.others[: MANY // 6]:
        self.ctx.send_after(3600, other, None)


def starts_timers_of_its_own(self: Busy) -> None:
    for _ in range(MANY // 6):
        self.ctx.send_after(3600, self.ctx.ref, None)


def starts_timers_by_name(self: Busy) -> None:
    somebody = ak.named(Other, "somebody")
    for _ in range(MANY // 6):
        self.ctx.send_after(3600, somebody, None)


async def casts(self: Busy) -> None:
    for _ in range(4):
        for other in self.others:
            other.cast(Other.hear)
        await trio.lowlevel.checkpoint()


def kills(self: Busy) -> None:
    for other in self.others:
        other.kill()


async def kills_who_sleeps(self: Busy) -> None:
    sleepers = self.others[: MANY // 12]
    for other in sleepers:
        other.cast(Other.sleep)
    await trio.testing.wait_all_tasks_blocked()
    for other in sleepers:
        other.kill()
    await trio.testing.wait_all_tasks_blocked()


async def has_children_started_again(self: Busy) -> None:
    supervisor: Any = self.ctx.spawn(ak.dynamic_supervisor(max_restarts=10**6))
    spec = ak.child(Other)
    for _ in range(MANY // 12):
        ref: Any = await supervisor.call(ak.DynamicSupervisor.start_child, spec)
        ref.kill()
    await trio.testing.wait_all_tasks_blocked()


CLASSES = [type(f"Other{number}", (Other,), {"__slots__": ()}) for number in range(300)]

BY_ONE = [
    spawns,
    spawns_by_name,
    spawns_with_budgets,
    spawns_and_monitors,
    spawns_and_links,
    spawns_processes,
    spawns_of_many_classes,
    is_called_by_many_classes,
    starts_timers,
    starts_timers_of_its_own,
    starts_timers_by_name,
    casts,
    kills,
    kills_who_sleeps,
    has_children_started_again,
]


def lives(ref: Any) -> int:
    """Bytes of blocks that it has allocated and that somebody holds."""
    return int(ref.account.own_live + ref.account.large_live)


@needs_the_extension
@pytest.mark.parametrize("what", BY_ONE)
async def test_one_does_it_often(what: Any) -> None:
    """An actor of 256 KiB that keeps nothing does it thousands of times, in one message. It lives,
    and little is left of what it has allocated."""
    async with ak.open_node(stop_timeout=0) as node:
        Busy.others[:] = [node.spawn(Other) for _ in range(MANY)]
        node.spawn(ak.child(Other).with_(name="somebody"))
        busy: Any = node.spawn(ak.child(Busy).with_(max_heap_size=LIMIT))
        await busy.call(Busy.do, what)
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert lives(busy) < SMALL
        assert await busy.call(Busy.do, lambda self: None) is None
        Busy.others.clear()


# --- what many actors do once ---------------------------------------------------------------------


async def subscribes(self: Busy) -> None:
    self.ctx.subscribe(ak.Unkillable)


async def watches_memory(self: Busy) -> None:
    self.ctx.watch_memory()


async def registers(self: Busy) -> None:
    self.ctx.register(str(self.ctx.pid))


async def links(self: Busy) -> None:
    self.ctx.link(self.others[0])


async def monitors(self: Busy) -> None:
    self.ctx.monitor(self.others[0])


async def times_out_when_idle(self: Busy) -> None:
    self.ctx.idle_timeout = 3600


async def calls(self: Busy) -> None:
    await self.others[0].call(Other.answer)


async def calls_within_an_hour(self: Busy) -> None:
    await self.others[0].within(3600).call(Other.answer)


async def waits_for_room(self: Busy) -> None:
    await self.others[1].send_wait(None)


async def has_a_task(self: Busy) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


async def sleeps(self: Busy) -> None:
    await trio.sleep(3600)


async def sets_a_limit(self: Busy) -> None:
    self.ctx.max_heap_size = "128 KiB"


BY_EACH = [
    subscribes,
    watches_memory,
    registers,
    links,
    monitors,
    times_out_when_idle,
    calls,
    calls_within_an_hour,
    waits_for_room,
    has_a_task,
    sleeps,
    sets_a_limit,
]


@needs_the_extension
@pytest.mark.parametrize("what", BY_EACH)
async def test_each_does_it_once(what: Any) -> None:
    """Many actors do it. Some of them make a table grow, and are not charged for that."""
    async with ak.open_node(stop_timeout=0) as node:
        free, full = (ak.child(Other).with_(mailbox=mailbox) for mailbox in (MANY, 1))
        Busy.others[:] = [node.spawn(free), node.spawn(full)]
        Busy.others[1].cast(Other.sleep)
        await trio.testing.wait_all_tasks_blocked()
        Busy.others[1].cast(Other.hear)
        busy: list[Any] = [node.spawn(ak.child(Busy).with_(max_heap_size=LIMIT)) for _ in range(MANY // 2)]
        for one in busy:
            one.cast(Busy.do, what)
        await trio.testing.wait_all_tasks_blocked()
        assert [one.end_reason for one in busy if not one.alive] == []
        assert max(map(lives, busy)) < 16 * KIB
        Busy.others.clear()


# --- each table has a test, or a reason -----------------------------------------------------------

GOVERNORS = "the governor's and admission's: they grow with kinds of work, and in the governor's own task"
WORKERS = "of the workers: it grows between turns, with how many of them there are"
RARE = "only while the stack is full"

TABLES: dict[str, Any] = {
    "actors": spawns,
    "admission": GOVERNORS,
    "at_close": "filled when the node is opened",
    "budgets.all": spawns_with_budgets,
    "budgets": "of the sweep: its own task",
    "deadlines.buckets": "always as long",
    "deadlines.newest": calls,
    "doomed": RARE,
    "dying": kills_who_sleeps,
    "events._wanted": "an entry for each class of events",
    "events.actors": subscribes,
    "events.streams": "the host's subscriptions",
    "flushes": "connections in one slice",
    "free_contexts": sleeps,
    "holders": has_a_task,
    "idle": WORKERS,
    "kinds": spawns_of_many_classes,
    "learned": has_children_started_again,
    "locks": "trio's: an entry for each lock that is held",
    "memory": GOVERNORS,
    "memory_watchers": watches_memory,
    "names._holders": (registers, spawns_by_name),
    "queues": casts,
    "quotas": "an entry for each supervisor with a quota",
    "restart_gate": has_children_started_again,
    "starters": spawns_of_many_classes,
    "stop.before": "filled by those who end with the node",
    "timers._heap": (starts_timers, starts_timers_by_name, calls_within_an_hour),
    "turns": WORKERS,
    "unkillable": "who does not end within kill_timeout: found by a timer",
    "unsettled": RARE,
}
"""By the path from the engine, or by how such paths begin."""

RELATIONS: dict[str, Any] = {
    "at_exit": subscribes,
    "deferred": "who waits for answers that the actor has promised",
    "kids": has_a_task,
    "links": (links, spawns_and_links),
    "monitored_by": monitors,
    "monitors": (monitors, spawns_and_monitors),
    "senders": waits_for_room,
    "timers": (starts_timers, starts_timers_of_its_own),
}

SIZED = (dict, list, set, deque)


def fields(of: Any) -> dict[str, Any]:
    found = dict(getattr(of, "__dict__", {}))
    for cls in type(of).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(of, name):
                found[name] = getattr(of, name)
    return found


def tables_of(root: Any) -> set[str]:
    """The paths of all tables that an engine has, itself or in parts of it that are objects of the
    package."""
    found: set[str] = set()
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", root)]
    while todo:
        path, one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        for name, value in fields(one).items():
            where = f"{path}.{name}".lstrip(".")
            inside = value if isinstance(value, tuple) and value else (value,)
            if all(isinstance(each, SIZED) for each in inside):
                if id(value) not in seen:
                    found.add(where)
                seen.add(id(value))
            elif type(value).__module__.startswith("actorkit.") and not isinstance(value, (Record, ActorKind, type)):
                todo.append((where, value))
    return found


def row_of(path: str) -> str | None:
    """The longest row that is the path, or that the path goes on from."""
    rows = [row for row in TABLES if path == row or path.startswith(f"{row}.")]
    return max(rows, key=len, default=None)


def _named_in(rows: dict[str, Any]) -> set[Any]:
    return {
        test
        for row in rows.values()
        if not isinstance(row, str)
        for test in (row if isinstance(row, tuple) else (row,))
    }


async def test_each_table_has_a_row() -> None:
    """Whoever adds a table to the engine says what makes it grow, or why nobody's turn does."""
    async with ak.open_node(memory_limit="4 GiB") as node:
        paths = tables_of(node.engine)
    assert sorted(path for path in paths if row_of(path) is None) == []
    assert sorted(set(TABLES) - {row_of(path) for path in paths}) == []
    assert _named_in(TABLES) | _named_in(RELATIONS) <= {*BY_ONE, *BY_EACH}


def test_each_table_of_an_actors_relations_has_a_row() -> None:
    plain = {"family", "idle_seconds", "idle_timer", "memory_priority", "name", "terminating", "traps_exits"}
    assert set(Relations.__slots__) - plain == set(RELATIONS)
