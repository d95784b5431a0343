"""Waiting for any of several kernel interfaces to call, as one trio task and without a thread.

Most of them announce themselves by an exceptional condition (POLLPRI), which trio cannot wait for.
But an epoll set is a file too, readable while one of its members has something to report. So they
are all put into one set, and trio waits for that.

A stall trigger forgets its event as soon as anybody polls it, and asking the outer set polls it
already. So if the set was readable and is then found empty, a trigger has called. An event that
falls between the look and the registration with trio is lost. That does no harm: a stall that goes
on makes another event within a window, and wakes only shorten a wait that ends anyway.
"""

from __future__ import annotations

import select
from collections.abc import Callable

import attrs
import trio

__all__ = ["Wake", "WakeSet"]


@attrs.frozen(eq=False)
class Wake:
    """Something that calls when memory is short.

    Args:
        name: what calls, for people.
        fd: what to wait for; the set closes it by ``close``.
        exceptional: wait for POLLPRI; otherwise until it can be read.
        consume: called after a call, so that the same call is not heard again. Raises OSError when
            this wake will never call again; then it is dropped.
        close: gives back what it holds.
        forgets: polling alone consumes the call.
    """

    name: str
    fd: int
    exceptional: bool
    consume: Callable[[], None]
    close: Callable[[], None]
    forgets: bool = False


class WakeSet:
    """Wakes, waited for together. Used by one task at a time.

    Args:
        on_lost: called with the name of a wake that will never call again, and why.
    """

    def __init__(self, on_lost: Callable[[str, Exception], None]) -> None:
        self._on_lost = on_lost
        self._wakes: dict[int, Wake] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None

    @property
    def names(self) -> tuple[str, ...]:
        """What may call."""
        return tuple(wake.name for wake in self._wakes.values())

    def add(self, wake: Wake) -> None:
        """Wait for this one too; it belongs to the set then. Raises OSError if it cannot be waited
        for."""
        try:
            if self._epoll is None:
                raise OSError("there is no epoll here")
            self._epoll.register(wake.fd, select.EPOLLPRI if wake.exceptional else select.EPOLLIN)
        except OSError:
            wake.close()
            raise
        self._wakes[wake.fd] = wake

    def _called(self) -> str | None:
        """The first that has called since the last look; the calls of all are consumed."""
        first: str | None = None
        assert self._epoll is not None
        for fd, events in self._epoll.poll(0):
            wake = self._wakes[fd]
            try:
                if wake.forgets and events & (select.EPOLLERR | select.EPOLLHUP):
                    raise OSError("its control group is gone")
                wake.consume()
            except OSError as why:
                self._drop(wake)
                self._on_lost(wake.name, why)
            else:
                first = first or wake.name
        return first

    def _drop(self, wake: Wake) -> None:
        assert self._epoll is not None
        del self._wakes[wake.fd]
        self._epoll.unregister(wake.fd)
        wake.close()

    async def wait(self, timeout: float) -> str | None:
        """Wait for a call, and return what has called; None after ``timeout`` seconds."""
        with trio.move_on_after(timeout):
            await trio.lowlevel.checkpoint()
            if self._epoll is None or not self._wakes:
                await trio.sleep_forever()
            called = self._called()
            while called is None:
                before = len(self._wakes)
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                called = self._called()
                if called is None and len(self._wakes) == before:
                    called = next((wake.name for wake in self._wakes.values() if wake.forgets), None)
            return called
        return None

    def close(self) -> None:
        """Give everything back."""
        for wake in list(self._wakes.values()):
            self._drop(wake)
        if self._epoll is not None:
            self._epoll.close()
