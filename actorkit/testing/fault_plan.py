"""FaultPlan: actors that fail as a test wants it.

``wrap`` makes a subclass of the actor's class whose messages and callbacks pass through the plan
first. The subclass keeps the name, so reports and child ids are the same, and adds one slot.
Budgets treat it as the user's code: it is measured, charged and stopped like the rest.

A plan counts lives (starts of what it has wrapped) and, within each life, messages. Chance comes
from one generator per life, seeded with the seed of the plan and the number of the life: what
happens to one life does not depend on how the scheduler has mixed it with others.
"""

from __future__ import annotations

import functools
import inspect
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from types import CoroutineType, FunctionType, coroutine, new_class
from typing import Any, Final, TypeVar, overload

import attrs
import trio

from ..net.stream_actor import StreamActor
from ..policy.supervision.child_spec import ChildSpec
from ..runtime.actor.actor_base import ActorBase
from ..runtime.actor.dispatch import declaration_of, is_synchronous
from .faults import (
    Allocate,
    Crash,
    Fault,
    Hang,
    InjectedFault,
    MessageFault,
    Raise,
    RefuseStart,
    SwallowCancellation,
    WhileRunning,
)

__all__ = ["FaultPlan", "Injected"]

A = TypeVar("A")

MESSAGES: Final = ("handle_info", "connected", "received")
"""Callbacks that are messages although nobody declares them."""

EMPTY: Final = (StreamActor.connected, StreamActor.received)
"""The same where they are not overridden: the reader of a connection recognises these by
identity."""

SLOT: Final = "_faulty_life"


@attrs.frozen
class Injected:
    """A fault that happened: which one, in which life of the plan, at which of its messages (0: at
    none)."""

    fault: Fault
    life: int
    message: int


class FaultPlan:
    """Faults for actors: scripted, counted, and the same for the same seed. Wrap a class or a child
    spec.

    Use it to see what your supervisors, callers and budgets do about an actor that crashes, hangs,
    swallows cancellation, eats memory, or does not start again. It is not a mock: the wrapped actor
    is the real one, and behaves as usual whenever no fault is due.

    Args:
        faults: what should happen, from ``actorkit.testing.faults``. Several that are due at one
            message happen in this order.
        seed: for faults with a ``chance``.

    Processes (async functions) and functions that return an actor cannot be wrapped: TypeError. A
    process can do its own faults; instead of a function, wrap the class that it makes.

    Example::

        plan = FaultPlan(faults.Crash(on=2, times=1), seed=7)
        tree = ak.supervisor(plan.wrap(ak.child(Counter).with_(name="counter")))
        async with ak.open_node(tree) as node:
            counter = ak.named(Counter, "counter")
            assert await counter.call(Counter.add, 1) == 1
            try:
                await counter.call(Counter.add, 1)
            except ak.CalleeDied: ...
        assert plan.injected == {"Crash": 1}
    """

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        for fault in faults:
            if not isinstance(fault, Fault):
                raise TypeError(f"{fault!r} is not a fault: use those in actorkit.testing.faults")
        self.faults = faults
        self.seed = seed
        self.starts = 0
        """Lives so far, including those that were refused."""
        self.messages = 0
        """Messages so far, in all lives."""
        self.log: list[Injected] = []
        """What was injected, in order."""
        self._times: Counter[int] = Counter()
        self._classes: dict[type, type] = {}

    def __repr__(self) -> str:
        return f"<fault plan of {len(self.faults)}, seed {self.seed}: {len(self.log)} injected in {self.starts} lives>"

    @property
    def injected(self) -> Counter[str]:
        """How many faults of each kind have happened so far."""
        return Counter(entry.fault.label for entry in self.log)

    @overload
    def wrap(self, start: ChildSpec[A], /) -> ChildSpec[A]: ...
    @overload
    def wrap(self, start: type[A], /) -> type[A]: ...
    def wrap(self, start: Any, /) -> Any:
        """Returns the class, or the spec, with the faults in it. Senders use the methods of the
        original class.

        Raises TypeError if it is not an actor's class.
        """
        if isinstance(start, ChildSpec):
            spec: ChildSpec[Any] = start
            return spec.with_(start=self.wrap(spec.start))  # type: ignore[call-overload]
        cls = getattr(start, "__origin__", start)
        if not (isinstance(cls, type) and issubclass(cls, ActorBase)):
            raise TypeError(
                f"cannot wrap {start!r} with faults: it is not an actor's class; wrap the class that a function makes, "
                "and let a process do its own faults"
            )
        made = self._classes.get(cls)
        if made is None:
            made = self._classes[cls] = _faulty(self, cls)
        return made

    # --- for the wrapped classes --------------------------------------------------------------

    def _begin(self) -> Life:
        """A life begins. Raises InjectedFault if its start is refused."""
        self.starts += 1
        life = Life(self, self.starts)
        for fault in self.faults:
            if isinstance(fault, RefuseStart) and self.starts > fault.after and self._times[id(fault)] < fault.times:
                self._note(fault, life)
                raise InjectedFault(f"start {self.starts} is refused")
        return life

    def _note(self, fault: Fault, life: Life) -> None:
        self._times[id(fault)] += 1
        self.log.append(Injected(fault, life.number, life.messages))

    def _has(self, *kinds: type[Fault]) -> bool:
        return any(isinstance(fault, kinds) for fault in self.faults)

    def _hangs(self, where: str) -> bool:
        return any(isinstance(fault, Hang) and fault.where == where for fault in self.faults)

    def _raises(self, where: str) -> Fault | None:
        return next((fault for fault in self.faults if isinstance(fault, Raise) and fault.where == where), None)


