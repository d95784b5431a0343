"""The dynamic supervisor: any number of children, started on request, each on its own.

The machine in ``policy.supervision.dynamic`` makes its decisions. Its semantics are those of
Elixir's DynamicSupervisor.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, TypeVar

import trio

from ..errors import ActorkitError, InvalidSupervisorFlag
from ..policy.supervision import supervision_events as ev
from ..policy.supervision.child_spec import ChildSpec
from ..policy.supervision.dynamic import DynamicSupervision
from ..policy.supervision.supervisor_flags import DynamicFlags
from ..runtime.actor.dispatch import call
from ..runtime.actor.later import Later
from ..runtime.actor.names import NamedRef
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from ..runtime.life.init_outcome import Watcher
from .shell import SupervisionShell

__all__ = ["DynamicSupervisor", "dynamic_supervisor"]

A = TypeVar("A")


def dynamic_supervisor(
    *,
    max_children: float = math.inf,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    extra_arguments: Sequence[Any] = (),
) -> ChildSpec[DynamicSupervisor]:
    """The spec of a dynamic supervisor, which has no children at first.

    Use it for actors that come and go, such as sessions and jobs. Use ``ak.supervisor`` for the
    fixed parts of a service.

    Args:
        max_children: one more is refused with MaxChildrenReached. Children that are starting or
            restarting count.
        max_restarts, max_seconds: as for ``ak.supervisor``.
        extra_arguments: go before each child's own arguments, at restarts too.

    Raises InvalidSupervisorFlag at once.

    Example::

        sessions = ak.dynamic_supervisor(max_children=1000).with_(name="sessions")
        …
        ref = await ak.named(ak.DynamicSupervisor, "sessions").call(
            ak.DynamicSupervisor.start_child, ak.child(Session, user).with_(restart="temporary"))
    """
    flags = DynamicFlags(max_restarts=max_restarts, max_seconds=max_seconds, max_children=max_children)
    # Only what is plainly a sequence of arguments: tuple("ab") would be two of them.
    if not isinstance(extra_arguments, (list, tuple)):
        raise InvalidSupervisorFlag("extra_arguments", extra_arguments, "give a list or tuple of arguments")
    return ChildSpec(
        DynamicSupervisor,
        args=(flags, tuple(extra_arguments)),
        kind="supervisor",
        mailbox=100_000,
        init_timeout=math.inf,
    )


class DynamicSupervisor(SupervisionShell):
    """A running dynamic supervisor. Administer it through its ref. It knows its children by their
    refs, and ignores their ids."""

    knows_ids = False

    def __init__(self, flags: DynamicFlags, extra_arguments: tuple[Any, ...] = ()) -> None:
        super().__init__(DynamicSupervision(flags, random.random))
        self.extra_arguments = extra_arguments

    def start_one(self, spec: Any, watcher: Watcher) -> Record[Any]:
        return self.starters.of_spec(spec)((*self.extra_arguments, *spec.args), spec.kwargs, watcher=watcher)

    @call
    def start_child(self, spec: ChildSpec[A]) -> Later[Ref[A] | None]:
        """Start a child. None: its init said IGNORE, and the child is not kept. Raises StartFailed,
        MaxChildrenReached, InvalidChildSpec."""
        return self.start_asked(spec)

    @call
    def terminate_child(self, ref: Ref[Any]) -> Later[None]:
        """Stop a child. One that is restarting is known by its last ref. Raises ChildNotFound, the
        second time too."""
        later = Later[None]()
        try:
            holder = ref.resolve_on(self.ctx.node.engine) if isinstance(ref, NamedRef) else ref
        except ActorkitError as error:  # the ref leads by a key that raises, or that many may hold
            later.fail(error)
            return later
        self._feed(ev.TerminateChildCommand(trio.current_time(), later, holder))
        return later
