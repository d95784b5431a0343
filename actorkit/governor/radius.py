"""Who goes down with an actor: its radius.

A kill costs, and frees, more than its victim. Any actor that is linked to the victim and does not
trap exits ends too. The strategy of its supervisor may stop siblings. A supervisor takes everyone
below it along. Whoever chooses victims must know all of them first.
"""

from __future__ import annotations

from typing import Any

from ..policy.memory.memory_sample import Priority
from ..runtime.actor.record import Record
from ..runtime.actor.states import DEAD

__all__ = ["below", "is_critical", "is_spared", "radius_of"]


def radius_of(record: Record[Any]) -> list[Record[Any]]:
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
    """Who ends because ``record`` does, in one step."""
    pulled: list[Record[Any]] = []
    relations = record.relations
    if relations is not None and relations.links:
        pulled += [other for other in relations.links if not other.traps_exits]
    owner = record.kind.owner
    if owner is not None:
        pulled += owner.companions(record)
    pulled += record.child_records()
    return pulled


def below(supervisor: Record[Any]) -> list[Record[Any]]:
    """Everyone below a supervisor, the nearest first, without the supervisor itself."""
    found = list(supervisor.child_records())
    for record in found:  # the list grows meanwhile
        found += record.child_records()
    return found


def is_critical(record: Record[Any]) -> bool:
    """Must it never be killed for memory's sake?"""
    return is_spared(record.kind.role, record.memory_priority)


def is_spared(role: str, priority: Priority) -> bool:
    """Is an actor of this role and priority critical? A supervisor always is: it holds little, and
    everyone below it would go."""
    return role == "supervisor" or priority is Priority.CRITICAL
