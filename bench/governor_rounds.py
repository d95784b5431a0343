"""One side of `python -m bench governor`: nodes with a governor, and what its looks and rounds
take.

    tick ACTORS real|SHED        seconds of one look: with the real source at NORMAL, or at SHED
    round ACTORS KIND            seconds of one KILL round, whole and by parts; KIND: crowd, hogs,
                                 budgets
    latency scripted             seconds from a threshold's crossing to the first act, when somebody
                                 wakes the governor
    latency real RATE            the same with the real source, filled at RATE MiB/s, for CONSERVE
                                 and for KILL

A round begins with the look that finds the node at KILL, and is over when the last victim has
ended; the victims are replaced before the next round. ``revise``, with which a program may change
what a governor does, serves here to record when the governor acts. Fifty actors die in each round,
however many there are, since the cost of one end does not depend on the number of others. Garbage
collection and trimming are left out of the levels, since their cost depends on the program's whole
heap and they have a pace of their own.

``undisturbed`` is the sum of the best times of the parts. See heap_walks.py for the reason.
"""

import gc
import logging
import statistics
import time
from typing import Any

import trio
import trio.testing

import actorkit as ak
from actorkit.governor import census
from actorkit.heap import walk
from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory.candidates import Census
from actorkit.policy.memory.governor_settings import LEVEL_ACTIONS, LevelAction
from actorkit.policy.memory.kill_rounds import KillSettings
from actorkit.policy.memory.ladder import LadderSettings
from actorkit.policy.memory.victims import KillCaps, select
from actorkit.testing import ScriptedMemory
from bench.heap_walks import Small
from bench.worker import questions, rss, say

MIB = 2**20
LIMIT = 1000 * MIB
CAPS = KillCaps(count=50)
TICKS = 50
PURE_ROUNDS, ROUNDS = 2, 12
A_HOG_IN, HOG_BYTES = 100, 100_000
LATENCIES = 20
STEP_SECONDS = 0.002


def without(*actions: LevelAction) -> dict[ak.MemoryLevel, frozenset[LevelAction]]:
    return {level: does - set(actions) for level, does in LEVEL_ACTIONS.items()}


def at_once(**changes: Any) -> ak.GovernorSettings:
    """Levels are left without waiting, so that one round follows another."""
    return ak.GovernorSettings(
        ladder=LadderSettings(dwell=0.0, forecast=False),
        kills=KillSettings(caps=CAPS, round_interval=1e-6, effect_delay=1e-6, futile_rounds=1_000_000),
        answer_within=0.0,  # no actor is asked to free something, and waiting has no cost
        actions=without("gc", "trim", "stop_all", "stop_node"),
        **changes,
    )


class Hog(Small):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.held = bytes(HOG_BYTES)


def populate(node: ak.Node, actors: int, kind: str = "crowd") -> list[ak.Ref[Any]]:
    return [start(node, kind, number) for number in range(actors)]


def start(node: ak.Node, kind: str, number: int) -> ak.Ref[Any]:
    return node.spawn(Hog if kind == "hogs" and not number % A_HOG_IN else Small, number)


def best(times: list[float]) -> float:
    return min(times)


# --- Looks ----------------------------------------------------------------------------------------


