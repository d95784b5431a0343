"""The eight cases: who the clients are, what they do, and for how long.

A case is a plan: groups of clients, each with a script of requests for *before* the pressure and
one for during it. The value of ``{fill}`` in a script is known only when all clients are connected:
it is the size that brings the node's usage to a given share of its limit, so that every server is
under the same pressure, whatever its own size. The requests of ``after`` end the cause of the
pressure.

At 10,000 connections the limit is some 490 MiB. With fewer connections it is a base for the
interpreter plus a proportional part, and the sizes below follow. ``good`` clients are those whose
survival is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.survival.protocol import ROW

MIB = 1024 * 1024
LEAVE_SHED = 0.74
"""The share of its limit at which a node takes new work again: what it can hold for good."""

FULL_SIZE = 10_000
HOG = 10_000_000
STEP = 256 * 1024
BUDGET = MIB
"""What one connection may hold, for servers with such a limit."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request, sent some number of times, each after the reply to the one before and a pause in
    seconds."""

    say: str
    times: int = 1
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Clients that all do the same. ``storm``: they connect when the pressure begins, and again
    whenever they are cut off. ``spread``: they start within this many seconds. ``echo``: they take
    part in the steady traffic.
    """

    name: str
    count: int
    good: bool = False
    echo: bool = False
    before: tuple[Step, ...] = ()
    press: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    storm: bool = False
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    case: str
    groups: tuple[Group, ...]
    connections: int
    """The sensible limit on connections that each server is given."""
    budget: int
    says: str
    """What happens, with its numbers."""
    press_seconds: float = 20.0
    """The pressure ends after this time at the latest."""
    hold_seconds: float = 3.0
    """What was allocated stays for this long after the last request of the pressure."""
    fill_to: float = 0.0
    """Usage, as a share of the limit, that ``{fill}`` leads to when all of ``fillers`` hold that
    much.
    """
    fillers: int = 1
    sidecar: int = 0
    footprint: int = 0
    """Bytes of state of each good connection at the end, where capacity is reported."""
    dump: int = MIB
    pace: float = 1.0
    """All times are longer, and requests rarer, by this factor than on a machine of usual speed.
    """


def limit_for(connections: int) -> int:
    """The node's limit: an interpreter, its libraries and 40 KiB for each connection."""
    return 96 * MIB + connections * 40 * 1024


def paced(plan: Plan, pace: float) -> Plan:
    """The same for a slower machine: the same sizes, offered more slowly by this factor."""
    groups = tuple(
        replace(
            group,
            spread=group.spread * pace,
            press=tuple(replace(step, pause=step.pause * pace) for step in group.press),
        )
        for group in plan.groups
    )
    seconds, hold = plan.press_seconds * pace, plan.hold_seconds * pace
    return replace(plan, groups=groups, press_seconds=seconds, hold_seconds=hold, pace=plan.pace * pace)


def fill(plan: Plan, limit: int, used: int) -> int:
    return max(ROW, int((plan.fill_to * limit - used) / plan.fillers))


def _hog(connections: int, limit: int, quick: bool) -> Plan:
    hogs = max(math.ceil(connections / 100), math.ceil(2 * limit / HOG))
    return Plan(
        "S1",
        (
            Group("good", connections - hogs, good=True, echo=True),
            Group("hogs", hogs, press=(Step(f"HOLD {STEP}", math.ceil(HOG / STEP), 0.02),), spread=1.0),
        ),
        connections,
        BUDGET,
        f"{hogs} of {connections} connections grow to {HOG / 1e6:.0f} MB each",
    )


def _crowd(connections: int, limit: int, quick: bool) -> Plan:
    each = 3 * limit // connections
    steps = 12
    grow, let_go = (Step(f"HOLD {each // steps}", steps, 0.1),), (Step("DROP"),)
    return Plan(
        "S2",
        (Group("good", connections, good=True, echo=True, press=grow, after=let_go, spread=4.0),),
        connections,
        max(BUDGET, 2 * each),
        f"{connections} connections grow to {each // 1024} KiB each, within their budgets, together 3 times the limit",
        press_seconds=30,
        footprint=each,
    )


CACHE_PIECES = 64
INTERPRETER = 9 * MIB
"""Of the neighbour: in its half."""


