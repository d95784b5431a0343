"""What is promised, one ``Promise`` each."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

import attrs

import actorkit as ak
from actorkit.heap import clock
from tests.promises.doors import Door
from tests.promises.shapes import Shape, Way, tokens
from tests.promises.world import KIB, LIMIT, Load, World, budget_of, inside_is_possible

__all__ = ["PROMISES", "Promise"]

SLACK: Final = 48 * KIB
"""What an actor may hold besides, and what looks may miss in freelists."""

LEEWAY: Final = 64 * KIB + LIMIT // 4
"""How far an actor may get beyond its limit before it is stopped inside a message."""


@attrs.frozen
class Promise:
    """See the package's docstring, *To add a promise*."""

    name: str
    says: str
    """The sentence that users may rely on."""
    load: Load
    check: Callable[[World, Door, Shape, Way], None]
    """Asserts that it was kept. Called when all is quiet."""
    why_not: Callable[[Door, Shape, Way], str | None] = lambda door, shape, way: None
    """Why it does not apply to a cell; None: it does."""


def _living(world: World) -> None:
    """The budget has neither ended the subject nor disturbed its code."""
    assert world.reason is None
    assert world.work.raised is None
    assert world.work.finished


def _stopped(world: World, door: Door, shape: Shape, way: Way) -> None:
    reason = world.reason
    if world.work.raised is not MemoryError:  # else a request beyond the hard cap was refused
        assert isinstance(reason, ak.MemoryLimit), reason
        assert reason.limit == LIMIT
    made = world.work.bytes_made
    assert made >= LIMIT * 0.6
    if is_stopped_inside(door, shape, way):
        assert made <= LIMIT + LEEWAY
        assert not world.work.finished


def is_stopped_inside(door: Door, shape: Shape, way: Way) -> bool:
    """In the middle of the message, or when that is done? What C holds of the actor's own hides
    what it leads to, so there it is proved only where the object is the root."""
    if not inside_is_possible() or not door.inside or way is Way.FINALISER:
        return False
    return not (door.from_c or way.from_c) or not (shape.cyclic or door.in_locals)


def _is_not_counted(shape: Shape) -> str | None:
    if shape is Shape.SHARED:
        return "what somebody else holds as well is not the actor's"
    return _is_unknown(shape)


def _is_unknown(shape: Shape) -> str | None:
    if shape is Shape.CLASSES and not clock.COUNTS_ALLOCATIONS:
        return "without the extension nobody knows which classes an actor has made"
    return None


def _gone(world: World, door: Door, shape: Shape, way: Way) -> None:
    _stopped(world, door, shape, way)
    gc.collect()
    assert tokens() <= world.tokens_before
    assert world.reason is None or world.ref not in world.node.engine.budgets.all


def _watched(world: World, door: Door, shape: Shape, way: Way) -> None:
    _living(world)
    assert world.budget.peak >= world.work.bytes_made * 0.8


def _charged(world: World, door: Door, shape: Shape, way: Way) -> None:
    _living(world)
    held = 0 if shape is Shape.SHARED else world.work.bytes_made
    info = world.node.process_info(world.ref, walk=True)
    assert info is not None
    assert info.memory is not None
    found = info.memory.private + info.memory.mailbox + info.memory.after_gc
    assert held * 0.8 - SLACK / 2 <= found <= held * 1.25 + SLACK
    others = budget_of(world.bystander)
    others.look()
    assert others.known <= SLACK
    assert others.account.held_at_most <= SLACK


def _is_no_garbage(door: Door, shape: Shape, way: Way) -> str | None:
    if not shape.cyclic:
        return "it is freed as it is dropped: see churn"
    if door is Door.THREAD:
        return "the collector runs in whatever thread comes to it"
    if shape is Shape.CLASSES and not door.inside:
        return "nothing looks before all is done, and the table of classes grows by requests that are refused"
    return None


PROMISES: Final = (
    Promise(
        "kept",
        "What an actor keeps beyond its limit ends it: in the middle of the message where that can be, else when the "
        "message is done, and never before it holds so much.",
        Load(made=3, kept=4),
        _stopped,
        lambda door, shape, way: _is_not_counted(shape),
    ),
    Promise(
        "churn",
        "What an actor drops at once never ends it, however much it is.",
        Load(made=12, kept=0.4),
        lambda world, door, shape, way: _living(world),
        lambda door, shape, way: "what it drops is garbage in cycles: see garbage" if shape.cyclic else None,
    ),
    Promise(
        "garbage",
        "Garbage in cycles is collected, and does not end the actor that made it.",
        Load(made=8, kept=0.4),
        lambda world, door, shape, way: _living(world),
        _is_no_garbage,
    ),
    Promise(
        "charged",
        "What an actor keeps is charged to it and to nobody else, and what somebody else holds as well to nobody.",
        Load(made=0.5, kept=1),
        _charged,
        lambda door, shape, way: _is_unknown(shape),
    ),
    Promise(
        "watched",
        "An actor with kill=False is never ended and nothing is refused, but its peak is known.",
        Load(made=2, kept=3, kill=False),
        _watched,
        lambda door, shape, way: _is_not_counted(shape),
    ),
    Promise(
        "gone",
        "When its budget has ended an actor, nothing of what it kept is left.",
        Load(made=3, kept=4),
        _gone,
        lambda door, shape, way: _is_not_counted(shape),
    ),
)
