"""The pump: one plain function that activates actors, one after the other. The hot loop of the
runtime.

It draws from the run queues: ``max`` before ``high`` before the rest; ``low`` gets one of eight
turns while ``normal`` has work (OTP: process priorities). It gives each actor up to a quantum of
messages, and returns to its worker when its slice is over, when nothing is queued, when a handler
suspends, or when something needs a look.

* **A handler may leave nothing behind.** All handlers of a slice run in one scratch context; one
  that changes a contextvar gets that context as its own, and the slice goes on in another. A scope,
  nursery or lock that is left open ends the slice, and the worker looks.
* **Time is counted in nanoseconds**, in ints. A float that the pump drops goes onto the
  interpreter's freelist, the next actor's code keeps it, and so holds a page of the heap of the
  actor in whose turn it was made.
* The mailbox's storage is written out here: see ``actor.mailbox``.
"""

from __future__ import annotations

import contextvars
from collections import deque
from time import perf_counter_ns
from types import CoroutineType
from typing import Any, Final

from trio.lowlevel import enable_ki_protection

from ..actor.record import Record
from ..actor.states import DEAD, IDLE, QUEUED, RUNNING
from ..base.activations import activation
from ..base.trio_internals import is_fatal, lock_holders, reads_tasks
from .inline_calls import InlineCalls
from .node_settings import NodeSettings
from .worker import Worker

__all__ = ["DRY", "LOOK", "LOW_TURN", "OWN", "SLICE", "MessagePump"]

LOW_TURN: Final = 8
"""``low`` gets one of so many turns while ``normal`` has work."""

DRY: Final = "dry"
"""Nothing is queued."""
OWN: Final = "own"
"""The next actor has a context of its own: run it in that."""
SLICE: Final = "slice"
"""The slice is over."""
LOOK: Final = "look"
"""The last handler has left something behind, or may have."""


class MessagePump(InlineCalls):
    """See the module's docstring."""

    def __init__(self, settings: NodeSettings, incarnation: int) -> None:
        super().__init__(settings, incarnation)
        #: Messages that one actor handles in a row while others wait.
        self.quantum = settings.quantum
        #: Actors that have something to do, one queue for each scheduling priority.
        self.queues: tuple[deque[Record[Any]], ...] = (deque(), deque(), deque(), deque())
        #: Turns that ``normal`` has had since ``low`` had one.
        self.normal_turns = 0
        #: Messages between two readings of the clock, while they are quick.
        self.stride = 8
        #: When this slice began.
        self.since = 0
        #: Messages that were handled from mailboxes.
        self.messages = 0
        #: Who holds trio's locks.
        self.locks = lock_holders(settings.features)

    @property
    def has_work(self) -> bool:
        """Is an actor queued?"""
        a, b, c, d = self.queues
        return bool(a or b or c or d)

    @activation
    @enable_ki_protection
    @reads_tasks
    def _pump(self, worker: Worker, context: contextvars.Context | None, actor: Record[Any] | None) -> Any:
        """Run actors until there is a reason to return.

        Args:
            worker: in whose task this runs; ``worker.actor`` is the actor that it returns for.
            context: the scratch context that this runs in. None: the context of ``actor``.
            actor: run this one only.

        Returns DRY, SLICE, OWN or LOOK, or a suspended handler: (coroutine, trap, reply).
        """
        q_max, q_high, q_normal, q_low = self.queues
        base = self.base_context
        task: Any = worker.task
        status = worker.status
        watch = self.features.cancel_status
        locks = self.locks
        hook = None
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
            hook = self.step_hook  # read again for each: the node's first budget may have come
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
                                    # At a boundary what the message brought must not look as if we
                                    # held it too.
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
