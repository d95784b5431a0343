"""What an actor holds: where a walk of its heap begins.

A walk needs two lists. The *roots* are what the actor's death would drop: its object, the coroutine
of the handler that it is in, the tasks in its nurseries, its context variables, its timers and what
it has told itself to continue with. The *mailbox* is given as the queues, not as the messages in
them: a message may have gone to several actors, and then it is nobody's own.

Code that runs is not among the roots. Its frames can be seen only from inside it, so an actor whose
code is on the stack must be walked by whoever interrupts it (``budget``), with those frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any, Final

import trio

from ...heap import walk
from ...heap.usage import HeapUsage
from ..actor.actor_kind import ActorKind
from ..actor.envelope import Message
from ..actor.record import Record
from ..actor.ref import Ref
from ..actor.states import RUNNING
from ..actor.waiting import SenderWaiting, Waiting
from ..base.timers import Timer

__all__ = ["CHUNK", "contents", "heap_of", "heap_of_all", "held_by", "holders", "on_stack", "roots_of"]

CHUNK: Final = 256 if walk.IMPLEMENTATION == "c" else 16
"""This many actors are walked before others may run."""

walk.stop_at(Ref, Waiting, ActorKind, Timer, trio.lowlevel.Task, trio.Nursery)


# --- an actor ------------------------------------------------------------------------------------


def _coroutines(record: Record[Any]) -> Iterator[Any]:
    """The handler that it is in, and the tasks in its nurseries."""
    worker = record.worker
    if worker is not None and worker.coro is not None:
        yield worker.coro
    relations = record.relations
    if relations is not None and relations.kids:
        for kid in relations.kids:
            yield kid.coro


def _runs(coro: Any) -> bool:
    return bool(getattr(coro, "cr_running", False) or getattr(coro, "gi_running", False))


def on_stack(record: Record[Any]) -> bool:
    """Is its code being executed, at the top of the stack or further down?"""
    if record.state != RUNNING:
        return False
    if record.worker is None:
        return True
    return any(map(_runs, _coroutines(record)))


def roots_of(record: Record[Any]) -> list[Any]:
    """Everything that an actor holds, except its mailbox and code that runs."""
    roots = [record.obj, *(coro for coro in _coroutines(record) if not _runs(coro))]
    if record.variables is not None:
        roots.append(record.variables)
    if record.control is not None and record.control.continuations:
        roots.append(record.control.continuations)
    if record.pending is not None:
        roots += _unsent(record)
    relations = record.relations
    if relations is not None:
        if relations.timers:
            roots += relations.timers.values()  # the messages; a timer is an entry in a table
        if relations.kids:
            roots += [kid.task.context for kid in relations.kids]
    return roots


def _unsent(record: Record[Any]) -> Iterator[SenderWaiting]:
    """What holds the messages that its tasks cannot send yet."""
    link = record.pending
    while link is not None:
        waiting = link if type(link) is SenderWaiting else getattr(link, "later", None)
        if type(waiting) is SenderWaiting:
            yield waiting
        link = link.next


def held_by(records: Iterable[Record[Any]]) -> list[tuple[Sequence[Any], Sequence[Any]]]:
    """The roots and the mailbox of each, for a census. Most actors are idle and have nothing but
    their object, so that is asked in one expression, with the storage of the mailbox written
    out."""
    return [
        ((record.obj,), ())
        if record.relations is None
        and record.worker is None
        and record.inbox is None
        and record.outbox is None
        and record.pending is None
        and record.variables is None
        and record.control is None
        else (roots_of(record), record.message_queues())
        for record in records
    ]


def heap_of(
    record: Record[Any], *, frames: tuple[FrameType, ...] = (), limit: int | None = None, shared: bool = False
) -> HeapUsage:
    """Walk one actor. ``frames``: its code that runs. ``shared``: also find what others hold too,
    and its cycles."""
    return walk.measure(roots_of(record), record.message_queues(), frames=frames, limit=limit, cycles=shared)


def heap_of_all(records: Iterable[Record[Any]], *, limit: int | None = None) -> HeapUsage:
    """Walk several actors as one: what they share with each other and nobody else counts, once."""
    holdings = held_by(records)
    roots = [root for held, _ in holdings for root in held]
    queues = [queue for _, mailbox in holdings for queue in mailbox]
    return walk.measure(roots, queues, limit=limit)


# --- a message -----------------------------------------------------------------------------------


def contents(message: Message) -> tuple[Any, ...]:
    """What the receiver of a message gets."""
    function, args, _ = message
    if type(function) is partial:
        return (*args, *function.keywords.values(), function.keywords)
    return args


def holders(message: Message) -> tuple[Any, ...]:
    """What holds the contents of a message: a walk from here asks who else holds them."""
    function, args, _ = message
    return (args, function.keywords) if type(function) is partial else (args,)
