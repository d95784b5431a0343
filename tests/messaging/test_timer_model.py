"""Timers compared with a list that is searched: which fire, when, in which order, and what
``cancel`` returns.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from actorkit.runtime.base.timers import Timer, Timers
from tests.effort import times
from tests.schedules import run_shuffled


class Few(Timers):
    """Tidies up its cancelled timers early."""

    MANY = 3  # type: ignore[misc]


class Model:
    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.timers = Few()
        self.made: list[tuple[Timer, float]] = []
        self.pending: dict[int, float] = {}
        self.fired: list[tuple[int, float]] = []
        self.expected: list[tuple[int, float]] = []

    def set(self, seconds: float) -> None:
        number = len(self.made)
        when = trio.current_time() + seconds
        self.pending[number] = when
        self.made.append((self.timers.after(seconds, self.fire, number), when))

    def fire(self, number: int) -> None:
        now = trio.current_time()
        due = [(when, n) for n, when in self.pending.items() if when <= now]
        assert min(due) == (self.pending[number], number), "out of order"
        assert now == pytest.approx(self.pending[number]), "late"
        del self.pending[number]
        self.fired.append((number, now))
        match self.pick.randrange(6):
            case 0:
                self.set(self.pick.choice([0.0, 0.5]))
            case 1:
                self.cancel()
            case 2:
                raise ValueError("a callback's own")

    def cancel(self) -> None:
        if not self.made:
            return
        number = self.pick.randrange(len(self.made))
        left = self.made[number][0].cancel()
        when = self.pending.pop(number, None)
        assert left is None if when is None else left == pytest.approx(max(0.0, when - trio.current_time()))

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.timers.run)
            for _ in range(60):
                match self.pick.randrange(4):
                    case 0 | 1:
                        self.set(self.pick.choice([0.0, 0.1, 1.0, self.pick.random() * 3]))
                    case 2:
                        self.cancel()
                    case _:
                        await trio.sleep(self.pick.choice([0.0, 0.1, 1.0]))
                assert len(self.timers) == len(self.pending)
                for n, (timer, _) in enumerate(self.made):
                    assert timer.pending == (n in self.pending)
            if self.pick.random() < 0.5:
                await trio.sleep(100)
                await trio.testing.wait_all_tasks_blocked()
                assert not self.pending, "did not fire"
            fired = len(self.fired)
            self.timers.close()
            await trio.sleep(100)
        assert len(self.fired) == fired, "fired after the end"
        while self.pending:
            self.cancel()
        assert len(self.timers) == 0


def test_timers_are_as_the_model_says(caplog: Any) -> None:
    caplog.set_level("CRITICAL", "actorkit")
    for seed in range(times(40)):
        try:
            run_shuffled(seed, Model(seed).run)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
