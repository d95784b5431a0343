"""Looking in: frozen snapshots of actors, of the tree and of the node. Cheap to take, safe to
keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from ...heap import clock, walk
from ...heap.usage import HeapUsage, OwnHeap
from ...reasons import text_of
from ..actor.pid import Pid
from ..actor.record import Record, record_of
from ..actor.ref import Ref
from ..actor.states import STATES, StateName
from ..budgets.budget import Budget
from ..budgets.findings import Found
from ..budgets.holdings import roots_of

if TYPE_CHECKING:
    from ..life.scheduler import Scheduler

__all__ = ["NodeStatistics", "ProcessInfo", "TreeEntry", "process_info", "statistics", "tree_below"]

EDGE_CAP: Final = 1_000_000 if walk.IMPLEMENTATION == "c" else 100_000
"""References that are followed through what others may hold too; a fraction of a second."""


@attrs.frozen
class ProcessInfo:
    """One actor, as it was when asked. Source: erlang:process_info/2.

    Args:
        pid: its identity.
        name: the name that it is registered with.
        kind: its class, or its function.
        status: the word for its state, as ``states`` has them; "running" is on the stack or in an
            await. It is never "exiting": an actor that has ended has no info.
        mailbox: the number of messages that wait.
        mailbox_bound: how many may wait.
        parent: who has started it.
        links, monitors, monitored_by: whom it is linked to, whom it watches, who watches it.
        trap_exit: whether exit signals come to it as messages.
        scheduling: its child spec's ``scheduling``.
        tasks: the number of tasks in its nurseries.
        waiting_for: the actors whose answer it waits for, or room in whose mailbox.
        memory: what it holds, as the last look at it, or the last census, has found; None: nobody
            has looked yet. What its code holds in running frames is not in it.
        memory_age: how many seconds ago that was; 0.0 with ``walk=True``.
        held_at_most: what it has allocated or received and may hold still, now, by its account;
            None: it has none, since it has no limit.
        max_heap_size: its limit in bytes.
        heap_peak: the most that a look has found since it has a limit.
        own_heap: what its own pages hold, now, if it has any.
    """

    pid: Pid
    name: str | None
    kind: str
    status: StateName
    mailbox: int
    mailbox_bound: float
    parent: Pid | None
    links: tuple[Pid, ...]
    monitors: tuple[Pid, ...]
    monitored_by: tuple[Pid, ...]
    trap_exit: bool
    scheduling: str
    tasks: int
    waiting_for: tuple[Pid, ...]
    memory: HeapUsage | None
    memory_age: float | None
    held_at_most: int | None
    max_heap_size: int | None
    heap_peak: int | None
    own_heap: OwnHeap | None


def process_info(engine: Scheduler, record: Record[Any], *, measure: bool = False) -> ProcessInfo | None:
    """What ``record`` is and does now; None: it is dead. ``measure``: walk it now."""

    if not record.alive:
        return None
    kind, relations = record.kind, record.relations
    budget = engine.budgets.all.get(record)
    found = _measured(engine, record) if measure else _found(engine, record, budget)
    waiting = []
    link = record.pending
    while link is not None:
        waiting.append(link.callee.pid)
        link = link.next
    return ProcessInfo(
        pid=record.pid,
        name=kind.name if relations is None or relations.name is None else relations.name,
        kind=kind.label,
        status=STATES[record.state],
        mailbox=record.mailbox_length,
        mailbox_bound=kind.bound,
        parent=None if record.parent is None else record.parent.pid,
        links=tuple(r.pid for r in (relations.links or ())) if relations is not None else (),
        monitors=tuple(m.target.pid for m in (relations.monitors or {}).values()) if relations is not None else (),
        monitored_by=tuple(m.watcher.pid for m in (relations.monitored_by or {}).values())
        if relations is not None
        else (),
        trap_exit=record.traps_exits,
        scheduling=kind.options.scheduling,
        tasks=len(relations.kids or ()) if relations is not None else 0,
        waiting_for=tuple(waiting),
        memory=None if found is None else found.usage,
        memory_age=None if found is None else found.age,
        held_at_most=None if budget is None else budget.account.held_at_most,
        max_heap_size=None if budget is None else budget.size_told,
        heap_peak=None if budget is None else budget.peak,
        own_heap=None if budget is None else budget.own_pages(),
    )


def _measured(engine: Scheduler, record: Record[Any]) -> Found:
    roots, queues, account = roots_of(record), record.message_queues(), record.account
    if account is not None and clock.COUNTS_ALLOCATIONS:
        usage = walk.measure(roots, queues, account=account)
    else:  # nothing tells what is its own, so this looks into what it shares, too
        usage = walk.measure(roots, queues, cycles=True, edge_cap=EDGE_CAP)
    return engine.budgets.looks.note(record, usage)


def _found(engine: Scheduler, record: Record[Any], budget: Budget | None) -> Found | None:
    return engine.budgets.looks.last(record, None if budget is None else budget.found)


@attrs.frozen
class TreeEntry:
    """One actor of the supervision tree, with those below it.

    Args:
        id: the child's id.
        ref, pid: of the actor; None: it does not run.
        kind: worker or supervisor.
        state: the supervisor's word for the child: running, restarting, …
        mailbox: the number of messages that wait.
        children: those that it supervises.
    """

    id: object
    ref: Ref[Any] | None
    pid: Pid | None
    kind: Literal["worker", "supervisor"]
    state: str
    mailbox: int
    children: tuple[TreeEntry, ...] = ()

    def lines(self, indent: str = "") -> list[str]:
        """The tree as text, one line for each actor."""
        mailbox = f", {self.mailbox} messages" if self.mailbox else ""
        own = f"{indent}{text_of(self.id, 120)} {self.pid if self.pid is not None else '-'} {self.state}{mailbox}"
        return [own, *(line for child in self.children for line in child.lines(indent + "  "))]


@attrs.frozen
class NodeStatistics:
    """What a node has counted since it opened, and what is there now.

    Args:
        actors: living actors.
        started, exited, crashes, restarts: actors since the node opened.
        messages: messages that were handled from mailboxes. Calls that ran inline are not in it.
        dead_letters: messages that nobody handled.
        pending_calls: callers that wait for an answer.
        timers: timers that run.
        workers, parked: tasks of the pool, and those of them without work.
        workers_started: tasks of the pool since the node opened.
        slices: how often the pool has let trio run other tasks because its slice was over.
        repairs: handlers that left a cancel scope or a nursery open.
        unkillable: actors that were killed and still run.
    """

    actors: int
    started: int
    exited: int
    crashes: int
    restarts: int
    messages: int
    dead_letters: int
    pending_calls: int
    timers: int
    workers: int
    parked: int
    workers_started: int
    slices: int
    repairs: int
    unkillable: int


def statistics(engine: Scheduler, restarts: int) -> NodeStatistics:
    """The node's counters and gauges, now."""
    return NodeStatistics(
        actors=len(engine.actors),
        started=engine.numbers,
        exited=engine.numbers - len(engine.actors),
        crashes=engine.crashed_count,
        restarts=restarts,
        messages=engine.messages,
        dead_letters=engine.dead_letters,
        pending_calls=engine.deadlines.pending,
        timers=len(engine.timers),
        workers=engine.workers,
        parked=len(engine.idle),
        workers_started=engine.workers_started,
        slices=engine.slices,
        repairs=engine.repairs,
        unkillable=len(engine.unkillable),
    )


def tree_below(child_id: object, record: Record[Any], state: str) -> TreeEntry:
    """``record`` and everyone below it, now."""
    relations = record.relations
    children: list[TreeEntry] = []
    if relations is not None and relations.family is not None:
        for info in relations.family.child_infos():
            if info.ref is None:
                children.append(TreeEntry(info.id, None, None, info.kind, info.state, 0))
            else:
                child = record_of(info.ref)
                its_id = info.id if info.id is not None else child.kind.child_id
                children.append(tree_below(its_id, child, info.state))
    return TreeEntry(child_id, record, record.pid, record.kind.role, state, record.mailbox_length, tuple(children))
