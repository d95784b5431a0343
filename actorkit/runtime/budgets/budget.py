"""The budget of one actor: when the actor's heap is looked at, and what follows.

What an actor held when it was last looked at (``known``), and what it has allocated or received
since then (its account's ``bytes``), bound what it can hold now. So no walk is needed while
``bytes`` is below ``soft = size - known + 1``. An account that reaches ``soft`` is *due*, and its
actor is looked at:

1. **At a boundary.** A message is done, or a handler or process suspends. The clock's ``switch``
   reports a due account that the thread is leaving, and the actor is walked (``at_boundary``).
2. **Inside a message.** The clock's alarm comes between two bytecodes (``alarmed``). The walk
   includes the frames that run. An actor that really is over its limit gets ``MemoryLimitExceeded``
   there, if no frame in between is trio's or the runtime's. The verdict also stands in the control
   lane as ``kill``, so catching the exception does not lift it. The alarm repeats every 64 KiB for
   an actor that goes on, and in the end that actor is reported as unkillable.
3. **At arrival.** A message is sized and charged to its receiver (``budgeted_record``). When the
   bound says that it might not fit, ``admits`` looks.
4. **Once a second** all are walked (``sweep``): an account does not know what became private
   because another holder let go, nor what came from the interpreter's freelists.

**Told before.** An actor whose limit says ``tell`` is looked at when it may hold that much, not
only when it may hold its limit. It hears of it before its next message (the rule is in
``policy.memory.budget_pressure``), and the boundary after that looks again, to see what it has let
go of.

**kill=False** ends nobody and refuses nothing: looks only take down the peak, and report.

An actor whose code is on the stack because it has called another one inline is walked by its alarm
only. Elsewhere its running frames could not be seen, and what they hold would be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

from ...errors import MemoryLimitExceeded
from ...heap import clock, walk
from ...heap.clock import ENVELOPE
from ...heap.memory_limit import LargestType, MemoryLimit, shares_of
from ...heap.python.interruption import is_foreign, is_own, may_raise
from ...heap.usage import HeapUsage, OwnHeap
from ...log import log
from ...policy.memory.budget_pressure import BudgetPressure, Telling
from ...policy.memory.heap_limit import LARGEST as UNLIMITED
from ...policy.memory.heap_limit import HeapLimit
from ...reasons import bounded
from ..actor.envelope import Message
from ..actor.events import HeapLimitPassed
from ..actor.record import Record
from ..actor.states import DEAD
from ..base.activations import is_activation, is_way_in, of_the_actor
from .findings import Found
from .holdings import contents, holders, on_stack, roots_of
from .searching import Search, measured_alone

__all__ = ["WATCHED", "AccountOwner", "Budget", "alarm", "at_boundary"]

SHORT: Final = 4096
"""An alarm that comes within this many bytes of the last look waits for the boundary: a walk must
not follow another one sooner than it costs."""

LATEST: Final = 2**62
"""No threshold is larger."""

LARGEST: Final = 5
"""This many types are named in the reason of a death."""


WATCHED: Final = HeapLimit(UNLIMITED, kill=False, log=False)
"""The limit of who has none and is watched all the same (``growth``)."""


class AccountOwner:
    """Who is told of an account."""

    __slots__ = ()

    def at_boundary(self) -> None:
        """The account is due, and the code that ran in it has let go."""

    def alarmed(self, top: FrameType | None) -> bool:
        """The account is due in the middle of that code, in the frame ``top``. True: ask again when
        the C code that has called what runs has returned."""
        return False


class Budget(AccountOwner):
    """One actor's limit, and what is known of its heap. It owns the actor's account."""

    __slots__ = (
        "account",
        "alarmed_at",
        "found",
        "known",
        "limit",
        "over",
        "own_heap",
        "peak",
        "record",
        "refusals",
        "refused",
        "rejected",
        "search",
        "size_told",
        "telling",
        "told",
    )

    def __init__(
        self, record: Record[Any], limit: HeapLimit, *, own_heap: bool = False, account: clock.Account | None = None
    ) -> None:
        self.record = record
        #: What the clock counts for it. It may have been counting before the actor was there.
        self.account = clock.Account() if account is None else account
        self.account.owner = self
        self.account.bound = int(min(record.kind.bound, sys.maxsize))
        #: May its small blocks get pages of their own?
        self.own_heap = own_heap
        #: What it held at the last look, in bytes.
        self.known = 0
        #: The last look at it alone; the sweep's are kept by ``Looks``.
        self.found: Found | None = None
        #: The most that it held at any look.
        self.peak = 0
        #: It was judged, and has not been within its limit since.
        self.over = False
        #: The account's ``bytes`` at the last alarm.
        self.alarmed_at = 0
        #: The last refusal: the account's activation, the mailbox's length, and the message's size.
        self.refused: tuple[int, int, int] | None = None
        #: The size of the last message that did not fit.
        self.rejected = 0
        #: How many requests had been refused when that was last told.
        self.refusals = 0
        #: For what the first pass of a walk does not find.
        self.search = Search(own_heap=own_heap)
        #: It was told that its budget is nearly used up, and has not fallen since.
        self.told = False
        self.set_limit(limit)
        if own_heap:
            self.account.settle(0)

    def set_limit(self, limit: HeapLimit) -> None:
        """Set another limit. It holds from now on; the next boundary looks."""
        self.limit = limit
        #: The limit's size; None: it is only watched (``growth``).
        self.size_told = None if limit is WATCHED else limit.size
        self.refused = None
        account = self.account
        account.hard = (limit.hard or 0) if limit.kill else 0
        account.giant = account.hard
        account.measured = bool(limit.include_shared)
        self.telling = Telling.of(limit)
        self.told = False
        self._arm(self.known)

    # --- looking ------------------------------------------------------------------------------

    def look(self, frames: tuple[FrameType, ...] = (), *, inside: bool = False) -> HeapUsage:
        """Walk the actor, up to the limit, and count anew if the limit is kept. ``inside``: in the
        middle of a message, whose code runs in ``frames``."""
        limit = self.limit
        usage = self._walk(roots_of(self.record), self.record.message_queues(), frames)
        account = self.account
        if account.giant:
            account.hard = min(account.giant + self.search.abroad, LATEST)  # that is in others' hands
        self.found = self.record.engine.budgets.looks.found(usage)
        charged = self.charged(usage)
        if charged <= limit.size and frames and not usage.exact:
            # Something that runs could not be seen, so this proves nothing. The boundary looks
            # again.
            wait = max(min(limit.size // 8, limit.size - charged), limit.size // 16, SHORT)
            self.account.soft = min(self.account.bytes + wait, LATEST)
            self.known = charged
        else:
            self.note(charged, inside=inside, usage=usage)
        return usage

    def _walk(
        self,
        roots: Sequence[Any],
        queues: Sequence[Any],
        frames: tuple[FrameType, ...] = (),
        search: Search | None = None,
        *,
        collects: bool = True,
    ) -> HeapUsage:
        limit = self.limit
        size, kill, hard = limit.size, bool(limit.kill), limit.hard or limit.size
        search = self.search if search is None else search
        if limit.include_shared:
            search.made_own_pass = search.postponed = search.to_be_served = False
            return walk.measure(roots, queues, frames=frames, limit=size if kill else None, cycles=True)
        return search.walk(
            self.account, roots, queues, frames, mark=self.mark, size=size, kill=kill, hard=hard, collects=collects
        )

    def charged(self, usage: HeapUsage) -> int:
        """The part of it that counts against the limit."""
        return usage.held + (usage.shared if self.limit.include_shared else 0)

    def note(self, charged: int, *, inside: bool = False, usage: HeapUsage | None = None) -> None:
        """Take down what a look has found. A look from ``inside`` a message finds less than the
        actor will own: the runtime called its code and still holds the arguments. So the boundary
        looks again. ``usage``: the same in detail, of a look at this actor alone."""
        self.known = charged
        self.refused = None
        self.peak = max(self.peak, charged)
        account = self.account
        tells = self._is_to_be_told(charged)
        if self.own_heap:
            account.settle(max(charged, account.own_live))
        if charged <= self.limit.size or not self.limit.kill:
            self.over = self.over and charged > self.limit.size
            if inside:
                account.bytes = 0  # and it stays due
            else:
                account.reset(elsewhere=None if usage is None else self.search.begin_anew(account, usage))
            self._arm(charged)
        if tells:
            self._tell(charged)

    @property
    def mark(self) -> int:
        """It need not be looked at while it holds no more than this."""
        telling, size = self.telling, self.limit.size
        return size if telling is None or self.told else telling.at - 1

    def _arm(self, charged: int) -> None:
        """It holds so much: when is it to be looked at again? The clock itself moves that on while
        the account is certainly below the mark."""
        account, telling, mark = self.account, self.telling, self.mark
        if charged > mark and not self.limit.kill:
            # It is watched only: look again when it may have grown by a quarter, to know its peak.
            mark = charged + charged // 4 + SHORT
        account.limit = 0 if self.limit.include_shared or self.told else mark
        at_most = account.held_at_most
        held = at_most if clock.COUNTS_ALLOCATIONS and charged <= at_most <= account.limit else charged
        if telling is not None and self.told and charged < telling.size:
            account.soft = telling.until_next_look(charged, True)
        else:
            account.soft = max(mark - held, 0) + 1

    def _is_to_be_told(self, charged: int) -> bool:
        """Has it come so near to its limit that it is told, and was it not told before?"""
        telling = self.telling
        if telling is None or (charged > telling.size and self.limit.kill):
            return False
        if telling.fell(charged):
            self.told = False
        elif telling.says(charged, self.told):
            self.told = True
            return True
        return False

    def _tell(self, charged: int) -> None:
        """Tell it that its budget is nearly used up. The boundary after it has heard that looks
        again."""
        account = self.account
        message = BudgetPressure(charged, self.limit.size)
        threshold, account.soft = account.soft, 1
        account.charge(ENVELOPE + walk.size_of(message))  # so it is due
        account.soft = threshold
        self.record.post_ahead(message)

    def _is_quiet(self) -> bool:
        """It was told, and is looked at for whether it has fallen: does its account say that, or
        that it keeps its limit at least?"""
        telling, account = self.telling, self.account
        if telling is None or not self.told or self.limit.include_shared or not clock.COUNTS_ALLOCATIONS:
            return False
        at_most = account.held_at_most
        if telling.fell(at_most):
            self.told = False
            self.known = at_most
            self._arm(at_most)
        elif at_most <= telling.size:
            account.soft = min(account.bytes + telling.until_next_look(min(self.known, at_most), True), LATEST)
        else:
            return False
        return True

    @property
    def limit_told(self) -> HeapLimit | None:
        """Its limit; None: it is only watched (``growth``)."""
        return None if self.limit is WATCHED else self.limit

    def own_pages(self) -> OwnHeap | None:
        """What the pages of its own hold; None if it has none."""
        live, resident = self.account.live, self.account.resident
        return None if live is None or resident is None else OwnHeap(live, resident)

    @property
    def is_over(self) -> bool:
        """Did it hold more than its limit at the last look?"""
        return self.known > self.limit.size

    def at_boundary(self) -> None:
        """The account is due and the actor's code has let go: is the limit kept?"""
        record = self.record
        if record.state == DEAD or self.account.verdict is not None or on_stack(record):
            return
        if self._is_quiet() and not self.told:
            return
        usage = self.look()
        if self.is_over:
            self.judge(usage)

    def alarmed(self, top: FrameType | None) -> bool:
        """The clock's alarm, between two bytecodes of the actor's code. Raises MemoryLimitExceeded
        there if the actor has passed its limit and may be interrupted. True: C code has called what
        runs, and hides something; ask again when that code has returned."""
        account = self.account
        if self.record.state == DEAD:
            return False
        if account.verdict is None:
            allocated = account.bytes
            frames = of_the_actor(top)
            if not frames:
                # The runtime works for it. A message may be charged and not queued yet: a look
                # would lose it.
                account.soft = min(allocated + (1 if top is None or is_own(top) else SHORT), LATEST)
                return False
            if self._is_quiet():
                return False
            if not self.search.postponed and allocated - self.alarmed_at < SHORT and allocated >= self.alarmed_at:
                account.soft = min(allocated + SHORT, LATEST)
                return False
            usage = self.look(frames, inside=True)
            self.alarmed_at = account.bytes
            if not self.is_over:
                return self.search.postponed
            self.judge(usage, frames)
        if top is None or is_activation(top) or is_way_in(top):
            return False  # its code has just let go, maybe at an await that must not get lost: the verdict is enough
        if account.verdict is not None and may_raise(top, until=is_activation, foreign=_is_foreign):
            raise MemoryLimitExceeded(self.record.describe(), self.known, self.limit.size, self.shares())
        return False

    # --- what follows -------------------------------------------------------------------------

    def judge(self, usage: HeapUsage, frames: tuple[FrameType, ...] = ()) -> None:
        """The actor holds more than it may: report that, and end it unless it is only watched."""
        limit, record, engine = self.limit, self.record, self.record.engine
        if self.over:
            return
        self.over = True
        largest = self._largest(usage, frames)
        if limit.log:
            log.error(
                "actor %s passed its max_heap_size: it holds %d B of %d B (%s); most of it: %s; %s",
                record.describe(),
                self.known,
                limit.size,
                self.shares(),
                "; ".join(map(str, largest)),
                "it is killed: let it hold less, or raise its max_heap_size"
                if limit.kill
                else "it is only watched (kill=False)",
            )
        if engine.events.wanted(HeapLimitPassed):
            engine.events.emit(
                HeapLimitPassed(record, record.pid, record.started_as, usage, limit.size, bool(limit.kill))
            )
        if limit.kill:
            holder = f"{record.pid} ({record.started_as})"
            self.account.verdict = reason = MemoryLimit(usage, limit.size, largest, holder, self.account.large_live)
            engine.end_now(record, reason)

    def shares(self) -> str:
        """Where what it holds lies, as far as the last look has found out, for messages."""
        found = self.found
        if found is None or self.charged(found.usage) != self.known:
            return f"{self.record.mailbox_length:,} messages in its mailbox"
        return shares_of(found.usage, self.record.mailbox_length, self.account.large_live)

    def refusal(self) -> str:
        """What a MemoryError in its code is about, if this budget has refused a request since that
        was last asked; else ""."""
        account, limit = self.account, self.limit
        if account.refused == self.refusals:
            return ""
        self.refusals = account.refused
        return (
            f"the budget of {self.holder} refused a request of {account.last_refused:,} B: its max_heap_size is "
            f"{limit.size:,} B, its hard cap {limit.hard or 0:,} B, and it may hold "
            f"{account.held_at_most:,} B already; ask for less at a time, or raise its max_heap_size"
        )

    @property
    def holder(self) -> str:
        """Whose budget it is, for messages: its state does not matter."""
        return f"{self.record.pid} ({self.record.started_as})"

    def _largest(self, usage: HeapUsage, frames: tuple[FrameType, ...]) -> tuple[LargestType, ...]:
        """The types that hold the most, of what was counted up to the limit."""
        record = self.record
        account = self.account if usage.after_gc and self.search.made_own_pass else None
        try:
            sums = walk.types_of(
                roots_of(record), record.message_queues(), frames=frames, limit=self.limit.size, account=account
            )
        except MemoryError:
            return ()
        rows = sorted(sums.items(), key=lambda row: -row[1][1])[:LARGEST]
        return tuple(LargestType(bounded(cls.__qualname__, 100), count, size) for cls, (count, size) in rows)

    # --- arrivals -----------------------------------------------------------------------------

    def size_of(self, contents: tuple[Any, ...]) -> int:
        """What a message with these contents would add if its sender let go of it."""
        if self.limit.include_shared:
            return self.charged(walk.measure(contents, cycles=True))
        return walk.size_of(*contents)

    def admits(self, message: Message, size: int) -> bool:
        """May the message come in? Asked when the bound says that it might not fit: now it is
        measured. ``size``: what it would add if its sender let go of it."""
        limit, record = self.limit, self.record
        if not limit.kill or record.state == DEAD:
            return True
        self.rejected = size
        activation, length = self.account.activation, record.mailbox_length
        if self.refused is not None and self.refused[:2] == (activation, length) and size >= self.refused[2]:
            return False
        queues = [*record.message_queues(), *(contents(message) if size <= limit.size else holders(message))]
        runs = on_stack(record)
        roots, search = ((), Search.once()) if runs else (roots_of(record), None)
        usage = self._walk(roots, queues, search=search, collects=False)
        charged = self.charged(usage)
        if charged <= limit.size:
            if not runs:
                self.note(charged, usage=usage)
            return True
        if not runs:
            own = self.look()
            if own.private + own.after_gc > limit.size:
                self.judge(own)
            if size <= limit.size:
                # A flood. Until the actor runs or its mailbox changes, a message of this size or
                # more needs no look.
                self.refused = (activation, length, size)
        return False

    def exceeded_by(self, message: Message) -> bool:
        """Is what a message would add, as its contents are held now, more than the whole limit?
        Then no room that is made for it helps."""
        limit = self.limit
        if limit.include_shared:
            usage = walk.measure((), [*holders(message)], limit=limit.size, cycles=True)
        else:
            usage = measured_alone([*holders(message)], limit.size)
        return bool(limit.kill) and self.charged(usage) > limit.size


