"""The pool: actors have no tasks; a few workers run them all.

1. **One token.** Only the worker that holds the token draws from the run queue, so there is one
   slice of work per trio pass, however many workers there are, and I/O is never starved. ``busy``
   says that somebody holds it, ``grant`` that the first worker to step takes it.
2. **A handler that suspends** keeps its worker (``carry``), which gives the token away: to a parked
   worker, else to a new one. So the pool grows by one only when a handler has suspended *and*
   others wait; more than ``max_idle`` parked workers go home.
3. **One cancel scope per worker**, replaced after use: a kill cancels it. It is shielded: what is
   cancelled around the node reaches its host, which stops the node in order; handlers see only
   their own kill and their own scopes.
4. **A handler may leave nothing behind.** What it leaves open in its worker's task is noticed,
   blamed on its actor, and closed; the worker is retired if there is a doubt.
5. **Nothing is pinned**: a parked worker holds no actor, coroutine or reply.
6. What a handler raises ends its actor. KeyboardInterrupt and SystemExit also stop the node
   (``leave``); the workers go on, since the actors have their ends to come to.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from threading import get_ident
from time import perf_counter_ns
from typing import Any, Final

import trio
from trio.lowlevel import Task, checkpoint, current_task, enable_ki_protection, reschedule

from ...heap.clock import nobodys
from ..actor.record import Record
from ..actor.states import DEAD
from ..base.trio_internals import (
    START_FRAMES,
    WAKE,
    WAKE_FRAMES,
    cancel_status,
    close_nurseries,
    complains_of_stack,
    contained,
    fatal_within,
    is_fatal,
    left_open,
    park,
    room,
    take_back_unborn,
)
from .birth import is_clean
from .node_settings import NodeSettings
from .pump import DRY, LOOK, OWN, SLICE, MessagePump
from .stepping import Driver
from .worker import Carrier, Worker

__all__ = ["Pool"]

TRY_AGAIN_SECONDS: Final = 0.05
"""The pause after there was no memory for another worker."""

LEFT_OPEN: Final = "its handler left a cancel scope or a nursery open: leave them in the message that opened them"


class Pool(MessagePump):
    """See the module's docstring."""

    def __init__(self, settings: NodeSettings, incarnation: int) -> None:
        super().__init__(settings, incarnation)
        #: Parked workers to keep.
        self.max_idle = settings.max_idle
        #: Where the workers run; None: not open yet.
        self.nursery: trio.Nursery | None = None
        #: No actor is left: workers go home.
        self.closing = False
        #: Parked workers, the last one first.
        self.idle: list[Worker] = []
        #: Does somebody hold the token?
        self.busy = False
        #: Does it go to the first worker that steps?
        self.grant = False
        #: Workers that have not taken their first step: none or one.
        self.starting = 0
        self.workers = 0
        self.workers_started = 0
        self.slices = 0
        #: Called once when this slice ends, before trio runs others: output that was gathered.
        self.flushes: list[Callable[[], None]] = []
        #: Will they be called even if nobody is woken?
        self.flush_promised = False

    # --- the token ----------------------------------------------------------------------------

    def wake(self, what: str = "wake", whom: Any = "the node") -> None:
        """Give the token to a worker: the run queue is not empty, or will be before trio runs
        another task, and nobody holds it.

        Args:
            what, whom: what was to be done to whom, for the message of an error.

        Raises:
            RecursionError: the stack is full. Nothing was done.
            RuntimeError: this is another thread than the node's. Nothing was done.
        """
        if get_ident() != self.thread:
            raise self.home.refuse(what, whom)
        if self.idle:
            room(WAKE_FRAMES)
            self.busy = self.grant = True
            reschedule(self.idle.pop().task, WAKE)
        elif not self.starting and self.nursery is not None and not self.closing:
            room(START_FRAMES)
            try:
                self.start_task(self._work, name=f"actorkit {self.name}: worker")
            except MemoryError:
                self.timers.after(TRY_AGAIN_SECONDS, self._wake_again)
                return
            self.busy = self.grant = True
            self.starting = 1
            self.workers += 1
            self.workers_started += 1

    def _wake_again(self) -> None:
        """There was no memory for another worker: try again."""
        if self.has_work and not self.busy:
            self.wake()

    def _take(self, worker: Worker) -> None:
        if self.grant:
            self.grant = False
            worker.token = True
            self.since = perf_counter_ns()
        elif not self.busy and self.has_work:
            self.busy = worker.token = True

    def _give_up_token(self, worker: Carrier) -> None:
        worker.token = self.busy = False
        if self.has_work:
            self.wake()

    # --- tasks --------------------------------------------------------------------------------

    @nobodys
    def start_task(self, function: Any, *args: Any, name: str) -> None:
        """Start a task in which users' code may run. Raises MemoryError or RecursionError with
        nothing begun."""
        assert self.nursery is not None
        try:
            if self.features.open_nurseries:
                self.nursery.start_soon(function, *args, name=name)
            else:
                self.nursery.start_soon(contained, function, args, name, name=name)
        except (MemoryError, RecursionError):
            take_back_unborn(self.nursery)
            raise

    def holder_of(self, task: Task) -> Record[Any] | None:
        """The actor whose code ``task`` runs, as its worker or in its nursery; None: nobody's."""
        holder = self.holders.get(task)
        return None if holder is None else holder.actor

    # --- the worker ---------------------------------------------------------------------------

    @enable_ki_protection
    async def _work(self) -> None:
        task = current_task()
        worker = Worker(self.idle, task)
        self.starting -= 1
        again = True
        try:
            self.holders[task] = worker
            self._take(worker)
            while again and not worker.retire:
                worker.scope = None
                try:
                    with trio.CancelScope(shield=True) as scope:
                        worker.scope = scope
                        worker.status = cancel_status(task, self.features)
                        worker.fresh = True
                        again = await self._serve(worker, scope)
                except RuntimeError as error:
                    # Leaving the scope found one that a handler left open inside: trio has put the
                    # stack right by now.
                    fatal = fatal_within(error)
                    if fatal is not None:
                        self.leave(fatal)
                    elif not complains_of_stack(error) or (self.features.cancel_status and not worker.corrupted):
                        raise
                    if not worker.corrupted:
                        self.repairs += 1  # whose scope it was is not known in the degraded mode
                    worker.actor = None
                    worker.corrupted = False
                    worker.retire = True
                    again = True
        except MemoryError:
            if worker.scope is not None:
                raise
            # No room for the worker in a table, of ours or of trio's: it has not begun. Another one
            # is tried later.
            worker.token = False
            self.busy = self.grant = False
            self.timers.after(TRY_AGAIN_SECONDS, self._wake_again)
        finally:
            worker.scope = None
            self.workers -= 1
            self.holders.pop(task, None)
            if worker.token:
                self._give_up_token(worker)

    async def _serve(self, worker: Worker, scope: trio.CancelScope) -> bool:
        """Work until the scope is used up (True), or until this worker is not needed any more
        (False)."""
        base = self.base_context
        free = self.free_contexts
        while True:
            if worker.token:
                worker.fresh = False
            while worker.token:
                if perf_counter_ns() - self.since > self.slice_ns:
                    self.slices += 1
                    await checkpoint()
                    self.since = perf_counter_ns()
                scratch = free.pop() if free else base.copy()
                outcome = scratch.run(self._pump, worker, scratch, None)
                if outcome is DRY or outcome is SLICE:
                    free.append(scratch)
                    if self.flushes:
                        self.flush()
                    if outcome is DRY and not self.has_work:
                        worker.token = self.busy = False
                    continue
                actor = worker.actor
                assert actor is not None
                context: contextvars.Context | None = scratch
                if outcome is OWN:
                    free.append(scratch)
                    context = actor.variables
                    assert context is not None
                    outcome = context.run(self._pump, worker, None, actor)
                keep = True
                if outcome is not LOOK:
                    if actor.state != DEAD:
                        actor.variables = context
                    if self.flushes:
                        self.flush()
                    carried = self.carry(worker, actor, outcome, context)
                    outcome = None  # its trap leads to a reply, and that to the answer, which is the actor's own
                    keep = await carried
                    if not self.busy and self.has_work:
                        # Others may have used up this trio pass's slice: ``since`` is kept.
                        worker.token = self.busy = True
                outcome = None
                if actor.variables is not None and is_clean(actor.variables, base):
                    free.append(actor.variables)
                    actor.variables = None
                context = None
                if not await self._tidy(worker, actor, keep, scope):
                    return True
                actor = worker.actor = None
            worker.actor = None
            if not self.features.cancel_status and not worker.fresh:
                return True  # leave the scope, to see whether a handler has left one open inside
            if self.closing or len(self.idle) >= self.max_idle:
                return False
            if self.flushes:
                self.flush()
            self.idle.append(worker)
            got = await park(worker.trap)
            if got is not WAKE:
                got.unwrap()
            self._take(worker)

    def flush(self) -> None:
        """Before trio runs other tasks: write the output that was gathered in this slice."""
        flushes, self.flushes = self.flushes, []
        for flush in flushes:
            flush()

    async def _tidy(self, worker: Worker, actor: Record[Any], keep: bool, scope: trio.CancelScope) -> bool:
        """After a suspension or a LOOK: has the handler left something in the task? False: the
        worker needs a new scope, or retires."""
        task = worker.task
        if left_open(task, worker.status, self.features) or task.child_nurseries:
            self.blame(actor, LEFT_OPEN)
            worker.corrupted = worker.retire = True
            worker.actor = None
            if worker.token:
                self._give_up_token(worker)
            self.repairs += 1
            try:
                await close_nurseries(task, self.features)
            except BaseException as error:
                if not is_fatal(error):
                    raise
                self.leave(error)
            return False
        if self.locks and task in self.locks:
            self.blame(actor, "its handler ended with a trio lock held: a lock may not outlive its message")
            keep = False
        if not keep:
            worker.retire = True
            return False
        if not self.features.cancel_status:
            return False  # leave the scope, to see whether the handler has left one open inside
        return not scope.cancel_called

    async def carry(
        self, worker: Carrier, actor: Record[Any], suspended: Any, context: contextvars.Context | None
    ) -> bool:
        """Carry a suspended handler to its end, without the token. False: retire this worker."""
        coro, trap, reply = suspended
        suspended = None
        actor.worker = worker
        worker.coro = coro
        control = actor.control
        if control is not None and control.kill is not None:
            worker.interrupt()
        if worker.token:
            self._give_up_token(worker)
        error: BaseException | None = None
        result = None
        try:
            driver: Any = Driver(coro, trap, self, actor, context)
            trap = None
            result = await driver
        except BaseException as raised:
            error = raised
        coro = driver = worker.coro = None
        actor.worker = None
        if error is None:
            control = actor.control
            if control is not None and control.kill is not None:
                reason = control.kill
                self.die(actor, reason)
                if reply is not None:
                    reply.fail(reason)
                return True
            if reply is not None:
                reply.ok(result)
            reply = result = None
            if self.attend(actor):
                self.requeue(actor, wake=False)
            return True
        if self.failed(actor, error, reply, None, ()):
            self.requeue(actor, wake=False)
        if is_fatal(error):
            self.leave(error)
        reply = error = None
        return False
