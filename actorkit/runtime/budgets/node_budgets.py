"""The budgets of one node: which actor has one, and when the clock runs.

The clock and the sweep cost something, so they start with the node's first budget and run until the
node has ended. The clock is the process's: several nodes may have started it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ...heap import clock
from ...heap.clock import nobodys
from ...policy.memory.heap_limit import HeapLimit
from ...policy.supervision.actor_options import ActorOptions
from ..actor.actor_base import NodesOwn
from ..actor.record import Record
from ..actor.states import DEAD
from .budget import WATCHED, Budget, alarm, at_boundary
from .budgeted_record import BUDGETED, PLAIN
from .findings import Looks
from .footprints import Footprints
from .growth import MOST_WATCHED, SAMPLE, find_growth, ignore_growth
from .own_passes import OwnPasses
from .sweep import Sweep

__all__ = ["Budgets"]


class BudgetEngine(Protocol):
    """What the budgets ask of the engine of their node."""

    name: str
    current: Record[Any] | None
    thread: int
    step_hook: Callable[[Record[Any] | None], None] | None
    """See ``Engine.step_hook``."""

    def start_task(self, function: Callable[..., Any], /, *args: Any, name: str) -> Any:
        """Run an async function as a task of the node."""
        ...


class Budgets:
    """The budgets of one node. ``learned``: where the sweep's samples go."""

    def __init__(self, engine: BudgetEngine, learned: Footprints) -> None:
        self.engine = engine
        #: Those in force, by their actor.
        self.all: dict[Record[Any], Budget] = {}
        #: The clock and the sweep have been started.
        self.installed = False
        #: May actors' small blocks get pages of their own?
        self.own_heaps = False
        #: The limit of workers that ask for none.
        self.default: HeapLimit | None = None
        #: What is known of how much actors hold, those without a budget included.
        self.looks = Looks()
        #: For those without a budget, at the end of each ``heap_census``.
        self.passes_without = OwnPasses(self.looks)
        #: How many are watched, and may have died since.
        self._watched = 0
        self._sweep = Sweep(self.all, learned, self.looks)

    def limit_of(self, options: ActorOptions, cls: type) -> HeapLimit | None:
        """The limit in force for actors of ``cls`` with these options. None: they have no budget.

        The node's default fills in what a spec leaves open. A spec that gives no limit at all gets
        the default if its actors are workers. What a supervisor, a listener, a registry or a group
        holds grows with the number of others: no figure for one worker fits it.
        """
        own = options.max_heap_size
        if own is None and options.kind == "worker" and not issubclass(cls, NodesOwn):
            own = self.default
        return self._in_force(own)

    def account_before(self, options: ActorOptions) -> clock.Account | None:
        """For a factory, which makes an actor that is not there yet: what it allocates is that
        actor's. ``begin`` takes the account over. None: there will be no budget."""
        limit = self.limit_of(options, object)
        if limit is None:
            return None
        self.install()
        account = clock.Account()
        account.hard = account.giant = (limit.hard or 0) if limit.kill else 0
        if self.own_heaps:
            account.settle(0)
        return account

    def _in_force(self, limit: HeapLimit | None) -> HeapLimit | None:
        return None if limit is None or limit.size == 0 else limit.over(self.default)

    @nobodys
    def begin(self, record: Record[Any], limit: HeapLimit, account: clock.Account | None = None) -> Budget:
        """Give ``record`` a budget, and the account that has counted for it already, if any."""
        self.install()
        budget = self.all[record] = Budget(record, limit, own_heap=self.own_heaps, account=account)
        record.account = budget.account
        record.__class__ = BUDGETED[type(record)]
        return budget

    @nobodys
    def change(self, record: Record[Any], limit: HeapLimit | None) -> HeapLimit | None:
        """Give a living actor another limit (None: no limit), in force at its next boundary.
        Returns the old one."""
        budget = self.all.get(record)
        old = None if budget is None or budget.limit is WATCHED else budget.limit
        made = self._in_force(limit)
        if made is None:
            self.end(record)
        elif budget is None:
            self.begin(record, made).account.charge(made.size + 1)
        else:
            budget.set_limit(made)
            budget.account.charge(0)
        return old

    @nobodys
    def watch(self, record: Record[Any]) -> None:
        """Give an actor without a limit an account, until ``watch_growth(False)``."""
        if self._watched >= MOST_WATCHED:
            for budget in self._all_watched():
                if budget.account.held_at_most < SAMPLE:
                    self.end(budget.record)
            self._watched = len(self._all_watched())
        if self._watched < MOST_WATCHED:
            self._watched += 1
            self.begin(record, WATCHED)

    def _all_watched(self) -> list[Budget]:
        return [budget for budget in self.all.values() if budget.limit is WATCHED]

    def watch_growth(self, on: bool) -> None:
        """Watch those actors without a limit that allocate much, or nobody any more."""
        if on:
            find_growth(self)
            return
        ignore_growth(self)
        self._watched = 0
        for budget in self._all_watched():
            self.end(budget.record)
        if not self.all and self.installed:
            self.engine.step_hook = None  # it costs each message something
            clock.switch(None)

    def end(self, record: Record[Any]) -> None:
        """The actor has died, or has no limit any more."""
        if self.all.pop(record, None) is not None:
            record.__class__ = PLAIN[type(record)]
            record.account = None

    def install(self) -> None:
        """Start the clock and the sweep, if they do not run yet."""
        if not self.installed:
            engine = self.engine
            # First what is most likely to fail for want of memory.
            engine.start_task(self._sweep.run, engine.name, name=f"actorkit {engine.name}: heap sweep")
            self.installed = True
            clock.install(alarm, at_boundary)
        self.engine.step_hook = clock.switch

    def close(self) -> None:
        """The node has ended."""
        ignore_growth(self)
        if self.installed:
            self.installed = False
            self.engine.step_hook = None
            self._sweep.cancel()
            clock.switch(None)
            clock.uninstall()

    def validate(self) -> None:
        """Check what always holds between two steps of anybody's code. Raises AssertionError."""
        for record, budget in self.all.items():
            account = budget.account
            assert record.state != DEAD, f"{record.describe()} has ended and has a budget"
            assert record.account is account, f"{record.describe()} has another account"
            assert type(record) in PLAIN, f"{record.describe()} does not size what arrives"
            assert budget.record is record
            assert account.owner is budget
            assert account.giant == ((budget.limit.hard or 0) if budget.limit.kill else 0)
            assert account.hard >= account.giant, "less is refused by what it holds than by its size"
        assert self.installed or not self.all, "there are budgets, and nobody counts"

    async def look_at_all(self) -> None:
        """Look at every actor with a budget now, as the sweep does once a second."""
        await self._sweep.look_at_all()
