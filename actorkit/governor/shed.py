"""Mailboxes give up what may be given up: those of the least important actors first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..runtime.actor.record import Record
from ..runtime.budgets.mailbox_shedding import Shed, shed
from ..runtime.life.lifecycle import Lifecycle

__all__ = ["shed_mailboxes", "shed_records"]


def shed_mailboxes(engines: Iterable[Lifecycle], wanted: int, why: str) -> Shed:
    """Take sheddable messages of about ``wanted`` bytes out of the mailboxes of these nodes: LOW actors' before NORMAL
    ones' and so on, in each mailbox the oldest first."""
    return shed_records(((engine, record) for engine in engines for record in engine.actors.values()), wanted, why)


def shed_records(records: Iterable[tuple[Lifecycle, Record[Any]]], wanted: int, why: str) -> Shed:
    """The same, of these actors (each with its node)."""
    full: list[tuple[int, int, Lifecycle, Record[Any]]] = []
    for engine, record in records:
        if (record.inbox or record.outbox) and record.kind.handlers.sheddable:
            full.append((record.memory_priority, -record.mailbox_length, engine, record))
    full.sort(key=lambda entry: entry[:2])
    given_up = Shed()
    for _, _, engine, record in full:
        if given_up.bytes >= wanted:
            break
        given_up += shed(engine, record, wanted - given_up.bytes, why)
    return given_up
