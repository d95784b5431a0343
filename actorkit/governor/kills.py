"""Ending actors for memory's sake, and knowing when they have ended.

A victim gets an end that it cannot trap, with ``MemoryPressure`` as its reason. Actors linked to it
die of the same reason, so no supervisor counts it against its restart intensity. A round of kills
is over when its victims and everybody in their radii have ended: callbacks at their exits say so,
nothing polls. An actor that does not end (it is shielded, or in a thread) is reported as unkillable
by the runtime; the machine hears nothing, and decides anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..log import log
from ..policy.memory import governor_events as ev
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.memory.memory_sample import MemoryLevel
from ..policy.memory.victims import VictimTable
from ..reasons import ExitReason
from ..runtime.actor.events import KilledForMemory
from ..runtime.actor.record import Record, record_of
from ..runtime.actor.states import DEAD
from .radius import is_critical, radius_of

__all__ = ["Ending", "Kills", "emit_kill", "shown_table"]

Ending = ev.KillVictims | ev.StopAllButCritical
"""The actions that end actors."""


class Kills:
    """Ends actors on behalf of one governor.

    Args:
        live_now: bytes that Python holds at this moment; None where that is not known.
        ended: called with the action when all of its actors have ended, and with the bytes that
            this freed (None: not known). That may be before ``kill`` returns, since idle actors end
            at once.
    """

    def __init__(self, live_now: Callable[[], int | None], ended: Callable[[Ending, int | None], object]) -> None:
        self._live_now = live_now
        self._ended = ended
        #: Actors that were killed so far, those in radii not counted.
        self.killed = 0

    def kill(self, action: ev.KillVictims, level: MemoryLevel) -> None:
        """One round. The ranked table goes to the log and into the events, the rule into each
        victim's reason. In a dry run that is all."""
        words = "would kill" if action.dry_run else "kills"
        table = shown_table(action.table)
        log.warning(
            "governor: %s %d actors for %d B: %s\n%s",
            words,
            len(action.victims),
            action.predicted,
            action.because,
            table,
        )
        doomed: dict[Record[Any], None] = {}
        for victim in action.victims:
            record = record_of(victim.key)
            because = f"{victim.because}; {action.because}"
            emit_kill(record, level, victim.predicted, because, action.dry_run, table)
            doomed[record] = None
            doomed.update(dict.fromkeys(map(record_of, victim.radius)))
        if action.dry_run:
            return
        live = self._live_now()
        for victim in action.victims:
            self._end(record_of(victim.key), MemoryPressure(level, because=victim.because))
        self._when_ended(doomed, action, live)

    def stop_all_but_critical(
        self, everybody: Iterable[Record[Any]], action: ev.StopAllButCritical, level: MemoryLevel
    ) -> None:
        """The last rung before the node's own end. Supervisors stay, so that all comes back when
        there is room."""
        spared: set[Record[Any]] = set()
        doomed: dict[Record[Any], None] = {}
        for record in everybody:
            if is_critical(record) or record in doomed or record in spared:
                continue
            radius = radius_of(record)
            if any(map(is_critical, radius)):
                spared.add(record)
            else:
                doomed.update(dict.fromkeys(radius))
        log.error("governor: ends all %d actors that are not critical: %s", len(doomed), action.because)
        live = self._live_now()
        reason = MemoryPressure(level, because="all but critical actors are ended")
        for record in doomed:
            self._end(record, reason)
        self._when_ended(doomed, action, live)

    def _end(self, record: Record[Any], reason: ExitReason) -> None:
        if record.state != DEAD:
            self.killed += 1
            record.engine.end_now(record, reason)

    def _when_ended(self, records: Iterable[Record[Any]], action: Ending, live: int | None) -> None:
        """Call ``ended`` when all of these have ended. If all were idle, that is now, and what it
        freed can be read."""
        alive = {record for record in records if record.state != DEAD}
        if not alive:
            now = self._live_now()
            self._ended(action, None if live is None or now is None else max(0, live - now))
            return

        def ended(record: Record[Any], _: ExitReason) -> None:
            alive.discard(record)
            if not alive:
                self._ended(action, None)

        for record in alive:
            record.need_relations().call_at_exit(ended)


def emit_kill(record: Record[Any], *fields: Any) -> None:
    """Tell subscribers of one victim. ``fields``: those of KilledForMemory from ``level`` on."""
    events = record.engine.events
    if events.wanted(KilledForMemory):
        events.emit(KilledForMemory(record, record.pid, record.started_as, *fields))


def shown_table(table: VictimTable) -> str:
    """The ranked candidates, for the log."""
    lines = []
    for row in table.rows:
        budget = "" if row.over is None else f", {row.over:.0%} of its budget"
        lines.append(
            f"  {row.verdict}: {record_of(row.key).describe()}, priority {row.priority}, "
            f"{'idle' if row.idle else 'busy'}{budget}, {row.private:,} B"
        )
    if table.rest:
        lines.append(f"  and {table.rest} more")
    return "\n".join(lines)
