"""From a child spec to a running actor.

What is started is one of three things: an actor class; an async function, which becomes a process;
or any other callable, a factory, which must return an actor's object. The object of a factory gets
its ``ctx`` after it was made. A ``Starter`` keeps what is the same for every start of one spec.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ...errors import AlreadyRegistered, NodeStopped, StartFailed
from ...heap import clock
from ...policy.supervision.child_spec import ChildSpec
from ...reasons import BadReturn, Crash, ExitReason, shown, text_of
from ..actor.actor_base import ActorBase
from ..actor.actor_kind import ActorKind, Owner
from ..actor.fitting import fits, misfit_in, plain
from ..base.interrupts import interruptible
from ..base.trio_internals import fatal_leaf, is_fatal
from .debug import CheckedKind
from .init_outcome import Watcher
from .process import Process, start_process

if TYPE_CHECKING:
    from ...policy.memory.footprint_samples import Samples
    from ..actor.record import Record, RecordKind
    from .scheduler import Scheduler

__all__ = ["Starter"]


def is_process(start: Any) -> bool:
    """Is it an async function, and so a process?"""
    return inspect.iscoroutinefunction(plain(start))


def _actor_class(start: Any) -> type | None:
    """The class, also of ``Box[int]``."""
    origin = getattr(start, "__origin__", start)
    return origin if isinstance(origin, type) else None


def _name_of(start: Any) -> str:
    return getattr(start, "__qualname__", None) or shown(start, 200)


def _meant_as_process(start: Any) -> bool:
    """Does it look like a process whose author forgot ``async``?"""
    if not isinstance(start, FunctionType):
        return False
    code = start.__code__
    return code.co_argcount > 0 and code.co_varnames[0] == "ctx"


def _context_of(made: Any) -> Record[Any] | None:
    """The record of an object that is or was an actor. An object can be one actor, once."""
    if not isinstance(made, ActorBase):
        return None
    try:
        context: Record[Any] = object.__getattribute__(made, "ctx")
    except AttributeError:
        return None
    return context


class Starter:
    """Starts actors of one spec on one scheduler, for one owner or for none. It keeps what is the
    same for all of them: the start, the options and the kind. The arguments come with each start.

    Args:
        footprint: where samples of the actors' sizes go.
        label: what processes are called in messages; default: by their function's name.
    """

    __slots__ = ("cls", "engine", "footprint", "kind", "label", "options", "owner", "process", "start")

    def __init__(
        self,
        engine: Scheduler,
        spec: ChildSpec[Any],
        owner: Owner[Record[Any]] | None = None,
        *,
        footprint: Samples | None = None,
        label: str | None = None,
    ) -> None:
        self.engine = engine
        self.start = spec.start
        self.options = spec.actor_options()
        self.owner = owner
        self.footprint = footprint
        self.label = label
        self.process = is_process(spec.start)
        #: The actor class; None of a process and of a factory.
        self.cls = None if self.process else _actor_class(spec.start)
        #: None of a factory that has not made an actor yet.
        self.kind: RecordKind | None = None
        if self.process:
            self.kind = self._process_kind()
        elif self.cls is not None:
            if not issubclass(self.cls, ActorBase):
                raise TypeError(
                    f"cannot start {shown(spec.id, 200)}: {self.cls.__qualname__} is not a subclass of ak.Actor; give "
                    "an actor class, an async function (a process), or a function that returns an actor"
                )
            self.kind = self._kind(self.cls, ActorBase)

    def _kind(self, cls: type, base: type) -> RecordKind:
        engine = self.engine
        make = CheckedKind if engine.debug else ActorKind
        limit = engine.budgets.limit_of(self.options, cls)
        kind = make(engine, cls, self.options, base=base, owner=self.owner, limit=limit, footprint=self.footprint)
        kind.record_class = engine.context_class
        return kind

    def _process_kind(self) -> RecordKind:
        """The kind of a process, which is called by its function's name."""
        kind = self._kind(Process, Process)
        kind.record_class = self.engine.process_class
        kind.process = True
        kind.label = getattr(plain(self.start), "__qualname__", "process") if self.label is None else self.label
        return kind

    def __call__(
        self,
        args: tuple[Any, ...],
        kwargs: Any,
        *,
        link_to: Record[Any] | None = None,
        watcher: Watcher | None = None,
    ) -> Record[Any]:
        """Start one. Raises StartFailed, AlreadyRegistered or NodeStopped; otherwise ``watcher``
        hears of the outcome of its init."""
        if self.process:
            assert self.kind is not None
            if not fits(self.start, len(args) + 1, kwargs):
                head, why = misfit_in(self.start, args, kwargs, ahead=1)
                text = f"cannot run {head} as a process: {why}; the runtime puts its context, ctx, before these"
                raise StartFailed(self.options.id, Crash("TypeError", text))
            record = start_process(self.engine, self.kind, self.start, args, dict(kwargs), link_to)
            if watcher is not None:
                watcher(record, None, False)
            return record
        made = account = None
        kind = self.kind
        if kind is None or self.cls is None:
            account = self.engine.budgets.account_before(self.options)
            made, kind = self._make(args, kwargs, account)
        return self.engine.spawn_actor(kind, args, kwargs, link_to=link_to, watcher=watcher, made=made, account=account)

    def _make(self, args: tuple[Any, ...], kwargs: Any, account: clock.Account | None) -> tuple[Any, RecordKind]:
        """Call the factory: its object, and that object's kind. ``account``: what it allocates is
        counted to that."""
        child_id = self.options.id
        if _meant_as_process(self.start) and not fits(self.start, len(args), kwargs):
            name = _name_of(self.start)
            text = f"{name} is not an async function: write async def {name}(ctx, …), or give an actor class"
            raise StartFailed(child_id, Crash("TypeError", text))
        previous = clock.enter(account)
        try:
            try:
                made = interruptible(self.start)(*args, **kwargs)
            finally:
                clock.enter(previous)
        except BaseException as error:
            if is_fatal(error):
                raise fatal_leaf(error)
            reason: ExitReason = Crash.from_exception(error, 1)
            error.__traceback__ = None
        else:
            began = _context_of(made)
            if began is not None:
                reason = BadReturn(
                    f"{_name_of(self.start)}, the start of {shown(child_id, 200)}, which must return an actor that "
                    "has not been started already",
                    f"the object of {began.describe()}",
                )
            elif isinstance(made, ActorBase):
                kind = self.kind
                if kind is None or kind.cls is not type(made):
                    self.kind = kind = self._kind(type(made), ActorBase)
                return made, kind
            else:
                reason = BadReturn(
                    f"{_name_of(self.start)}, the start of {shown(child_id, 200)}, which must return an actor",
                    shown(made, 200),
                )
        raise StartFailed(child_id, reason)

    @staticmethod
    def failure(error: BaseException) -> ExitReason:
        """The exit reason for a start that was refused with ``error``."""
        if isinstance(error, StartFailed):
            return error.reason
        if isinstance(error, (AlreadyRegistered, NodeStopped, TypeError)):
            return Crash(type(error).__qualname__, text_of(error))
        return Crash.from_exception(error)
