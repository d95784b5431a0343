"""Running a service from a command line: signals in, exit status out.

The library itself sets up no signal handlers and ends no process. A program whose ``main`` is all
there is may use ``ak.run`` instead of ``trio.run``. SIGTERM then stops it in order, a second Ctrl-C
ends it at once, and a node that stopped itself for want of memory becomes an exit status that no
crash has.
"""

from __future__ import annotations

import _thread
import contextlib
import inspect
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

import trio

from .errors import NodeOutOfMemory

__all__ = ["run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STANDSTILL_SECONDS = 30.0
"""How long one step may keep trio's loop from turning after SIGTERM, before it is interrupted."""

FLUSH_SECONDS = 1.0
"""How long a forced exit waits for standard output and error to take what is in their buffers."""

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status of a process that Ctrl-C has ended: 130."""

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit status of a process that SIGTERM has ended: 143."""

STOOD_STILL: Final = b"actorkit: SIGTERM came, and the loop stands still: exiting at once\n"
FORCED: Final = b"actorkit: interrupted again: exiting at once, whatever still runs\n"


def run(main: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T | None:
    """``trio.run`` for a service: it returns what ``main`` returns and raises what ``main`` raises,
    and it knows what to do about signals.

    It adds no exception group: what comes out of ``main`` comes out alone. (A nursery of yours
    around a node still makes a group, as under ``trio.run``.)

    * **SIGTERM** cancels ``main``, so that its nodes stop in order, and None is returned: a program
      that ends after that has exit status 0, which service managers take for a clean stop. What
      ``main`` raises or returns all the same comes out. A second SIGTERM changes nothing. Before
      ``main`` has begun, it is not begun at all; after it has ended, it goes to the handler that
      was there before ``ak.run``.
    * A step that does not let trio's loop turn (``while True: pass``) cannot be cancelled. When the
      loop has stood still for 30 seconds after SIGTERM, that step is interrupted as by Ctrl-C, and
      again every 30 seconds.
    * **Ctrl-C** (SIGINT) is ``KeyboardInterrupt``, as under ``trio.run``: the nodes stop in order,
      and it comes out. A program that lets it out ends by SIGINT, which a shell shows as 130.
    * **A second Ctrl-C** ends the process at once, with exit status 130: standard output and error
      are flushed, one line on standard error says so, and nothing else is done: no ``finally``, no
      ``terminate``, no ``atexit``.
    * SIGTERM and then Ctrl-C: ``KeyboardInterrupt`` comes out. That Ctrl-C was the first.

    Handlers that were there before are put back. If SIGINT was not Python's own before (ignored, as
    in a shell's background job, or handled by the program), it is left alone, as ``trio.run``
    leaves it; a loop that stands still after SIGTERM then ends the process with 143.

    Not for programs whose signals mean something else, nor for other threads than the main one: use
    ``trio.run`` there.

    Args:
        main: an async function; with it the program begins and ends.
        *args: what to call it with.

    Raises:
        SystemExit: with ``NodeOutOfMemory.exit_status``, when a node stopped itself for want of
            memory. The text of that error is printed on standard error first.
        KeyboardInterrupt: Ctrl-C was pressed.
        RuntimeError: this is not the main thread. Python lets only that one handle signals.
        TypeError: ``main`` is no async function. The fault is the caller's.

    Example::

        async def main() -> None:
            async with ak.open_node(tree) as node:
                await node.finished()


        if __name__ == "__main__":
            ak.run(main)
    """
    thread = threading.current_thread()
    if thread is not threading.main_thread():
        raise RuntimeError(
            f"ak.run cannot run {_name(main)} in thread {thread.name!r}: it handles signals, and Python lets only the "
            f"main thread do that; use trio.run here, or call ak.run from the main thread"
        )
    given: object = main
    if inspect.iscoroutine(given):
        given.close()
        raise TypeError(
            f"ak.run was given the coroutine {_name(main)}() rather than an async function: write ak.run(main), not "
            f"ak.run(main()); arguments go after it"
        )
    signals = _Signals()
    try:
        # From here on SIGTERM does not end the process. Until trio has taken SIGINT over it is
        # Python's own, so that a Ctrl-C in these very lines raises at once, with nothing begun.
        signals.take_sigterm()
        return trio.run(signals.attend, main, args)
    except BaseException as error:
        found = _out_of_memory(error)
        if found is None:
            raise
        with contextlib.suppress(Exception):  # nobody may be reading; the status tells it too
            print(found, file=sys.stderr, flush=True)
        raise SystemExit(found.exit_status) from None
    finally:
        signals.give_sigterm_back()  # there is something to do only if trio has not begun


class _Signals:
    """What SIGTERM and SIGINT do while ``run`` lasts.

    Its own lines are protected from KeyboardInterrupt; ``main`` is not. A handler does one thing
    that cannot be interrupted half-way, and leaves the rest to trio.
    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.token: trio.lowlevel.TrioToken | None = None
        self.sigterm_came = False
        """SIGTERM has come."""
        self.over = threading.Event()
        """``main`` has ended."""
        self.ending = threading.Lock()
        """Held while ``over`` is set: no thread presses Ctrl-C then, or later."""
        self.sigterm_before: Any = None
        self.sigint_before = signal.getsignal(signal.SIGINT)
        self.interrupts = itertools.count(1)
        self.handler_of_trio: Callable[[int, FrameType | None], Any] | None = None

    def take_sigterm(self) -> None:
        self.sigterm_before = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def give_sigterm_back(self) -> None:
        # Bound methods are equal, not identical. Anything else is the program's, and stays.
        if signal.getsignal(signal.SIGTERM) == self.on_sigterm:
            before = self.sigterm_before
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    @trio.lowlevel.enable_ki_protection
    async def attend(self, main: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T | None:
        """Run ``main``, and attend to signals meanwhile. Everything is put back here, where Ctrl-C
        cannot come in between: when trio has ended, it can."""
        try:
            # The token before the look at `sigterm_came`: a signal in between is seen by its
            # handler, or here.
            self.token = trio.lowlevel.current_trio_token()
            if self.sigterm_came:
                return None
            # trio has taken SIGINT over if it was Python's own; anything else is the program's.
            present = signal.getsignal(signal.SIGINT)
            if self.sigint_before is signal.default_int_handler and callable(present):
                self.handler_of_trio = present
                signal.signal(signal.SIGINT, self.on_sigint)
            with self.scope:
                return await _unprotected(main, args)
            return None
        finally:
            came_in_time = self.sigterm_came
            with self.ending:
                self.over.set()
            # trio takes its handler away at the end only if it finds it there.
            if self.handler_of_trio is not None and signal.getsignal(signal.SIGINT) == self.on_sigint:
                signal.signal(signal.SIGINT, self.handler_of_trio)
            self.give_sigterm_back()
            if self.sigterm_came and not came_in_time:  # in these very lines: it was not for main
                signal.raise_signal(signal.SIGTERM)

    def on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        if self.sigterm_came:
            return
        self.sigterm_came = True
        if self.token is None:
            return  # `attend` looks
        try:
            self.token.run_sync_soon(self.stop, idempotent=True)
            _thread.start_new_thread(self.watch, (self.token,))
        except (MemoryError, RuntimeError):  # no room to pass it on, or for a thread
            self.sigterm_came = False  # the next one tries again

    def stop(self) -> None:
        self.scope.cancel(reason="SIGTERM")

    def on_sigint(self, signum: int, frame: FrameType | None) -> None:
        number = next(self.interrupts)
        if number == 1:
            assert self.handler_of_trio is not None
            self.handler_of_trio(signum, frame)
        elif number == 2:
            exit_at_once()
        else:
            os._exit(INTERRUPTED)  # not even the flush has ended

    def watch(self, token: trio.lowlevel.TrioToken) -> None:
        """In a thread, after SIGTERM: press Ctrl-C whenever trio's loop stands still."""
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        while not self.over.is_set():
            turned = threading.Event()
            try:
                token.run_sync_soon(turned.set)
            except trio.RunFinishedError:
                return
            if turned.wait(STANDSTILL_SECONDS):
                self.over.wait(STANDSTILL_SECONDS / 10)
                continue
            with self.ending:
                if self.over.is_set():
                    return
                if self.handler_of_trio is None:  # Ctrl-C is ignored, or the program's own: nothing else would end it
                    exit_at_once(TERMINATED, STOOD_STILL)
                signal.pthread_kill(main_thread, signal.SIGINT)


@trio.lowlevel.disable_ki_protection
async def _unprotected(main: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
    awaitable = main(*args)
    if not inspect.isawaitable(awaitable):
        raise TypeError(
            f"ak.run cannot run {_name(main)}: it returned {type(awaitable).__name__}, nothing to await; give an async "
            f"function"
        )
    return await awaitable


def exit_at_once(status: int = INTERRUPTED, why: bytes = FORCED) -> None:
    """End the process with ``status``. It waits for nobody, except a moment for standard output and
    error.

    Whoever reads the other end of a pipe may have stopped, or another thread may hold the lock of a
    buffer: a thread of its own ends the process then.
    """
    try:
        _thread.start_new_thread(_exit_later, (status,))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # None, closed, broken, or in the middle of a write
                stream.flush()
        os.write(2, why)
    finally:
        os._exit(status)


def _exit_later(status: int) -> None:
    time.sleep(FLUSH_SECONDS)
    os._exit(status)


def _name(main: object) -> str:
    return str(getattr(main, "__qualname__", None) or repr(main))


def _out_of_memory(error: BaseException) -> NodeOutOfMemory | None:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, NodeOutOfMemory) else None