# --- what the clock calls, for all nodes ---------------------------------------------------------


def _is_foreign(frame: FrameType) -> bool:
    return is_foreign(frame) and not is_way_in(frame)


def alarm(account: clock.Account, _activation: int) -> bool:
    """The clock's alarm: an account is due in the middle of a message. What goes wrong here is no
    fault of the code that it interrupts: the boundary looks again. True: not here; ask again when
    the C code that has called what runs has returned."""
    owner = account.owner
    if isinstance(owner, AccountOwner):
        try:
            return owner.alarmed(sys._getframe(1))
        except RecursionError:
            pass  # the stack is full, and so it is for a log line
        except Exception:
            log.exception("looking at the heap of %s in the middle of a message failed", _whose(owner))
    return False


def _whose(owner: AccountOwner) -> str:
    return owner.record.describe() if isinstance(owner, Budget) else "actors without a limit"


def at_boundary(account: clock.Account) -> int:
    """The clock reports a due account that its thread is leaving. Returns what the look has cost,
    in references followed; the portable clock wants to know."""
    followed = walk.references_followed()
    owner = account.owner
    if isinstance(owner, AccountOwner):
        # The thread is in the next actor's account already. What is kept of this look must not lie
        # on that one's pages.
        entered = clock.enter(None)
        try:
            owner.at_boundary()
        except Exception:
            log.exception("looking at the heap of %s failed", _whose(owner))
        finally:
            clock.enter(entered)
    return walk.references_followed() - followed
