"""Record: one life of one actor, and the hot path of what is sent to it.

An idle actor is this record and the user's object, and nothing else: no task, no queue. It is made
of three parts, one on top of the other: ``Mailbox`` (storage, bound, overflow), ``CallDoor``
(calls), and this: who it is, casts and sends, and its control from outside. ``Context`` adds what
an actor may do to itself.

A record is also the ref of its actor: others hold the same object, typed as a ``Ref``. Only this
package asks whether a ref is a record; others ask a ref for the record behind it
(``Ref.resolve_on``).

Everything rare lives in ``relations`` (links, monitors, names, waiting senders …) and ``control``,
both made on first use. The states are in ``states``.
"""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from ...heap.clock import nobodys
from ...policy.memory.memory_sample import Priority
from ...reasons import KILL, NORMAL, ExitReason, as_reason, bounded, shown
from ..base.timers import Timer
from .actor_kind import ActorKind
from .call_door import CallDoor
from .control import ControlLane
from .engine import Engine
from .envelope import Message, Notice
from .later import Asker
from .notices import IdleTimeout
from .pid import Pid
from .ref import Ref
from .relations import Relations
from .states import DEAD, IDLE, QUEUED, RUNNING, STATES
from .waiting import Waiting

__all__ = ["Record", "RecordEngine", "RecordKind", "record_of", "resolve"]

A_co = TypeVar("A_co", covariant=True)