def _sidecar(connections: int, limit: int, quick: bool) -> Plan:
    cache = int(0.33 * limit)
    return Plan(
        "S3",
        (
            Group("good", connections - 1, good=True, echo=True, before=(Step("HOLD {fill}"),), spread=1.0),
            Group("cache", 1, before=(Step(f"CACHE {cache // CACHE_PIECES}", CACHE_PIECES),)),
        ),
        connections,
        BUDGET,
        "connections hold a quarter of the limit and a cache a third, then a neighbour takes half of it, for 8 s",
        press_seconds=12,
        hold_seconds=0,
        fill_to=0.25,
        fillers=connections - 1,
        sidecar=limit // 2 - INTERPRETER,
    )


def _storm(connections: int, limit: int, quick: bool) -> Plan:
    residents = connections // 5
    stormers = connections - residents
    return Plan(
        "S4",
        (
            Group("good", residents, good=True, echo=True),
            Group("stormers", stormers, press=(Step("HOLD {fill}"),), storm=True, spread=2.0),
        ),
        connections,
        BUDGET,
        f"beside {residents} residents, {stormers} clients, twice what fits, connect, fill up and come back at once",
        press_seconds=10 if quick else 60,
        hold_seconds=0,
        fill_to=LEAVE_SHED,
        fillers=stormers // 2,
    )


def _flood(connections: int, limit: int, quick: bool) -> Plan:
    messages = max(50_000, 100 * connections)
    size = max(ROW, 2 * limit // messages // ROW * ROW)
    feeders = max(4, connections // 100)
    batch = 250
    return Plan(
        "S5",
        (
            Group("good", connections - feeders, good=True, echo=True),
            Group("feeders", feeders, press=(Step(f"FEED {batch} {size}", math.ceil(messages / feeders / batch)),)),
        ),
        connections,
        BUDGET,
        f"{feeders} connections send {messages:,} messages of {size} bytes to one slow consumer",
        press_seconds=20,
    )


def _giant(connections: int, limit: int, quick: bool) -> Plan:
    size = max(2 * 1024 * MIB, 4 * limit)
    return Plan(
        "S6",
        (
            Group("good", connections - 2, good=True, echo=True),
            Group("loop", 1, press=(Step(f"GIANT {size} loop"),)),
            Group("piece", 1, press=(Step(f"GIANT {size} piece", 1, 5.0),)),
        ),
        connections,
        BUDGET,
        f"one handler allocates {size / 1024 / MIB:.0f} GiB in a loop, five seconds later another in one piece",
        press_seconds=15,
    )


def _dump(connections: int, limit: int, quick: bool) -> Plan:
    size = min(50_000_000, max(limit // 16, 5_000 * connections))
    seconds = 5 if quick else 15
    return Plan(
        "S7",
        (
            Group("good", connections - 1, good=True, echo=True),
            Group("dumper", 1, press=(Step("DUMP", seconds * 2, 0.5),)),
        ),
        connections,
        BUDGET,
        f"a service with {size / 1e6:.0f} MB of state is told to crash twice a second",
        press_seconds=seconds + 10,
        dump=size,
    )


def _shift(connections: int, limit: int, quick: bool) -> Plan:
    """Killed actors held small blocks, and new requests need large ones: a kill helps only if the
    memory is really free.
    """
    readers = 2 * connections // 3
    writers = connections - readers
    each = int(0.7 * limit) // writers
    steps = 24
    grow = (Step(f"KEEP {each // steps}", steps, 0.1),)
    return Plan(
        "S8",
        (
            Group("readers", readers, good=True, echo=True, before=(Step("HOLD {fill}"),), spread=2.0),
            Group("writers", writers, good=True, echo=True, press=grow, after=(Step("DROP"),), spread=4.0),
        ),
        connections,
        max(BUDGET, 2 * each),
        f"{readers} connections hold rows of 256 bytes, three fifths of the limit; {writers} others take seven tenths "
        "of it in pieces of 4 KiB",
        press_seconds=30,
        fill_to=0.6,
        fillers=readers,
    )


CASES: dict[str, tuple[str, Callable[[int, int, bool], Plan]]] = {
    "S1": ("hog", _hog),
    "S2": ("crowd", _crowd),
    "S3": ("sidecar", _sidecar),
    "S4": ("storm", _storm),
    "S5": ("flood", _flood),
    "S6": ("giant", _giant),
    "S7": ("dump", _dump),
    "S8": ("shift", _shift),
}


def plan(case: str, connections: int, limit: int, quick: bool = False) -> Plan:
    return CASES[case][1](connections, limit, quick)
