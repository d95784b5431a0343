"""The states of a supervisor and of its children, as tables.

These tables are the only place that says what may follow what: a static supervisor looks the next
state up here, and the models hold both machines to it. ``docs/architecture.md`` draws its diagrams
from them.

A child is ``undefined`` while its supervisor knows it and nothing runs. ``restarting`` is the time
between its end and the attempt to start it again. A child that does not end when it is killed is
``unkillable`` until it ends after all. A dynamic supervisor forgets a child where a static one
keeps it as ``undefined``.

Only ``running`` hides something: a child that has ended while a static supervisor was busy with
others is in that state until its turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

from ..transition import Transition, leads

__all__ = [
    "CHILD_TRANSITIONS",
    "PHASE_TRANSITIONS",
    "ChildState",
    "ChildStep",
    "Phase",
    "PhaseStep",
    "next_phase",
    "next_state",
]

ChildState = Literal["running", "restarting", "starting", "stopping", "undefined", "unkillable"]
"""Where a child is in its life."""

ChildStep = Literal["start", "started", "stop", "ended", "did not end", "want restart", "attempt", "give up"]
"""What takes a child from one state to another. ``ended`` stands for every way in which a life
ends: its start failed or was ignored, it exited by itself, or it was stopped."""

CHILD_TRANSITIONS: Final = (
    Transition("undefined", "starting", "start"),
    Transition("undefined", "restarting", "want restart"),
    Transition("starting", "running", "started"),
    Transition("starting", "undefined", "ended"),
    Transition("starting", "unkillable", "did not end"),
    Transition("running", "stopping", "stop"),
    Transition("running", "undefined", "ended"),
    Transition("stopping", "undefined", "ended"),
    Transition("stopping", "unkillable", "did not end"),
    Transition("restarting", "undefined", "attempt"),
    Transition("restarting", "undefined", "give up"),
    Transition("unkillable", "undefined", "ended"),
)
"""The life of one child of a static supervisor."""

Phase = Literal["new", "starting", "ready", "stopping", "over"]
"""Where a supervisor is in its own life. It begins nothing once it is ``stopping``."""

PhaseStep = Literal["begin", "all started", "stop", "all ended"]
"""What takes a supervisor from one phase to the next. ``stop`` stands for every reason: it was
asked to stop, a child did not start, it gave up, or a significant child has ended."""

PHASE_TRANSITIONS: Final = (
    Transition("new", "starting", "begin"),
    Transition("new", "stopping", "stop"),
    Transition("starting", "ready", "all started"),
    Transition("starting", "stopping", "stop"),
    Transition("ready", "stopping", "stop"),
    Transition("stopping", "over", "all ended"),
)
"""The life of a static supervisor."""

_CHILD: Final = cast("Mapping[tuple[ChildState, ChildStep], ChildState]", leads(CHILD_TRANSITIONS))
_PHASE: Final = cast("Mapping[tuple[Phase, PhaseStep], Phase]", leads(PHASE_TRANSITIONS))


def next_state(state: ChildState, step: ChildStep) -> ChildState:
    """The state of a child after ``step``. Raises KeyError for a step that leads nowhere."""
    return _CHILD[state, step]


def next_phase(phase: Phase, step: PhaseStep) -> Phase:
    """The phase of a supervisor after ``step``. Raises KeyError for a step that leads nowhere."""
    return _PHASE[phase, step]
