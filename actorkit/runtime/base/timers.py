"""Timers: one trio task and one heap for a whole node.

The task sleeps in a cancel scope whose deadline is that of the earliest timer; an earlier timer
moves the deadline. A cancelled timer stays in the heap until its time or until such entries are the
majority, when the heap is rebuilt.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final

import trio

from ...heap.clock import nobodys
from ...log import log
from .home import Home
from .trio_internals import is_fatal

__all__ = ["Timer", "Timers"]


class Timer:
    """One pending callback. ``cancel`` may be called at any time, also when it has fired."""

    __slots__ = ("_timers", "callback", "held", "when")

    def __init__(self, timers: Timers, when: float, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.when = when
        self.callback: Callable[[], None] | None = callback
        self.held: dict[Timer, Any] | None = None
        """Where its owner keeps it. A cancelled timer takes itself out."""

    @classmethod
    def fired(cls, timers: Timers) -> Timer:
        """One that has nothing to do any more: for a receiver that is dead."""
        timer = cls(timers, trio.current_time(), lambda: None)
        timer.callback = None
        return timer

    def cancel(self) -> float | None:
        """Seconds that were left, or None if it has fired or was cancelled before. Source:
        erlang:cancel_timer/1."""
        if self.callback is None:
            return None
        if get_ident() != self._timers.home.ident:
            raise self._timers.home.refuse("cancel", "a timer")
        self.callback = None
        if self.held is not None:
            self.held.pop(self, None)
        self._timers.note_cancelled()
        return max(0.0, self.when - trio.current_time())

    @property
    def pending(self) -> bool:
        return self.callback is not None


class Timers:
    """See the module's docstring.

    Args:
        leave: called with a KeyboardInterrupt or SystemExit that a callback raises. The timers go
            on.
    """

    MANY: Final = 1_000

    def __init__(self, home: Home | None = None, leave: Callable[[BaseException], None] | None = None) -> None:
        self.home = Home() if home is None else home
        self._leave = leave
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._cancelled = 0
        self._scope: trio.CancelScope | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    @nobodys
    def after(self, seconds: float, callback: Callable[..., None], *args: Any) -> Timer:
        """Call ``callback(*args)`` in ``seconds``. It must not block. If it raises, that is
        logged."""
        when = trio.current_time() + seconds
        timer = Timer(self, when, (lambda: callback(*args)) if args else callback)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, timer))
        scope = self._scope
        if scope is not None and when < scope.deadline:
            scope.deadline = when
        return timer

    @nobodys
    def note_cancelled(self) -> None:
        if self._closed:
            return  # the heap is empty, it has none to count
        self._cancelled += 1
        if self._cancelled > self.MANY and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    async def run(self) -> None:
        """Fire timers until ``close``."""
        # trio enters a scope into a set of the scope around it. The nursery's set holds every
        # worker's scope too, so it is large, and may fail to grow when memory is short. The set of
        # this scope has one member.
        with trio.CancelScope():
            while not self._closed:
                deadline = self._heap[0][0] if self._heap else math.inf
                with trio.CancelScope(deadline=deadline, shield=True) as self._scope:
                    await trio.sleep_forever()
                self._scope = None
                self._fire(trio.current_time())

    def _fire(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            callback = timer.callback
            if callback is None:
                self._cancelled -= 1
                continue
            timer.callback = None
            try:
                callback()
            except BaseException as error:
                if is_fatal(error) and self._leave is not None:
                    self._leave(error)
                else:
                    log.exception("a timer's callback raised")
            heap = self._heap

    def close(self) -> None:
        """End ``run``; what is pending never fires."""
        self._closed = True
        self._heap.clear()
        self._cancelled = 0
        if self._scope is not None:
            self._scope.cancel(reason="the node has stopped")
