"""The words that a governor's machine and its shell exchange.

The shell tells what has happened (events, each with ``now`` in seconds on the governor's clock), the machine answers
with what is to be done (actions, in that order). It waits for nothing and assumes nothing: an action counts as done
when ActionDone says so, with the action's ``number``; one of which nothing is heard is decided anew after a while.

* Every action has its ``because``: the rule and its numbers, for people. It takes no part in comparisons.
* An action with ``dry_run`` is to be reported, not performed, and needs no ActionDone. Observations (LevelChanged,
  TakeCensus, Report) are never marked: they are wanted in a dry run too.
* A ``key`` is whatever the shell uses for an actor. The machine hands it back and compares it; it must be hashable.
* Sizes are in bytes, durations in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import attrs

from actorkit.policy.memory.memory_sample import MemoryLevel, MemorySample
from actorkit.policy.memory.victims import Candidate, Census, KillCaps, Radius, Victim, VictimTable

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
    """Somebody looked. Every decision but those about a census is made here."""

    sample: MemorySample

    @property
    def now(self) -> float:
        return self.sample.now


@attrs.frozen
class ActionDone:
    """The action with this number has been performed; for a Kill: all its victims (and their radii) have ended.

    ``realised``: bytes that it freed, where the shell can tell: live before less live after for CollectGarbage,
    resident before less after for TrimAllocator, what was dropped for ShedMailboxes; None: not known, the next sample
    decides. For a Kill: live before less live after, if all victims ended on the spot; else it is judged by a later
    sample. ``duration``: how long the node stood still for it. ``failure``: why it could
    not be done, "" if it was.
    """

    now: float
    number: int
    realised: int | None = None
    duration: float = 0.0
    failure: str = ""


@attrs.frozen
class CensusTaken:
    """The answer to TakeCensus: everybody is counted, in no particular order.

    ``radius_of`` is asked for those alone that are about to be killed, since to find the radius of everybody would
    cost more than the round; a Candidate's own ``radius`` goes before it.
    """

    now: float
    number: int
    candidates: Census | Sequence[Candidate]
    radius_of: Callable[[Hashable], Radius | None] | None = None


Event = Sampled | ActionDone | CensusTaken


# --- Actions -----------------------------------------------------------------------------------


@attrs.frozen
class GovernorAction:
    number: int = attrs.field(default=0, eq=False, kw_only=True)
    because: str = attrs.field(default="", eq=False, kw_only=True)
    dry_run: bool = attrs.field(default=False, kw_only=True)

    @property
    def name(self) -> str:
        """What receipts and the log call it."""
        return type(self).__name__


@attrs.frozen
class LevelChanged(GovernorAction):
    """The ladder has moved. Tell the restart gate, admission and whoever observes."""

    level: MemoryLevel
    previous: MemoryLevel


@attrs.frozen
class SetAlarm(GovernorAction):
    """Memory is short: comes once, when NORMAL is left."""


@attrs.frozen
class ClearAlarm(GovernorAction):
    """It is over: comes once, when NORMAL is reached again."""


@attrs.frozen
class TellActors(GovernorAction):
    """Send MemoryPressure(level, please_free) to the actors that opted in. ``please_free`` is what the node would like
    to have back from all of them together; 0 when the level falls."""

    level: MemoryLevel
    please_free: int


@attrs.frozen
class CollectGarbage(GovernorAction):
    """Run the cyclic collector once. Answer with the live bytes that it freed and how long it took."""


@attrs.frozen
class TrimAllocator(GovernorAction):
    """Give free pages back to the system. Answer with the resident bytes that went."""


@attrs.frozen
class ShedMailboxes(GovernorAction):
    """Have mailboxes give up sheddable messages of about ``wanted`` bytes. Answer with the bytes given up."""

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
    """Measure everybody, and answer with CensusTaken. ``wanted``: bytes that are to be freed. ``caps``: of a large
    group the rows that a round by these may want are enough (``KillCaps.wanted``); None: each must have one."""

    wanted: int
    caps: KillCaps | None = None


@attrs.frozen
class KillVictims(GovernorAction):
    """Kill each victim for the node's sake. Those in its radius die of it and need no kill of their own. Answer with
    ActionDone when all have ended. ``table`` is for the victims' exit reasons and the report."""

    victims: tuple[Victim, ...]
    predicted: int
    table: VictimTable

    @property
    def name(self) -> str:
        return "Kill"


@attrs.frozen
class ReleaseReserve(GovernorAction):
    """Free the ballast, so that supervisors, reports and the governor can work. Answer with ActionDone."""


@attrs.frozen
class RebuildReserve(GovernorAction):
    """Take up the ballast again. Answer with ActionDone."""


@attrs.frozen
class StopAllButCritical(GovernorAction):
    """Kill everybody who is not critical, and whose radius has nobody critical. Answer when they have ended."""


@attrs.frozen
class StopNode(GovernorAction):
    """Stop the node in order, and end the process with this exit status. Nothing is decided after it."""

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
    """Something that people should know; ``because`` says it in full."""

    kind: ReportKind
    level: MemoryLevel
