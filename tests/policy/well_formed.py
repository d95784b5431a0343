"""What every single action of a supervision machine must be, whatever led to it: each names the
child that it is about, and says why. The shells rely on this, and so do people who read the
reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from actorkit.errors import (
    ChildAlreadyPresent,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    StartFailed,
    SupervisorStopping,
)
from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.supervision_states import ChildState
from actorkit.reasons import ExitReason

STATES, KINDS = get_args(ChildState), get_args(ev.ReportKind)


def asked_about(event: Any) -> object:
    """The child that a command or query is about; None: no child in particular."""
    return event.spec.id if isinstance(event, ev.StartChildCommand) else getattr(event, "id", None)


def check(action: ev.Action, specs: Mapping[int, Any], asked: Mapping[Any, object]) -> None:
    """``specs``: those of all lives so far, by instance; ``asked``: the child that each call was
    about.
    """
    because = getattr(action, "because", "needs none")
    assert isinstance(because, str), action
    assert because, f"{action} does not say why"
    match action:
        case ev.StartChild(restart=restart):
            assert restart is True or restart is False
        case ev.ScheduleRestart(ticket=ticket, delay=delay, counts=counts):
            assert type(ticket) is int
            assert isinstance(delay, float | int)
            assert counts is True or counts is False
        case ev.CancelRestart(ticket=ticket):
            assert type(ticket) is int
        case ev.ReportChild(kind=kind, child_id=child_id, reason=reason, instance=instance):
            assert kind in KINDS
            assert (reason is None) == (kind in ("progress", "unkillable")), action
            assert reason is None or isinstance(reason, ExitReason)
            if instance is not None:
                # A dynamic supervisor knows its children by their refs.
                assert child_id == specs[instance].id or (child_id is None and action.ref is not None), action
            else:
                assert kind in ("reached_max_restart_intensity", "child_terminated", "start_error"), action
        case ev.FailCall(call=call, error=error):
            if isinstance(error, StartFailed):
                assert isinstance(error.reason, ExitReason)
            if isinstance(error, ChildRunning | ChildRestarting | ChildAlreadyPresent):
                assert error.state in STATES, action
            kinds = (StartFailed, ChildNotFound, ChildRunning, ChildRestarting, ChildAlreadyPresent, SupervisorStopping)
            if isinstance(error, kinds):
                assert error.child_id == asked[call], f"{action}: {asked[call]!r} was asked about"
        case ev.Finished(reason=reason) | ev.InitFailed(reason=reason):
            assert isinstance(reason, ExitReason)
