"""The restart gate of a node that is short of memory: the shell around
``policy.memory.restart_queue``.

While memory is plentiful, a restart passes as it does without a governor: when its backoff is over.
From CONSERVE upwards, and for every child that the node itself has killed, it waits until its
predicted footprint fits. Meanwhile the child shows as ``restarting``, and ``terminate_child`` or a
shutdown takes the restart back.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

import trio

from ..policy.memory import restart_queue as queue
from ..policy.memory.footprint_samples import kind_of
from ..policy.memory.memory_sample import MemoryLevel, MemorySample, Priority
from ..runtime.actor.doors import PendingRestart, RestartGate
from ..runtime.base.timers import Timer
from .radius import is_spared

if TYPE_CHECKING:
    from ..policy.supervision.child_spec import ChildSpec
    from ..runtime.node import Node

__all__ = ["FamilyGate", "MemoryGate"]

KNOWN_CHILDREN: Final = 10_000
"""How many children's deaths are remembered; beyond that, the child that has not died for the
longest is forgotten."""


class _Held:
    """A restart at the gate: its supervisor may take it back.

    Args:
        gate, ticket: where it waits, and its number there.
        due: when its backoff is over.
        spec, go, counts, key: what the gate was given.
    """

    __slots__ = ("_gate", "_ticket", "counts", "due", "go", "key", "passed_on", "spec")

    def __init__(
        self,
        gate: MemoryGate,
        ticket: int,
        due: float,
        spec: ChildSpec[Any] | None,
        go: Callable[[], None],
        counts: bool,
        key: Hashable,
    ) -> None:
        self._gate = gate
        self._ticket = ticket
        self.due = due
        self.spec = spec
        self.go = go
        self.counts = counts
        self.key = key
        #: What it is at the next gate, once this one has passed it on.
        self.passed_on: PendingRestart | None = None

    def cancel(self) -> None:
        """It is not wanted any more."""
        if self.passed_on is not None:
            self.passed_on.cancel()
        else:
            self._gate.cancel(self._ticket)


class MemoryGate:
    """Stands at ``node.restart_gate`` while a governor runs."""

    def __init__(self, node: Node, settings: queue.GateSettings) -> None:
        self._node = node
        self._policy = queue.RestartQueue(settings)
        self._tickets = itertools.count()
        #: The governor's, at its last look.
        self._level = MemoryLevel.NORMAL
        #: By ticket: the restarts that have not begun yet.
        self._going: dict[int, _Held] = {}
        #: By ticket: the timers of those that were let through a moment ago.
        self._released: dict[int, Timer] = {}
        #: By child: its deaths for the node's sake; who died last comes last.
        self._deaths: dict[Hashable, queue.NodeDeaths] = {}
        #: By child: since when it lives, if it was restarted here.
        self._since: dict[Hashable, float] = {}
        #: Wakes the queue when time alone may let something through.
        self._timer: Timer | None = None
        #: How many restarts the queue has let through.
        self.released = 0

    def __len__(self) -> int:
        """Restarts that wait for memory."""
        return len(self._policy)

    # --- What supervisors ask ---------------------------------------------------------------------

    def hold(
        self,
        spec: ChildSpec[Any] | None,
        delay: float,
        go: Callable[[], None],
        counts: bool = True,
        key: Hashable = None,
    ) -> PendingRestart:
        """See ``runtime.actor.doors.RestartGate``."""
        if counts and self._level < MemoryLevel.CONSERVE:
            return self._node.engine.timers.after(delay, go)
        now = trio.current_time()
        due = now + delay
        footprint = None if spec is None else self._node.footprint_of(spec)
        predicted = 0 if footprint is None else footprint.predict()
        cause = "memory is short"
        if not counts:
            deaths = self._deaths_of(key)
            delay = max(delay, deaths.note(now - self._since.get(key, now), predicted, random.random()))
            cause = f"the node killed it, {deaths.count} so far"
        ticket = next(self._tickets)
        held = self._going[ticket] = _Held(self, ticket, due, spec, go, counts, key)
        if key is not None:
            self._since[key] = now + delay
        kind = "a child" if spec is None else kind_of(spec.start)
        priority = Priority.NORMAL if spec is None else spec.priority
        if spec is not None and is_spared(spec.kind, priority):
            priority = Priority.CRITICAL
        self._feed(queue.Held(now, ticket, kind, predicted, delay, cause, priority))
        return held

    def cancel(self, ticket: int) -> None:
        """Give up that restart."""
        timer = self._released.pop(ticket, None)
        if timer is not None:
            timer.cancel()
        if self._going.pop(ticket, None) is not None and timer is None:
            self._feed(queue.Cancelled(trio.current_time(), ticket))

    def _deaths_of(self, key: Hashable) -> queue.NodeDeaths:
        deaths = self._deaths.pop(key, None) or queue.NodeDeaths()
        if key is not None:
            self._deaths[key] = deaths
            if len(self._deaths) > KNOWN_CHILDREN:
                oldest = next(iter(self._deaths))
                del self._deaths[oldest]
                self._since.pop(oldest, None)
        return deaths

    # --- What the governor says -------------------------------------------------------------------

    def sampled(self, sample: MemorySample, level: MemoryLevel) -> None:
        """The governor has looked."""
        self._level = level
        self._feed(queue.Looked(sample))

    def set_open(self, is_open: bool) -> None:
        """OpenGate and CloseGate."""
        now = trio.current_time()
        self._feed(queue.Opened(now) if is_open else queue.Closed(now))

    def close(self) -> None:
        """The node's governor ends: every restart may go ahead."""
        self._stop_timer()
        for ticket in list(self._going):
            if ticket not in self._released:
                self._release(ticket)

    def pass_on(self, gate: RestartGate) -> None:
        """This gate goes. What it holds waits at ``gate`` from now on, for the rest of its backoff
        and for whatever that one waits for."""
        self._stop_timer()
        now = trio.current_time()
        for ticket in [ticket for ticket in self._going if ticket not in self._released]:
            held = self._going.pop(ticket)
            held.passed_on = gate.hold(held.spec, max(0.0, held.due - now), held.go, held.counts, held.key)

    # --- The queue --------------------------------------------------------------------------------

    def _feed(self, event: queue.GateEvent) -> None:
        for release in self._policy.handle(event):
            assert isinstance(release.key, int)
            self.released += 1
            self._release(release.key)
        self._stop_timer()
        wake_at = self._policy.wake_at
        if wake_at is not None:
            self._timer = self._node.engine.timers.after(max(0.0, wake_at - trio.current_time()), self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._feed(queue.Tick(trio.current_time()))

    def _release(self, ticket: int) -> None:
        # By a timer: a supervisor must not be called back from within its own call.
        self._released[ticket] = self._node.engine.timers.after(0.0, self._go, ticket)

    def _go(self, ticket: int) -> None:
        self._released.pop(ticket, None)
        held = self._going.pop(ticket, None)
        if held is not None:
            held.go()


class FamilyGate:
    """A gate before another: it holds the restarts of one family, and passes all others on.

    The gates of a node make a chain: ``node.restart_gate`` is the newest, and behind the oldest
    stands the node's own. Families may come and go in any order, so a gate is linked in at the
    front, and unlinked wherever it stands by then.

    Args:
        node: whose chain it joins.
        is_ours: does a child's key belong to the family?
        settings: how restarts are let through.
    """

    def __init__(self, node: Node, is_ours: Callable[[Hashable], bool], settings: queue.GateSettings) -> None:
        self._engine = node.engine
        self._is_ours = is_ours
        #: Holds the family's restarts.
        self.own = MemoryGate(node, settings)
        #: The next gate: the one that stood there before.
        self.outer: RestartGate = node.restart_gate
        self._engine.restart_gate = self

    def hold(
        self,
        spec: ChildSpec[Any] | None,
        delay: float,
        go: Callable[[], None],
        counts: bool = True,
        key: Hashable = None,
    ) -> PendingRestart:
        """See ``runtime.actor.doors.RestartGate``."""
        gate: RestartGate = self
        while isinstance(gate, FamilyGate):  # no recursion: there may be many
            gate = gate.own if gate._is_ours(key) else gate.outer
        return gate.hold(spec, delay, go, counts, key)

    def unlink(self) -> None:
        """Leave the chain. What waits here goes to the gates that are left."""
        before = self._engine.restart_gate
        if before is self:
            self._engine.restart_gate = self.outer
        else:
            while isinstance(before, FamilyGate) and before.outer is not self:
                before = before.outer
            if isinstance(before, FamilyGate):
                before.outer = self.outer
        self.own.pass_on(self._engine.restart_gate)
