"""Ending actors for the node's sake, and knowing when they have ended.

A victim gets an untrappable end with ``MemoryPressure`` as its reason; who is linked to it dies of the same, so no
supervisor counts it. A kill is over when its victims and all in their radii have ended: callbacks at their exits tell,
nobody polls. One that does not end (it is shielded, or in a thread) is reported as unkillable by the runtime, and the
machine, hearing nothing, decides anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..log import log
from ..policy.memory import governor_events as ev
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.memory.memory_sample import MemoryLevel
from ..policy.memory.victims import VictimTable
from ..reasons import ExitReason
from ..runtime.actor.record import DEAD, Record
from .radius import is_critical, radius_of

if TYPE_CHECKING:
    from .node_governor import Governor
    from .subtree_governor import SubtreeGovernor

__all__ = ["Kills", "shown_table"]


class Kills:
    """What one governor ends."""

    def __init__(self, governor: Governor | SubtreeGovernor) -> None:
        self._governor = governor
        self.killed = 0

    def kill(self, action: ev.Kill, level: MemoryLevel) -> None:
        """A round. The ranked table goes to the log and into the events, the rule into each victim's reason."""
        governor = self._governor
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
            assert isinstance(victim.key, Record)
            because = f"{victim.because}; {action.because}"
            governor.emit_kill(victim.key, level, victim.predicted, because, action.dry_run, table)
            doomed[victim.key] = None
            doomed.update((record, None) for record in victim.radius if isinstance(record, Record))
        if action.dry_run:
            return
        live = governor.live_now()
        for victim in action.victims:
            assert isinstance(victim.key, Record)
            if victim.key.state != DEAD:
                self.killed += 1
                self._end(victim.key, MemoryPressure(level, because=victim.because))
        self._when_ended(doomed, action, live)

    def stop_all_but_critical(self, action: ev.StopAllButCritical, level: MemoryLevel) -> None:
        """The last rung before the node's own end. Supervisors stay, so that all comes back when there is room."""
        spared: set[Record[Any]] = set()
        doomed: dict[Record[Any], None] = {}
        for record in self._governor.everybody():
            if is_critical(record) or record in doomed or record in spared:
                continue
            radius = radius_of(record)
            if any(map(is_critical, radius)):
                spared.add(record)
            else:
                doomed.update(dict.fromkeys(radius))
        log.error("governor: ends all %d actors that are not critical: %s", len(doomed), action.because)
        live = self._governor.live_now()
        reason = MemoryPressure(level, because="all but critical actors are ended")
        for record in doomed:
            if record.state != DEAD:
                self.killed += 1
                self._end(record, reason)
        self._when_ended(doomed, action, live)

    def _end(self, record: Record[Any], reason: ExitReason) -> None:
        record.scheduler.end_now(record, reason)

    def _when_ended(
        self, records: Iterable[Record[Any]], action: ev.Kill | ev.StopAllButCritical, live: int | None
    ) -> None:
        """Tell the machine once all of these have ended. Idle ones have by now, and what that freed is told too."""
        alive = {record for record in records if record.state != DEAD}
        if not alive:
            now = self._governor.live_now()
            self._over(action, None if live is None or now is None else max(0, live - now))
            return

        def ended(record: Record[Any], _: ExitReason) -> None:
            alive.discard(record)
            if not alive:
                self._over(action, None)

        for record in alive:
            record.need_relations().call_at_exit(ended)

    def _over(self, action: ev.Kill | ev.StopAllButCritical, realised: int | None) -> None:
        if self._governor.nodes:
            predicted = action.predicted if isinstance(action, ev.Kill) else None
            self._governor.done(action, realised=realised, predicted=predicted)


def shown_table(table: VictimTable) -> str:
    """The ranked candidates, for the log."""
    lines = []
    for row in table.rows:
        assert isinstance(row.key, Record)
        budget = "" if row.over is None else f", {row.over:.0%} of its budget"
        lines.append(
            f"  {row.verdict}: {row.key.describe()}, priority {row.priority}, "
            f"{'idle' if row.idle else 'busy'}{budget}, {row.private:,} B"
        )
    if table.rest:
        lines.append(f"  and {table.rest} more")
    return "\n".join(lines)
