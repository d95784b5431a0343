"""Turns: one slice of work in each pass of trio for everybody who could go on without waiting.

The pool has a slice of its own (see ``life.pool``). This is the other one. It is shared by all
tasks that never have to wait: plain tasks and handlers in loops of inline calls, processes whose
messages are there already, connections whose sockets are full.

1. A task that has done something without waiting asks ``slice_is_over``. The clock is read once for
   eight operations if so many would fit into what is left of the slice, else for each.
2. A task that is alone makes a checkpoint when the slice is over, and begins the next pass's slice.
3. All other tasks wait for a turn in a queue. One small task, the turnstile, lets ``PER_PASS`` of
   them through in each pass. Each gets an equal part of that pass's slice, and the first one begins
   the slice. Tasks that wait cost the pass nothing.
4. How many turns fit into a slice is learned from how long turns last: a turn is at least one
   operation, and operations may be slow.
5. A connection whose socket is known to be full waits for its turn like any other task. A
   connection that trio has just woken does not wait: that would cost a fifth of a small request,
   and thousands that are woken together run one after the other anyway. It has a small turn,
   whatever the pass has taken so far (``woken``).

So the length of a pass does not grow with the number of busy tasks. What grows is the time until a
task has its turn again: ``number / PER_PASS`` passes, and more if operations are slow.
"""

from __future__ import annotations

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


class Turns:
    """See the module's docstring. The engine is built on top of it."""

    slice_ns: int

    def __init__(self) -> None:
        self.inline_left = STRIDE
        """Operations until the clock is read again."""
        self.inline_checked = 0
        self._stride = STRIDE
        self.pass_ends = 0
        """When this pass of trio has used up its slice, in nanoseconds."""
        self.turn_ends = 0
        """When the task that works now has used up its part of that slice; never later than
        ``pass_ends``."""
        self.turns: deque[list[Task | None]] = deque()
        """The tasks that wait for a turn, in order; None stands for a task that was cancelled. (Not
        a dict: a dict is copied once in a few hundred passes, which takes a millisecond when 10,000
        wait.)"""
        self._gone = 0
        """How many entries of ``turns`` are None."""
        self._through = PER_PASS
        """How many the turnstile lets through."""
        self._sharing = 1
        self._lap = 0
        """The number of the pass in which the turnstile last let tasks through; and of the last one
        whose first turn has begun."""
        self._lap_begun = 0
        self._turn_ns = 0
        """How long a turn lasts, smoothed; then the sum and the number of the turns that are not
        counted in yet."""
        self._worked = 0
        self._worked_turns = 0
        self._turn_began = 0
        self._breathing = False
        """A task that is alone makes a checkpoint just now."""
        self._turnstile: Task | None = None
        """The turnstile's task while it sleeps."""
        self._turns_closed = True

    def open_turnstile(self, nursery: trio.Nursery, name: str) -> None:
        """Let the turnstile work, in a task of ``nursery``."""
        self._turns_closed = False
        self.begin_pass()
        nursery.start_soon(self._run_turnstile, name=name)

    def begin_pass(self) -> None:
        """Nobody has worked in this pass yet."""
        self.pass_ends = self.turn_ends = perf_counter_ns() + self.slice_ns

    def slice_is_over(self) -> bool:
        """Has this turn used up its part of the pass's slice? Asked when ``inline_left`` has run
        out."""
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
        """Call it before an operation. Raises Cancelled if the task is cancelled while it waits for
        its turn."""
        self.inline_left -= 1
        if self.inline_left <= 0 and self.slice_is_over():
            await self.take_turn()

    async def breathe(self) -> None:
        """Wait for a turn, after an operation that has been done and so cannot be cancelled any
        more."""
        if self._is_alone():
            # Not trio's shielded checkpoint: a main task that never does anything else would never
            # get the KeyboardInterrupt that is meant for it.
            with trio.CancelScope(shield=True):
                await self._end_pass()
        else:
            got = await self._wait_for_turn()
            if not isinstance(got, outcome.Value) and not isinstance(got.error, trio.Cancelled):
                got.unwrap()  # a KeyboardInterrupt; a cancellation comes again at the next checkpoint

    async def take_turn(self) -> None:
        """Wait for a turn, before an operation: a checkpoint."""
        if self._is_alone():
            await self._end_pass()
        else:
            got = await self._wait_for_turn()
            if not isinstance(got, outcome.Value):
                got.unwrap()

    async def _end_pass(self) -> None:
        """Nobody else is busy: a checkpoint ends this pass of trio and begins the next."""
        self._breathing = True
        try:
            await checkpoint()
        finally:
            self._breathing = False
            self.begin_pass()

    def woken(self) -> None:
        """Trio has just woken the task, which waited for I/O: it has a small turn."""
        now = perf_counter_ns()
        if now > self.pass_ends:
            self.turn_ends = now + self.slice_ns // PER_PASS
        self._stride = self.inline_left = 1
        self.inline_checked = now

    def _is_alone(self) -> bool:
        return self._turns_closed or (self._turnstile is not None and not self._breathing)

    async def _wait_for_turn(self) -> Any:
        """Wait and begin the turn, or return the error."""
        if self._turn_began:
            self._worked += self.inline_checked - self._turn_began
            self._worked_turns += 1
            self._turn_began = 0
        self._wake_turnstile()
        entry: list[Task | None] = [current_task()]
        self.turns.append(entry)

        def abort(_: Callable[[], Any]) -> Abort:
            entry[0] = None
            self._gone += 1
            if self._gone == len(self.turns):
                self.turns.clear()
                self._gone = 0
            return Abort.SUCCEEDED

        got = await park(Trap(abort))
        if isinstance(got, outcome.Value):
            self._begin_turn(got.value)
        return got

    def _wake_turnstile(self) -> None:
        turnstile = self._turnstile
        if turnstile is not None:
            room(WAKE_FRAMES)
            self._turnstile = None
            reschedule(turnstile, WAKE)

    def _begin_turn(self, lap: int) -> None:
        now = perf_counter_ns()
        if lap != self._lap_begun:
            self._lap_begun = lap
            self.pass_ends = now + self.slice_ns
        self._turn_began = now
        self.turn_ends = min(self.pass_ends, now + self.slice_ns // self._sharing)
        self._stride = self.inline_left = 1
        self.inline_checked = now

    async def _run_turnstile(self) -> None:
        """Let those who wait through, until ``close_turnstile``."""
        task = current_task()
        turns = self.turns
        trap = make_trap(self._turnstile_cancelled)
        with trio.CancelScope(), trio.CancelScope(shield=True):
            try:
                while not self._turns_closed:
                    if self._worked_turns:
                        self._turn_ns = (3 * self._turn_ns + self._worked // self._worked_turns) // 4 + 1
                        self._worked = self._worked_turns = 0
                        enough = (self.slice_ns + self.slice_ns // 4) // self._turn_ns
                        self._through = max(1, min(enough, PER_PASS))
                    if len(turns) == self._gone:  # nobody, or only those who have been cancelled
                        turns.clear()
                        self._gone = 0
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
        turnstile, self._turnstile = self._turnstile, None
        if turnstile is not None:
            reschedule(turnstile, WAKE)
