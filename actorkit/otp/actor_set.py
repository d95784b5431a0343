"""ActorSet: whoever keeps a table of actors hears of each one's end, once, however many entries it has there.

How it works. One callback per actor hangs in that actor's own record; the end of the actor calls it in the
same synchronous step, before links and monitors are told. So a table that drops its entries there never shows
a dead actor, and whoever reads a ``Down`` finds the table clean. The callback goes when the actor's last
entry goes, and when the table's owner ends, so neither keeps the other's garbage.

The table must be a plain object and not the actor that owns it: an actor's state is cleared at its death.
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
    """The living actor of this node behind ``ref``. Raises NotAlive, which is the caller's fault: there is
    none."""
    try:
        record = engine.resolve(ref)
    except TypeError:
        raise NotAlive(purpose, shown(ref, 200), "it is not the ref of an actor") from None
    if record is None or not record.alive:
        raise NotAlive(purpose, shown(ref, 200), "it is dead" if record is not None else "nobody is there")
    if record.kind.scheduler is not engine:
        raise NotAlive(purpose, record.describe(), f"it lives on another node than {engine.name!r}")
    return record


def failed(error: Exception, kind: type[T]) -> T:
    """The answer of a method that answers with a ``kind`` usually, and raises in its caller now."""
    answer = Later[Any]()
    answer.fail(error)
    return cast(T, answer)


class ActorSet:
    """A set of living actors; ``ended(record)`` is called when one of them ends.

    Args:
        ended: called in the dying actor's stack. It must not raise nor wait.
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
        """Follow a living actor. Adding it again is nothing."""
        if record not in self._records:
            self._records[record] = None
            record.need_relations().call_at_exit(self._at_exit)

    def discard(self, record: Record[Any]) -> None:
        """Follow it no longer."""
        if record in self._records:
            del self._records[record]
            self._take_back(record)

    def close(self) -> None:
        """The table's owner has ended: leave nothing behind in the others."""
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
