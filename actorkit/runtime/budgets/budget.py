"""Budgets: every actor that has a ``max_heap_size`` is looked at when it could have passed it, and only then.

1. What an actor held when it was last looked at (``known``) and what it has allocated or received since (its account's
   ``bytes``) bound what it can hold now. So ``soft = size - known + 1``: while ``bytes`` is below, no walk is needed.
   When it is reached the account is *due*.
2. **At a boundary** (a message is done, a handler or process suspends) the clock's ``switch`` tells of a due account
   that is being left, and the actor is walked (``at_boundary``).
3. **Inside a message** the clock's alarm comes between two bytecodes (``alarmed``). The walk includes the running
   frames; an actor truly over its limit gets ``MemoryLimitExceeded`` there, if no frame in between is trio's or the
   runtime's. The verdict is the control lane's ``kill``, so that catching the exception does not lift it, and whoever
   goes on is raised at again every 64 KiB, and reported as unkillable in the end.
4. **At arrival** a message is sized and charged to its receiver; what does not fit any more is refused by its
   overflow policy (``measured``), so a flood is stopped before the receiver ever runs.
5. **Once a second** all are walked in one census (``sweep``): what became private because another holder let go, and
   what came from the interpreter's freelists, is in no account.

An actor whose code is on the stack (it has called another one inline) is walked by its alarm only: elsewhere its
running frames could not be seen, and what they hold would be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import MemoryLimitExceeded
from ...heap import clock, walk
from ...heap import own_heaps as slabs
from ...heap.memory_limit import LargestType, MemoryLimit
from ...heap.python.interruption import is_own, may_raise
from ...heap.usage import HeapUsage, OwnHeap
from ...log import log
from ...policy.memory.heap_limit import HeapLimit
from ...reasons import bounded
from ..actor.actor_kind import ActorKind
from ..actor.calls import SenderWaiting, Waiting
from ..actor.events import HeapLimitPassed
from ..actor.record import DEAD, RUNNING, Message, Record
from ..actor.ref import Ref
from ..base.boundary_frames import BOUNDARY_FRAMES
from ..base.timers import Timer

if TYPE_CHECKING:
    from ..life.lifecycle import Lifecycle
    from ..life.scheduler import Scheduler

__all__ = [
    "CHUNK",
    "Budget",
    "Budgets",
    "alarm",
    "at_boundary",
    "contents",
    "heap_of",
    "held_by",
    "mailbox_of",
    "on_stack",
    "roots_of",
]

SWEEP_SECONDS: Final = 1.0
SWEEP_SHARE: Final = 0.05
"""Sweeps take no more than this share of the time: with very many actors, or a slow machine, they come less often."""

CHUNK: Final = 256 if walk.IMPLEMENTATION == "c" else 16
"""So many actors are walked without letting others run."""
SHORT: Final = 4096
"""An alarm that comes within so many bytes of the last look waits for the boundary instead: walks must not follow each
other closer than what they cost."""

LARGEST: Final = 5


walk.stop_at(Ref, Waiting, ActorKind, Timer, trio.lowlevel.Task, trio.Nursery)


def _coroutines(record: Record[Any]) -> Iterator[Any]:
    """The handler that it is in, and the tasks in its nurseries."""
    worker = record.worker
    if worker is not None and worker.coro is not None:
        yield worker.coro
    relations = record.relations
    if relations is not None and relations.kids:
        for kid in relations.kids:
            yield kid.coro


def _runs(coro: Any) -> bool:
    return bool(getattr(coro, "cr_running", False) or getattr(coro, "gi_running", False))


def on_stack(record: Record[Any]) -> bool:
    """Is its code being executed, now or further down the stack?"""
    if record.state != RUNNING:
        return False
    if record.worker is None:
        return True
    return any(map(_runs, _coroutines(record)))


def roots_of(record: Record[Any]) -> list[Any]:
    """What an actor holds, but for its mailbox and what runs."""
    roots = [record.obj, *(coro for coro in _coroutines(record) if not _runs(coro))]
    if record.variables is not None:
        roots.append(record.variables)
    if record.control is not None and record.control.continuations:
        roots.append(record.control.continuations)
    if record.pending is not None:
        roots += _unsent(record)
    relations = record.relations
    if relations is not None:
        if relations.timers:
            roots += relations.timers
        if relations.kids:
            roots += [kid.task.context for kid in relations.kids]
    return roots


def _unsent(record: Record[Any]) -> Iterator[SenderWaiting]:
    """What holds the messages that its tasks cannot send yet."""
    link = record.pending
    while link is not None:
        waiting = link if type(link) is SenderWaiting else getattr(link, "later", None)
        if type(waiting) is SenderWaiting:
            yield waiting
        link = link.next


def mailbox_of(record: Record[Any]) -> list[Any]:
    """The queues that have messages in them."""
    return [queue for queue in (record.inbox, record.outbox) if queue]


def held_by(records: Iterable[Record[Any]]) -> list[tuple[Sequence[Any], Sequence[Any]]]:
    """``roots_of`` and ``mailbox_of`` of each. Most actors are idle, have no messages and nothing but their object, so
    that is asked in one expression."""
    return [
        ((record.obj,), ())
        if record.relations is None
        and record.worker is None
        and record.inbox is None
        and record.outbox is None
        and record.pending is None
        and record.variables is None
        and record.control is None
        else (roots_of(record), mailbox_of(record))
        for record in records
    ]


def contents(message: Message) -> tuple[Any, ...]:
    """What its receiver gets."""
    function, args, _ = message
    if type(function) is partial:
        return (*args, *function.keywords.values(), function.keywords)
    return args


def holders(message: Message) -> tuple[Any, ...]:
    """What holds that: so it is judged by who else does."""
    function, args, _ = message
    return (args, function.keywords) if type(function) is partial else (args,)


def heap_of(
    record: Record[Any], *, frames: tuple[FrameType, ...] = (), limit: int | None = None, shared: bool = False
) -> HeapUsage:
    """Walk one actor. With ``shared``, also what others hold too, and private cycles."""
    return walk.measure(roots_of(record), mailbox_of(record), frames=frames, limit=limit, cycles=shared)


class Budget:
    """One actor's limit, and what is known of its heap. The owner of its account."""

    __slots__ = (
        "account",
        "alarmed_at",
        "known",
        "limit",
        "over",
        "own_heap",
        "peak",
        "record",
        "refused",
        "scheduler",
    )

    def __init__(self, scheduler: Scheduler, record: Record[Any], limit: HeapLimit) -> None:
        self.scheduler = scheduler
        self.record = record
        self.account = clock.Account(self)
        self.account.bound = int(min(record.kind.bound, sys.maxsize))
        self.own_heap = scheduler.budgets.own_heaps
        self.known = 0
        self.peak = 0
        self.over = False
        self.alarmed_at = 0
        self.refused: tuple[int, int, int] | None = None
        self.set_limit(limit)
        if self.own_heap:
            self.account.settle(0)

    def set_limit(self, limit: HeapLimit) -> None:
        """Another limit, from now on; the next boundary looks."""
        self.limit = limit
        self.refused = None
        account = self.account
        account.hard = (limit.hard or 0) if limit.kill else 0
        account.giant = account.hard
        account.measured = bool(limit.include_shared)
        account.soft = max(limit.size - self.known, 0) + 1

    # --- looking ------------------------------------------------------------------------------

    def look(self, frames: tuple[FrameType, ...] = (), *, inside: bool = False) -> HeapUsage:
        """Walk, up to the limit; begin to count anew when it is kept. ``inside``: in the middle of a message, with what
        runs in ``frames``."""
        limit = self.limit
        usage = heap_of(
            self.record, frames=frames, limit=limit.size if limit.kill else None, shared=bool(limit.include_shared)
        )
        charged = self.charged(usage)
        if charged <= limit.size and frames and not usage.exact:
            # Something that runs could not be seen: it is no proof of keeping the limit. The boundary looks again.
            self.account.soft = self.account.bytes + max(SHORT, limit.size // 16)
            self.known = charged
        else:
            self.note(charged, inside=inside)
        return usage

    def charged(self, usage: HeapUsage) -> int:
        """What of it counts against the limit."""
        return usage.charged + (usage.shared + usage.after_gc if self.limit.include_shared else 0)

    def note(self, charged: int, *, inside: bool = False) -> None:
        """It holds so much. From ``inside`` a message less is seen than it will own: the runtime, which has called its
        code, still holds the arguments. So the boundary looks again."""
        self.known = charged
        self.refused = None
        self.peak = max(self.peak, charged)
        size = self.limit.size
        account = self.account
        if self.own_heap:
            account.settle(charged)
        if charged <= size:
            self.over = False
            if inside:
                account.bytes = 0  # and it stays due
            else:
                account.reset()
            account.soft = size - charged + 1
        elif not self.limit.kill:
            # It is watched only: look again when it may have grown by a quarter, for its peak.
            account.reset()
            account.soft = charged // 4 + SHORT

    def own_pages(self) -> OwnHeap | None:
        """What its heap of its own says; None: it has none."""
        live, resident = self.account.live, self.account.resident
        return None if live is None or resident is None else OwnHeap(live, resident)

    @property
    def is_over(self) -> bool:
        return self.known > self.limit.size

    def at_boundary(self) -> None:
        """The account is due and its actor's code has let go: does it keep its limit?"""
        record = self.record
        if record.state == DEAD or self.account.verdict is not None or on_stack(record):
            return
        usage = self.look()
        if self.is_over:
            self.judge(usage)

    def alarmed(self, top: FrameType | None) -> None:
        """Called between two bytecodes of its code. Raises MemoryLimitExceeded there if it has passed its limit and may
        be interrupted."""
        account = self.account
        if self.record.state == DEAD:
            return
        if account.verdict is None:
            allocated = account.bytes
            frames = _running(top)
            if not frames or any(map(is_own, frames)):
                # The runtime is at work for it: a message may be charged and not queued yet, a look would forget it.
                account.soft = allocated + (1 if top is None or is_own(top) else SHORT)
                return
            if allocated - self.alarmed_at < SHORT and allocated >= self.alarmed_at:
                account.soft = allocated + SHORT
                return
            usage = self.look(frames, inside=True)
            self.alarmed_at = account.bytes
            if not self.is_over:
                return
            self.judge(usage, frames)
        if top is None or _is_activation(top):
            return  # its code has just let go, maybe at an await that must not get lost: the verdict is enough
        if account.verdict is not None and may_raise(top, until=_is_activation):
            raise MemoryLimitExceeded(self.record.describe(), self.known, self.limit.size)

    # --- what follows -------------------------------------------------------------------------

    def judge(self, usage: HeapUsage, frames: tuple[FrameType, ...] = ()) -> None:
        """It holds more than it may."""
        limit, record, scheduler = self.limit, self.record, self.scheduler
        if self.over:
            return
        self.over = True
        largest = self._largest(frames)
        if limit.log:
            log.error(
                "actor %s passed its max_heap_size: it holds %d B, of which %d B are its mailbox, of %d B; "
                "%d messages wait; most of it: %s; %s",
                record.describe(),
                self.known,
                usage.mailbox,
                limit.size,
                record.mailbox_length,
                "; ".join(map(str, largest)),
                "it is killed" if limit.kill else "it is only watched (kill=False)",
            )
        if scheduler.events.wanted(HeapLimitPassed):
            scheduler.events.emit(
                HeapLimitPassed(record, record.pid, record.started_as, usage, limit.size, bool(limit.kill))
            )
        if limit.kill:
            self.account.verdict = reason = MemoryLimit(usage, limit.size, largest)
            scheduler.end_now(record, reason)

    def _largest(self, frames: tuple[FrameType, ...]) -> tuple[LargestType, ...]:
        """The types that hold the most of it, of what was counted up to the limit."""
        record = self.record
        try:
            sums = walk.types_of(roots_of(record), mailbox_of(record), frames=frames, limit=self.limit.size)
        except MemoryError:
            return ()
        rows = sorted(sums.items(), key=lambda row: -row[1][1])[:LARGEST]
        return tuple(LargestType(bounded(cls.__qualname__, 100), count, size) for cls, (count, size) in rows)

    # --- arrivals -----------------------------------------------------------------------------

    def size_of(self, contents: tuple[Any, ...]) -> int:
        """What a message would add if its sender let go of it."""
        if self.limit.include_shared:
            return self.charged(walk.measure(contents, cycles=True))
        return walk.size_of(*contents)

    def admits(self, message: Message, size: int) -> bool:
        """May it come in? Asked when the bound says that it might not fit: now it is measured. ``size`` is what it
        would be if its sender let go of it."""
        limit, record = self.limit, self.record
        if not limit.kill or record.state == DEAD:
            return True
        activation, length = self.account.activation, record.mailbox_length
        if self.refused is not None and self.refused[:2] == (activation, length) and size >= self.refused[2]:
            return False
        queues = [*mailbox_of(record), *(contents(message) if size <= limit.size else holders(message))]
        roots = () if on_stack(record) else roots_of(record)
        charged = self.charged(walk.measure(roots, queues, limit=limit.size, cycles=bool(limit.include_shared)))
        if charged <= limit.size:
            if roots:
                self.note(charged)
            return True
        if roots:
            own = self.look()
            if own.private > limit.size:
                self.judge(own)
            if size <= limit.size:
                # A flood: while it has not run and as much waits, what is not smaller needs no look of its own.
                self.refused = (activation, length, size)
        return False


def _is_activation(frame: FrameType) -> bool:
    return frame.f_code in BOUNDARY_FRAMES


def _running(top: FrameType | None) -> tuple[FrameType, ...]:
    """The frames from the interrupted one up to the activation's, which is not the actor's any more."""
    frames = []
    while top is not None and top.f_code not in BOUNDARY_FRAMES:
        frames.append(top)
        top = top.f_back
    return tuple(frames)


def alarm(account: clock.Account, _activation: int) -> None:
    """The clock's alarm, for all nodes."""
    budget = account.owner
    if isinstance(budget, Budget):
        budget.alarmed(sys._getframe(1))


def at_boundary(account: clock.Account) -> int:
    """The clock tells of a due account that its thread is leaving. Returns what it has cost, which the portable clock
    wants to know."""
    followed = walk.references_followed()
    budget = account.owner
    if isinstance(budget, Budget):
        try:
            budget.at_boundary()
        except Exception:
            log.exception("looking at the heap of %s failed", budget.record.describe())
    return walk.references_followed() - followed


class Budgets:
    """The budgets of one node. The clock runs while there has been one."""

    def __init__(self, scheduler: Lifecycle) -> None:
        self.scheduler: Any = scheduler
        self.all: dict[Record[Any], Budget] = {}
        self.installed = False
        self.own_heaps = False
        self._sweeping = trio.CancelScope()
        self.default: HeapLimit | None = None

    def limit_of(self, own: HeapLimit | None) -> HeapLimit | None:
        """What is in force for an actor that asks for ``own``: the rest from the node's default. None: no budget."""
        return self._in_force(own if own is not None else self.default)

    def _in_force(self, limit: HeapLimit | None) -> HeapLimit | None:
        return None if limit is None or limit.size == 0 else limit.over(self.default)

    def begin(self, record: Record[Any], limit: HeapLimit) -> Budget:
        """From now on ``record`` has a budget."""
        self.install()
        budget = self.all[record] = Budget(self.scheduler, record, limit)
        record.account = budget.account
        record.become_budgeted()
        return budget

    def change(self, record: Record[Any], limit: HeapLimit | None) -> HeapLimit | None:
        """Give a living actor another limit (None: none), in force at its next boundary. Returns the old one."""
        budget = self.all.get(record)
        old = None if budget is None else budget.limit
        made = self._in_force(limit)
        if made is None:
            self.end(record)
        elif budget is None:
            self.begin(record, made).account.charge(made.size + 1)
        else:
            budget.set_limit(made)
            budget.account.charge(0)
        return old

    def end(self, record: Record[Any]) -> None:
        """The actor has died, or has no limit any more."""
        if self.all.pop(record, None) is not None:
            record.become_unbudgeted()
            record.account = None

    def install(self) -> None:
        """Start the clock and the sweep."""
        if not self.installed:
            # First what is most likely to fail for want of memory.
            self.scheduler.start_task(self._sweep, name=f"actorkit {self.scheduler.name}: heap sweep")
            self.installed = True
            clock.install(alarm, at_boundary)
            self.scheduler.step_hook = clock.switch

    def close(self) -> None:
        """The node has ended."""
        if self.installed:
            self.installed = False
            self.scheduler.step_hook = None
            self._sweeping.cancel(reason="the node has stopped")
            clock.switch(None)
            clock.uninstall()

    async def _sweep(self) -> None:
        with self._sweeping:
            pause = SWEEP_SECONDS
            while True:
                await trio.sleep(pause)
                began = perf_counter()
                try:
                    await self.look_at_all()
                except MemoryError:
                    log.error(
                        "node %r has no memory to look at all of its %d budgets: trying again",
                        self.scheduler.name,
                        len(self.all),
                    )
                slabs.decay()
                pause = max(SWEEP_SECONDS, (perf_counter() - began) / SWEEP_SHARE)

    async def look_at_all(self) -> None:
        """The forced look: every actor with a budget, a few hundred at a time."""
        if not clock.verify():
            clock.reinstall()
        budgets = list(self.all.values())
        learned = self.scheduler.learned
        learned.begin_pass()
        for first in range(0, len(budgets), CHUNK):
            chunk = [b for b in budgets[first : first + CHUNK] if b.record.state != DEAD and not on_stack(b.record)]
            simple = [b for b in chunk if not b.limit.include_shared]
            sizes = walk.census(held_by(b.record for b in simple))
            for budget, size in zip(simple, sizes, strict=True):
                if size > budget.limit.size:
                    budget.at_boundary()
                else:
                    budget.note(size)
                    learned.living(budget.record, size)
            for budget in chunk:
                if budget.limit.include_shared:
                    budget.at_boundary()
            await trio.lowlevel.checkpoint()
