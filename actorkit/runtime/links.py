"""Links and monitors: who hears of whose end.

* A link is one per pair, both ways; a signal over it ends those who do not trap exits.
* A monitor is one way, and every one is separate; it sends one ``Down``.

What a signal does to its receiver is decided by ``policy.exit_signals``; here it is carried out.
Source: the Erlang reference manual, "Processes": links, monitors, signals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..policy.exit_signals import Die, Message, Source, deliver
from ..reasons import NOPROC, ExitReason
from .messages import Down, Exit, MonitorId
from .record import DEAD, Record

if TYPE_CHECKING:
    from .lifecycle import Lifecycle
    from .ref import Ref

__all__ = ["Monitor", "demonitor", "link", "monitor", "send_signal", "tell_watchers", "unlink"]


class Monitor:
    """One monitor, known at both ends."""

    __slots__ = ("id", "ref", "target", "watcher")

    def __init__(self, id: MonitorId, watcher: Record[Any], target: Record[Any], ref: Ref[Any]) -> None:
        self.id = id
        self.watcher = watcher
        self.target = target
        self.ref = ref


def send_signal(
    lifecycle: Lifecycle, target: Record[Any], reason: ExitReason, source: Record[Any] | None, via: Source
) -> None:
    """Deliver an exit signal to ``target``."""
    if target.state == DEAD:
        return
    verdict = deliver(via, reason, target.traps_exits, target is source)
    if isinstance(verdict, Die):
        lifecycle.end_now(target, verdict.reason)
    elif isinstance(verdict, Message):
        target.post_info(Exit(source, verdict.reason))


def link(lifecycle: Lifecycle, one: Record[Any], other: Record[Any]) -> None:
    """Link the two; idempotent; a link to oneself is none. A dead ``other`` answers with a NoProc signal."""
    if one is other:
        return
    if other.state == DEAD:
        send_signal(lifecycle, one, NOPROC, other, Source.LINK)
        return
    for end, far in ((one, other), (other, one)):
        extra = end.need_extra()
        if extra.links is None:
            extra.links = {}
        extra.links[far] = None


def unlink(one: Record[Any], other: Record[Any]) -> None:
    """End the link, from either side. No Exit from it arrives after this, also not one that is queued already."""
    for end, far in ((one, other), (other, one)):
        if end.extra is not None and end.extra.links is not None:
            end.extra.links.pop(far, None)
    _drop_queued(one, lambda message: isinstance(message, Exit) and message.source is other)


def monitor(lifecycle: Lifecycle, watcher: Record[Any], target: Record[Any] | None, ref: Ref[Any]) -> MonitorId:
    """Have ``watcher`` told once of the end of ``target``; at once, with NoProc, if it is dead or absent."""
    lifecycle.monitor_count += 1
    id = MonitorId(lifecycle.monitor_count)
    if target is None or target.state == DEAD:
        watcher.post_info(Down(id, ref, NOPROC))
    elif target is not watcher:
        one = Monitor(id, watcher, target, ref)
        extra = watcher.need_extra()
        if extra.monitors is None:
            extra.monitors = {}
        extra.monitors[id] = one
        extra = target.need_extra()
        if extra.monitored_by is None:
            extra.monitored_by = {}
        extra.monitored_by[id] = one
    return id


def demonitor(watcher: Record[Any], id: MonitorId, flush: bool) -> bool:
    """Take the monitor back. True: it was still armed. With ``flush``, a Down in the mailbox is removed as well."""
    extra = watcher.extra
    one = extra.monitors.pop(id, None) if extra is not None and extra.monitors is not None else None
    if one is not None:
        far = one.target.extra
        if far is not None and far.monitored_by is not None:
            far.monitored_by.pop(id, None)
    elif flush:
        _drop_queued(watcher, lambda message: isinstance(message, Down) and message.monitor is id)
    return one is not None


def tell_watchers(lifecycle: Lifecycle, dead: Record[Any], reason: ExitReason) -> None:
    """``dead`` has ended: its names are free by now; tell its links and monitors."""
    extra = dead.extra
    if extra is None:
        return
    links, watched, watching = extra.links, extra.monitored_by, extra.monitors
    extra.links = extra.monitored_by = extra.monitors = None
    if watching:
        for one in watching.values():
            far = one.target.extra
            if far is not None and far.monitored_by is not None:
                far.monitored_by.pop(one.id, None)
    if links:
        for other in links:
            if other.extra is not None and other.extra.links is not None:
                other.extra.links.pop(dead, None)
        for other in links:
            send_signal(lifecycle, other, reason, dead, Source.LINK)
    if watched:
        for one in watched.values():
            near = one.watcher.extra
            if near is not None and near.monitors is not None and near.monitors.pop(one.id, None) is not None:
                one.watcher.post_info(Down(one.id, one.ref, reason))


def _drop_queued(record: Record[Any], unwanted: Any) -> None:
    """Remove queued infos for which ``unwanted(message)`` holds."""
    for queue in (record.inbox, record.outbox):
        if queue:
            queue[:] = [m for m in queue if not (len(m[1]) == 1 and m[2] is None and unwanted(m[1][0]))]
    if record.inbox is not None and not record.inbox:
        record.inbox = None
