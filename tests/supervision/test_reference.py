"""Running supervisors, compared with the second, simple one of ``tests.policy.reference``: the same
children start and stop in the same order after the same crashes and calls. Each strategy passes
under its own name only.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import actorkit as ak
from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
from tests.effort import times
from tests.policy.reference import NAMES, REASONS, Reference, Step, history

from .kit import Lab, S, Worker, settled, states, top, under, word

STRATEGIES: list[Any] = ["one_for_one", "one_for_all", "rest_for_one"]
DEEDS: dict[str, Any] = {"terminate": S.terminate_child, "restart": S.restart_child, "delete": S.delete_child}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "actorkit")


def make_spec(lab: Lab, name: str, seed: int, auto_shutdown: str) -> Any:
    restart: Any = ("permanent", "permanent", "transient", "temporary")[seed % 4]
    significant = auto_shutdown != "never" and restart != "permanent" and seed % 8 >= 4
    return lab.spec(name, restart=restart, significant=significant)


async def answer(awaitable: Any) -> str:
    try:
        await awaitable
    except ak.SupervisorError as error:
        return type(error).__name__
    return "done"


class Pair:
    """A running supervisor and its reference, which get the same history."""

    def __init__(self, flags: SupervisorFlags, seeds: list[int], claimed: str | None = None) -> None:
        self.lab, self.flags = Lab(), flags
        self.specs = [
            make_spec(self.lab, each, seed, flags.auto_shutdown) for each, seed in zip(NAMES, seeds, strict=False)
        ]
        self.reference = Reference(attrs.evolve(flags, strategy=claimed or flags.strategy), list(self.specs))

    def plan(self, name: str, how: str) -> None:
        self.lab.inits[name] = [{"fail": "stop", "ignore": "ignore", "ok": "ok"}[how]]
        for words, mine in ((self.reference.failing, "fail"), (self.reference.ignoring, "ignore")):
            words.discard(name)
            if how == mine:
                words.add(name)

    def due(self) -> None:
        """Restarts are due at once: a running supervisor without backoff delays nothing."""
        while self.reference.waiting:
            self.reference.due(self.reference.waiting[0].id, trio.current_time())

    async def play(self, step: Step) -> None:
        reference, name, now = self.reference, step.name, trio.current_time()
        match step.kind:
            case "exit":
                running = [each for each, state in reference.states().items() if state == "running"]
                if running:
                    who, reason = running[step.extra % len(running)], REASONS[step.extra % len(REASONS)]
                    if isinstance(reason, ak.Killed):
                        self.lab.refs[who].kill()
                    else:
                        self.lab.refs[who].cast(Worker.end, reason)
                        reference.trace.append(f"stop {who} {word(reason)}")
                    reference.exit(who, reason, now)
            case "start_child":
                spec = make_spec(self.lab, name, step.extra, self.flags.auto_shutdown)
                expected = reference.start_child(spec)
                assert await answer(top().call(S.start_child, spec)) == expected
            case "terminate" | "restart" | "delete" as deed:
                expected = getattr(reference, deed)(name)
                assert await answer(top().call(DEEDS[deed], name)) == expected
            case "fail":
                self.plan(name, "fail" if step.extra % 3 else "ignore")
            case "mend":
                for each in NAMES:
                    self.plan(each, "ok")
            case "wait":
                await trio.sleep((0.5, 2.0, 10.0)[step.extra % 3])
        self.due()
        await settled()
        await self.compare(step)

    def expected(self) -> list[str]:
        """What the workers note: their starts (as their inits were planned), and how they were
        stopped.
        """
        words = []
        for line in self.reference.take_trace():
            what, _, name = line.partition(" ")
            if what == "start":
                plan = self.lab.inits.get(name, ["ok"])[0]
                words.append(f"{'start' if plan == 'ok' else plan} {name}")
            elif what == "stop":
                words.append(line if " " in name else f"{line} shutdown")
        return words

    async def compare(self, after: object) -> None:
        assert self.lab.take() == self.expected(), f"after {after}"
        supervisor = ak.named(S, "top")
        if self.reference.over is not None:
            assert not supervisor.alive
            return
        assert await states() == self.reference.states(), f"after {after}"
        for name, state in self.reference.states().items():
            if state == "running":
                assert self.lab.refs[name].alive

    async def run(self, steps: Any) -> None:
        async with ak.open_node(under(*self.specs, **attrs.asdict(self.flags, recurse=False))) as node:
            self.reference.begin()
            await self.compare("begin")
            for step in steps:
                if self.reference.over is not None:
                    break
                await self.play(step)
            alive = sum(state == "running" for state in self.reference.states().values())
            assert len(node.engine.actors) == alive + (1 if self.reference.over else 2)
        assert not node.engine.actors
        assert len(node.engine.timers) == 0


def run(pair: Pair, steps: Any) -> None:
    trio.run(pair.run, steps, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_supervisor_does_what_the_reference_does(strategy: Any) -> None:
    for seed in range(times(15)):
        pick = random.Random(seed)
        flags = SupervisorFlags(
            strategy=strategy,
            max_restarts=pick.choice([2, 5, 1000]),
            max_seconds=pick.choice([1.0, 10.0]),
            auto_shutdown=pick.choice(["never", "any_significant", "all_significant"]),
        )
        run(Pair(flags, [pick.randrange(8) for _ in range(5)]), unending(history(seed, 40), flags))


def unending(steps: Any, flags: SupervisorFlags) -> Any:
    """Leaves out what would restart forever: an init that always fails, with a thousand restarts
    allowed.
    """
    return [step for step in steps if flags.max_restarts < 1000 or step.kind != "fail" or step.extra % 3 == 0]


@pytest.mark.parametrize("claimed", STRATEGIES)
@pytest.mark.parametrize("real", STRATEGIES)
def test_no_strategy_passes_for_another(real: Any, claimed: Any) -> None:
    """No strategy passes for another. Fault: a comparison that any strategy would pass."""
    steps = [Step("exit", "", 4 + 6 * 2), Step("exit", "", 4 + 6)]
    pair = Pair(SupervisorFlags(real, max_restarts=1000), [0, 0, 0, 0], claimed)
    if real == claimed:
        run(pair, steps)
    else:
        with pytest.RaisesGroup(AssertionError, flatten_subgroups=True, allow_unwrapped=True):
            run(pair, steps)
