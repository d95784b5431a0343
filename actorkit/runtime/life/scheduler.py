"""Scheduler: actors without tasks, run by a small pool of trio tasks.

1. **One token.** Only the worker that holds the token draws from the run queue, so there is one slice of work per trio
   pass, however many workers there are, and I/O is never starved. ``busy`` says that somebody holds it, ``grant`` that
   the first worker to step takes it.
2. **The pump** is one plain function: it activates actors one after the other, up to a quantum of messages each, until
   its slice is over (then the worker makes a trio checkpoint), nothing is queued (it parks), a handler suspends, or
   something needs a look.
3. **A handler that suspends** keeps its worker (``_carry``) and gives the token away: to a parked worker, else to a new
   one. So the pool grows by one only when a handler has suspended *and* others wait; more than ``max_idle`` parked
   workers go home.
4. **One cancel scope per worker**, replaced after use: a kill cancels it. It is shielded: what is cancelled around the
   node reaches its host, which stops the node in order; handlers see only their own kill and their own scopes.
5. **A handler may leave nothing behind**: contextvars are isolated (a clean Context per activation; a dirty one becomes
   the actor's own); a scope, nursery or lock left open is noticed, blamed on that actor, and repaired, or the worker is
   retired.
6. **Nothing is pinned**: a parked worker holds no actor, coroutine or reply.
7. What a handler raises ends its actor. KeyboardInterrupt and SystemExit also stop the node (``leave``); the workers
   go on, since the actors have their ends to come to.
8. **Time is counted in nanoseconds**, in ints: a float that the pump drops goes onto the interpreter's freelist, the
   next actor's code keeps it, and so holds a page of the heap of the actor in whose turn it was made.

Run queues: ``max`` before ``high`` before the rest; ``low`` gets one of eight turns while ``normal`` has work (OTP:
process priorities).
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections import deque
from collections.abc import Callable
from threading import get_ident
from time import perf_counter_ns
from types import CoroutineType
from typing import Any, Final

import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    current_task,
    enable_ki_protection,
    reschedule,
)

from ..actor.names import CURRENT_SCHEDULER
from ..actor.record import DEAD, IDLE, QUEUED, RUNNING, Record
from ..actor.waiting import Deadlines
from ..base.boundary_frames import BOUNDARY_FRAMES
from ..base.trio_internals import (
    START_FRAMES,
    WAKE,
    WAKE_FRAMES,
    cancel_status,
    close_nurseries,
    complains_of_stack,
    contained,
    current_run,
    fatal_within,
    is_fatal,
    left_open,
    lock_holders,
    make_trap,
    park,
    reads_tasks,
    room,
    take_back_unborn,
)
from ..base.turns import Turns
from ..budgets.node_budgets import Budgets
from .birth import Birth, is_clean
from .inline_calls import InlineCalls
from .node_settings import NodeSettings
from .stepping import Attribution, Driver, SteppedAttribution

__all__ = ["Scheduler", "Worker"]

LOW_TURN: Final = 8
TRY_AGAIN_SECONDS: Final = 0.05
"""After there was no memory for another worker."""

DRY: Final = "dry"
OWN: Final = "own"
SLICE: Final = "slice"
LOOK: Final = "look"

LEFT_OPEN: Final = "its handler left a cancel scope or a nursery open: leave them in the message that opened them"


class Worker:
    """One trio task of the pool."""

    __slots__ = (
        "actor",
        "coro",
        "corrupted",
        "fresh",
        "retire",
        "scheduler",
        "scope",
        "status",
        "task",
        "token",
        "trap",
    )

    def __init__(self, scheduler: Scheduler, task: Task) -> None:
        self.scheduler = scheduler
        self.task = task
        self.actor: Record[Any] | None = None
        self.coro: Any = None
        self.scope: trio.CancelScope | None = None
        self.status: object = None
        self.token = False
        self.corrupted = False
        self.fresh = False
        self.retire = False
        self.trap = make_trap(self.abort)

    def interrupt(self) -> None:
        """Its actor was killed in an await."""
        if self.scope is not None:
            self.scope.cancel(reason="its actor was killed")

    def abort(self, _: Callable[[], Any]) -> Abort:
        try:
            self.scheduler.idle.remove(self)
        except ValueError:
            pass
        return Abort.SUCCEEDED


class Scheduler(Birth, InlineCalls):
    """See the module's docstring."""

    def __init__(self, settings: NodeSettings, incarnation: int) -> None:
        super().__init__(settings.kill_timeout)
        Turns.__init__(self)
        features = settings.features
        self.name = settings.name
        self.home.node = settings.name
        self.runner = current_run(features)
        self.debug = sys.flags.dev_mode if settings.debug is None else settings.debug
        self.incarnation = incarnation
        self.slice_ns = int(settings.slice_seconds * 1e9)
        self.quantum = settings.quantum
        self.max_idle = settings.max_idle
        self.features = features
        self.nursery: trio.Nursery | None = None
        self.queues: tuple[deque[Record[Any]], ...] = (deque(), deque(), deque(), deque())
        self.holders: dict[Task, Any] = {}
        self.idle: list[Worker] = []
        self.busy = False
        self.grant = False
        self.starting = 0
        self.workers = 0
        self.workers_started = 0
        self.closing = False
        self.normal_turns = 0
        self.stride = 8
        self.messages = 0
        self.slices = 0
        self.since = 0
        self.repairs = 0
        self.step_hook: Callable[[Record[Any] | None], None] | None = None
        self.budgets = Budgets(self, self.learned)
        self.budgets.default = settings.max_heap_size
        self.budgets.own_heaps = settings.own_heaps
        self.flushes: list[Callable[[], None]] = []
        self.flush_promised = False
        self.deadlines = Deadlines(self.timers, settings.call_timeout)
        self.base_context = contextvars.copy_context()
        self.base_context.run(CURRENT_SCHEDULER.set, self)
        self.free_contexts: list[contextvars.Context] = []
        self.locks = lock_holders(features)
        self._instrument: trio.abc.Instrument | None = None

    # --- opening and closing ------------------------------------------------------------------

    def open(self, nursery: trio.Nursery) -> None:
        """Work in ``nursery``, which must stay open until ``close`` has let every worker go."""
        self.nursery = nursery
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
        """Every task has gone, those in nurseries that handlers left open too: nothing is left to attribute."""
        if self._instrument is not None:
            with contextlib.suppress(KeyError):  # somebody has removed it, or trio has
                trio.lowlevel.remove_instrument(self._instrument)
            self._instrument = None

    # --- the token ----------------------------------------------------------------------------

    def wake(self, what: str = "wake", whom: Any = "the node") -> None:
        """The run queue is not empty (or will be, before trio runs anybody) and nobody holds the token:
        give it to a worker. Raises RecursionError, and RuntimeError in another thread, with nothing
        done; ``what`` was to be done to ``whom``."""
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
        """There was no memory for another worker."""
        if self.has_work and not self.busy:
            self.wake()

    def start_task(self, function: Any, *args: Any, name: str) -> None:
        """Start a task, in which users' code may run. Raises MemoryError, RecursionError with nothing begun."""
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
        """The actor whose code ``task`` runs: one of its own, or a worker that is at it."""
        holder = self.holders.get(task)
        return None if holder is None else holder.actor

    @property
    def has_work(self) -> bool:
        """Is any actor queued?"""
        a, b, c, d = self.queues
        return bool(a or b or c or d)

    def _take(self, worker: Worker) -> None:
        if self.grant:
            self.grant = False
            worker.token = True
            self.since = perf_counter_ns()
        elif not self.busy and self.has_work:
            self.busy = worker.token = True

    def _give_up_token(self, worker: Worker) -> None:
        worker.token = self.busy = False
        if self.has_work:
            self.wake()

    # --- the pump -----------------------------------------------------------------------------

    @enable_ki_protection
    @reads_tasks
    def _pump(self, worker: Worker, context: contextvars.Context | None, actor: Record[Any] | None) -> Any:
        """Run actors. ``context`` is the scratch context that this runs in; with ``actor``, run just that one, in its
        own.

        Returns DRY, SLICE, OWN (``worker.actor`` has a context of its own), LOOK (it left something behind), or the
        suspended handler of ``worker.actor``: (coroutine, trap, reply).
        """
        q_max, q_high, q_normal, q_low = self.queues
        base = self.base_context
        task: Any = worker.task
        status = worker.status
        watch = self.features.cancel_status
        locks = self.locks
        hook = self.step_hook
        last = perf_counter_ns()
        end = self.since + self.slice_ns
        near = self.slice_ns // 8
        k = self.stride
        one = actor is not None
        handled = 0
        function: Any = None
        args: tuple[Any, ...] = ()
        while True:
            if actor is None:
                if q_max:
                    actor = q_max.popleft()
                elif q_high:
                    actor = q_high.popleft()
                elif q_low:
                    if q_normal and self.normal_turns < LOW_TURN:
                        self.normal_turns += 1
                        actor = q_normal.popleft()
                    else:
                        self.normal_turns = 0
                        actor = q_low.popleft()
                elif q_normal:
                    actor = q_normal.popleft()
                else:
                    break
                if actor.state != QUEUED:
                    actor = None
                    continue
                if actor.variables is not None:
                    worker.actor = actor
                    self.messages += handled
                    return OWN
            worker.actor = self.current = actor
            actor.state = RUNNING
            obj = actor.obj
            batch = actor.outbox  # the mailbox's storage, written out: see ``runtime.actor.mailbox``
            reply = None
            left = self.quantum
            if hook is not None:
                function = args = ()  # see "at a boundary" below
                result = None
                hook(actor)
            while True:
                try:
                    while True:
                        if batch:
                            function, args, reply = batch.pop()
                        else:
                            if actor.relations is not None and actor.relations.senders:
                                actor.admit_senders()
                            batch = actor.inbox
                            if batch is None:
                                actor.outbox = None
                                actor.state = IDLE
                                break
                            actor.inbox = None
                            if len(batch) > 1:
                                handled += len(batch)
                                batch.reverse()
                                actor.outbox = batch
                            else:
                                handled += 1
                            function, args, reply = batch.pop()
                        result = function(obj, *args)
                        if type(result) is CoroutineType:
                            try:
                                trap = result.send(None)
                            except StopIteration as stop:
                                result = stop.value
                            else:
                                self.current = None
                                if hook is not None:
                                    actor.worker = worker
                                    worker.coro = result
                                    # At a boundary what the message brought must not look as if we held it too.
                                    function = args = ()
                                    hook(None)
                                self.messages += handled
                                return result, trap, reply
                        if reply is not None:
                            reply.ok(result)
                        if actor.control is not None:
                            if not self.attend(actor):
                                last = perf_counter_ns()  # the stride has not counted it
                                break
                            batch = actor.outbox
                        k -= 1
                        if not k:
                            now = perf_counter_ns()
                            self.stride = k = 8 if now - last < near else 1
                            last = now
                            left -= k
                            if left <= 0 or now > end:
                                self.requeue(actor, wake=False)
                                break
                    break
                except BaseException as error:
                    go_on = self.failed(actor, error, reply, function, args)
                    if is_fatal(error):
                        self.leave(error)
                    last = perf_counter_ns()
                    if not go_on:
                        break
                    batch = actor.outbox
            if one:
                break
            try:
                dirty = context is not None and context != base
            except BaseException:  # of a value's __eq__
                dirty = True
            if dirty:
                if actor.state != DEAD:
                    actor.variables = context
                break
            if task.trio_cancel_status is not status if watch else task.child_nurseries:
                break
            if locks and task in locks:
                break
            if last > end:
                self.current = None
                worker.actor = None
                if hook is not None:
                    function = args = ()
                    result = None
                    hook(None)
                self.messages += handled
                return SLICE
            actor = None
        self.current = None
        if hook is not None:
            function = args = ()
            result = None
            hook(None)
        self.messages += handled
        return DRY if actor is None else LOOK

    # --- the worker ---------------------------------------------------------------------------

    @enable_ki_protection
    async def _work(self) -> None:
        task = current_task()
        worker = Worker(self, task)
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
                    # Leaving the scope found one that a handler left open inside: trio has put the stack right by now.
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
            # No room for it in a table, of ours or of trio's: it has not begun, and another one is tried later.
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
        """Work until the scope is used up or retired (True), or this worker is not needed any more (False)."""
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
                        self._flush()
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
                        self._flush()
                    carried = self._carry(worker, actor, outcome, context)
                    outcome = None  # its trap leads to a reply, and that to an answer, which is the actor's
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
                self._flush()
            self.idle.append(worker)
            got = await park(worker.trap)
            if got is not WAKE:
                got.unwrap()
            self._take(worker)

    def _flush(self) -> None:
        """Before trio runs others: let those who gathered output in this slice write it."""
        flushes, self.flushes = self.flushes, []
        for flush in flushes:
            flush()

    async def _tidy(self, worker: Worker, actor: Record[Any], keep: bool, scope: trio.CancelScope) -> bool:
        """After a suspension or a LOOK: did the handler leave something in the task? False: take a new scope or
        retire."""
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

    async def _carry(
        self, worker: Any, actor: Record[Any], suspended: Any, context: contextvars.Context | None
    ) -> bool:
        """Stay with a suspended handler to its end, without the token. False: retire this worker."""
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

    # --- an actor's own task ------------------------------------------------------------------

    @enable_ki_protection
    async def run_here(self, worker: Any, actor: Record[Any], function: Any, args: tuple[Any, ...]) -> None:
        """One activation of an idle actor in the caller's task, which is the actor's own (a connection's reader):
        ``worker`` stands for it. A crash is the actor's."""
        base = self.base_context
        free = self.free_contexts
        hook = self.step_hook
        context = actor.variables
        if context is None:
            context = free.pop() if free else base.copy()
        actor.state = RUNNING
        self.current = actor
        self.flush_promised = True
        if hook is not None:
            hook(actor)
        suspended = None
        try:
            result = context.run(function, actor.obj, *args)
            if type(result) is CoroutineType:
                try:
                    trap = context.run(result.send, None)
                except StopIteration:
                    pass
                else:
                    suspended = (result, trap, None)
            result = None
            function = args = ()
        except BaseException as error:
            if self.crashed(actor, error, None):
                self.requeue(actor)
            if is_fatal(error):
                self.leave(error)
        else:
            if suspended is None and (actor.control is None or self.attend(actor)):
                self.requeue(actor)
        finally:
            self.current = None
            self.flush_promised = False
            if hook is not None:
                hook(None)
        if self.flushes:
            self._flush()
        if suspended is not None:
            actor.variables = context
            carried = self._carry(worker, actor, suspended, context)
            suspended = None
            await carried
            context = actor.variables
            if self.has_work and not self.busy:
                self.wake()
        if context is not None and is_clean(context, base):
            free.append(context)
            actor.variables = None
        elif actor.state != DEAD:
            actor.variables = context


BOUNDARY_FRAMES.update(function.__code__ for function in (Scheduler._pump, Scheduler.run_here))
