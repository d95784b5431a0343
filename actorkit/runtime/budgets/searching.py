"""Searching for what an actor may hold beyond what the first pass has found: in cycles, as garbage,
or abroad.

``search`` walks an actor. The first pass comes first, and mostly that is all: a program without
cycles whose live bytes keep the limit is not even walked. If the account says that more may be
there, the own pass follows. If that does not explain it either, a collection tells garbage from
what is in others' hands. The rules, and how often all this may be done, are in
``policy.memory.unexplained``.

**Served elsewhere.** Small blocks that do not lie on pages of the account's own count in gross, and
so do messages. An actor that has had no such pages for a while seems to hold all that it has
allocated since. If nothing else is unexplained, it gets pages of its own instead of an own pass:
from then on its account knows what is in use. Only if that comes again and again, an own pass says
what became of it.

**Where C is in between.** While C code runs between two frames of the actor, it may hold a
reference that nobody sees, and one such reference keeps a whole cycle from being its own (until
Python 3.12, C holds the instance while ``__init__`` runs). So there is no own pass there. The look
is *postponed*: the clock asks again as soon as that C code has returned. The boundary sees all.

**Without the extension** no account says how much is in use. So each look makes both passes, and
``references_followed`` makes looks rarer by what that costs. There no object is known to be the
actor's own, so the own pass is capped by the limit.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from types import FrameType
from typing import Any, Final

from ...heap import clock, walk
from ...heap.usage import HeapUsage
from ...policy.memory.unexplained import TimeShare, calls_for_collection, is_hidden, is_news

__all__ = ["PACING", "Search", "cap_without_counts", "measured_alone"]

NOBODYS: Final = clock.Account()
"""Stands for the account of whoever has none: nothing lies on its pages."""

PER_CONTAINER: Final = 64
"""No container is smaller. So an own pass that may look into a limit's worth of these has seen all
that could pass the limit."""
LARGE_MESSAGE: Final = 1 << 18
"""So many containers of messages with cycles are looked into, also for a small limit: a structure
that is larger than the limit is found only in full."""
CAP_WITHOUT_COUNTS: Final = 512
"""The least cap of an own pass without the extension."""

DOUBTS: Final = 32
"""So often an actor may be taken to have let go of what was served elsewhere; then an own pass must
say so."""
IN_A_ROW: Final = 2
"""The same if it had pages of its own: then it has received it."""


class Pacing:
    """How often searches may be made, in the whole process. ``now`` tells nanoseconds."""

    def __init__(self, now: Callable[[], int] = perf_counter_ns) -> None:
        self.now = now
        self.own_passes = TimeShare()
        self.collections = TimeShare()
        #: How many collections there were, for tests and benches.
        self.collections_made = 0


PACING: Final = Pacing()


class Search:
    """What is known of the unexplained part of one actor's heap."""

    __slots__ = (
        "_doubts",
        "_in_a_row",
        "_own_heap",
        "_served_late",
        "abroad",
        "made_own_pass",
        "postponed",
        "to_be_served",
        "unseen",
    )

    def __init__(self, *, own_heap: bool = False) -> None:
        #: May the account have pages of its own?
        self._own_heap = own_heap and clock.COUNTS_ALLOCATIONS
        #: Blocks in use that the last own pass has not explained, in bytes.
        self.unseen = 0
        #: What the last collection has left unexplained: it is in others' hands.
        self.abroad = 0
        #: The last walk has looked at less than it should have: C was in between.
        self.postponed = False
        #: The last walk has made the own pass, unless the first one had explained all.
        self.made_own_pass = False
        #: Its small blocks are to come from pages of its own from now on.
        self.to_be_served = False
        #: How often only what was served elsewhere was unexplained, since the last own pass.
        self._doubts = 0
        #: The same, while it had pages of its own each time.
        self._in_a_row = 0
        #: It has got pages of its own in the middle of a message, after much was served elsewhere.
        self._served_late = False

    @classmethod
    def once(cls) -> Search:
        """For one walk of a part of what an actor holds: nothing that it does not explain is
        news."""
        search = cls()
        search.unseen = sys.maxsize
        return search

    def walk(
        self,
        account: clock.Account,
        roots: Sequence[Any],
        queues: Sequence[Any],
        frames: tuple[FrameType, ...],
        *,
        mark: int,
        size: int,
        kill: bool,
        hard: int,
        collects: bool = True,
    ) -> HeapUsage:
        """Measure an actor.

        Args:
            roots, queues, frames: what it holds; see ``holdings``.
            mark: what it is looked at for: does it hold more?
            size, kill, hard: its limit.
            collects: may garbage be collected? It is in no figure here, so whoever only wants these
                need not wait for that.
        """
        limit = size if kill else None
        self.postponed = self.made_own_pass = self.to_be_served = False
        if not clock.COUNTS_ALLOCATIONS:
            return self._walk_uncounted(account, roots, queues, frames, limit, size)
        usage = walk.measure(roots, queues, frames=frames, limit=limit)
        if account.foreign_due and not frames and usage.charged <= size:
            return self._walk_received(account, roots, queues, size)
        at_most = account.held_at_most
        self.abroad = min(self.abroad, max(0, at_most - usage.charged))
        if usage.charged > size or not is_hidden(at_most, usage.charged, mark):
            return usage
        if frames and at_most <= mark:
            return usage  # it was reset in the meantime
        # May a request be refused soon?
        near = at_most - self.abroad + 2 * (account.peak_request + size // 8) > hard
        if frames and not usage.exact:
            self.postponed = True
            if self._own_heap:
                self._serve(account)
            if near:
                self._collect(account, usage.charged, size, near)
            return usage
        pacing = PACING
        began = pacing.now()
        in_use = account.own_live + account.large_live
        if not is_news(in_use - usage.charged, self.unseen, size):
            # The last own pass has not explained that either; or all that is in use is explained,
            # and nobody knows whether the rest, which was served elsewhere, still is.
            explained = not is_news(in_use - usage.charged, 0, size)
            received = queues and not frames  # messages that wait were served elsewhere for certain
            if explained and self._own_heap and not received and not self._is_doubtful(account, frames):
                return usage
            if not near and not pacing.own_passes.allows(began):
                return usage
        # Much of what came with messages lies on its senders' pages.
        foreign_cap = walk.FOREIGN_CAP
        if account.elsewhere > size // 8:
            foreign_cap = max(foreign_cap, size // PER_CONTAINER)
        usage = walk.measure(roots, queues, frames=frames, limit=limit, account=account, foreign_cap=foreign_cap)
        self.made_own_pass = True
        pacing.own_passes.took(began, pacing.now())
        self.unseen = max(0, in_use - usage.held)
        if collects and usage.held <= size and (near or not frames):
            self._collect(account, usage.held, size, near and bool(frames))
        return usage

    def _walk_received(
        self, account: clock.Account, roots: Sequence[Any], queues: Sequence[Any], size: int
    ) -> HeapUsage:
        """Messages with cycles have come: look into as many objects of others as may matter."""
        began = PACING.now()
        foreign_cap = max(walk.FOREIGN_CAP, size // PER_CONTAINER, min(size // 4, LARGE_MESSAGE))
        usage = walk.measure(roots, queues, account=account, foreign_cap=foreign_cap)
        account.foreign_due = usage.after_gc > 0
        self.made_own_pass = True
        PACING.own_passes.took(began, PACING.now())
        return usage

    def _is_doubtful(self, account: clock.Account, frames: tuple[FrameType, ...]) -> bool:
        """Has it been so often that only what was served elsewhere is unexplained, that an own pass
        is to say what became of it? If not, the account begins anew with what was found, and has
        pages of its own from now on, so that it is known what is in use."""
        if frames:
            self._serve(account)
            return False
        self._doubts += 1
        self._in_a_row = self._in_a_row + 1 if account.own_heap and not self._served_late else 0
        self._served_late = False
        if self._doubts >= DOUBTS or self._in_a_row >= IN_A_ROW:
            return True
        self.to_be_served = True
        return False

    def _serve(self, account: clock.Account) -> None:
        """In the middle of a message: from now on it is known what is in use."""
        if not account.own_heap:
            account.own_heap = self._served_late = True

    def begin_anew(self, account: clock.Account, usage: HeapUsage) -> int | None:
        """A look at a boundary is over, and the account begins anew. Returns with how many bytes
        elsewhere; None: as many as it had."""
        if self.made_own_pass:
            self._doubts = self._in_a_row = 0
            return usage.elsewhere
        if self.to_be_served:
            account.own_heap = True
            return usage.charged
        return None

    def _walk_uncounted(
        self,
        account: clock.Account,
        roots: Sequence[Any],
        queues: Sequence[Any],
        frames: tuple[FrameType, ...],
        limit: int | None,
        size: int,
    ) -> HeapUsage:
        self.made_own_pass = True
        return walk.measure(
            roots, queues, frames=frames, limit=limit, account=account, foreign_cap=cap_without_counts(size)
        )

    def _collect(self, account: clock.Account, held: int, size: int, near: bool) -> None:
        """Collect what may be garbage, if that is worth while. What is left is abroad. ``near``: a
        request may be refused soon; then it does not matter how often that has been done, but for a
        collection of everything."""
        if not calls_for_collection(account.held_at_most - held, self.abroad, size):
            return
        pacing = PACING
        began = pacing.now()
        if not near and not pacing.collections.allows(began):
            return
        unseen = account.held_at_most - held
        before = clock.enter(None)  # finalisers are not the actor's
        try:
            gc.collect(1)
            if calls_for_collection(account.held_at_most - held, 0, size) and account.own_heap:
                clock.collect_own(account)
            left = calls_for_collection(account.held_at_most - held, 0, size)
            if left and (near or not account.own_heap) and pacing.collections.allows(began):
                gc.collect()  # containers from the interpreter's freelists may lie anywhere
        finally:
            clock.enter(before)
        pacing.collections_made += 1
        self.abroad = max(0, account.held_at_most - held)
        self.unseen = min(self.unseen, self.abroad)
        if self.abroad > unseen // 2:  # else it was as much worth as what the interpreter collects by itself
            pacing.collections.took(began, pacing.now())


def cap_without_counts(size: int) -> int:
    """How many containers an own pass may look into where nothing is known to be the actor's own:
    of these, more than ``size`` bytes could be found."""
    return max(CAP_WITHOUT_COUNTS, size // PER_CONTAINER)


def measured_alone(queues: Sequence[Any], size: int) -> HeapUsage:
    """What a message adds by itself, cycles included, as far as that matters for a limit of
    ``size`` bytes."""
    usage = walk.measure((), queues, limit=size)
    if usage.charged > size:
        return usage
    return walk.measure((), queues, account=NOBODYS, foreign_cap=max(walk.FOREIGN_CAP, size // PER_CONTAINER))