class Life:
    """One life of a wrapped actor. A value in its state: its special methods fail if the actor's
    do."""

    __slots__ = ("inside", "messages", "number", "plan", "random")

    def __init__(self, plan: FaultPlan, number: int) -> None:
        self.plan = plan
        self.number = number
        self.messages = 0
        self.inside = False
        """A message is being handled: methods that its handler calls on itself are not messages."""
        self.random = random.Random(f"{plan.seed} {number}")

    def due(self) -> list[MessageFault]:
        """The faults of the next message, which are noted as injected."""
        plan = self.plan
        plan.messages += 1
        self.messages += 1
        found: list[MessageFault] = []
        for fault in plan.faults:
            if not isinstance(fault, MessageFault) or (isinstance(fault, Hang) and fault.where != "handler"):
                continue
            hit = self.messages == fault.on if fault.chance is None else self.random.random() < fault.chance
            if hit and plan._times[id(fault)] < fault.times:
                found.append(fault)
                if not isinstance(fault, WhileRunning):
                    plan._note(fault, self)
        return found

    def fail(self, where: str) -> None:
        fault = self.plan._raises(where)
        if fault is not None:
            self.plan._note(fault, self)
            raise InjectedFault(f"{where} of life {self.number}")

    def __repr__(self) -> str:
        self.fail("__repr__")
        return f"<life {self.number}, {self.messages} messages>"

    def __eq__(self, other: object) -> bool:
        self.fail("__eq__")
        return self is other

    __hash__ = object.__hash__

    def __del__(self) -> None:
        self.fail("__del__")