async def tick(actors: int, which: str) -> dict[str, object]:
    scripted = ScriptedMemory(limit=LIMIT, used=LIMIT // 10, live=LIMIT // 10)
    options: dict[str, Any] = {"memory_limit": "1 TiB"} if which == "real" else {"memory_source": scripted}
    async with ak.open_node(governor=at_once(), **options) as node:
        populate(node, actors)
        governor: Any = node.memory
        if which == "SHED":
            scripted.used = scripted.live = LIMIT * 82 // 100
        gc.collect()
        times = []
        for _ in range(TICKS):
            await trio.sleep(0.005)
            if which == "SHED":  # shedding is paced; here it is due at each look
                governor.machine._book.paces["shed"]._not_before = 0.0
            began = time.thread_time()
            governor.look(fresh=True)
            times.append(time.thread_time() - began)
        level = governor.level.name
        assert level == ("NORMAL" if which == "real" else "SHED"), level
        return {"value": statistics.median(times), "undisturbed": best(times)}


# --- Rounds ---------------------------------------------------------------------------------------


async def rounds(actors: int, kind: str) -> dict[str, object]:
    marks: dict[type, float] = {}

    def note(action: ev.GovernorAction) -> ev.GovernorAction:
        marks[type(action)] = time.thread_time()
        if isinstance(action, ev.KillVictims):
            kills.append(action)
        return action

    kills: list[ev.KillVictims] = []
    memory = ScriptedMemory(limit=LIMIT, used=LIMIT // 10, live=LIMIT // 10)
    budget = "1 MiB" if kind == "budgets" else None
    async with ak.open_node(memory_source=memory, governor=at_once(revise=note), max_heap_size=budget) as node:
        populate(node, actors, kind)
        await trio.testing.wait_all_tasks_blocked()
        governor: Any = node.memory
        whole, looks, choices, ends = [], [], [], []
        for _ in range(PURE_ROUNDS if walk.IMPLEMENTATION == "python" else ROUNDS):
            gc.collect()
            kills.clear()
            memory.used = memory.live = LIMIT * 92 // 100
            began = time.thread_time()
            governor.look()
            while not kills or any(victim.key.alive for victim in kills[0].victims):  # type: ignore[attr-defined]
                await trio.lowlevel.checkpoint()
            over = time.thread_time()
            looks.append(marks[ev.TakeCensus] - began)
            whole.append(over - began)
            ends.append(over - marks[ev.KillVictims])
            memory.used = memory.live = LIMIT // 10
            while governor.level:
                await trio.sleep(0.001)
                governor.look()
            for _ in kills[0].victims:
                start(node, kind, 0 if kind == "hogs" else 1)
            await trio.testing.wait_all_tasks_blocked()
        missing = governor.machine._rounds.missing(kills_sample(), governor.machine.settings.ladder.kill.leave)
        pure = walk.IMPLEMENTATION == "python"
        counts, rows = [], Census()
        for _ in range(0 if pure else ROUNDS):
            rows = Census()
            began = time.thread_time()
            rows = census.take_census([node.engine.actors.values()], CAPS, missing)
            counts.append(time.thread_time() - began)
        counting = sum(whole) / len(whole) - best(looks) - best(ends) if pure else best(counts)
        if pure:
            rows = census.take_census([node.engine.actors.values()], CAPS, missing)
        for _ in range(1 if pure else 10):
            began = time.thread_time()
            select(rows, missing, CAPS, radius_of=census.measured_radius)
            choices.append(time.thread_time() - began)
        return {
            "value": sum(whole) / len(whole),
            "undisturbed": best(looks) + counting + (0 if pure else best(choices)) + best(ends),
            "look": best(looks),
            "census": counting,
            "choice": best(choices),
            "ends": best(ends),
            "victims": len(kills[0].victims),
        }


def kills_sample() -> ak.MemorySample:
    used = LIMIT * 92 // 100
    return ak.MemorySample(0.0, LIMIT, used, "scripted", used, used)


# --- Latency --------------------------------------------------------------------------------------


async def woken() -> dict[str, object]:
    """The time from an actor's crossing of the threshold, by way of the kernel's event, to the
    governor's action."""
    acts: list[float] = []

    def note(action: ev.GovernorAction) -> ev.GovernorAction:
        if isinstance(action, ev.SetAlarm):
            acts.append(time.perf_counter())
        return action

    memory = ScriptedMemory(limit=LIMIT, used=LIMIT // 10, live=LIMIT // 10)
    async with ak.open_node(memory_source=memory, governor=at_once(revise=note)) as node:
        governor: Any = node.memory
        times = []
        for _ in range(LATENCIES):
            await trio.sleep(0.01)
            acts.clear()
            memory.used = memory.live = LIMIT * 75 // 100
            crossed = time.perf_counter()
            memory.wake()
            while not acts:
                await trio.lowlevel.checkpoint()
            times.append(acts[0] - crossed)
            memory.used = memory.live = LIMIT // 10
            while governor.level:
                memory.wake()
                await trio.sleep(0.001)
        return {"value": statistics.median(times), "worst": max(times)}


class Tank(ak.Actor):
    def __init__(self) -> None:
        self.held: list[bytearray] = []

    @ak.call
    def fill(self, size: int) -> None:
        self.held.append(bytearray(size))
        for page in range(0, size, 4096):
            self.held[-1][page] = 1


async def filled(rate: int) -> dict[str, object]:
    """An actor fills the node, at the given rate in MiB a second, until it is killed. It runs in a
    fresh process, which has no retained memory.
    """
    acts: dict[type, float] = {}

    def note(action: ev.GovernorAction) -> ev.GovernorAction:
        acts.setdefault(type(action), time.perf_counter())
        return action

    limit = rss() + 256 * MIB
    settings = ak.GovernorSettings(revise=note, actions=without("gc", "trim"))
    crossed: dict[float, float] = {}
    peak = 0.0
    async with ak.open_node(memory_limit=limit, governor=settings) as node:
        tank = node.spawn(Tank)
        await trio.sleep(0.5)
        began, poured = time.perf_counter(), 0
        while tank.alive and poured < 2 * limit:
            await trio.sleep(STEP_SECONDS)
            due = int((time.perf_counter() - began) * rate * MIB) - poured
            poured += due
            try:
                await tank.call(Tank.fill, due)
            except ak.CalleeDied:
                break
            now, used = time.perf_counter(), rss()
            peak = max(peak, used / limit)
            for part in (0.70, 0.90):
                if used >= part * limit:
                    crossed.setdefault(part, now)
    # Not crossed before the action: the action came at the crossing, or earlier by forecast.
    alarm, kill = (
        acts[kind] - crossed.get(part, acts[kind]) for kind, part in ((ev.SetAlarm, 0.70), (ev.KillVictims, 0.90))
    )
    return {"alarm": alarm, "kill": kill, "peak": peak}


if __name__ == "__main__":
    logging.getLogger("actorkit").setLevel(logging.CRITICAL + 1)
    say(implementation=walk.IMPLEMENTATION)
    for kind, *words in questions():
        if kind == "tick":
            say(**trio.run(tick, int(words[0]), words[1]))
        elif kind == "round":
            say(**trio.run(rounds, int(words[0]), words[1]))
        elif words[0] == "scripted":
            say(**trio.run(woken))
        else:
            say(**trio.run(filled, int(words[1])))
