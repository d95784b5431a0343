"""Links and monitors: who hears of whose end.

* A link is one per pair, both ways. A signal over it ends an actor that does not trap exits.
* A monitor is one way, and each one is separate. It sends one ``Down``.
* Deaths that cause one another are told in their order, from one loop (``tell_watchers``): a chain
  of a thousand linked actors needs no deep stack.

What a signal does to its receiver is decided by ``policy.exit_signals``; here it is carried out.
Source: the Erlang reference manual, "Processes": links, monitors, signals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ...heap.clock import nobodys
from ...policy.exit_signals import Die, Message, Source, deliver
from ...reasons import NOPROC, ExitReason
from .engine import Signals
from .envelope import Notice
from .notices import Down, Exit, MonitorId
from .record import Record
from .ref import Ref
from .relations import Monitor
from .states import DEAD

__all__ = ["demonitor", "link", "monitor", "send_signal", "tell_watchers", "unlink"]


class LinkNotice(Notice):
    """A trapped Exit that came over a link, so that ``unlink`` can tell it from one that somebody
    sent."""

    __slots__ = ()


def send_signal(
    engine: Signals[Record[Any]], target: Record[Any], reason: ExitReason, source: Record[Any] | None, via: Source
) -> None:
    """Deliver an exit signal to ``target``."""
    if target.state == DEAD:
        return
    verdict = deliver(via, reason, target.traps_exits, target is source)
    if isinstance(verdict, Die):
        engine.end_now(target, verdict.reason)
    elif isinstance(verdict, Message):
        kind = LinkNotice if via is Source.LINK else Notice
        target.post_notice(kind((target.kind.info, (Exit(source, verdict.reason),), None)))


@nobodys
def link(engine: Signals[Record[Any]], one: Record[Any], other: Record[Any]) -> None:
    """Link the two; idempotent; a link to oneself is none. A dead ``other`` answers with a NoProc
    signal."""
    if one is other:
        return
    if other.state == DEAD:
        send_signal(engine, one, NOPROC, other, Source.LINK)
        return
    ends = ((one.need_relations(), other), (other.need_relations(), one))
    try:
        for relations, far in ends:
            if relations.links is None:
                relations.links = {}
            relations.links[far] = None
    except BaseException:  # MemoryError: a table could not grow; half a link would never end
        for relations, far in ends:
            if relations.links is not None:
                relations.links.pop(far, None)
        raise


def unlink(one: Record[Any], other: Record[Any]) -> None:
    """End the link, from either side. No Exit from it arrives after this, also not one that is
    queued already."""
    for end, far in ((one, other), (other, one)):
        if end.relations is not None and end.relations.links is not None:
            end.relations.links.pop(far, None)
    _drop_queued(one, LinkNotice, lambda message: message.source is other)


@nobodys
def monitor(engine: Signals[Record[Any]], watcher: Record[Any], target: Record[Any] | None, ref: Ref[Any]) -> MonitorId:
    """Have ``watcher`` told once of the end of ``target``; at once, with NoProc, if it is dead or
    absent."""
    engine.monitor_count += 1
    id = MonitorId(engine.monitor_count)
    if target is None or target.state == DEAD:
        watcher.post_info(Down(id, ref, NOPROC))
    elif target is not watcher:
        one = Monitor(id, watcher, target, ref)
        near, far = watcher.need_relations(), target.need_relations()
        if near.monitors is None:
            near.monitors = {}
        if far.monitored_by is None:
            far.monitored_by = {}
        near.monitors[id] = one
        try:
            far.monitored_by[id] = one
        except BaseException:  # MemoryError, as with links
            del near.monitors[id]
            raise
    return id


def demonitor(watcher: Record[Any], id: MonitorId, flush: bool) -> bool:
    """Take the monitor back. True: it was still armed. With ``flush``, a Down in the mailbox is
    removed as well."""
    relations = watcher.relations
    one = relations.monitors.pop(id, None) if relations is not None and relations.monitors is not None else None
    if one is not None:
        far = one.target.relations
        if far is not None and far.monitored_by is not None:
            far.monitored_by.pop(id, None)
    elif flush:
        _drop_queued(watcher, Notice, lambda message: isinstance(message, Down) and message.monitor is id)
    return one is not None


def tell_watchers(engine: Signals[Record[Any]], dead: Record[Any], reason: ExitReason) -> None:
    """``dead`` has ended: its names are free by now; tell its links and monitors."""
    relations = dead.relations
    if relations is None:
        return
    links, watched, watching = relations.links, relations.monitored_by, relations.monitors
    relations.links = relations.monitored_by = relations.monitors = None
    if watching:
        for one in watching.values():
            far = one.target.relations
            if far is not None and far.monitored_by is not None:
                far.monitored_by.pop(one.id, None)
    if not links and not watched:
        return
    for other in links or ():
        if other.relations is not None and other.relations.links is not None:
            other.relations.links.pop(dead, None)
    telling = engine.telling
    if telling is not None:
        telling.append((dead, reason, links, watched))
        return
    telling = engine.telling = deque([(dead, reason, links, watched)])
    try:
        while telling:
            _tell(engine, *telling.popleft())
    finally:
        engine.telling = None


def _tell(
    engine: Signals[Record[Any]],
    dead: Record[Any],
    reason: ExitReason,
    links: dict[Record[Any], None] | None,
    watched: dict[MonitorId, Monitor[Record[Any]]] | None,
) -> None:
    for other in links or ():
        try:
            send_signal(engine, other, reason, dead, Source.LINK)
        except RecursionError:
            engine.settle_later(send_signal, engine, other, reason, dead, Source.LINK)
        except BaseException as error:
            engine.step_failed(error)
    for one in (watched or {}).values():
        near = one.watcher.relations
        if near is not None and near.monitors is not None and near.monitors.pop(one.id, None) is not None:
            try:
                one.watcher.post_info(Down(one.id, one.ref, reason))
            except RecursionError:
                engine.settle_later(one.watcher.post_info, Down(one.id, one.ref, reason))
            except BaseException as error:
                engine.step_failed(error)


def _drop_queued(record: Record[Any], kind: type[Notice], unwanted: Callable[[Any], bool]) -> None:
    """Remove queued notices of ``kind`` for whose message ``unwanted`` holds."""
    record.remove_messages(lambda queued: isinstance(queued, kind) and bool(queued[1]) and unwanted(queued[1][0]))
    record.refill_mailbox()
