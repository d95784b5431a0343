"""Turns: one slice of work in each pass of trio for everybody who could go on without waiting.

The pool has a slice of its own (see ``scheduler``). This is the other one. It is shared by all tasks that
never have to wait: plain tasks and handlers in loops of inline calls, processes whose messages are there
already, connections whose sockets are full.

1. Whoever has done something without waiting asks ``slice_is_over``. The clock is read once for eight
   operations if so many would fit into what is left, else for each.
2. Whoever is alone makes a checkpoint when the slice is over, and begins the next pass's slice.
3. Everybody else waits for a turn in a queue. One small task, the turnstile, lets ``PER_PASS`` of them
   through in each pass, and each gets an equal part of that pass's slice, which the first of them
   begins. Those who wait cost the pass nothing.
4. Who has been let through and finds the slice over by a quarter (others had slow operations) waits for the
   next pass, in front of the queue, and fewer are let through for some time.
5. Connections also ask *before* they read, since thousands may have become readable in the same pass. Those
   whose sockets are known to be full wait for their turn; those whom trio has just woken go on until the pass
   is crowded. For that they must know when a pass begins: an instrument tells (``watch_passes``), at half a
   microsecond a pass, in nodes that have a listener.

So the length of a pass does not grow with the number of busy tasks. What grows is the time until it is
one's turn again: ``number / PER_PASS`` passes, and more if operations are slow.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Final

import outcome
import trio
from trio.lowlevel import Abort, Task, cancel_shielded_checkpoint, checkpoint, current_task, reschedule

from .trio_internals import WAKE, WAKE_FRAMES, Trap, make_trap, park, room

__all__ = ["PER_PASS", "Turns"]

PER_PASS: Final = 32
"""Tasks that the turnstile lets through in one pass, at most."""

STRIDE: Final = 8
"""Operations between two readings of the clock, while they are quick."""

CROWDED: Final = 8
"""Slices that a pass may take when trio has woken hundreds in it."""


class _Passes(trio.abc.Instrument):
    """Tells when trio comes back from waiting for I/O."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def after_io_wait(self, timeout: float) -> None:
        turns = self.turns
        turns.pass_ends = turns.turn_ends = perf_counter_ns() + turns.slice_ns


