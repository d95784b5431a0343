"""ActorSet: a table of actors hears of each actor's end, once, however many entries it has there.

How it works. One callback for each actor hangs in that actor's own record. The end of the actor
calls it in the same synchronous step, before links and monitors hear of it. So a table that drops
the actor's entries there never shows a dead actor, and whoever gets a ``Down`` finds the table
clean. The callback is removed when the actor's last entry is, and when the table's owner ends, so
neither keeps garbage of the other's.

The table must be a plain object, not the actor that owns it: an actor's state is cleared at its
death.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import NotAlive
from ..reasons import ExitReason, shown
from ..runtime.actor.later import Later
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref

if TYPE_CHECKING:
    from ..runtime.life.node_engine import NodeEngine

__all__ = ["ActorSet", "failed", "living"]

T = TypeVar("T")


def living(engine: NodeEngine, ref: Ref[Any], purpose: str) -> Record[Any]:
    """The living actor of this node behind ``ref``. Raises NotAlive if there is none: the fault of
    whoever gave the ref."""
    try:
        record = engine.resolve(ref)
    except TypeError:
        raise NotAlive(purpose, shown(ref, 200), "it is not the ref of an actor") from None
    if record is None or not record.alive:
        raise NotAlive(purpose, shown(ref, 200), "it is dead" if record is not None else "nobody is there")
    if record.kind.engine is not engine:
        raise NotAlive(purpose, record.describe(), f"it lives on another node than {engine.name!r}")
    return record


def failed(error: Exception, kind: type[T]) -> T:
    """What a call's method returns to raise ``error`` in its caller; its usual answer is a
    ``kind``."""
    answer = Later[Any]()
    answer.fail(error)
    return cast(T, answer)


class ActorSet:
    """A set of living actors; ``ended(record)`` is called when one of them ends.

    Args:
        ended: called in the dying actor's stack. It must neither raise nor wait.
    """

    __slots__ = ("_ended", "_records")

    def __init__(self, ended: Callable[[Record[Any]], None]) -> None:
        self._ended = ended
        self._records: dict[Record[Any], None] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, record: Record[Any]) -> bool:
        return record in self._records

    def add(self, record: Record[Any]) -> None:
        """Add a living actor. Adding it again is nothing."""
        if record not in self._records:
            self._records[record] = None
            record.need_relations().call_at_exit(self._at_exit)

    def discard(self, record: Record[Any]) -> None:
        """Remove an actor. One that is not there is nothing."""
        if record in self._records:
            del self._records[record]
            self._take_back(record)

    def close(self) -> None:
        """The table's owner has ended: leave nothing behind in the actors."""
        records, self._records = self._records, {}
        for record in records:
            self._take_back(record)

    def _take_back(self, record: Record[Any]) -> None:
        relations = record.relations
        if relations is not None and relations.at_exit and self._at_exit in relations.at_exit:
            relations.at_exit.remove(self._at_exit)

    def _at_exit(self, record: Record[Any], _: ExitReason) -> None:
        if record in self._records:
            del self._records[record]
            self._ended(record)
