"""The governor's machine and the restart gate's together, on simulated nodes: what is killed comes
back in time.

The node is that of ``memory_node``. Its killed actors are held at the gate, with their backoff and
their predicted footprint; released ones are actors again. Kill and respawn must not fight, and no
actor may wait forever.
"""

from __future__ import annotations

import math
import random
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory import restart_queue
from actorkit.policy.memory.fill_rate import LookSettings
from actorkit.policy.memory.governor import GovernorMachine
from actorkit.policy.memory.governor_settings import GovernorSettings
from actorkit.policy.memory.memory_sample import MemoryLevel, Priority
from actorkit.policy.supervision.backoff import Backoff
from tests.effort import effort
from tests.policy.memory_node import LIMIT, Actor, Node, crowd

SETTINGS = GovernorSettings(reserve=1000, looks=LookSettings(assumed=0.1 * LIMIT))
GATE = restart_queue.GateSettings()
BACKOFF = Backoff(first=0.5, limit=10.0)


@attrs.define(slots=False)
class Restarting(Node):
    """A node whose victims are supervised."""

    gate: restart_queue.RestartQueue = attrs.field(factory=lambda: restart_queue.RestartQueue(GATE))
    closed: bool = False
    held: dict[int, tuple[float, Actor, float]] = attrs.field(factory=dict)
    """By key: the earliest time, the actor, and its size at its death."""
    released: list[tuple[float, int, float]] = attrs.field(factory=list)
    deaths: dict[int, restart_queue.NodeDeaths] = attrs.field(factory=dict)
    since: dict[int, float] = attrs.field(factory=dict)
    newborn: float = 1.0
    """The part of its size at death with which a new life begins."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._fractions = random.Random(self.seed)
        self.sizes = {key: actor.size for key, actor in self.actors.items()}

    def tell(self, event: restart_queue.GateEvent) -> None:
        for release in self.gate.handle(event):
            key: Any = release.key
            not_before, actor, size = self.held.pop(key)
            assert self.now >= not_before - 1e-9, "released before its backoff was over"
            assert not self.closed or actor.priority == Priority.CRITICAL, "released by a closed gate"
            assert release.because
            self.actors[key] = attrs.evolve(actor, size=size * self.newborn, dying=False)
            self.since[key] = self.now
            self.released.append((self.now, key, size))
        assert len(self.gate) == len(self.held)

    def pass_time(self, to: float) -> None:
        wake_at = self.gate.wake_at
        while wake_at is not None and wake_at <= to:
            super().pass_time(max(self.now, wake_at))
            self.tell(restart_queue.Tick(self.now))
            again = self.gate.wake_at
            assert again is None or again > self.now or again > wake_at, "it would spin"
            wake_at = again
        super().pass_time(to)

    def look(self) -> None:
        super().look()
        self.tell(restart_queue.Looked(self.looks[-1]))

    def perform(self, action: ev.GovernorAction) -> None:
        if isinstance(action, ev.CloseGate | ev.OpenGate):
            self.closed = isinstance(action, ev.CloseGate)
            self.tell(restart_queue.Closed(self.now) if self.closed else restart_queue.Opened(self.now))
        super().perform(action)

    def bury(self, number: int, keys: tuple[int, ...]) -> None:
        dead = {key: self.actors[key] for key in keys if key in self.actors}
        super().bury(number, keys)
        for key, actor in dead.items():
            deaths = self.deaths.setdefault(key, restart_queue.NodeDeaths(BACKOFF))
            lived = self.now - self.since.get(key, 0.0)
            delay = deaths.note(lived, round(actor.size), self._fractions.random())
            assert 0 <= delay <= BACKOFF.limit
            self.held[key] = (self.now + delay, actor, actor.size)
            self.tell(restart_queue.Held(self.now, key, "worker", deaths.predicted, delay, "killed", actor.priority))


def any_node(**fixed: Any) -> st.SearchStrategy[Restarting]:
    about: dict[str, st.SearchStrategy[Any]] = {
        "actors": st.builds(
            lambda seed, count: crowd(seed, count, liars=0.0, grows=300),
            st.integers(0, 1000), st.integers(1, 60),
        ),
        "base": st.floats(0, 0.6 * LIMIT),
        "returns": st.booleans(),
        "noise": st.sampled_from([0.0, 0.002]),
        "dying": st.sampled_from([0.0, 0.1, 1.0]),
        "knows_live": st.booleans(),
        "newborn": st.sampled_from([0.0, 0.1, 1.0]),
        "seed": st.integers(0, 1000),
    } | {name: st.just(value) for name, value in fixed.items()}  # fmt: skip
    return st.builds(lambda **drawn: Restarting(GovernorMachine(SETTINGS), **drawn), **about)


quick, slow = effort(6), effort(3)


@quick
@given(any_node())
def test_nobody_is_lost_or_started_twice(made: Restarting) -> None:
    """A killed actor either waits or lives; a closed gate lets only critical ones through (see
    ``tell``).
    """
    everybody = set(made.actors)
    made.run(20)
    assert set(made.actors) | set(made.held) == everybody
    assert not set(made.actors) & set(made.held)


@quick
@given(any_node())
def test_those_who_wait_come_back_when_there_is_room(made: Restarting) -> None:
    """Waiting actors come back when there is room. Fault: one waits forever, since no event lets it
    through.
    """
    made.run(10)
    if made.stopped is not None:
        return
    made.base = 0.0
    for actor in (*made.actors.values(), *(actor for _, actor, _ in made.held.values())):
        actor.grows = 0.0
    keep = 0.5 * LIMIT / max(1, len(made.actors) + len(made.held))
    made.held = {key: (at, actor, min(size, keep)) for key, (at, actor, size) in made.held.items()}
    for actor in made.actors.values():
        actor.size = min(actor.size, keep)
    made.rss = made.live
    made.run(40)
    biggest = (1 - GATE.reserve) * LIMIT - made.live
    waiting = [key for key in made.held if made.deaths[key].predicted < biggest]
    assert not waiting, f"{len(waiting)} still wait, with room for {biggest:.0f}"
    assert made.governor.level == MemoryLevel.NORMAL


@slow
@given(any_node(newborn=1.0, noise=0.0, knows_live=True))
def test_kill_and_respawn_do_not_fight(made: Restarting) -> None:
    """Actors that come back as large as they went are let in only where they fit, so nothing has to
    go for them. Fault: a gate that opens as soon as the level is left.
    """
    for actor in made.actors.values():
        actor.grows = 0.0
    made.run(40)
    kills = [at for at, _ in made.rounds]
    late = [at for at in kills if at > 20]
    assert len(late) <= 1, f"rounds at {late}"


@quick
@given(any_node(knows_live=True, noise=0.0))
def test_what_is_let_through_at_once_fits_at_once(made: Restarting) -> None:
    """The predictions that are let through within one stagger must together fit into the headroom
    of that moment. Fault: each is compared with the same headroom.
    """
    made.run(20)
    by_time: dict[float, float] = {}
    for at, key, _ in made.released:
        if made.actors.get(key, Actor(0, 0)).priority < Priority.CRITICAL:
            by_time[at] = by_time.get(at, 0.0) + 1
    assert all(count <= GATE.burst for count in by_time.values())
    times = sorted(by_time)
    assert all(b - a >= GATE.stagger - 1e-9 for a, b in zip(times, times[1:], strict=False)) or math.isinf(GATE.stagger)
