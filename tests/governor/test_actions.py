"""How both governors perform what their machine decides: every action by one table, each on its
own, with its receipt.

The machine is a double that answers every sample with the test's actions, so that each kind comes
up; the functions that perform the actions are the real ones.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.governor.governor_base import GovernorBase
from actorkit.governor.node_governor import NodeGovernor
from actorkit.governor.subtree_governor import SubtreeGovernor
from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory.victims import VictimTable

from .conftest import MIB, Memory, until
from .test_governor import child

L = ak.MemoryLevel
TREE = ak.supervisor(ak.dynamic_supervisor().with_(name="many")).with_(name="family")

MADE: dict[type[ev.GovernorAction], Callable[..., ev.GovernorAction]] = {
    ev.LevelChanged: lambda **more: ev.LevelChanged(L.SHED, L.NORMAL, **more),
    ev.TellActors: lambda **more: ev.TellActors(L.SHED, 10, **more),
    ev.ShedMailboxes: lambda **more: ev.ShedMailboxes(10, **more),
    ev.TakeCensus: lambda **more: ev.TakeCensus(10, **more),
    ev.KillVictims: lambda **more: ev.KillVictims((), 0, VictimTable((), 0), **more),
    ev.EmitReport: lambda **more: ev.EmitReport("no_victims", L.KILL, **more),
    ev.StopNode: lambda **more: ev.StopNode(79, **more),
}
"""How to make one action of each kind that has fields of its own."""

KINDS = sorted(
    (
        kind
        for kind in vars(ev).values()
        if inspect.isclass(kind) and issubclass(kind, ev.GovernorAction) and kind is not ev.GovernorAction
    ),
    key=lambda kind: kind.__name__,
)
TABLES: dict[type[GovernorBase], Any] = {NodeGovernor: NodeGovernor.ACTIONS, SubtreeGovernor: SubtreeGovernor.ACTIONS}


class Scripted:
    """A machine that answers samples with given actions, and notes what is reported to it."""

    level = L.NORMAL
    look_at = float("inf")

    def __init__(self, actions: list[ev.GovernorAction]) -> None:
        self.actions = actions
        self.told: list[ev.Event] = []

    def handle(self, event: ev.Event) -> list[ev.GovernorAction]:
        self.told.append(event)
        return self.actions if isinstance(event, ev.Sampled) else []


class Odd(BaseException):
    """Neither an Exception nor convertible to text."""

    def __str__(self) -> str:
        raise ValueError("no text")


@asynccontextmanager
async def governing(cls: type[GovernorBase], memory: Memory) -> AsyncIterator[Any]:
    """A governor of this class, and its node."""
    if cls is NodeGovernor:
        async with ak.open_node(TREE, memory_source=memory.source) as node:
            yield node.memory
    else:
        async with ak.open_node(TREE) as node:
            family = node.whereis("family")
            assert family is not None
            async with ak.govern_subtree(family, "100 MiB") as governor:
                yield governor


def look(governor: Any, actions: list[ev.GovernorAction]) -> Scripted:
    """Let the governor look once and perform these actions."""
    machine, governor.machine = governor.machine, Scripted(actions)
    try:
        governor.look()
        scripted: Scripted = governor.machine
        return scripted
    finally:
        governor.machine = machine


def one_of_each(cls: type[GovernorBase]) -> list[ev.GovernorAction]:
    return [
        MADE.get(kind, kind)(number=number, because="a test")
        for number, kind in enumerate((kind for kind in KINDS if kind in TABLES[cls]), 1)
    ]


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[type[ev.GovernorAction]]:
    """The kinds whose functions were called. The node is not really stopped."""
    kinds: list[type[ev.GovernorAction]] = []

    def noting(kind: type[ev.GovernorAction], function: Any) -> Any:
        def called(governor: Any, action: Any) -> Any:
            kinds.append(kind)
            return None if kind is ev.StopNode else function(governor, action)

        return called

    for cls, table in TABLES.items():
        monkeypatch.setattr(cls, "ACTIONS", {kind: noting(kind, function) for kind, function in table.items()})
    return kinds


def test_the_node_s_table_has_every_kind_and_the_subtree_s_no_other() -> None:
    assert set(TABLES[NodeGovernor]) == set(KINDS)
    assert set(TABLES[SubtreeGovernor]) < set(KINDS)


@pytest.mark.parametrize(
    ("cls", "broken"),
    [(cls, kind) for cls in TABLES for kind in KINDS if kind in TABLES[cls]],
    ids=lambda either: either.__name__,
)
async def test_an_action_that_fails_fails_alone(
    cls: type[GovernorBase],
    broken: type[ev.GovernorAction],
    memory: Memory,
    mock_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    happened: list[type[ev.GovernorAction]],
) -> None:
    """An action that fails does not affect the others. Fault: one that raises takes along all that
    come after it.
    """
    async with governing(cls, memory) as governor:
        actions = one_of_each(cls)
        (action,) = [action for action in actions if type(action) is broken]
        for error in (ValueError("on purpose"), MemoryError(), KeyboardInterrupt(), Odd()):

            def breaks(_: object, action: object, error: BaseException = error) -> None:
                happened.append(broken)
                raise error

            happened.clear()
            monkeypatch.setitem(governor.ACTIONS, broken, breaks)
            machine = look(governor, actions)
            assert happened == [type(action) for action in actions]
            receipt = [receipt for receipt in governor.receipts() if receipt.failure][-1]
            assert receipt.action == action.name
            assert receipt.because == "a test"
            assert receipt.failure.startswith(type(error).__name__)
            failures = [event.number for event in machine.told if isinstance(event, ev.ActionDone) and event.failure]
            assert failures == ([] if broken is ev.EmitReport else [action.number]), "a report of a report has no end"
        assert len([receipt for receipt in governor.receipts() if receipt.failure]) == 4


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
async def test_what_is_answered_and_what_leaves_a_receipt(
    cls: type[GovernorBase], memory: Memory, mock_clock: trio.testing.MockClock, happened: list[Any]
) -> None:
    """Each action that frees something leaves a receipt, and so does the census."""
    async with governing(cls, memory) as governor:
        actions = one_of_each(cls)
        machine = look(governor, actions)
        answered = {ev.ShedMailboxes, ev.TakeCensus, ev.KillVictims}
        if cls is NodeGovernor:
            answered |= {ev.CollectGarbage, ev.TrimAllocator, ev.ReleaseReserve, ev.RebuildReserve}
            answered |= {ev.StopAllButCritical}
        assert {receipt.action for receipt in governor.receipts()} == {
            action.name for action in actions if type(action) in answered
        }
        assert not [receipt for receipt in governor.receipts() if receipt.failure]
        numbers = [event.number for event in machine.told if not isinstance(event, ev.Sampled)]
        assert sorted(numbers) == [action.number for action in actions if type(action) in answered]
        (census,) = [event for event in machine.told if isinstance(event, ev.CensusTaken)]
        assert census.number in numbers


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
async def test_a_dry_run_says_what_it_would_do(
    cls: type[GovernorBase],
    memory: Memory,
    mock_clock: trio.testing.MockClock,
    happened: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A dry run of kills also chooses the victims, since it says who would die."""
    async with governing(cls, memory) as governor:
        caplog.set_level(logging.WARNING, "actorkit")
        look(governor, [ev.ShedMailboxes(10, because="why not", dry_run=True)])
        assert happened == []
        assert "would ShedMailboxes: why not" in caplog.text
        look(governor, [ev.KillVictims((), 0, VictimTable((), 0), dry_run=True)])
        assert happened == [ev.KillVictims]
        assert governor.receipts() == ()


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
async def test_only_a_level_that_rises_is_a_warning(
    cls: type[GovernorBase],
    memory: Memory,
    mock_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with governing(cls, memory) as governor:
        caplog.set_level(logging.INFO, "actorkit")
        look(governor, [ev.LevelChanged(L.KILL, L.SHED, because="up"), ev.LevelChanged(L.SHED, L.KILL, because="down")])
        moves = {record.getMessage()[-2:]: record.levelname for record in caplog.records if "memory " in record.msg}
        assert moves == {"up": "WARNING", "wn": "INFO"}


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
async def test_a_look_that_fails_says_so_and_when_the_next_one_is(
    cls: type[GovernorBase],
    memory: Memory,
    mock_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with governing(cls, memory) as governor:
        caplog.set_level(logging.ERROR, "actorkit")

        def breaks(**_: object) -> None:
            raise Odd

        monkeypatch.setattr(governor, "take_sample", breaks)
        assert governor.look_now() == trio.current_time() + 1.0
        assert "a look at the memory failed" in caplog.text


async def test_the_kills_of_a_subtree_come_though_shedding_fails(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subtree's kills happen even if shedding fails. Fault: in the first version, nobody was
    killed.
    """

    def breaks(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("actorkit.governor.governor_base.shed_mailboxes", breaks)
    async with ak.open_node(TREE) as node:
        family = node.whereis("family")
        assert family is not None
        many = ak.named(ak.DynamicSupervisor, "many")
        for _ in range(20):
            await many.call(ak.DynamicSupervisor.start_child, child(MIB))
        async with ak.govern_subtree(family, "8 MiB") as memory:
            await until(lambda: memory.kills.killed > 0 and memory.level < L.KILL)
            assert memory.kills.killed >= 12
            assert {"TakeCensus", "Kill"} <= {receipt.action for receipt in memory.receipts()}
            failed = [receipt for receipt in memory.receipts() if receipt.failure]
            assert {(receipt.action, receipt.failure) for receipt in failed} == {("ShedMailboxes", "MemoryError")}


async def test_a_process_s_action_is_refused_by_a_subtree(memory: Memory, mock_clock: trio.testing.MockClock) -> None:
    """A subtree refuses an action of the whole process, which ``revise`` may put in place of
    another.
    """
    async with governing(SubtreeGovernor, memory) as governor:
        look(governor, [ev.CollectGarbage(because="a test")])
        (receipt,) = governor.receipts()
        assert receipt.failure == "ValueError: CollectGarbage concerns the process as a whole: not for one subtree"