def _allocate(fault: Allocate) -> None:
    hoard = []
    for _ in range(fault.most // fault.step):
        hoard.append(bytearray(fault.step))
    raise MemoryError(f"{fault.most} bytes were allocated, and nothing stopped that")


async def _sleep(seconds: float) -> None:
    if math.isinf(seconds):
        await trio.sleep_forever()
    await trio.sleep(seconds)


async def _swallow(fault: SwallowCancellation) -> None:
    deadline = trio.current_time() + fault.seconds
    try:
        await trio.sleep_until(deadline)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.sleep_until(deadline)


Around = Callable[[], AbstractContextManager[Any]]
"""What each step of a handler's own code runs within."""


@coroutine
def _stepped(handler: Coroutine[Any, Any, Any], around: Around) -> Generator[Any, Any, Any]:
    """Drive the handler with a fault in force while its own code runs, and nobody else's."""
    step: Callable[[], Any] = functools.partial(handler.send, None)
    while True:
        with around():
            try:
                trap = step()
            except StopIteration as stop:
                return stop.value
        try:
            step = functools.partial(handler.send, (yield trap))
        except GeneratorExit:
            handler.close()
            raise
        except BaseException as error:
            step = functools.partial(handler.throw, error)


def _now(life: Life, due: list[MessageFault]) -> Around | None:
    """Do what needs no ``await``. Returns what is to be in force while the handler runs, if
    anything is."""
    around = None
    for fault in due:
        if isinstance(fault, Crash):
            raise InjectedFault("a crash was injected")
        if isinstance(fault, Allocate):
            _allocate(fault)
        elif isinstance(fault, WhileRunning):
            around = fault.begin(functools.partial(life.plan._note, fault, life))
    return around


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the handler of a message that waits for nothing."""

    def handler(self: Any, *args: Any, **kwargs: Any) -> Any:
        life: Life = getattr(self, SLOT)
        if life.inside:
            return function(self, *args, **kwargs)
        life.inside = True
        try:
            around = _now(life, life.due())
            if around is None:
                return function(self, *args, **kwargs)
            with around():
                answer = function(self, *args, **kwargs)
            return _stepped(answer, around) if isinstance(answer, CoroutineType) else answer
        finally:
            life.inside = False

    return handler


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the handler of a message that waits, or that waits because of a fault."""

    async def handler(self: Any, *args: Any, **kwargs: Any) -> Any:
        life: Life = getattr(self, SLOT)
        if life.inside:
            answer = function(self, *args, **kwargs)
            return await answer if inspect.iscoroutine(answer) else answer
        life.inside = True
        try:
            due = life.due()
            for fault in due:
                if isinstance(fault, Hang):
                    await _sleep(fault.seconds)
                elif isinstance(fault, SwallowCancellation):
                    await _swallow(fault)
            around = _now(life, due)
            if around is None:
                answer = function(self, *args, **kwargs)
                return await answer if inspect.iscoroutine(answer) else answer
            with around():
                answer = function(self, *args, **kwargs)
            return await _stepped(answer, around) if inspect.iscoroutine(answer) else answer
        finally:
            life.inside = False

    return handler


def _callback(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    """Wrap ``init`` or ``terminate`` for a plan that lets it hang."""

    async def callback(self: Any, *args: Any) -> Any:
        life: Life = getattr(self, SLOT)
        plan = life.plan
        for fault in plan.faults:
            if isinstance(fault, Hang) and fault.where == where and plan._times[id(fault)] < fault.times:
                plan._note(fault, life)
                await _sleep(fault.seconds)
        answer = function(self, *args)
        return await answer if inspect.iscoroutine(answer) else answer

    return callback


def _as(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Let the wrapper look like the function."""
    functools.update_wrapper(wrapper, function)
    del wrapper.__wrapped__  # type: ignore[attr-defined]  # the wrapper itself says whether it is async
    return wrapper


def _faulty(plan: FaultPlan, cls: type) -> type:
    """The subclass with the faults of the plan."""
    waits = plan._hangs("handler") or plan._has(SwallowCancellation)
    body: dict[str, Any] = {"__slots__": (SLOT,), "__module__": cls.__module__, "__doc__": cls.__doc__}

    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, SLOT, plan._begin())  # a frozen class has a __setattr__ of its own
        original(self, *args, **kwargs)

    original: Callable[..., None] = cls.__init__  # type: ignore[misc]
    body["__init__"] = _as(construct, original) if isinstance(original, FunctionType) else construct

    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if not isinstance(function, FunctionType) or function in EMPTY:
            continue
        if name not in MESSAGES and declaration_of(cls, name) is None:
            continue
        body[name] = _as((_plain if is_synchronous(function) and not waits else _async)(function), function)

    for name in ("init", "terminate"):
        if plan._hangs(name):
            body[name] = _as(_callback(inspect.getattr_static(cls, name), name), inspect.getattr_static(cls, name))

    for name in ("__repr__", "__eq__", "__del__"):
        if plan._raises(name) is not None:
            body[name] = _special(name)
    if "__eq__" in body:
        body["__hash__"] = cls.__hash__

    made = new_class(cls.__name__, (cls,), exec_body=lambda namespace: namespace.update(body))
    made.__qualname__ = cls.__qualname__
    return made


def _special(name: str) -> Callable[..., Any]:
    """A special method that fails."""

    def method(self: Any, *args: Any) -> Any:
        life: Life | None = getattr(self, SLOT, None)
        if life is not None:  # otherwise its start was refused
            life.fail(name)
        return NotImplemented if args else None

    method.__name__ = name
    return method
