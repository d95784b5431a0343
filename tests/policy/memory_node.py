"""A simulated node for the governor's machine: memory, actors and time, and a shell that does what
it is told.

Sizes are in units like KB, and the limit is 100,000 of them. The live bytes are ``base`` and the
actors' bytes. The resident set follows them up, and follows them down only if ``returns``. Samples
are noisy, and victims take ``dying`` seconds to end. A *liar* frees nothing when it ends, since
something else holds its bytes.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Hashable

import attrs

from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory.candidates import Candidate, Radius
from actorkit.policy.memory.governor import GovernorMachine
from actorkit.policy.memory.governor_settings import GovernorSettings
from actorkit.policy.memory.memory_sample import MemoryLevel, MemorySample, Priority

LIMIT = 100_000


@attrs.define
class Actor:
    priority: int
    size: float
    idle: bool = False
    liar: bool = False
    grows: float = 0.0
    dying: bool = False


@attrs.define(slots=False)
class Node:
    governor: GovernorMachine
    actors: dict[int, Actor]
    base: float = 0.0
    leaks: float = 0.0
    """Bytes that leak into ``base`` per second."""
    newcomers: float = 0.0
    """Bytes of new actors per second, while they are admitted."""
    returns: bool = False
    noise: float = 0.0
    dying: float = 0.0
    knows_live: bool = True
    seed: int = 0
    garbage: float = 0.0
    tied: int = 1
    """How many actors die together, by their numbers."""
    now: float = 0.0
    rss: float = 0.0
    admits: bool = True
    stopped: ev.StopNode | None = None
    log: list[tuple[float, ev.GovernorAction]] = attrs.field(factory=list)
    seen: list[MemorySample] = attrs.field(factory=list)
    """The last sample that the node had taken, for each entry of the log."""
    rounds: list[tuple[float, ev.KillVictims]] = attrs.field(factory=list)
    ended_rounds: dict[int, float] = attrs.field(factory=dict)
    looks: list[MemorySample] = attrs.field(factory=list)
    killed: list[Actor] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._deaths: list[tuple[float, int, tuple[int, ...]]] = []
        self._number = len(self.actors)

    @property
    def live(self) -> float:
        return self.base + self.garbage + sum(actor.size for actor in self.actors.values())

    # --- time ---

    def run(self, seconds: float) -> Node:
        until = self.now + seconds
        while self.now < until and self.stopped is None:
            ends = self._deaths[0][0] if self._deaths else until
            self.pass_time(min(until, ends, max(self.governor.look_at, self.now + 0.001)))
            while self._deaths and self._deaths[0][0] <= self.now:
                _, number, keys = heapq.heappop(self._deaths)
                self.bury(number, keys)
            if self.now >= self.governor.look_at:
                self.look()
        return self

    def pass_time(self, to: float) -> None:
        passed, self.now = max(0.0, to - self.now), max(to, self.now)
        self.base += self.leaks * passed
        for actor in self.actors.values():
            actor.size += actor.grows * passed
        if self.admits and self.newcomers:
            self._number += 1
            self.actors[self._number] = Actor(Priority.NORMAL, self.newcomers * passed)
        self.rss = max(self.rss, self.live)

    def sample(self) -> MemorySample:
        off = self._random.uniform(-self.noise, self.noise) * LIMIT
        self.rss = self.live if self.returns else max(self.rss, self.live)
        used, live = max(0, round(self.rss + off)), max(0, round(self.live + off))
        return MemorySample(self.now, LIMIT, used, "simulated", used, live if self.knows_live else None)

    def look(self) -> None:
        self.looks.append(self.sample())
        self.feed(ev.Sampled(self.looks[-1]))

    # --- the shell ---

    def feed(self, event: ev.Event) -> None:
        for action in self.governor.handle(event):
            self.log.append((self.now, action))
            self.seen.append(self.looks[-1])
            if not action.dry_run:
                self.perform(action)

    def perform(self, action: ev.GovernorAction) -> None:
        match action:
            case ev.TakeCensus(number=number):
                self.feed(ev.CensusTaken(self.now, number, self.census(), self.radius_of))
            case ev.KillVictims(number=number, victims=victims):
                self.rounds.append((self.now, action))
                self.end(number, tuple(key for victim in victims for key in victim.radius))
            case ev.StopAllButCritical(number=number):
                self.end(number, tuple(key for key, actor in self.actors.items() if actor.priority < Priority.CRITICAL))
            case ev.CollectGarbage(number=number):
                freed, self.garbage = self.garbage, 0.0
                self.feed(ev.ActionDone(self.now, number, round(freed), 0.01))
            case ev.TrimAllocator(number=number) | ev.ShedMailboxes(number=number):
                self.feed(ev.ActionDone(self.now, number, 0, 0.001))
            case ev.RefuseAdmission():
                self.admits = False
            case ev.AllowAdmission():
                self.admits = True
            case ev.StopNode():
                self.stopped = action

    def census(self) -> list[Candidate]:
        return [
            Candidate(key, actor.priority, actor.idle, None, round(actor.size))
            for key, actor in self.actors.items()
            if not actor.dying
        ]

    def radius_of(self, key: Hashable) -> Radius | None:
        assert isinstance(key, int)
        if self.tied == 1:
            return None
        first = key // self.tied * self.tied
        keys = [one for one in range(first, first + self.tied) if one in self.actors]
        actors = [self.actors[one] for one in keys]
        critical = any(actor.priority == Priority.CRITICAL for actor in actors)
        return Radius(frozenset(keys), round(sum(actor.size for actor in actors)), critical)

    def end(self, number: int, keys: tuple[int, ...]) -> None:
        for key in keys:
            if key in self.actors:
                self.actors[key].dying = True
        heapq.heappush(self._deaths, (self.now + self.dying, number, keys))

    def bury(self, number: int, keys: tuple[int, ...]) -> None:
        for key in keys:
            actor = self.actors.pop(key, None)
            if actor is not None:
                self.killed.append(actor)
                if actor.liar:
                    self.base += actor.size
        self.ended_rounds[number] = self.now
        self.feed(ev.ActionDone(self.now, number))

    # --- what happened ---

    def did(self, *kinds: type) -> list[ev.GovernorAction]:
        return [action for _, action in self.log if isinstance(action, kinds)]

    def moves(self) -> list[tuple[float, MemoryLevel, MemoryLevel]]:
        return [(at, move.previous, move.level) for at, move in self.log if isinstance(move, ev.LevelChanged)]

    def counts(self) -> Counter[str]:
        return Counter(type(action).__name__ for _, action in self.log)


def crowd(seed: int, count: int, *, liars: float, grows: float) -> dict[int, Actor]:
    """Actors of all kinds. They come from a seed, since hypothesis would take most of a test's time
    to draw each of them.
    """
    pick = random.Random(seed)
    return {
        n: Actor(
            pick.choice(list(Priority)), pick.uniform(0, 4_000), pick.random() < 0.5, pick.random() < liars,
            pick.uniform(0, grows),
        )
        for n in range(count)
    }  # fmt: skip


def node(settings: GovernorSettings | None = None, **about: object) -> Node:
    return Node(GovernorMachine(settings), **about)  # type: ignore[arg-type]
