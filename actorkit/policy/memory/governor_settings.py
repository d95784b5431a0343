"""Everything about a governor that can be set, with its defaults.

What is done at which level is data too: ``LEVEL_ACTIONS`` says what each level *adds*, and a level
does what the lower ones do. What data cannot say, a callable can: ``thresholds`` (limits that
depend on the sample), ``rank`` (who is given up first) and ``revise``, which sees each action
before the shell does and may change or drop it. The callables are called within decisions. They
must be quick, and must not wait, raise, or keep what they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args

import attrs

from .fill_rate import LookSettings
from .governor_events import GovernorAction
from .kill_rounds import KillSettings
from .ladder import LadderSettings
from .memory_sample import MemoryLevel, MemorySample
from .outcomes import ActionKind, PaceSettings
from .victims import Rank

__all__ = ["LEVEL_ACTIONS", "OUT_OF_MEMORY_STATUS", "SUBTREE_ACTIONS", "GovernorSettings", "LevelAction"]

LevelAction = Literal[
    "alarm", "tell", "gc", "trim", "refuse", "shed", "close_gate", "kill", "release_reserve", "stop_all", "stop_node"
]  # fmt: skip
"""What a level may do."""

OUT_OF_MEMORY_STATUS: Final = 79
"""The exit status of a node that stopped because memory did not come back: the first after those of
sysexits.h, and none of a signal's."""

LEVEL_ACTIONS: Final[Mapping[MemoryLevel, frozenset[LevelAction]]] = {
    MemoryLevel.CONSERVE: frozenset({"alarm", "tell", "gc", "trim"}),
    MemoryLevel.SHED: frozenset({"refuse", "shed"}),
    MemoryLevel.KILL: frozenset({"close_gate", "kill"}),
    MemoryLevel.EXHAUSTED: frozenset({"release_reserve", "stop_all", "stop_node"}),
}

SUBTREE_ACTIONS: Final[Mapping[MemoryLevel, frozenset[LevelAction]]] = {
    MemoryLevel.CONSERVE: frozenset({"tell"}),
    MemoryLevel.SHED: frozenset({"shed"}),
    MemoryLevel.KILL: frozenset({"close_gate", "kill"}),
}
"""For a governor of one subtree: what concerns the process as a whole is left out."""


def _as_sets(value: Mapping[MemoryLevel, Any]) -> Mapping[MemoryLevel, frozenset[LevelAction]]:
    made = {level: frozenset(actions) for level, actions in value.items()}
    for level, actions in made.items():
        unknown = actions - frozenset(get_args(LevelAction))
        if unknown or level == MemoryLevel.NORMAL:
            raise ValueError(
                f"actions of {MemoryLevel(level).name}: {sorted(actions)} cannot be done there; NORMAL does nothing, "
                f"and the others may do {', '.join(get_args(LevelAction))}"
            )
    return made


@attrs.frozen
class GovernorSettings:
    """How a governor decides.

    Args:
        ladder: the thresholds of the levels, and how long a level is kept.
        thresholds: replaces ``ladder``, for each sample anew.
        looks: how often samples are wanted.
        alert_look: the longest wait between two of them from SHED upwards, in seconds.
        kills: how rounds of kills go.
        rank: replaces the ranking of victims: the one with the smallest value goes first.
        paces: how often collecting, trimming and shedding may be repeated.
        actions: what each level adds to what is done.
        revise: sees each action before the shell; returns it, another one, or None to drop it.
        reserve: bytes of the ballast that is released when the node is EXHAUSTED; 0: there is none.
        tell_again: seconds until actors are asked again to free something.
        answer_within: seconds that they have for it before anybody is killed, unless the limit is
            nearer.
        stop_all_after: seconds in EXHAUSTED, with memory really needed, before all but critical
            actors are stopped; sooner if kills do not help or find nobody.
        stop_node_after: seconds after that before the node stops.
        exit_status: of the process, when the node has stopped.
        step_fence: refuse a request of a single step of a task for more than what is left (Linux,
            RLIMIT_DATA). For processes without the extension, whose budgets see nothing inside a
            message. ``governor.steps`` says what it costs and risks.
        dry_run: decide everything, do nothing.

    Raises ValueError for values that cannot be: the author's fault.
    """

    ladder: LadderSettings = attrs.field(factory=LadderSettings)
    thresholds: Callable[[MemorySample], LadderSettings] | None = None
    looks: LookSettings = attrs.field(factory=LookSettings)
    alert_look: float = 0.25
    kills: KillSettings = attrs.field(factory=KillSettings)
    rank: Rank | None = None
    paces: Mapping[ActionKind, PaceSettings] = attrs.field(factory=dict)
    actions: Mapping[MemoryLevel, frozenset[LevelAction]] = attrs.field(default=LEVEL_ACTIONS, converter=_as_sets)
    revise: Callable[[GovernorAction], GovernorAction | None] | None = None
    reserve: int = 0
    tell_again: float = 0.5
    answer_within: float = 0.05
    stop_all_after: float = 2.0
    stop_node_after: float = 5.0
    exit_status: int = OUT_OF_MEMORY_STATUS
    step_fence: bool = False
    dry_run: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("alert_look", "tell_again", "stop_all_after", "stop_node_after"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r} of GovernorSettings is not a time: give seconds > 0")
        if not 0 <= self.answer_within < math.inf:
            raise ValueError(
                f"answer_within={self.answer_within!r} of GovernorSettings is not a time: give seconds >= 0"
            )
        for name in ("step_fence", "dry_run"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name}={value!r} of GovernorSettings is neither yes nor no: give True or False")
        if self.reserve < 0:
            raise ValueError(f"reserve={self.reserve!r} of GovernorSettings is not a size: give bytes, 0 for none")
        if not 1 <= self.exit_status <= 125:
            raise ValueError(
                f"exit_status={self.exit_status!r} of GovernorSettings would be taken for success or a signal: "
                "give 1 to 125"
            )

    def does(self, action: LevelAction, level: MemoryLevel) -> bool:
        """Is it done at that level? It is if the level or a lower one lists it."""
        return any(action in actions for at, actions in self.actions.items() if at <= level)
