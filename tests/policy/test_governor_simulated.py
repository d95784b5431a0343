"""What must hold whatever the node does: the governor's machine on simulated nodes.

Each property names the fault that it guards against.
"""

from __future__ import annotations

import math
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory.fill_rate import LookSettings
from actorkit.policy.memory.governor_settings import GovernorSettings
from actorkit.policy.memory.memory_sample import MemoryLevel, Priority
from tests.policy.memory_node import LIMIT, Actor, Node, crowd, node

LOOKS = LookSettings(assumed=0.1 * LIMIT)
SETTINGS = GovernorSettings(reserve=1000, looks=LOOKS)
LADDER, KILLS = SETTINGS.ladder, SETTINGS.kills

quick = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])


def actors(liars: st.SearchStrategy[float], grows: float, most: int = 60) -> st.SearchStrategy[dict[int, Actor]]:
    return st.builds(
        lambda seed, count, liars: crowd(seed, count, liars=liars, grows=grows),
        st.integers(0, 1000), st.integers(0, most), liars,
    )  # fmt: skip


def any_node(**fixed: Any) -> st.SearchStrategy[Node]:
    about: dict[str, st.SearchStrategy[Any]] = {
        "actors": actors(st.sampled_from([0.0, 0.3, 1.0]), 300),
        "base": st.floats(0, 0.95 * LIMIT),
        "leaks": st.sampled_from([0.0, 0.0, 500.0, 5_000.0]),
        "newcomers": st.sampled_from([0.0, 2_000.0, 20_000.0]),
        "returns": st.booleans(),
        "noise": st.sampled_from([0.0, 0.002, 0.02]),
        "dying": st.sampled_from([0.0, 0.1, 3.0]),
        "knows_live": st.booleans(),
        "garbage": st.floats(0, 0.2 * LIMIT),
        "tied": st.sampled_from([1, 1, 3]),
        "rss": st.floats(0, LIMIT),
        "seed": st.integers(0, 1000),
    } | {name: st.just(value) for name, value in fixed.items()}
    return st.builds(lambda **drawn: node(SETTINGS, **drawn), **about)


@quick
@given(any_node())
def test_nothing_moves_down_faster_than_dwell(made: Node) -> None:
    """No level flaps, whatever the noise. Fault: a level is left as soon as one sample says so."""
    made.run(15)
    reached = -math.inf
    level = MemoryLevel.NORMAL
    for at, previous, new in made.moves():
        assert previous == level
        if new < previous:
            assert new == previous - 1, "down goes one at a time"
            assert at - reached >= LADDER.dwell - 1e-9
        level, reached = new, at


@quick
@given(any_node())
def test_kills_are_bounded_and_wait_for_their_effect(made: Node) -> None:
    """There is no kill storm. Faults: a round on top of one whose effect has not been seen; rounds
    without a cap.
    """
    made.run(15)
    for _, kill in made.rounds:
        dead = frozenset().union(*(victim.radius for victim in kill.victims))
        assert len(dead) <= KILLS.caps.deaths(len(made.actors) + len(made.killed))
        assert len(dead) == sum(len(victim.radius) for victim in kill.victims), "nobody is killed twice"
    for (before, first), (at, _) in zip(made.rounds, made.rounds[1:], strict=False):
        assert at - before >= KILLS.round_interval - 1e-9
        if at - before < KILLS.effect_delay - 1e-9:
            ended = made.ended_rounds.get(first.number, math.inf)
            assert any(ended < look.now <= at for look in made.looks), "killed before the last round's effect was seen"


@quick
@given(any_node())
def test_critical_actors_are_never_killed(made: Node) -> None:
    """A critical actor is not killed, nor is an actor whose end would take one along. Fault:
    looking at the victim alone.
    """
    made.run(15)
    assert not [actor for actor in made.killed if actor.priority == Priority.CRITICAL]


@quick
@given(any_node())
def test_nothing_is_killed_or_stopped_that_need_not_be(made: Node) -> None:
    """Nothing is killed or stopped unless memory is needed. Fault: deciding by ``used``, which does
    not fall.
    """
    made.run(15)
    for (_, action), newest in zip(made.log, made.seen, strict=True):
        if isinstance(action, ev.KillVictims):
            assert newest.needed >= LADDER.kill.leave * LIMIT
        elif isinstance(action, ev.StopAllButCritical | ev.StopNode):
            assert newest.needed >= LADDER.exhausted.leave * LIMIT


@quick
@given(any_node(noise=0.0, leaks=0.0, newcomers=0.0), st.floats(0.83, 1.0))
def test_no_more_is_killed_than_is_missing(made: Node, full: float) -> None:
    """No more is killed than is missing. Fault: a round sized by ``used``, or without what an
    earlier round is about to give back.
    """
    made.actors = {n: actor for n, actor in made.actors.items() if not actor.liar}
    made.knows_live = made.knows_live or not made.returns  # what cannot be seen is tried again, three times
    made.dying = min(made.dying, KILLS.effect_delay / 2)  # slower victims are not waited for
    for actor in made.actors.values():
        actor.grows = 0.0
    made.base = max(0.0, full * LIMIT - made.live)
    largest = max((actor.size for actor in made.actors.values()), default=0.0)
    before = made.live
    made.run(15)
    if made.did(ev.StopAllButCritical):
        return  # these end whatever they hold
    target = (LADDER.kill.leave - KILLS.margin) * LIMIT
    freed_otherwise = before - made.live - sum(actor.size for actor in made.killed)
    assert made.live >= min(before, target) - freed_otherwise - made.tied * largest - 1


