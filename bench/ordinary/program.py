"""What a program is, and the actor that has one."""

from __future__ import annotations

from typing import Any

import trio

import actorkit as ak

__all__ = ["MIB", "Program", "Runner", "rows"]

MIB = 1024 * 1024


class Program:
    """One program."""

    LIMIT = 4 * MIB
    """Bytes; more than it ever holds."""
    STEPS = 40
    """So many steps allocate its limit several times."""

    def step(self, number: int) -> None:
        """The work of one message."""
        raise NotImplementedError


class Runner(ak.Actor):
    """An actor that has a program. Each handler does a step of it, with other frames around it."""

    def __init__(self, program: type[Program]) -> None:
        self.program = program()

    @ak.call
    def inline(self, number: int) -> None:
        """Called inline: on the stack of who calls."""
        self.program.step(number)

    @ak.cast
    def in_a_message(self, number: int) -> None:
        """In a message of its own."""
        self.program.step(number)

    @ak.call
    async def between_awaits(self, number: int) -> None:
        """In a coroutine."""
        await trio.lowlevel.checkpoint()
        self.program.step(number)
        await trio.lowlevel.checkpoint()

    @ak.call
    def in_a_constructor(self, number: int) -> None:
        """With a frame that C has called in between."""
        Constructed(self.program, number)

    @ak.call
    def in_a_key(self, number: int) -> None:
        """The same, and C holds references."""
        sorted([number], key=self._key)

    def _key(self, number: int) -> int:
        self.program.step(number)
        return number

    @ak.call
    def done(self) -> int:
        """Everything that was sent before this is done."""
        return 0


class Constructed:
    """An object in whose constructor a step is done."""

    def __init__(self, program: Program, number: int) -> None:
        self.name = f"object {number}"
        program.step(number)


def rows(count: int, number: int = 0) -> list[dict[str, Any]]:
    """Data as a service has them."""
    return [
        {
            "id": number * 1000 + n,
            "name": f"name {n} of {number}",
            "tags": [f"tag {n % 7}", f"tag {n % 11}"],
            "x": n / 7,
        }
        for n in range(count)
    ]
