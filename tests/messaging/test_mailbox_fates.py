"""The fate of each message, whatever the policy, and whatever is cancelled or killed at whatever
point.

Three senders send in every way to one slow receiver with a small mailbox. At the n-th step one of
the senders is cancelled, or the receiver is killed; n goes through all steps of the program. Each
message has exactly one fate, and its sender knows it: handled once, refused, dropped (a dead
letter), or given up while it waited for room. Only a call that is cancelled while its callee has it
may have been handled. The messages of one sender are handled in their order.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest
import trio

import actorkit as ak
from tests.effort import times
from tests.runtime.conftest import assert_closed_clean
from tests.schedules import run_shuffled

from .kit import settle

POLICIES = ["reject", "wait", "drop_oldest", "drop_newest"]
WAYS = ["cast", "send", "cast_wait", "send_wait", "call", "call within"]
SENDERS, EACH = 3, 5


class Slow(ak.Actor):
    """Takes a few steps for each message."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.handled: list[Any] = []

    async def work(self, value: Any) -> None:
        self.handled.append(value)
        for _ in range(self.pick.randrange(4)):
            await trio.lowlevel.checkpoint()

    @ak.cast
    async def note(self, value: Any) -> None:
        await self.work(value)

    @ak.call
    async def ask(self, value: Any) -> Any:
        await self.work(value)
        return value

    async def handle_info(self, value: Any) -> None:
        await self.work(value)


class Program:
    def __init__(self, seed: int, policy: Any, point: int | None, deed: str) -> None:
        self.seed, self.policy, self.point, self.deed = seed, policy, point, deed
        self.pick = random.Random(seed)
        self.bound = self.pick.randrange(1, 4)
        self.ways = [[self.pick.choice(WAYS) for _ in range(EACH)] for _ in range(SENDERS)]
        self.fates: dict[tuple[int, int], str] = {}
        self.steps = 0
        self.reached = False

    async def sender(self, who: int, ref: ak.Ref[Slow], scope: trio.CancelScope) -> None:
        with scope:
            for n, way in enumerate(self.ways[who]):
                value = (who, n)
                self.fates[value] = f"cancelled {way}"
                try:
                    match way:
                        case "cast":
                            accepted = ref.cast(Slow.note, value)
                        case "send":
                            accepted = ref.send(value)
                        case "cast_wait":
                            await ref.cast_wait(Slow.note, value)
                            accepted = True
                        case "send_wait":
                            await ref.send_wait(value)
                            accepted = True
                        case "call":
                            accepted = await ref.call(Slow.ask, value) == value
                        case _:
                            accepted = await ref.within(1000).call(Slow.ask, value) == value
                    self.fates[value] = f"accepted {way}" if accepted else f"refused {way}"
                except ak.MailboxFull:
                    self.fates[value] = f"refused {way}"
                except ak.CalleeDied:
                    self.fates[value] = f"died {way}"
                if n % 2:
                    await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        made: list[Slow] = []

        def make() -> Slow:
            made.append(Slow(self.seed))
            return made[0]

        async with ak.open_node() as node, node.subscribe(ak.DeadLetter, capacity=1000) as letters:
            ref = node.spawn(ak.child(make).with_(mailbox=self.bound, overflow=self.policy))
            handled = made[0].handled  # kept here: the actor's own reference goes with its state
            record: Any = ref
            scopes = [trio.CancelScope() for _ in range(SENDERS)]
            async with trio.open_nursery() as nursery:
                for who, scope in enumerate(scopes):
                    nursery.start_soon(self.sender, who, ref, scope)
                while nursery.child_tasks:
                    if self.steps == self.point:
                        self.reached = True
                        if self.deed == "cancel":
                            scopes[self.seed % SENDERS].cancel()
                        elif self.deed == "cancel all":
                            for scope in scopes:
                                scope.cancel()
                        else:
                            ref.kill()
                    record.validate_mailbox()
                    self.steps += 1
                    await trio.lowlevel.checkpoint()
            await settle()
            dead = [letter.args[0] for letter in letters.drain() if letter.args]  # type: ignore[attr-defined]
            self.judge(handled, dead)
            record.validate_mailbox()
            assert record.relations is None or not record.relations.senders
            assert record.mailbox_length == 0
            assert node.engine.deadlines.pending == 0
            assert len(node.engine.timers) == (1 if node.engine.deadlines.armed else 0)
            assert record.pending is None
        assert_closed_clean(node)

    def judge(self, handled: list[Any], dead: list[Any]) -> None:
        killed = self.deed == "kill" and self.reached
        assert len(handled) == len(set(handled)), "handled twice"
        assert len(dead) == len(set(dead)), "lost twice"
        assert not set(handled) & set(dead), "handled, and lost"
        for who in range(SENDERS):
            own = [n for sender, n in handled if sender == who]
            assert own == sorted(own), "out of order"
        for value, fate in self.fates.items():
            done, lost = value in handled, value in dead
            outcome, _, way = fate.partition(" ")
            match outcome:
                case "accepted" if way.startswith("call"):
                    assert done, f"{value}: answered, and not handled"
                case "accepted":
                    assert done or lost, f"{value} {fate}: gone"
                    assert not lost or killed or self.policy.startswith("drop"), f"{value} {fate}: lost"
                case "refused":
                    assert not done, f"{value}: refused, and handled"
                    assert lost or "call" in way, f"{value} {fate}: refused, and not told"
                case "cancelled" if "wait" in way:
                    assert not done, f"{value} {fate}: and handled"
                    assert not lost, f"{value} {fate}: and lost"
                case "died" if "wait" in way:
                    assert not done, f"{value} {fate}: and handled"


def play(seed: int, policy: str, point: int | None, deed: str) -> Program:
    program = Program(seed, policy, point, deed)
    try:
        run_shuffled(seed, program.run)
    except BaseException as error:
        error.add_note(f"seed={seed}, policy={policy!r}, point={point}, deed={deed!r}: {program.fates}")
        raise
    return program


@pytest.mark.parametrize("policy", POLICIES)
def test_at_every_point(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "actorkit")
    fates: set[str] = set()
    for seed in range(times(2)):
        steps = play(seed, policy, None, "nothing").steps
        assert steps > 5
        for point in range(steps):
            for deed in ("cancel", "cancel all", "kill"):
                fates |= {fate.split()[0] for fate in play(seed, policy, point, deed).fates.values()}
    assert {"accepted", "cancelled", "died"} <= fates
