"""The states of a supervisor and of its children, as tables.

These tables are the only place that says what may follow what: a static supervisor looks the next state
up here, and the models hold both machines to it. ``docs/architecture.md`` draws its diagrams from them.

A child is ``undefined`` while its supervisor knows it and nothing runs. ``restarting`` is the time between
its end and the attempt to start it again. A child that does not end when it is killed is ``unkillable``
until it ends after all. A dynamic supervisor forgets a child where a static one keeps it as ``undefined``.

Only ``running`` hides something: a child that has ended while a static supervisor was busy with others is
in that state until its turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["CHILD_TRANSITIONS", "PHASE_TRANSITIONS", "ChildState", "ChildStep", "Phase", "PhaseStep"]

ChildState = Literal["running", "restarting", "starting", "stopping", "undefined", "unkillable"]
"""Where a child is in its life."""

ChildStep = Literal["start", "started", "stop", "ended", "did not end", "want restart", "attempt", "give up"]
"""What takes a child from one state to another. ``ended`` stands for every way in which a life ends: its
start failed or was ignored, it exited by itself, or it was stopped."""

CHILD_TRANSITIONS: Final[Mapping[ChildState, Mapping[ChildStep, ChildState]]] = MappingProxyType(
    {
        "undefined": {"start": "starting", "want restart": "restarting"},
        "starting": {"started": "running", "ended": "undefined", "did not end": "unkillable"},
        "running": {"stop": "stopping", "ended": "undefined"},
        "stopping": {"ended": "undefined", "did not end": "unkillable"},
        "restarting": {"attempt": "undefined", "give up": "undefined"},
        "unkillable": {"ended": "undefined"},
    }
)

Phase = Literal["new", "starting", "ready", "stopping", "over"]
"""Where a supervisor is in its own life. It begins nothing once it is ``stopping``."""

PhaseStep = Literal["begin", "all started", "stop", "all ended"]
"""What takes a supervisor from one phase to the next. ``stop`` stands for every reason: it was asked to
stop, a child did not start, it gave up, or a significant child has ended."""

PHASE_TRANSITIONS: Final[Mapping[Phase, Mapping[PhaseStep, Phase]]] = MappingProxyType(
    {
        "new": {"begin": "starting", "stop": "stopping"},
        "starting": {"all started": "ready", "stop": "stopping"},
        "ready": {"stop": "stopping"},
        "stopping": {"all ended": "over"},
        "over": {},
    }
)
