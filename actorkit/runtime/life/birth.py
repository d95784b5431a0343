"""Birth: from a kind and arguments to an actor that takes messages.

The record comes first. It has its number, its name, its link and its budget before the constructor
runs, so the actor itself does what the constructor does. The object is in the record only when its
constructor has returned (that of an actor with a budget earlier, for looks from inside); ``init``,
if the class has one, is then queued as the first message, with a deadline. A constructor that
raises is a StartFailed for whoever spawned, and a signal for nobody (as in OTP since 26).

An exception of a constructor must not keep the object alive. So it is raised outside of the
``except`` block, where it has no context, and no variable on its way holds the object.
"""

from __future__ import annotations

import contextvars
import math
from typing import Any, Final

from ...errors import ActorExit, NodeStopped, StartFailed
from ...heap.clock import Account, nobodys
from ...heap.walk import size_of
from ...reasons import ExitReason, InitTimeout
from ..actor.context import ActorContext
from ..actor.envelope import FirstMessage
from ..actor.record import Record, RecordKind
from ..actor.states import IDLE
from ..base.activations import activation
from ..base.trio_internals import fatal_leaf, is_fatal
from .after_message import AfterMessage
from .init_outcome import Starting, Watcher

__all__ = ["Births", "is_clean"]

_new: Final = object.__new__


def is_clean(context: contextvars.Context, base: contextvars.Context) -> bool:
    """Is nothing set in ``context`` that is not in ``base``? A value whose ``__eq__`` raises is
    set."""
    try:
        return context == base
    except BaseException:
        return False


