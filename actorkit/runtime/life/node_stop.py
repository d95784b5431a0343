"""How a node stops: its tree in its own order, then the actors outside it, then by force. It cannot
fail.

1. Whoever has a door open closes it (``before``): listeners take no more connections.
2. The root gets its parent's shutdown, and stops its tree in reverse order of start. Then the
   actors outside the tree get theirs, the newest first. All of that has ``stop_timeout`` seconds.
3. What is left is killed. trio cannot abandon a task: an actor that does not end even then is named
   in the log every second, and waited for.

If there is no memory or no stack for a step, the stop is tried again: if it gave up, the workers
would never be told, and the host would wait for them for ever. A failure of the runtime's own is
logged and tried again too. Anything else that is raised here was meant for the host (a test
runner's time-out, from a signal handler): the stop goes on, and that comes out of ``open_node`` in
the end. The first Ctrl-C is noted, the second one cuts the orderly part short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from ...log import log
from ...reasons import KILLED, SHUTDOWN
from ..base.interrupts import is_own_module
from ..base.trio_internals import fatal_leaf, is_fatal

if TYPE_CHECKING:
    from ..actor.record import Record
    from .scheduler import Scheduler

__all__ = ["NodeStop"]

TRY_AGAIN_SECONDS: Final = 0.05
REPORT_SECONDS: Final = 1.0

ORPHAN_SHUTDOWN: Final = 5.0
"""Seconds in which actors outside the tree must stop: what a worker gets by default."""

SHOWN: Final = 10
"""Actors that a message names."""


class NodeStop:
    """The stop of one node.

    Args:
        engine: whose actors are stopped.
        stop_timeout: seconds for the orderly part.
    """

    def __init__(self, engine: Scheduler, stop_timeout: float) -> None:
        self._engine = engine
        self._timeout = stop_timeout
        #: Called once when the stop begins, before any actor is told.
        self.before: list[Callable[[], None]] = []
        #: How often somebody has pressed Ctrl-C, as far as the node's host was told.
        self.interrupts = 0
        #: What was raised here and was meant for the host.
        self.meant_for_host: BaseException | None = None
        self._heard: BaseException | None = None
        self._exit = trio.Event()
        self._deadline: float | None = None
        self._told = False

    def noticed(self) -> None:
        """An actor has ended meanwhile."""
        self._exit.set()

    def interrupted(self, error: BaseException) -> None:
        """``error`` is on its way out of the node. If it is a Ctrl-C, it counts, once."""
        leaf = fatal_leaf(error)
        if isinstance(leaf, KeyboardInterrupt) and leaf is not self._heard:  # it passes several of us on its way out
            self._heard = leaf
            self.interrupts += 1
            if self.interrupts > 1:
                self._exit.set()  # whoever waits for actors in order waits no longer

    async def run(self, root: Record[Any] | None) -> None:
        """Return when no actor is left."""
        while True:
            try:
                self._engine.stopping = True
                if self._deadline is None:
                    self._deadline = trio.current_time() + self._timeout
                return await self._stop(root, self._deadline)
            except BaseException as error:
                self._note(error)
            await self._pause(TRY_AGAIN_SECONDS)

    def _note(self, error: BaseException) -> None:
        engine = self._engine
        if is_fatal(error):
            engine.leave(error)
        elif isinstance(error, (MemoryError, RecursionError)):
            log.error("node %r could not stop its %d actors: trying again", engine.name, len(engine.actors))
        elif _is_our_failure(error):
            log.error(
                "node %r failed to stop its %d actors: trying again", engine.name, len(engine.actors), exc_info=error
            )
        elif self.meant_for_host is None:
            self.meant_for_host = error

    async def _stop(self, root: Record[Any] | None, deadline: float) -> None:
        engine = self._engine
        callbacks, self._told = ([] if self._told else list(self.before)), True
        for callback in callbacks:
            try:
                callback()
            except BaseException as error:
                engine.step_failed(error)
        if root is not None and root.alive:
            engine.shutdown_child(root, SHUTDOWN)
            await self._until(lambda: not root.alive, deadline)
        for record in reversed(list(engine.actors.values())):
            if record.alive:
                engine.shutdown_child(record, SHUTDOWN)
        await self._until(lambda: not engine.actors, min(deadline, trio.current_time() + ORPHAN_SHUTDOWN))
        if engine.actors:
            log.warning(
                "node %r stops by force: %d actors are killed, which had not stopped %s: %s",
                engine.name,
                len(engine.actors),
                "before the second Ctrl-C" if self.interrupts > 1 else f"within {self._timeout:g} s",
                self._some_actors(),
            )
        for record in reversed(list(engine.actors.values())):
            engine.end_now(record, KILLED)
        while engine.actors:
            if engine.doomed or engine.unsettled:
                engine.bury_doomed()
            if not await self._until(lambda: not engine.actors, trio.current_time() + REPORT_SECONDS, patient=True):
                log.error(
                    "node %r cannot stop: %d killed actors still run: %s; they are shielded, in a thread, or "
                    "swallow cancellation",
                    engine.name,
                    len(engine.actors),
                    self._some_actors(),
                )

    def _some_actors(self) -> str:
        return ", ".join(f"{record.pid} ({record.started_as})" for record in list(self._engine.actors.values())[:SHOWN])

    async def _until(self, condition: Callable[[], bool], deadline: float, *, patient: bool = False) -> bool:
        """Wait for ``condition``, which is looked at after each exit. False: the deadline came
        first, or, unless ``patient``, somebody has pressed Ctrl-C a second time."""
        while not condition():
            if trio.current_time() >= deadline or (self.interrupts > 1 and not patient):
                return False
            self._exit = trio.Event()
            try:
                with trio.CancelScope(deadline=deadline):
                    await self._exit.wait()
            except KeyboardInterrupt as error:  # trio delivers it at the host's next checkpoint, shielded or not
                self._engine.leave(error)
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            await trio.sleep(seconds)
        except BaseException as error:
            self._note(error)


def _is_our_failure(error: BaseException) -> bool:
    """Was it raised by the runtime's code, or below it, and not by a signal handler of somebody
    else's?"""
    if not isinstance(error, Exception):
        return False
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    name = "" if tb is None else str(tb.tb_frame.f_globals.get("__name__", ""))
    return is_own_module(name) or name.partition(".")[0] in ("trio", "outcome")
