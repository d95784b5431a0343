"""Who goes down with an actor: its radius.

An actor that is killed ends those who are linked to it and do not trap exits, and its supervisor's strategy may stop
siblings, which, if they are supervisors, take all below them along. Whoever chooses victims must know that first: the
whole radius is what a kill costs, and what it frees.
"""

from __future__ import annotations

from typing import Any

from ...policy.memory.memory_sample import Priority
from ..actor.record import DEAD, Record

__all__ = ["Radius", "below", "children_of", "is_critical", "radius_of"]

Radius = list[Record[Any]]


def radius_of(record: Record[Any]) -> Radius:
    """``record``, and everyone who ends with it."""
    found: dict[Record[Any], None] = {record: None}
    todo = [record]
    while todo:
        one = todo.pop()
        for other in _pulled(one):
            if other not in found and other.state != DEAD:
                found[other] = None
                todo.append(other)
    return list(found)


def _pulled(record: Record[Any]) -> list[Record[Any]]:
    pulled: list[Record[Any]] = []
    relations = record.relations
    if relations is not None and relations.links:
        pulled += [other for other in relations.links if not other.traps_exits]
    owner = record.kind.owner
    if owner is not None:
        pulled += owner.companions(record)
    if record.kind.role == "supervisor":
        pulled += children_of(record)
    return pulled


def children_of(record: Record[Any]) -> list[Record[Any]]:
    """The running children of a supervisor."""
    refs = getattr(record.obj, "refs", None)
    return list(refs) if isinstance(refs, dict) else []


def below(supervisor: Record[Any]) -> list[Record[Any]]:
    """Everyone below a supervisor, nearest first, without itself."""
    found: list[Record[Any]] = []
    todo = [supervisor]
    while todo:
        children = children_of(todo.pop())
        found += children
        todo += [child for child in children if child.kind.role == "supervisor"]
    return found


def is_critical(record: Record[Any]) -> bool:
    """May it never be killed for memory's sake? A supervisor neither: it holds little, and all below it would go."""
    return record.kind.role == "supervisor" or record.memory_priority is Priority.CRITICAL
