"""Trees of supervisors under random crashes, kills, slow and failing starts, and calls from several
sides at once.

Nothing is predicted here. The test checks what must hold whatever happens: no child has two lives
at once, every call is answered or fails, what supervisors say of their children is true, and
nothing is left at the end.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from typing import Any

import pytest
import trio
import trio.testing

import actorkit as ak
from tests.effort import times
from tests.runtime.conftest import assert_closed_clean
from tests.schedules import run_shuffled

from .kit import D, S

REASONS: list[ak.ExitReason] = [ak.NORMAL, ak.SHUTDOWN, ak.Failure("died"), ak.Failure("died")]


class Flaky(ak.Actor):
    """Starts when and if it likes, crashes when told to, and stops when it likes."""

    def __init__(self, storm: Storm, key: Any) -> None:
        self.storm = storm
        self.how = storm.pick.random()
        before = storm.lives.get(key)
        storm.check(before is None or not before.alive, f"two lives of {key}")
        storm.lives[key] = self.ctx.ref
        storm.counts["starts"] += 1
        self.trap(self.how < 0.3)

    def trap(self, yes: bool) -> None:
        self.ctx.need_relations().traps_exits = yes

    async def init(self) -> Any:
        if self.how > 0.5:
            await trio.sleep(self.how)
        if self.storm.pick.random() < self.storm.failing:
            return self.storm.pick.choice([ak.Stop(ak.Failure("no luck")), ak.IGNORE])
        return None

    @ak.cast
    def end(self, reason: ak.ExitReason) -> None:
        self.ctx.exit_now(reason)

    @ak.cast
    async def linger(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def terminate(self, reason: ak.ExitReason) -> None:
        if self.how > 0.7:
            await trio.sleep(self.how * 3)


class Storm:
    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.lives: dict[Any, ak.Ref[Flaky]] = {}
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self.failing = 0.0
        self.names = ["one", "all", "rest"]
        self.node: Any

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(what)

    def child(self, where: str, number: int) -> Any:
        pick = self.pick
        return ak.child(Flaky, self, (where, number)).with_(
            id=number,
            restart=pick.choice(["permanent", "permanent", "transient", "temporary"]),
            shutdown=pick.choice([None, 0, 1.0, "brutal_kill"]),
            backoff=pick.choice([None, None, ak.Backoff(first=0.2)]),
        )

    def tree(self) -> Any:
        flags: Any = {"max_restarts": 10_000, "max_seconds": 1.0}
        branches = [
            ak.supervisor(*(self.child(name, n) for n in range(4)), strategy=strategy, **flags).with_(
                id=name, name=name
            )
            for name, strategy in zip(self.names, ["one_for_one", "one_for_all", "rest_for_one"], strict=True)
        ]
        dynamic = ak.dynamic_supervisor(**flags, max_children=8).with_(id="dynamic", name="dynamic")
        return ak.supervisor(*branches, dynamic, **flags)

    async def caller(self, number: int) -> None:
        pick = self.pick
        for step in range(12):
            await trio.sleep(pick.choice([0.0, 0.0, 0.1, pick.random()]))
            where, child = pick.choice(self.names), pick.randrange(5)
            one: ak.Ref[S] = ak.named(S, where)
            many: ak.Ref[D] = ak.named(D, "dynamic")
            self.counts["calls"] += 1
            try:
                with trio.move_on_after(pick.choice([0.0, 0.3, 1000.0])):
                    match pick.choice(["start", "stop", "again", "drop", "look", "more", "less"]):
                        case "start":
                            await one.within(900).call(S.start_child, self.child(where, child))
                        case "stop":
                            await one.within(900).call(S.terminate_child, child)
                        case "again":
                            await one.within(900).call(S.restart_child, child)
                        case "drop":
                            await one.within(900).call(S.delete_child, child)
                        case "look":
                            await one.call(S.which_children)
                        case "more":
                            await many.within(900).call(D.start_child, self.child("dynamic", 100 * number + step))
                        case "less":
                            infos = await many.call(D.which_children)
                            refs = [info.ref for info in infos if info.ref is not None]
                            if refs:
                                await many.within(900).call(D.terminate_child, pick.choice(refs))
            except (ak.SupervisorError, ak.CalleeDied) as error:
                self.counts[type(error).__name__] += 1
                self.check(not isinstance(error, ak.CalleeDied), f"a supervisor died: {error}")
            self.counts["answered"] += 1

    async def breaker(self) -> None:
        pick = self.pick
        for _ in range(40):
            await trio.sleep(pick.choice([0.0, 0.1, pick.random()]))
            if not self.lives:
                continue
            victim = pick.choice(list(self.lives.values()))
            match pick.choice(["kill", "end", "end", "linger", "exit"]):
                case "kill":
                    victim.kill()
                case "end":
                    victim.cast(Flaky.end, pick.choice(REASONS))
                case "linger":
                    victim.cast(Flaky.linger, pick.random() * 3)
                case "exit":
                    victim.exit(pick.choice(REASONS))

    async def run(self) -> None:
        async with ak.open_node(self.tree(), slice_seconds=self.pick.choice([1000.0, 1e-9])) as node:
            self.failing = self.pick.choice([0.0, 0.3])
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(self.caller, number)
                nursery.start_soon(self.breaker)
                nursery.start_soon(self.breaker)
            self.failing = 0.0
            await trio.sleep(100)
            await trio.testing.wait_all_tasks_blocked()
            known = {ref for ref in node.processes() if node.process_info(ref).parent is not None}  # type: ignore[union-attr]
            told = set()
            for name in (*self.names, "dynamic"):
                cls: Any = D if name == "dynamic" else S
                ref = ak.named(cls, name)
                told.add(node.whereis(name))
                for info in await ref.call(cls.which_children):
                    self.check(info.state in ("running", "undefined"), f"{name}/{info.id} is {info.state} for ever")
                    self.check((info.ref is not None) == (info.state == "running"), f"{info}")
                    if info.ref is not None:
                        self.check(info.ref.alive, f"{info} is dead")
                        told.add(info.ref)
            self.check(known <= told | {node.root}, f"unknown to their supervisors: {known - told}")
            self.check(node.engine.deadlines.pending == 0, "a call is pending")
            self.check(len(node.engine.timers) == 0, f"{len(node.engine.timers)} timers are left")
        assert_closed_clean(node)
        self.check(self.counts["calls"] == self.counts["answered"], "a call was lost")


def test_storms(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "actorkit")
    total: Counter[str] = Counter()
    for seed in range(times(8)):
        storm = Storm(seed)
        run_shuffled(seed, storm.run)
        assert not storm.broken, f"seed {seed}: {storm.broken[:5]}"
        total += storm.counts
    print(dict(total))
    assert total["starts"] > times(8) * 30
