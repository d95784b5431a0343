"""Mailboxes give up what may be given up: those of the least important actors first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..runtime.actor.record import Record
from ..runtime.budgets.mailbox_shedding import Shed, shed
from ..runtime.life.lifecycle import Lifecycle

__all__ = ["shed_mailboxes"]


def shed_mailboxes(actors: Iterable[tuple[Lifecycle, Record[Any]]], wanted: int, why: str) -> Shed:
    """Take sheddable messages of about ``wanted`` bytes out of the mailboxes of these actors, each with its node: LOW
    actors' before NORMAL ones' and so on, longer mailboxes before shorter ones, in each mailbox the oldest first."""
    full: list[tuple[int, int, Lifecycle, Record[Any]]] = []
    for node, record in actors:
        if (record.inbox or record.outbox) and record.kind.handlers.sheddable:
            full.append((record.memory_priority, -record.mailbox_length, node, record))
    full.sort(key=lambda entry: entry[:2])
    given_up = Shed()
    for _, _, node, record in full:
        if given_up.bytes >= wanted:
            break
        given_up += shed(node, record, wanted - given_up.bytes, why)
    return given_up
