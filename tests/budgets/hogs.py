"""Actors that hold more and more, each in its own way."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import trio

import actorkit as ak

BLOCK = 1000


class Meter:
    """What was really allocated. A walk that stops at a limit cannot say."""

    made = 0
    numbers = iter(range(0))


def block() -> bytes:
    Meter.made += BLOCK + 56  # its header, and what malloc makes of it
    return bytes(BLOCK)


def append_for_ever(to: Any) -> None:
    while True:
        to.append(block())


async def blocks() -> AsyncGenerator[bytes, None]:
    while True:
        yield block()


class Hog(ak.Actor):
    """Grows without end, in the way that it is told."""

    def __init__(self) -> None:
        self.held: Any = []
        self.caught = 0

    @ak.call
    def size(self) -> int:
        return len(self.held)

    @ak.cast
    def keep(self, what: object) -> None:
        self.held.append(what)

    @ak.call
    def make(self, size: int) -> None:
        self.held.append(bytes(size))

    @ak.call
    def keep_numbers(self, count: int) -> None:
        self.held.append([number + 0.5 for number in range(count)])

    @ak.call
    def forget(self) -> None:
        self.held = []

    @ak.cast
    def in_a_handler(self) -> None:
        while True:
            self.held.append(block())

    @ak.cast
    def in_a_local(self) -> None:
        held = []
        while True:
            held.append(block())

    @ak.cast
    def in_a_helper(self) -> None:
        append_for_ever(self.held)

    @ak.cast
    def in_a_deque(self) -> None:
        append_for_ever(deque())

    @ak.cast
    def in_a_comprehension(self) -> None:
        self.held = [block() for _ in range(10**9)]

    @ak.cast
    def in_a_lambda(self) -> None:
        self.held = sorted(range(30_000), key=lambda number: self.held.append(block()) or number)

    @ak.cast
    async def between_awaits(self) -> None:
        while True:
            self.held.append(block())
            await trio.lowlevel.checkpoint()

    @ak.cast
    async def in_an_open_nursery(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            self.in_a_handler()

    @ak.cast
    async def in_a_task(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._task)

    @ak.cast
    async def in_a_task_of_a_task(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Hog.in_a_task, self)

    @ak.cast
    async def in_a_task_that_catches(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Hog.catching, self, Hog._task)

    @ak.cast
    async def in_an_async_generator(self) -> None:
        held = []
        async with aclosing(blocks()) as parts:
            async for part in parts:
                held.append(part)

    async def _task(self) -> None:
        held = []
        while True:
            held.append(block())
            if not len(held) % 100:
                await trio.lowlevel.checkpoint()

    @ak.cast
    def catching_all(self) -> None:
        while True:
            try:
                self.held.append(block())
            except BaseException:
                self.caught += 1
                if self.caught > 30:
                    return

    @ak.cast
    def catching_for_ever(self) -> None:
        while True:
            try:
                self.held.append(block())
            except BaseException:
                continue

    @ak.cast
    async def catching_in_a_nursery(self) -> None:
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.lowlevel.checkpoint)
                    self.held += [block() for _ in range(30)]
            except BaseException:
                continue

    @ak.cast
    async def catching(self, where: Any) -> None:
        """Grows in each of the other ways, in a loop that swallows whatever is raised."""
        while True:
            try:
                going_on = where(self)
                if going_on is not None:
                    await going_on
            except BaseException:
                continue

    @ak.cast
    async def in_a_thread(self) -> None:
        await ak.to_thread(self._fill, 4_000)

    @ak.cast
    async def large_in_a_thread(self) -> None:
        await ak.to_thread(self.make_large)

    def make_large(self) -> None:
        self.held.append(bytes(100 * 1024 * 1024))

    def _fill(self, count: int) -> None:
        for _ in range(count):
            self.held.append(block())

    @ak.cast
    def in_c(self, how: str) -> None:
        numbers = Meter.numbers = iter(range(10**8))
        match how:
            case "list":
                self.held = list(map(str, numbers))
            case "sorted":
                self.held = sorted(numbers, key=str)
            case "set":
                self.held = set(map(str, numbers))
            case "dict":
                self.held = dict.fromkeys(numbers)
            case _:
                self.held = bytes(10**10)


async def growing(ctx: ak.ProcessContext) -> None:
    """The same as a process."""
    held = []
    while True:
        held.append(block())
        if not len(held) % 50:
            await trio.lowlevel.checkpoint()


async def growing_and_catching(ctx: ak.ProcessContext) -> None:
    """A process that catches everything that is raised in it, and goes on."""
    held: list[bytes] = []
    while True:
        try:
            while True:
                held.append(block())
                if not len(held) % 50:
                    await trio.lowlevel.checkpoint()
        except BaseException:
            continue


async def growing_at_once(ctx: ak.ProcessContext) -> None:
    """A process that grows without a single await."""
    append_for_ever([])