class Turns:
    """See the module's docstring. The scheduler is built on top of it."""

    slice_ns: int

    def __init__(self) -> None:
        self.inline_left = STRIDE
        """Operations until the clock is read again."""
        self.inline_checked = 0
        self._stride = STRIDE
        self.pass_ends = 0
        """When this pass of trio has used up its slice, in nanoseconds."""
        self.turn_ends = 0
        """When whoever works now has used up its part of that slice; never later than ``pass_ends``."""
        self.turns: deque[list[Task | None]] = deque()
        """Who waits for a turn, in order; None is who has been cancelled. (Not a dict: once in a few hundred passes it
        is copied, for a millisecond when 10,000 wait.)"""
        self._gone = 0
        """How many of these are None."""
        self._again: list[list[Task | None]] = []
        """Who was let through and came too late. They go to the front of the queue."""
        self._late = 0
        """How many, since the turnstile has looked."""
        self._through = PER_PASS
        """How many the turnstile lets through."""
        self._sharing = 1
        self._lap_ends = 0
        """When whoever has been let through is too late."""
        self._lap = 0
        """How often the turnstile has let somebody through, and the last time that one of them has begun its turn."""
        self._lap_begun = 0
        self._breathing = False
        """Somebody who is alone makes a checkpoint."""
        self._passes: _Passes | None = None
        self._turnstile: Task | None = None
        """The turnstile's task while it sleeps."""
        self._turns_closed = True

    def open_turnstile(self, nursery: trio.Nursery, name: str) -> None:
        """Let the turnstile work, in a task of ``nursery``."""
        self._turns_closed = False
        self.begin_pass()
        nursery.start_soon(self._run_turnstile, name=name)

    def watch_passes(self) -> None:
        """Be told of the beginning of each pass, from now on."""
        if self._passes is None:
            self._passes = _Passes(self)
            trio.lowlevel.add_instrument(self._passes)

    def begin_pass(self) -> None:
        """Nobody has worked in this pass yet."""
        self.pass_ends = self.turn_ends = perf_counter_ns() + self.slice_ns

    def slice_is_over(self) -> bool:
        """Has this turn used up its part of the pass's slice? Asked when ``inline_left`` has run out."""
        now = perf_counter_ns()
        one = (now - self.inline_checked) // self._stride
        self._stride = self.inline_left = STRIDE if now + STRIDE * one < self.turn_ends else 1
        self.inline_checked = now
        return now > self.turn_ends

    async def yield_if_due(self, task: Task) -> None:
        """Call it after an operation that did not have to wait."""
        self.inline_left -= 1
        if self.inline_left <= 0 and self.slice_is_over():
            await self.breathe()

    async def turn_if_due(self) -> None:
        """Call it before an operation. Raises Cancelled if the task is cancelled while it waits for its turn."""
        self.inline_left -= 1
        if self.inline_left <= 0 and self.slice_is_over():
            await self.take_turn()

    async def breathe(self) -> None:
        """Wait for a turn, after an operation that has been done and so cannot be cancelled any more."""
        if self._is_alone():
            self._breathing = True
            try:
                # Not trio's shielded one: a main task that never does anything else would never get
                # the KeyboardInterrupt that is meant for it.
                with trio.CancelScope(shield=True):
                    await checkpoint()
            finally:
                self._breathing = False
                self.begin_pass()
        else:
            got = await self._wait_for_turn()
            if not isinstance(got, outcome.Value) and not isinstance(got.error, trio.Cancelled):
                got.unwrap()  # a KeyboardInterrupt; a cancellation comes again at the next checkpoint

    async def take_turn(self) -> None:
        """Wait for a turn, before an operation: a checkpoint."""
        if self._is_alone():
            self._breathing = True
            try:
                await checkpoint()
            finally:
                self._breathing = False
                self.begin_pass()
        else:
            got = await self._wait_for_turn()
            if not isinstance(got, outcome.Value):
                got.unwrap()

    async def turn_if_crowded(self) -> None:
        """``turn_if_due`` for somebody whom trio has just woken, and whose operation is likely to be the only one. To
        wait for a turn would cost a fifth of it, so it asks for one only when the pass has taken ``CROWDED`` slices."""
        self.inline_left -= 1
        if self.inline_left > 0 or not self.slice_is_over():
            return
        if self.inline_checked > self.pass_ends + (CROWDED - 1) * self.slice_ns:
            await self.take_turn()

    def _is_alone(self) -> bool:
        return self._turns_closed or (self._turnstile is not None and not self._breathing)

    async def _wait_for_turn(self) -> Any:
        """Wait and begin the turn, or return the error."""
        self._wake_turnstile()
        entry: list[Task | None] = [current_task()]
        self.turns.append(entry)

        def abort(_: Callable[[], Any]) -> Abort:
            entry[0] = None
            self._gone += 1
            if self._gone == len(self.turns) + len(self._again):
                self.turns.clear()
                self._again.clear()
                self._gone = 0
            return Abort.SUCCEEDED

        trap = Trap(abort)
        while True:
            got = await park(trap)
            if not isinstance(got, outcome.Value) or self._begin_turn(got.value):
                return got
            self._wake_turnstile()
            self._late += 1
            self._again.append(entry)

    def _wake_turnstile(self) -> None:
        turnstile = self._turnstile
        if turnstile is not None:
            room(WAKE_FRAMES)
            self._turnstile = None
            reschedule(turnstile, WAKE)

    def _begin_turn(self, lap: int) -> bool:
        """False: it is too late in this pass."""
        now = perf_counter_ns()
        if lap != self._lap_begun:
            self._lap_begun = lap
            self._lap_ends = now + self.slice_ns + self.slice_ns // 4
            if self._passes is None:
                self.pass_ends = now + self.slice_ns
        elif now > self._lap_ends and not self._turns_closed:
            return False
        self.turn_ends = min(self.pass_ends, now + self.slice_ns // self._sharing)
        self._stride = self.inline_left = 1
        self.inline_checked = now
        return True

    async def _run_turnstile(self) -> None:
        """Let those who wait through, until ``close_turnstile``."""
        task = current_task()
        turns = self.turns
        trap = make_trap(self._turnstile_cancelled)
        with trio.CancelScope(), trio.CancelScope(shield=True):
            try:
                while not self._turns_closed:
                    if self._again:
                        turns.extendleft(reversed(self._again))
                        self._again.clear()
                        through = self._through  # whoever comes too late has cost a switch for nothing
                        self._through = max(1, through // 2, through - self._late)
                        self._late = 0
                    elif self._through < PER_PASS:
                        self._through = min(self._through + 1 + self._through // 8, PER_PASS)
                    if not turns:
                        self._turnstile = task
                        got = await park(trap)
                        if got is not WAKE:
                            got.unwrap()
                    due = min(len(turns) - self._gone, self._through)
                    self._sharing = max(1, due)
                    self._lap += 1
                    go_on = outcome.Value(self._lap)
                    while due > 0:
                        due -= self._let_through(go_on)
                    await cancel_shielded_checkpoint()
            finally:
                self._turns_closed = True
                self._turnstile = None
                turns.extend(self._again)
                self._again.clear()
                while turns:
                    self._let_through(outcome.Value(self._lap))

    def _let_through(self, go_on: outcome.Value[int]) -> bool:
        """The first in the queue, if it still waits."""
        task = self.turns.popleft()[0]
        if task is None:
            self._gone -= 1
            return False
        reschedule(task, go_on)
        return True

    def _turnstile_cancelled(self, _: Callable[[], Any]) -> Abort:
        self._turnstile = None
        return Abort.SUCCEEDED

    def close_turnstile(self) -> None:
        """The node has stopped. Tasks of the host may still be waiting for a turn: they get it."""
        self._turns_closed = True
        if self._passes is not None:
            with contextlib.suppress(KeyError):  # somebody has removed it
                trio.lowlevel.remove_instrument(self._passes)
            self._passes = None
        turnstile, self._turnstile = self._turnstile, None
        if turnstile is not None:
            reschedule(turnstile, WAKE)
