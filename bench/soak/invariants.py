"""What must hold for a node at any moment, and for a node that has closed; read from its own
tables."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import actorkit as ak
from actorkit.runtime.actor.record import Record
from actorkit.runtime.actor.states import DEAD


def consistent(node: ak.Node) -> Iterator[str]:
    """What is wrong with a running node."""
    for number, record in node.engine.actors.items():
        if record.state == DEAD or record.number != number:
            yield f"{record} is among the actors, dead"
        extra = record.relations
        if extra is None:
            continue
        for far in extra.links or ():
            if far.state == DEAD or far.number not in node.engine.actors:
                yield f"{record} is linked with {far}, which is not alive"
            elif far.relations is None or record not in (far.relations.links or ()):
                yield f"{record} is linked with {far}, which does not know"
        for id, one in (extra.monitors or {}).items():
            if one.target.state == DEAD:
                yield f"{record} monitors {one.target}, which is dead"
            elif one.target.relations is None or id not in (one.target.relations.monitored_by or {}):
                yield f"{record} monitors {one.target}, which does not know"
        for id, one in (extra.monitored_by or {}).items():
            if one.watcher.state == DEAD:
                yield f"{record} is monitored by {one.watcher}, which is dead"
            elif one.watcher.relations is None or id not in (one.watcher.relations.monitors or {}):
                yield f"{record} is monitored by {one.watcher}, which does not know"
    for name in node.engine.names.registered():
        holder = node.engine.names.whereis(name)
        if holder is None or holder.state == DEAD or holder.number not in node.engine.actors:
            yield f"{name!r} is held by {holder}, which is not alive"
    if node.engine.current is not None:
        yield f"current is {node.engine.current} in the host's task"


def left(node: ak.Node) -> Iterator[str]:
    """What a closed node has left behind."""
    for what in ("actors", "workers", "idle", "current", "holders", "busy", "grant", "starting", "unkillable", "dying"):
        if getattr(node.engine, what):
            yield f"left behind: {what} = {getattr(node.engine, what)!r:.200}"
    if node.engine.deadlines.pending:
        yield f"{node.engine.deadlines.pending} calls are pending"
    if len(node.engine.timers):
        yield f"{len(node.engine.timers)} timers are left"
    if node.engine.names.registered():
        yield f"names are left: {node.engine.names.registered()[:5]}"
    if node.engine.budgets.all:
        yield f"budgets are left: {len(node.engine.budgets.all)}"


def records() -> int:
    gc.collect()
    return sum(isinstance(thing, Record) for thing in gc.get_objects())
