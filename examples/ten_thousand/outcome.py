"""What came of the demonstration: what was missing, and the table at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .display import megabytes, table
from .under_limit import Limited

__all__ = ["Outcome", "find_problems", "summary"]

DEADLINE = 85.0
"""Seconds after which the run is over, whatever is still missing."""

LONGER = 75.0
"""Seconds more for a chain reaction, and for getting over it."""


@dataclass
class Outcome:
    """What the summary is made of."""

    asked_for: int
    connections: int
    rooms: int
    room: str
    """The room that crashes."""
    limited: Limited | None = None
    """The run under a memory limit, if there is one."""
    problems: list[str] = field(default_factory=list)
    load: dict[str, Any] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    restarted: dict[str, dict[str, Any]] = field(default_factory=dict)
    connect_seconds: float = 0.0
    traffic_seconds: float = 0.0
    lines: float = 0.0
    messages: float = 0.0
    best_messages: float = 0.0
    rss_empty: int = 0
    rss_idle: int = 0
    rss_peak: int = 0
    heaps: dict[str, int] = field(default_factory=dict)
    """What the actors themselves hold, in the middle of the traffic."""
    actors_before: int = 0
    actors_after: int = 0
    seconds: float = 0.0

    @property
    def deadline(self) -> float:
        return DEADLINE if self.limited is None else DEADLINE + LONGER


def find_problems(outcome: Outcome) -> None:
    """Compare what should have been with what was."""
    load, wanted = outcome.load, outcome.connections

    def check(good: bool, problem: str) -> None:
        if not good:
            outcome.problems.append(problem)

    peak, lost = load.get("peak", 0), load.get("lost", 0)
    check(peak == wanted, f"connections: {peak:,} of {wanted:,}")
    if outcome.limited is None:
        check(lost == 0, f"connections lost: {lost:,}")
        check(load.get("refused", 0) == 0, f"connections refused: {load.get('refused', 0):,}")
    else:
        outcome.problems.extend(outcome.limited.problems(load, outcome.service))
    for kind, asked, answered in [
        ("ECHO", "echoes_asked", "echoes_right"),
        ("SAY", "says_asked", "says_heard"),
    ]:
        missing = load.get(asked, 0) - load.get(answered, 0)
        check(missing == 0, f"replies to {kind}: {missing:,} missing")
    wrong = load.get("wrong_lines", 0)
    check(wrong == 0, f"wrong lines: {wrong:,}; the first: {load.get('first_wrong')}")
    heard = load.get("roll_calls_heard", 0)
    check(heard == wanted, f"roll call: {heard:,} of {wanted:,} clients heard it")
    crashed, back = load.get("crashed", 0), load.get("reconnected", 0)
    check(crashed > 0 and back == crashed + lost, f"reconnected: {back:,} of {crashed + lost:,} who had to")
    check(len(outcome.restarted) == 2, "a room and the rooms' supervisor were to be restarted")
    for name, done in outcome.restarted.items():
        rooms = outcome.rooms if name == "rooms" else 1
        check(done["rooms"] == rooms, f"crash of {name}: {done['rooms']} of {rooms} rooms started anew")


def summary(outcome: Outcome) -> None:
    load, service = outcome.load, outcome.service
    none = {"p50": 0.0, "p99": 0.0, "max": 0.0}

    def count(key: str) -> str:
        return f"{load.get(key, 0):,}"

    def milliseconds(key: str) -> str:
        values = load.get(key, none)
        return f"{values['p50'] * 1e3:,.0f} / {values['p99'] * 1e3:,.0f}"

    def restart(name: str) -> str:
        done = outcome.restarted.get(name)
        return f"at work again after {done['seconds'] * 1e3:.1f} ms" if done else "not restarted"

    fewer = f", fewer than the {outcome.asked_for:,} asked for" * (outcome.connections < outcome.asked_for)
    each = (outcome.rss_idle - outcome.rss_empty) / outcome.connections
    left = outcome.actors_after - outcome.actors_before
    fresh = outcome.restarted.get("rooms", {"rooms": 0})["rooms"]
    heaps = outcome.heaps
    repeated = load.get("slowest_repeated", 0.0)
    rows = [
        ("connections at once, peak", count("peak"), f"in {outcome.connect_seconds:.1f} s{fewer}"),
        ("  kept", count("kept"), "the same socket from beginning to end"),
        ("  crashed on purpose", count("crashed"), f"{count('reconnected')} reconnected"),
        ("  lost otherwise", count("lost"), ""),
        ("ECHO replies", count("echoes_right"), f"of {count('echoes_asked')}"),
        ("SAY replies", count("says_heard"), f"of {count('says_asked')}, from {count('spoke')} clients"),
        ("  said again", count("said_again"), f"the slowest was heard after {repeated:.1f} s"),
        ("lines from others", count("heard_from_others"), f"through {outcome.rooms:,} rooms"),
        ("roll call at the end", count("roll_calls_heard"), f"of {outcome.connections:,} heard it"),
        ("wrong lines", count("wrong_lines"), ""),
        (f"{outcome.room} crashed", f"{int(outcome.room in outcome.restarted)}", restart(outcome.room)),
        ("rooms' supervisor crashed", f"{int('rooms' in outcome.restarted)}", restart("rooms")),
        ("  rooms started with it", f"{fresh:,}", f"of {outcome.rooms:,}"),
        ("actors crashed", f"{service.get('crashes', 0):,}", f"{service.get('restarts', 0):,} restarted"),
        ("actors left over", f"{left:,}", "after the last client had gone"),
        ("lines/s in and out", f"{outcome.lines:,.0f}", f"average of {outcome.traffic_seconds:.1f} s"),
        ("messages/s among actors", f"{outcome.messages:,.0f}", f"at best {outcome.best_messages:,.0f}"),
        ("ECHO latency p50 / p99", milliseconds("echo_latency"), "ms"),
        ("SAY latency p50 / p99", milliseconds("say_latency"), "ms"),
        ("memory of the service", megabytes(outcome.rss_empty), "before the first connection"),
        ("  all connected, idle", megabytes(outcome.rss_idle), f"{each / 1e3:.1f} kB a connection"),
        ("  peak", megabytes(outcome.rss_peak), ""),
        (
            "heaps of all actors",
            megabytes(heaps.get("heaps", 0)),
            "in the middle of the traffic, each with its own limit",
        ),
        ("  of a connection, mean", f"{heaps.get('member_heap', 0):,}", "bytes of 256 KiB"),
        ("  of the largest actor", f"{heaps.get('largest_heap', 0):,}", "bytes"),
        *([] if outcome.limited is None else outcome.limited.rows(load, service)),
        ("time", f"{outcome.seconds:.1f} s", ""),
    ]
    table(f"{outcome.connections:,} connections, each an actor", rows)
