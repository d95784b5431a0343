"""The static supervisor: children in a fixed order, restarted by a strategy.

``ak.supervisor(…)`` makes the child spec of one: the root of a tree, or a branch of it. The machine
in ``policy.supervision.static`` makes its decisions. Its semantics are those of OTP's supervisor;
``docs/semantics.md`` lists each difference.
"""

from __future__ import annotations

import math
import random
from typing import Any

import trio

from ..policy.supervision import supervision_events as ev
from ..policy.supervision.child_spec import ChildSpec, validate_children
from ..policy.supervision.static import Supervision
from ..policy.supervision.supervision_events import ChildInfo
from ..policy.supervision.supervisor_flags import AutoShutdown, Strategy, SupervisorFlags
from ..runtime.actor.dispatch import call
from ..runtime.actor.later import Later
from ..runtime.actor.ref import Ref
from .shell import SupervisionShell

__all__ = ["Supervisor", "supervisor"]


def supervisor(
    *children: ChildSpec[Any],
    strategy: Strategy = "one_for_one",
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    auto_shutdown: AutoShutdown = "never",
) -> ChildSpec[Supervisor]:
    """The spec of a supervisor of these children. They are started in this order, and stopped in
    reverse.

    Args:
        strategy: ``one_for_one`` restarts the child that ended, ``one_for_all`` all children, and
            ``rest_for_one`` the child that ended and those after it.
        max_restarts, max_seconds: with more restarts than this in this time, the supervisor gives
            up: it stops its children and ends, and its own supervisor decides. 0 allows none.
        auto_shutdown: end when a significant child has ended by itself (``any_significant``), or
            when the last of them has (``all_significant``).

    Options of the supervisor as a child (``id``, ``name``, ``restart`` …) are set by ``.with_(…)``.

    Raises InvalidChildSpec, DuplicateChildId or InvalidSupervisorFlag at once.

    Example::

        tree = ak.supervisor(
            ak.child(Store).with_(name="store"),
            ak.child(Api, ak.named(Store, "store")),
            strategy="rest_for_one",
        )
    """
    flags = SupervisorFlags(strategy, max_restarts=max_restarts, max_seconds=max_seconds, auto_shutdown=auto_shutdown)
    validate_children(children, auto_shutdown)
    return ChildSpec(Supervisor, args=(flags, children), kind="supervisor", mailbox=100_000, init_timeout=math.inf)


class Supervisor(SupervisionShell):
    """A running static supervisor. Administer it through its ref:
    ``await ref.call(ak.Supervisor.which_children)``.

    A call raises ``CalleeDied`` when the supervisor is gone, and otherwise the ``SupervisorError``
    that its docstring names.
    """

    def __init__(self, flags: SupervisorFlags, children: tuple[ChildSpec[Any], ...]) -> None:
        super().__init__(Supervision(flags, children, random.random))

    @call
    def start_child(self, spec: ChildSpec[Any]) -> Later[Ref[Any] | None]:
        """Add a child and start it. None: its init said IGNORE; the spec is kept, unless it is
        temporary.

        Raises ChildAlreadyStarted, ChildAlreadyPresent (also while the child restarts), StartFailed
        (the spec is dropped), InvalidChildSpec.
        """
        return self.start_asked(spec)

    @call
    def terminate_child(self, child_id: object) -> Later[None]:
        """Stop a child, or give up its pending restart. Idempotent. The spec of a temporary child
        goes too; others keep theirs. Raises ChildNotFound."""
        later = Later[None]()
        self._feed(ev.TerminateChildCommand(trio.current_time(), later, child_id))
        return later

    @call
    def restart_child(self, child_id: object) -> Later[Ref[Any] | None]:
        """Start a child that does not run. Raises ChildRunning, ChildRestarting, ChildNotFound,
        StartFailed (the spec is kept)."""
        later = Later[Any]()
        self._feed(ev.RestartChildCommand(trio.current_time(), later, child_id))
        return later

    @call
    def delete_child(self, child_id: object) -> Later[None]:
        """Forget a child that does not run. Raises ChildRunning, ChildRestarting, ChildNotFound."""
        later = Later[None]()
        self._feed(ev.DeleteChildCommand(trio.current_time(), later, child_id))
        return later

    @call
    def get_childspec(self, child_id: object) -> Later[ChildSpec[Any]]:
        """The child's spec, with its defaults filled in. Raises ChildNotFound."""
        later = Later[ChildSpec[Any]]()
        self._feed(ev.GetChildSpec(trio.current_time(), later, child_id))
        return later

    @call
    def which_child(self, child_id: object) -> Later[ChildInfo]:
        """One line of ``which_children``. Raises ChildNotFound."""
        later = Later[ChildInfo]()
        self._feed(ev.WhichChild(trio.current_time(), later, child_id))
        return later
