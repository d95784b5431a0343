"""Actors that the tests of the behaviours share."""

from __future__ import annotations

from typing import Any

import trio.testing

import actorkit as ak


class Idle(ak.Actor):
    """Does nothing, but can be told to crash."""

    @ak.cast
    def crash(self) -> None:
        raise RuntimeError("told to")

    @ak.call
    def number(self) -> int:
        return self.ctx.pid.number


class Notes(ak.Actor):
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def handle_info(self, message: object) -> None:
        self.notes.append(message)

    @ak.call
    def taken(self) -> list[Any]:
        notes, self.notes = self.notes, []
        return notes


async def settled() -> None:
    """Let everything that is ready to run do so."""
    await trio.testing.wait_all_tasks_blocked()