class Record(CallDoor, Ref[A_co]):
    """See the module's docstring."""

    __slots__ = ("__weakref__", "number", "parent", "worker")

    kind: ActorKind[Record[Any]]
    relations: Relations[Record[Any]] | None

    def __init__(self, kind: ActorKind[Record[Any]], number: int, parent: Record[Any] | None) -> None:
        self.kind = kind
        self.number = number
        self.parent = parent
        self.state = RUNNING
        self.obj: Any = None
        self.inbox: list[Message] | None = None
        self.outbox: list[Message] | None = None
        self.control: ControlLane | None = None
        self.worker: Any = None
        """What carries its suspended handler: a worker of the pool, or the task of a process."""
        self.variables: contextvars.Context | None = None
        self.relations = None
        self.pending: Waiting | None = None
        self.account = None

    # --- casts and sends ----------------------------------------------------------------------

    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> bool:
        kind = self.kind
        try:
            function = kind.known[method]
        except (KeyError, TypeError):
            function = kind.checked_cast(method, args, kwargs)
        if kwargs:
            function = partial(function, **kwargs)
        inbox = self.inbox  # the storage, written out: see ``mailbox``
        if inbox is None:
            state = self.state
            if state == IDLE:
                engine = kind.engine
                if not engine.busy:
                    engine.wake("cast to", self)
                self.inbox = [(function, args, None)]
                self.state = QUEUED
                kind.runq.append(self)
                return True
            outbox = self.outbox
            if state == DEAD or (outbox is not None and len(outbox) >= kind.bound):
                return self.overflow_mailbox((function, args, None))
            self.inbox = [(function, args, None)]
            return True
        outbox = self.outbox
        if len(inbox) + (0 if outbox is None else len(outbox)) >= kind.bound:
            return self.overflow_mailbox((function, args, None))
        inbox.append((function, args, None))
        return True

    def send(self, message: object, /) -> bool:
        kind = self.kind
        inbox = self.inbox  # as in ``cast``
        if inbox is None:
            state = self.state
            if state == IDLE:
                engine = kind.engine
                if not engine.busy:
                    engine.wake("send to", self)
                self.inbox = [(kind.info, (message,), None)]
                self.state = QUEUED
                kind.runq.append(self)
                return True
            outbox = self.outbox
            if state == DEAD or (outbox is not None and len(outbox) >= kind.bound):
                return self.overflow_mailbox((kind.info, (message,), None))
            self.inbox = [(kind.info, (message,), None)]
            return True
        outbox = self.outbox
        if len(inbox) + (0 if outbox is None else len(outbox)) >= kind.bound:
            return self.overflow_mailbox((kind.info, (message,), None))
        inbox.append((kind.info, (message,), None))
        return True

    def post_notice(self, message: Message) -> None:
        """Deliver what no bound, overflow policy or shedding applies to: Down, Exit, timers, the
        runtime's own."""
        self.put_message(message)

    def post_info(self, message: object) -> None:
        """``post_notice``, to ``handle_info`` or ``receive``."""
        self.post_notice(Notice((self.kind.info, (message,), None)))

    def post_ahead(self, message: object) -> None:
        """``post_info``, before its next message; only ``init`` and what a message continues with
        come before that. It replaces what waits of its type. An actor that is ending does not hear
        it."""
        if self.state == DEAD or (self.relations is not None and self.relations.terminating):
            return
        notice = Notice((self.kind.info, (message,), None))
        if self.state == IDLE:
            self.put_message(notice)
        elif self.state == RUNNING or self.in_the_middle:
            self.need_control().ahead = notice
        else:
            self.forget_notices(type(message))
            self.put_next_message(notice)

    def forget_notices(self, cls: type) -> None:
        """What waits of this type is out of date."""
        self.remove_messages(lambda old: type(old) is Notice and len(old[1]) == 1 and type(old[1][0]) is cls)

    def post_timed(self, arguments: tuple[object]) -> None:
        """A timer for whoever has its name has fired, and that is this actor."""
        self.post_notice(Notice((self.kind.info, arguments, None)))

    @nobodys
    def post_after(self, engine: RecordEngine, seconds: float, arguments: tuple[object]) -> Timer:
        """The timer goes with this actor, which holds the message from now on."""
        if self.state == DEAD:
            return Timer.fired(engine.timers)
        relations = self.need_relations()
        timers = relations.timers
        if timers is None:
            timers = relations.timers = {}

        def fire() -> None:
            timers.pop(timer, None)
            self.put_message(Notice((self.kind.info, arguments, None)))

        timer = engine.timers.after(seconds, fire)
        try:
            timers[timer] = arguments
        except MemoryError:
            timer.cancel()
            raise
        timer.held = timers
        return timer

    def make_ready(self) -> None:
        """Put this idle actor, which has something to do, on its run queue."""
        kind = self.kind
        engine = kind.engine
        if not engine.busy:
            try:
                engine.wake()
            except BaseException:  # the stack is full; what it has already must be run by whoever is woken next
                if self.has_messages:
                    self.state = QUEUED
                    kind.runq.append(self)
                raise
        self.state = QUEUED
        kind.runq.append(self)

    async def send_wait(self, message: object, /) -> None:
        waiting = self.wait_for_room((self.kind.info, (message,), None))
        del message
        await waiting

    async def cast_wait(self, method: Any, /, *args: Any, **kwargs: Any) -> None:
        kind = self.kind
        try:
            function = kind.known[method]
        except (KeyError, TypeError):
            function = kind.checked_cast(method, args, kwargs)
        if kwargs:
            function = partial(function, **kwargs)
            kwargs.clear()
        waiting = self.wait_for_room((function, args, None))
        del function, args, kwargs
        await waiting

    # --- control ------------------------------------------------------------------------------

    def exit(self, reason: ExitReason) -> None:
        engine = self.kind.engine
        engine.home.check("end", self)
        engine.exit_signal(self, as_reason(reason, "exit an actor"), engine.current)

    def kill(self) -> None:
        self.exit(KILL)

    def stop(self, reason: ExitReason | None = None) -> None:
        engine = self.kind.engine
        engine.home.check("stop", self)
        engine.stop_actor(self, NORMAL if reason is None else as_reason(reason, "stop an actor"))

    # --- looking ------------------------------------------------------------------------------

    @property
    def pid(self) -> Pid:
        engine = self.kind.engine
        return Pid(engine.name, engine.incarnation, self.number)

    @property
    def alive(self) -> bool:
        return self.state != DEAD

    def resolve_on(self, engine: RecordEngine) -> Record[A_co]:
        return self

    def resolve(self) -> Record[A_co]:
        return self

    def bound_record(self) -> Record[A_co]:
        return self

    def check_declared(self, method: Any) -> None:
        self.kind.handlers[method]

    @property
    def end_reason(self) -> ExitReason:
        """Why it has ended. Asked right after its end."""
        return self.kind.engine.last_reason

    @property
    def may_receive_meanwhile(self) -> bool:
        """Is it a process with tasks of its own? One of them may be receiving while another
        waits."""
        return self.kind.process and self.relations is not None and bool(self.relations.kids)

    def child_records(self) -> Sequence[Record[Any]]:
        """The running children of a supervisor; nobody else has any."""
        relations = self.relations
        return () if relations is None or relations.family is None else relations.family.children()

    # --- for the runtime ----------------------------------------------------------------------

    def check_thread(self, what: str) -> None:
        """Raise RuntimeError in a thread that may not do ``what`` to it."""
        self.kind.engine.home.check(what, self)

    @nobodys
    def owe(self, asker: Asker) -> None:
        """Fail ``asker`` if this actor ends before it is answered."""
        relations = self.need_relations()
        if relations.deferred is None:
            relations.deferred = {}
        relations.deferred[asker] = None

    def owe_no_more(self, asker: Asker) -> None:
        """``asker`` has its answer, or does not want it any more."""
        relations = self.relations
        if relations is not None and relations.deferred is not None:
            relations.deferred.pop(asker, None)

    def need_relations(self) -> Relations[Record[Any]]:
        """Its relations, made on first use."""
        relations = self.relations
        if relations is None:
            relations = self.relations = Relations(self.kind.traps_exits)
        return relations

    def need_control(self) -> ControlLane:
        """Its control lane, made on first use."""
        control = self.control
        if control is None:
            control = self.control = ControlLane()
        return control

    def idle_for(self, seconds: float) -> None:
        """The idle timeout has passed."""
        relations = self.relations
        if relations is not None:
            relations.idle_timer = None
        if self.state == IDLE:
            self.post_info(IdleTimeout(seconds))
        elif self.state != DEAD:
            self.kind.engine.restart_idle_timer(self)

    @property
    def traps_exits(self) -> bool:
        """Does it get exit signals as messages?"""
        relations = self.relations
        return self.kind.traps_exits if relations is None else relations.traps_exits

    @property
    def memory_priority(self) -> Priority:
        """Who is given up first under memory pressure: its own, or its spec's."""
        relations = self.relations
        own = None if relations is None else relations.memory_priority
        return self.kind.options.priority if own is None else own

    @property
    def engine(self) -> RecordEngine:
        """Who runs it."""
        return self.kind.engine

    @property
    def started_as(self) -> str:
        """The class, and the registered name if there is one."""
        relations = self.relations
        name = relations.name if relations is not None and relations.name is not None else self.kind.name
        return f"{self.kind.label} {name!r}" if name is not None else self.kind.label

    def describe(self) -> str:
        """For messages: pid, class, name and state."""
        return f"{self.pid} ({self.started_as}, {STATES[self.state] if self.state != DEAD else 'dead'})"

    def __repr__(self) -> str:
        return bounded(f"<Ref {self.describe()}>", 200)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"cannot pickle {self!r}: it is an actor of this process; send ref.pid, or use a named ref (ak.named)"
        )


RecordKind = ActorKind[Record[Any]]
"""The kind of a record."""
RecordEngine = Engine[Record[Any]]
"""Who runs records."""


def resolve(ref: object, engine: RecordEngine) -> Record[Any] | None:
    """The record behind a ref, on the node of ``engine``; None if it leads to nobody. Raises
    TypeError for anything else."""
    if not isinstance(ref, Ref):
        raise TypeError(f"{shown(ref, 200)} is not a ref of this node")
    record: Record[Any] | None = ref.resolve_on(engine)
    return record


def record_of(ref: object) -> Record[Any]:
    """``ref`` as the record that it is. For what was given a record and hands it on as something
    opaque: a key, a ref. Raises TypeError for anything else."""
    if isinstance(ref, Record):
        return ref
    raise TypeError(f"{ref!r:.200} is no record of a local actor")
