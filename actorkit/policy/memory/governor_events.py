"""What a governor's machine and its shell say to each other.

The shell says what has happened (events, each with ``now`` in seconds on the governor's clock). The
machine answers with what is to be done (actions, in that order). It waits for nothing and assumes
nothing: an action counts as done when ActionDone says so, with the action's ``number``. If nothing
is heard of an action, the machine decides anew after a while.

* Every action has its ``because``: the rule and its numbers, for people. It takes no part in
  comparisons.
* An action with ``dry_run`` is to be reported, not performed, and needs no ActionDone. Observations
  (LevelChanged, TakeCensus, EmitReport) are never marked: they are wanted in a dry run too.
* A ``key`` is whatever the shell uses for an actor. The machine hands it back and compares it; it
  must be hashable.
* Sizes are in bytes, durations in seconds.

A new action is a class here; ``governor.governor_base`` says what else it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import attrs

from .candidates import Candidate, Census, Radius
from .memory_sample import MemoryLevel, MemorySample
from .victims import KillCaps, Victim, VictimTable

__all__ = [
    "ActionDone",
    "AllowAdmission",
    "CensusTaken",
    "ClearAlarm",
    "CloseGate",
    "CollectGarbage",
    "EmitReport",
    "Event",
    "GovernorAction",
    "KillVictims",
    "LevelChanged",
    "OpenGate",
    "RebuildReserve",
    "RefuseAdmission",
    "ReleaseReserve",
    "ReportKind",
    "Sampled",
    "SetAlarm",
    "ShedMailboxes",
    "StopAllButCritical",
    "StopNode",
    "TakeCensus",
    "TellActors",
    "TrimAllocator",
]


# --- Events ------------------------------------------------------------------------------------


@attrs.frozen
class Sampled:
    """The shell has looked at the memory. Nearly everything is decided on this event; only victims
    are not."""

    sample: MemorySample

    @property
    def now(self) -> float:
        return self.sample.now


@attrs.frozen
class ActionDone:
    """The action with this number has been performed. For KillVictims: all victims, and everybody
    in their radii, have ended.
    """

    now: float
    number: int
    realised: int | None = None
    """Bytes that it freed, if the shell can tell. CollectGarbage and KillVictims: live bytes
    before, less those after (KillVictims only if all victims ended on the spot). TrimAllocator:
    resident bytes before, less those after. ShedMailboxes: what was given up. None: a later sample
    decides."""
    duration: float = 0.0
    """How long the node stood still for it."""
    failure: str = ""
    """Why it could not be done; "" if it was."""


@attrs.frozen
class CensusTaken:
    """The answer to TakeCensus."""

    now: float
    number: int
    candidates: Census | Sequence[Candidate]
    """Everybody, in no particular order."""
    radius_of: Callable[[Hashable], Radius | None] | None = None
    """Who dies with an actor. It is called only for those that are about to be killed: finding
    everybody's radius would cost more than the round. A Candidate's own ``radius`` wins."""


Event = Sampled | ActionDone | CensusTaken


# --- Actions -----------------------------------------------------------------------------------


@attrs.frozen
class GovernorAction:
    """What all actions have."""

    number: int = attrs.field(default=0, eq=False, kw_only=True)
    because: str = attrs.field(default="", eq=False, kw_only=True)
    dry_run: bool = attrs.field(default=False, kw_only=True)

    @property
    def name(self) -> str:
        """What receipts and the log call it."""
        return type(self).__name__


@attrs.frozen
class LevelChanged(GovernorAction):
    """The level has changed: for people and subscribers."""

    level: MemoryLevel
    previous: MemoryLevel


@attrs.frozen
class SetAlarm(GovernorAction):
    """Memory is short. Comes once, when NORMAL is left."""


@attrs.frozen
class ClearAlarm(GovernorAction):
    """The shortage is over. Comes once, when NORMAL is reached again."""


@attrs.frozen
class TellActors(GovernorAction):
    """Send MemoryPressure(level, please_free) to the actors that opted in."""

    level: MemoryLevel
    please_free: int
    """Bytes that the node wants back from all of them together; 0 when the level falls."""


@attrs.frozen
class CollectGarbage(GovernorAction):
    """Run the cyclic collector once. The answer has the live bytes that it freed, and the time."""


@attrs.frozen
class TrimAllocator(GovernorAction):
    """Give free pages back to the system. The answer has the resident bytes that went."""


@attrs.frozen
class ShedMailboxes(GovernorAction):
    """Give up sheddable messages of about ``wanted`` bytes. The answer has the bytes given up."""

    wanted: int


@attrs.frozen
class RefuseAdmission(GovernorAction):
    """Refuse new work, until AllowAdmission."""


@attrs.frozen
class AllowAdmission(GovernorAction):
    """New work is welcome again."""


@attrs.frozen
class CloseGate(GovernorAction):
    """Restarts of the node's victims wait, until OpenGate."""


@attrs.frozen
class OpenGate(GovernorAction):
    """Restarts may be let through, at the price of their footprint."""


@attrs.frozen
class TakeCensus(GovernorAction):
    """Measure everybody. The answer is CensusTaken."""

    wanted: int
    """Bytes that are to be freed."""
    caps: KillCaps | None = None
    """The rows of a large group that a round by these may want are enough (``KillCaps.wanted``);
    None: everybody must have a row."""


@attrs.frozen
class KillVictims(GovernorAction):
    """Kill each victim for the node's sake. Those in its radius die of it and need no kill of their
    own. The answer comes when all have ended."""

    victims: tuple[Victim, ...]
    predicted: int
    """Bytes that this will free."""
    table: VictimTable
    """How the candidates were ranked, for people."""

    @property
    def name(self) -> str:
        return "Kill"  # as receipts have always called it


@attrs.frozen
class ReleaseReserve(GovernorAction):
    """Free the ballast, so that supervisors, reports and the governor can work."""


@attrs.frozen
class RebuildReserve(GovernorAction):
    """Take up the ballast again."""


@attrs.frozen
class StopAllButCritical(GovernorAction):
    """Kill everybody who is not critical and has nobody critical in its radius. The answer comes
    when they have ended."""


@attrs.frozen
class StopNode(GovernorAction):
    """Stop the node in order, and end the process with this exit status: the last decision."""

    exit_status: int


ReportKind = Literal[
    "kills_futile",
    "kills_resumed",
    "kill_judged",
    "no_victims",
    "action_backed_off",
    "action_failed",
]


@attrs.frozen
class EmitReport(GovernorAction):
    """Tell people something; ``because`` has it in full."""

    kind: ReportKind
    level: MemoryLevel