@quick
@given(any_node())
def test_switches_are_set_once_and_cleared_once(made: Node) -> None:
    made.run(15)
    for on, off in (
        (ev.SetAlarm, ev.ClearAlarm),
        (ev.RefuseAdmission, ev.AllowAdmission),
        (ev.CloseGate, ev.OpenGate),
        (ev.ReleaseReserve, ev.RebuildReserve),
    ):
        for n, action in enumerate(made.did(on, off)):
            assert type(action) is (on if n % 2 == 0 else off)


@quick
@given(any_node(noise=0.002, knows_live=True), st.floats(0, 0.6))
def test_every_level_is_left_when_live_bytes_fall(made: Node, live: float) -> None:
    """Every level is left when the live bytes fall, though the resident set never does. Fault:
    leaving by ``used``, or entering again at once.
    """
    made.run(5)
    made.leaks = made.newcomers = 0.0
    made.actors, made.garbage, made.base = {}, 0.0, live * LIMIT
    made.rss = min(made.rss, LIMIT)
    made.run(4 * (LADDER.dwell + 1.5))
    assert made.stopped or made.governor.level == MemoryLevel.NORMAL
    before = len(made.moves())
    made.run(10)
    assert len(made.moves()) == before, "it came back without reason"


@quick
@given(
    actors(st.just(0.0), 0.0, most=10), st.floats(0.75, 0.95), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 0.1, 0.5]), st.floats(0, 6_000), st.sampled_from([0.0, 0.002]),
)  # fmt: skip
def test_kills_enough_when_kills_work(
    made_of: dict[int, Actor], full: float, returns: bool, knows_live: bool, dying: float, filling: float, noise: float
) -> None:
    """The governor kills enough that the last rung is never needed. Faults: one victim a round;
    waiting for the resident set to fall.
    """
    for n in range(200):
        made_of[1000 + n] = Actor(Priority.NORMAL, 200, grows=filling / 200)
    for actor in made_of.values():
        actor.priority = min(actor.priority, Priority.HIGH)
    made = node(
        SETTINGS, actors=made_of, returns=returns or not knows_live, knows_live=knows_live, dying=dying, noise=noise
    )
    made.base = max(0.0, full * LIMIT - made.live)
    made.run(12)
    for actor in made.actors.values():
        actor.grows = 0.0
    made.run(5)
    assert made.live < LADDER.kill.enter * LIMIT
    assert made.governor.level < MemoryLevel.KILL
    assert not made.did(ev.StopAllButCritical, ev.StopNode)
    assert "kills_futile" not in {report.kind for report in made.did(ev.EmitReport)}  # type: ignore[attr-defined]


@quick
@given(st.floats(0.905, 0.955), st.integers(5, 300), st.booleans())
def test_stops_killing_when_kills_do_not_help(full: float, count: int, knows_live: bool) -> None:
    """When kills do not help the governor stops killing, and in KILL, where there is headroom left,
    it does no more than that. Fault: killing on.
    """
    made = node(
        SETTINGS,
        actors={n: Actor(Priority.LOW, full * LIMIT / count, liar=True) for n in range(count)},
        knows_live=knows_live,
        dying=0.1,
    )
    made.run(29)
    assert len(made.rounds) <= KILLS.futile_rounds
    if len(made.rounds) == KILLS.futile_rounds:
        assert "kills_futile" in {report.kind for report in made.did(ev.EmitReport)}  # type: ignore[attr-defined]
    made.run(60)
    assert len(made.rounds) <= KILLS.futile_rounds + 2
    assert made.stopped is None


@quick
@given(st.floats(0.965, 1.0), st.integers(0, 300), st.booleans())
def test_the_node_stops_when_nothing_helps(full: float, count: int, knows_live: bool) -> None:
    """The node stops in bounded time, once, with its exit status. Fault: waiting for the kernel."""
    share = full * LIMIT / max(1, count)
    made = node(
        SETTINGS,
        actors={n: Actor(Priority.LOW, share, liar=True) for n in range(count)},
        base=0.0 if count else full * LIMIT,
        knows_live=knows_live,
    )
    made.run(SETTINGS.stop_all_after + SETTINGS.stop_node_after + 2)
    assert made.stopped is not None
    assert made.stopped.exit_status == 79
    assert made.counts()["StopAllButCritical"] == made.counts()["StopNode"] == 1
    assert made.governor.handle(ev.Sampled(made.sample())) == []


@quick
@given(any_node(), st.integers(0, 5))
def test_a_dry_run_does_nothing_and_says_everything(made: Node, seed: int) -> None:
    """A dry run does nothing and says everything. Fault: taking for done what was not done."""
    dry = node(
        GovernorSettings(reserve=1000, looks=LOOKS, dry_run=True),
        actors=made.actors, base=made.base, leaks=made.leaks, noise=made.noise, seed=seed,
    )  # fmt: skip
    dry.run(15)
    for _, action in dry.log:
        assert action.dry_run is not isinstance(action, ev.LevelChanged | ev.TakeCensus | ev.EmitReport)
    assert not dry.killed
    assert dry.stopped is None
    if any(move[2] >= MemoryLevel.SHED for move in dry.moves()):
        assert dry.did(ev.RefuseAdmission)


@quick
@given(any_node())
def test_every_action_says_why(made: Node) -> None:
    made.run(5)
    assert all(action.because for _, action in made.log)
    numbers = [action.number for _, action in made.log]
    assert len(numbers) == len(set(numbers))
