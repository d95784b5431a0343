"""ActorContext: the operations of ``self.ctx`` that need no node: links, monitors, names, memory,
its own end, the idle timeout.

What an actor asks of its node (to start others, timers) joins this where the node is, in
``runtime.node.Context``, which is the class of every ``self.ctx``.

A context *is* the actor's record, so it costs no memory. Others hold the same object typed as a
``Ref``, and may only send. Every operation here checks that it is the actor itself who asks (its
handlers, its nursery's tasks), and raises NotInsideActor otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import get_ident
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from ...errors import ActorExit, AlreadyRegistered, BadArguments, NotInsideActor
from ...heap.clock import nobodys
from ...policy.exit_signals import Source
from ...policy.memory.heap_limit import HeapLimit, as_heap_limit
from ...policy.memory.memory_sample import Priority
from ...reasons import NOPROC, NORMAL, ExitReason, shown
from ..base.interrupts import interruptible
from . import links
from .envelope import Continuation
from .events import SystemEvent
from .fitting import fits, parameters_of
from .notices import MonitorId
from .record import Record, resolve
from .ref import Ref

__all__ = ["ActorContext"]

A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")


class ActorContext(Record[A_co]):
    """See the module's docstring."""

    __slots__ = ()

    def _self(self, what: str) -> None:
        engine = self.kind.engine
        if get_ident() != engine.thread:
            raise engine.home.refuse(f"use ctx.{what} of", self)
        if engine.current is not self:
            raise NotInsideActor(
                f"ctx.{what} of {self.describe()} was used from outside it: only the actor's own handlers and "
                f"the tasks in its "
                "nurseries may; others hold its ref and send"
            )

    @property
    def ref(self) -> Ref[A_co]:
        """This actor's address: what to give to others."""
        return self

    # --- others -------------------------------------------------------------------------------

    def link(self, other: Ref[Any]) -> None:
        """Tie this actor's life to ``other``'s: when one of them ends with a reason other than
        Normal, the other ends too, unless it traps exits.

        Idempotent. To link oneself does nothing. A dead ``other`` sends a NoProc exit signal.
        Source: erlang:link/1.
        """
        self._self("link")
        record = resolve(other, self.kind.engine)
        if record is None:
            links.send_signal(self.kind.engine, self, NOPROC, None, Source.LINK)
        else:
            links.link(self.kind.engine, self, record)

    def unlink(self, other: Ref[Any]) -> None:
        """End the link, from either side. No Exit from it arrives after this. Source:
        erlang:unlink/1."""
        self._self("unlink")
        record = resolve(other, self.kind.engine)
        if record is not None:
            links.unlink(self, record)

    def monitor(self, other: Ref[Any]) -> MonitorId:
        """Get one ``Down`` when ``other`` ends; at once, with NoProc, if it is dead already.

        Each call makes a separate monitor. A named ref is resolved now, once. Source:
        erlang:monitor/2.
        """
        self._self("monitor")
        return links.monitor(self.kind.engine, self, resolve(other, self.kind.engine), other)

    def demonitor(self, monitor: MonitorId, *, flush: bool = False) -> bool:
        """Take a monitor back. True: it was armed, and its Down will not come. False: its Down has
        come or is queued, or the monitor is not this actor's. ``flush`` removes a queued Down.
        Source: erlang:demonitor/2."""
        self._self("demonitor")
        if not isinstance(monitor, MonitorId):
            raise TypeError(f"cannot demonitor {shown(monitor, 200)}: give what monitor returned")
        return links.demonitor(self, monitor, flush)

    # --- itself -------------------------------------------------------------------------------

    @property
    def trap_exit(self) -> bool:
        """Do exit signals arrive as ``Exit`` messages instead of ending this actor? It begins as
        the class's ``trap_exit``. If so, a parent's shutdown runs ``terminate``. Source:
        process_flag(trap_exit, …)."""
        return self.traps_exits

    @trap_exit.setter
    def trap_exit(self, value: bool) -> None:
        self._self("trap_exit")
        self.need_relations().traps_exits = value

    @property
    def max_heap_size(self) -> HeapLimit | None:
        """How much this actor may hold; None: any amount. Assign bytes, text such as ``"8 MiB"``, a
        HeapLimit, or None. It is in force when the message at hand is done. Source:
        process_flag(max_heap_size, …)."""
        return None if self.account is None else self.account.owner.limit_told

    @max_heap_size.setter
    def max_heap_size(self, value: HeapLimit | int | str | None) -> None:
        self._self("max_heap_size")
        self.kind.engine.budgets.change(self, as_heap_limit(value))

    @property
    def priority(self) -> Priority:
        """How important this actor is when the node runs out of memory: the least important are
        given up first. It begins as the child spec's ``priority``. Assign another when its work
        becomes more important, or less: a connection that has logged in."""
        return self.memory_priority

    @priority.setter
    def priority(self, value: Priority) -> None:
        self._self("priority")
        self.need_relations().memory_priority = Priority(value)

    def watch_memory(self, wanted: bool = True) -> None:
        """Get ``MemoryPressure`` messages when the node's memory level changes; ``False``: no more
        of them. For actors that can let go of something, such as a cache."""
        self._self("watch_memory")
        watchers = self.kind.engine.memory_watchers
        if not wanted:
            watchers.pop(self, None)
        elif self not in watchers:
            _watch(watchers, self)

    def stop(self, reason: ExitReason | None = None) -> None:
        """End after the message at hand. Its answer still goes out, and what it gives to
        ``continue_with``, before or after this call, still runs; then ``terminate(reason)``. Others
        ask for the same with ``ref.stop()``."""
        super().stop(NORMAL if reason is None else reason)

    def exit_now(self, reason: ExitReason) -> NoReturn:
        """End here and now: the handler unwinds (its ``finally`` blocks run), ``terminate(reason)``
        runs, callers get CalleeDied. Source: erlang:exit/1."""
        self._self("exit_now")
        raise ActorExit(reason)

    def continue_with(
        self, method: Callable[Concatenate[Any, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Run a method of this actor after the message at hand and before any queued one. It may be
        chained. Use it for the slow half of ``init``. The method is a plain function of the class
        and need not be declared.

        It belongs to the message at hand: a stop, the parent's shutdown and ``ak.sys`` requests
        wait for it, and for everything that it continues with. So ``terminate`` never sees an actor
        that is half made. It does not run if the message ends in an exception, if ``init`` returns
        ``ak.IGNORE`` or ``ak.Stop``, or after a kill or an exit signal. Source: gen_server,
        handle_continue/2."""
        self._self("continue_with")
        if self.kind.process:
            raise TypeError(f"{self.describe()} is a process: it has no messages to continue between; just go on")
        if not callable(method) or not hasattr(method, "__name__"):
            raise TypeError(
                f"cannot continue with {shown(method, 100)}: give a method of the class and its arguments, as in "
                "continue_with(Store.load, path)"
            )
        function: Any = interruptible(
            getattr(type(self.obj) if self.obj is not None else self.kind.cls, method.__name__, method)
        )
        if not fits(function, len(args) + 1, kwargs):
            raise BadArguments(
                f"cannot continue with {function.__qualname__} in {self.describe()}: the {len(args)} positional and "
                f"{len(kwargs)} keyword arguments do not fit; beside the method give {parameters_of(function)}"
            )
        if kwargs:
            from functools import partial

            function = partial(function, **kwargs)
        self.need_control().continuations.append(Continuation((function, args, None)))

    @property
    def idle_timeout(self) -> float | None:
        """Seconds without a message after which ``handle_info`` gets ``IdleTimeout``, again and
        again until set to None. It counts anew from every message. Source: gen_server's ``Timeout``
        return value (there it must be returned each time)."""
        relations = self.relations
        return None if relations is None else relations.idle_seconds

    @idle_timeout.setter
    def idle_timeout(self, seconds: float | None) -> None:
        self._self("idle_timeout")
        if seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds < math.inf):
            raise ValueError(
                f"idle_timeout={seconds!r}: give a finite number of seconds above 0, or None for no timeout"
            )
        relations = self.need_relations()
        relations.idle_seconds = seconds
        self.need_control().idle = seconds is not None
        self.kind.engine.restart_idle_timer(self)

    # --- system events ------------------------------------------------------------------------

    def subscribe(self, *types: type[Any]) -> None:
        """Get the node's system events of these types as messages; without ``types``, all of them.
        It replaces an earlier subscription."""
        self._self("subscribe")
        self.kind.engine.events.subscribe(self, types or (SystemEvent,))

    def unsubscribe(self) -> None:
        """No more system events."""
        self._self("unsubscribe")
        self.kind.engine.events.unsubscribe(self)

    # --- names --------------------------------------------------------------------------------

    def register(self, name: str) -> None:
        """Take a name on this node. Raises AlreadyRegistered when it is taken, or this actor has
        one already."""
        self._self("register")
        if not isinstance(name, str) or not name:
            raise TypeError(f"cannot register {shown(name, 200)}: a name is a non-empty string")
        name = str.__str__(name)  # a subclass of str has code of its own, which would run at this actor's end
        relations = self.need_relations()
        own = relations.name if relations.name is not None else self.kind.name
        if own is not None:
            raise AlreadyRegistered(name, f"{self.describe()}, which is registered as {own!r}")
        self.kind.engine.names.register(name, self)
        relations.name = name

    def unregister(self) -> None:
        """Give up the name that ``register`` took."""
        self._self("unregister")
        relations = self.relations
        if relations is not None and relations.name is not None:
            self.kind.engine.names.release(relations.name, self)
            relations.name = None


@nobodys
def _watch(watchers: dict[Record[Any], None], record: Record[Any]) -> None:
    """Tell ``record`` of changes in the node's memory, as long as it lives."""
    watchers[record] = None
    record.need_relations().call_at_exit(lambda ended, _: watchers.pop(ended, None))
