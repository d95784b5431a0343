"""Scheduler: actors without tasks, run by a small pool of trio tasks. All rooms of an actor's life,
opened and closed.

``node_tables`` says which rooms there are. What each does is told where it stands; the ideas of the
whole are in ``pool``, ``pump`` and ``death``.
"""

from __future__ import annotations

import contextlib

import trio
from trio.lowlevel import reschedule

from ..actor.names import CURRENT_ENGINE
from ..actor.waiting import Deadlines
from ..base.trio_internals import WAKE
from ..budgets.node_budgets import Budgets
from .birth import Births
from .node_settings import NodeSettings
from .own_task import OwnTaskRuns
from .stepping import Attribution, SteppedAttribution

__all__ = ["Scheduler"]


class Scheduler(Births, OwnTaskRuns):
    """See the module's docstring."""

    def __init__(self, settings: NodeSettings, incarnation: int) -> None:
        super().__init__(settings, incarnation)
        self.base_context.run(CURRENT_ENGINE.set, self)
        #: The default deadline of calls.
        self.deadlines = Deadlines(self.timers, settings.call_timeout)
        self.budgets = Budgets(self, self.learned)
        self.budgets.default = settings.max_heap_size
        self.budgets.own_heaps = settings.own_heaps
        self._instrument: trio.abc.Instrument | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """Work in ``nursery``, which must stay open until ``close`` has let every worker go."""
        self.nursery: trio.Nursery | None = nursery
        instrument = Attribution(self) if self.features.settable_coro else SteppedAttribution(self)
        trio.lowlevel.add_instrument(instrument)
        self._instrument = instrument
        nursery.start_soon(self.timers.run, name=f"actorkit {self.name}: timers")
        self.open_turnstile(nursery, f"actorkit {self.name}: turns")

    def close(self) -> None:
        """No actor is left: send the workers home."""
        self.closing = True
        self.timers.close()
        self.close_turnstile()
        while self.idle:
            reschedule(self.idle.pop().task, WAKE)

    def closed(self) -> None:
        """Every task has gone, those in nurseries that handlers left open too: nothing is left to
        attribute."""
        if self._instrument is not None:
            with contextlib.suppress(KeyError):  # somebody has removed it, or trio has
                trio.lowlevel.remove_instrument(self._instrument)
            self._instrument = None