class Births(AfterMessage):
    """See the module's docstring."""

    context_class: type[ActorContext[Any]] = ActorContext
    """The record of an actor; a node has one that knows the node."""
    process_class: type[ActorContext[Any]]
    """The record of a process: a ``ReceivingContext``."""

    @activation
    def spawn_plain(self, kind: RecordKind, args: tuple[Any, ...]) -> Record[Any]:
        """``spawn_actor`` for the plain case, ``kind.plain``: no name, no ``init``, an ordinary
        ``__new__``. The hot path."""
        if self.stopping and kind.owner is None:
            raise self.refuse_start(kind)
        parent = self.current
        hook = self.step_hook
        if hook is not None:
            self.current = None
            hook(None)  # its number, its record and its place in the table are nobody's
        self.numbers = number = self.numbers + 1
        try:
            record: Record[Any] = kind.record_class(kind, number, parent)
            self.actors[number] = record
        except BaseException:  # MemoryError
            self.current = parent
            if hook is not None:
                hook(parent)
            raise
        try:
            self.current = record
            if hook is not None:
                hook(record)
            obj: Any = _new(kind.cls)
            obj.ctx = record
            free = self.free_contexts
            context = free.pop() if free else self.base_context.copy()
            context.run(kind.construct, obj, *args)
            try:  # is_clean, without the call
                if context == self.base_context:
                    free.append(context)
                else:
                    record.variables = context
            except Exception:  # of a value's __eq__
                record.variables = context
            self.current = parent
            if hook is not None:
                hook(parent)
            record.obj = obj
            if self.events.listened:
                self.announce(record)
            if record.inbox is None and record.control is None:  # has_messages, written out
                record.state = IDLE
            else:
                self._begin(record, None)
            return record
        except BaseException as error:
            failure = self._not_born(record, error, parent, None)
        obj = None
        raise failure  # not from within: as its context, the exception would keep the object

    @activation
    @nobodys
    def spawn_actor(
        self,
        kind: RecordKind,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        link_to: Record[Any] | None = None,
        watcher: Watcher | None = None,
        made: Any = None,
        account: Account | None = None,
    ) -> Record[Any]:
        """Make an actor. Its constructor runs now, as the actor; ``init``, if it has one, is its
        first message.

        Args:
            kind: what it is.
            args, kwargs: what its constructor gets.
            link_to: the actor that it is linked to from the first moment.
            watcher: hears of the outcome of ``init``, or at once if there is none.
            made: its object, if a factory has made that.
            account: what the factory was counted to.

        Raises:
            StartFailed: the constructor raised.
            AlreadyRegistered: its name is taken.
            NodeStopped: the node stops, and no supervisor asks for it.
        """
        parent = self.current
        record = self.admit(kind, link_to)
        hook = None
        try:
            if kind.limit is not None:
                self.budgets.begin(record, kind.limit, account).account.charge(size_of(*args, kwargs))
            hook = self.step_hook  # only now: the first budget of a node starts the clock
            self.current = record
            if hook is not None:
                hook(record)
            if made is None:
                cls = kind.cls
                new = kind.new
                obj = new(cls) if new is _new else new(cls, *args, **kwargs)
                object.__setattr__(obj, "ctx", record)  # a frozen class has a __setattr__ of its own
                if kind.limit is not None:
                    record.obj = obj  # what an alarm finds there is the newborn's
                free = self.free_contexts
                context = free.pop() if free else self.base_context.copy()
                context.run(kind.construct, obj, *args, **kwargs)
                if is_clean(context, self.base_context):
                    free.append(context)
                else:
                    record.variables = context
            else:
                obj = made
                object.__setattr__(obj, "ctx", record)
            self.current = parent
            if hook is not None:
                hook(parent)
            record.obj = obj
            if self.events.listened:
                self.announce(record)
            self._begin(record, watcher)
            return record
        except BaseException as error:
            failure = self._not_born(record, error, parent, link_to)
        obj = None
        raise failure  # not from within: as its context, the exception would keep the object

    def admit(self, kind: RecordKind, link_to: Record[Any] | None) -> Record[Any]:
        """Make the record of a newborn, and enter it: number, name, link. Raises NodeStopped or
        AlreadyRegistered with nothing done."""
        if self.stopping and kind.owner is None:  # a supervisor restarts until it is told to stop
            raise self.refuse_start(kind)
        self.numbers = number = self.numbers + 1
        record = kind.record_class(kind, number, self.current)
        ends = () if link_to is None else ((record.need_relations(), link_to), (link_to.need_relations(), record))
        name = kind.name
        if name is not None:
            self.names.register(name, record)
        try:
            # No Python function may be called here: the stack may end anywhere, and an actor that
            # is half entered never dies.
            for relations, far in ends:
                if relations.links is None:
                    relations.links = {}
                relations.links[far] = None
            self.actors[number] = record
        except BaseException:  # MemoryError: a table could not grow
            for relations, far in ends:
                if relations.links is not None:
                    relations.links.pop(far, None)
            if name is not None:
                self.names.release(name, record)
            raise
        return record

    def refuse_start(self, kind: RecordKind) -> NodeStopped:
        """What a spawn gets while the node stops."""
        return NodeStopped(f"cannot start {kind.label}: node {self.name!r} is stopping; open another one")

    def _not_born(
        self, record: Record[Any], error: BaseException, parent: Record[Any] | None, link_to: Record[Any] | None
    ) -> BaseException:
        """The constructor raised, or there was no memory for the budget. Returns what the spawner
        gets."""
        self.current = parent
        record.obj = None
        try:
            if self.step_hook is not None:
                self.step_hook(parent)
            reason = self.stillborn(record, error, link_to)
        except RecursionError:
            self.doomed.append(record)
            raise
        return fatal_leaf(error) if is_fatal(error) else StartFailed(record.kind.child_id, reason)

    def stillborn(self, record: Record[Any], error: BaseException, link_to: Record[Any] | None) -> ExitReason:
        """The constructor raised: end the actor. Returns its reason, which only whoever spawned
        hears of."""
        if link_to is not None and link_to.relations is not None and link_to.relations.links is not None:
            link_to.relations.links.pop(record, None)
            if record.relations is not None:
                record.relations.links = None
        control = record.control
        if control is not None and control.kill is not None:
            reason = control.kill
        else:
            reason = error.reason if isinstance(error, ActorExit) else self.crash_of(record, error, error, 1)
        self.forget(error)
        record.kind.owner, owner = None, record.kind.owner
        try:
            self.die(record, reason)
        finally:
            record.kind.owner = owner
        if self.doomed:
            self.bury_doomed()
        return reason

    def _begin(self, record: Record[Any], watcher: Watcher | None) -> None:
        """The constructor has returned."""
        control = record.control
        if control is not None and control.kill is not None:
            if watcher is not None:
                watcher(record, control.kill, False)
            self.die(record, control.kill)
        elif record.kind.init is not None:
            self._begin_init(record, watcher)
        else:
            if watcher is not None:
                watcher(record, None, False)
            if control is None or self.attend(record):
                self.requeue(record)

    def _begin_init(self, record: Record[Any], watcher: Watcher | None) -> None:
        """Queue ``init`` as the first message, with its deadline."""
        kind = record.kind
        starting = Starting(record, watcher)
        seconds = kind.options.init_timeout
        if seconds != math.inf:
            starting.timer = self.timers.after(seconds, self._init_late, record, seconds)
        record.put_first_message(FirstMessage((kind.init, (), starting)))
        record.make_ready()

    def _init_late(self, record: Record[Any], seconds: float) -> None:
        self.end_now(record, InitTimeout(seconds))
