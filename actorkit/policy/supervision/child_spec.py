"""What a supervisor is told about a child, and about itself.

Everything is checked here, when the spec is made: in the caller's stack, before any supervisor is
involved. A spec that exists is valid, so the machines that use specs check nothing but what takes
two of them (``validate_children``).

Specs are immutable and hold no state; the same spec may be given to many supervisors.
``with_`` makes changed copies. What the author left open (``id``, ``shutdown``) stays open in the
copy: the copy's id follows its new name, its shutdown its new kind.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Literal, Self, TypedDict, TypeVar, Unpack, get_args

import attrs

from actorkit.errors import BadKey, DuplicateChildId, InvalidChildSpec, InvalidSupervisorFlag
from actorkit.policy.key_table import KeyTable, Slot
from actorkit.policy.memory.heap_limit import HeapLimit, as_heap_limit, bytes_of
from actorkit.policy.memory.memory_sample import Priority
from actorkit.policy.supervision.backoff import Backoff
from actorkit.reasons import shown

__all__ = [
    "AutoShutdown",
    "ChildSpec",
    "ChildSpecChanges",
    "DynamicFlags",
    "Kind",
    "Overflow",
    "Restart",
    "Scheduling",
    "ShutdownTime",
    "Strategy",
    "SupervisorFlags",
    "check_spec",
    "validate_children",
]

Restart = Literal["permanent", "transient", "temporary"]
Kind = Literal["worker", "supervisor"]
Scheduling = Literal["max", "high", "normal", "low"]
Overflow = Literal["reject", "wait", "drop_oldest", "drop_newest"]
ShutdownTime = float | Literal["brutal_kill"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]

WORKER_SHUTDOWN = 5.0

# Covariant: a spec only ever yields its actor, so a spec of a subclass does for one of its base.
A_co = TypeVar("A_co", covariant=True)


def _number(value: object) -> bool:
    """A real number. bool is an int to Python, but nobody means ``shutdown=True``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _one_of(choices: Iterable[str]) -> str:
    return "give one of " + ", ".join(f'"{choice}"' for choice in choices)


def _member(value: object, choices: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in choices


def _sound(child_id: object) -> bool:
    """Can it be hashed, compared and shown?"""
    try:
        hash(child_id)
        bool(child_id == child_id)
        repr(child_id)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return False
    return True


class ChildSpecChanges(TypedDict, total=False):
    """The keyword arguments of ``ChildSpec.with_``."""

    start: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    id: object
    restart: Restart
    shutdown: ShutdownTime | None
    kind: Kind
    significant: bool
    name: str | None
    init_timeout: float
    backoff: Backoff | None
    scheduling: Scheduling
    mailbox: float
    overflow: Overflow
    max_heap_size: HeapLimit | int | str | None
    priority: Priority
    memory_quota: int | str | None
    options: Mapping[str, object]


def _tuple(value: Any) -> Any:
    # Only what is plainly a sequence of arguments: tuple("ab") would be two of them.
    return tuple(value) if isinstance(value, list) else value


def _heap_limit(value: Any) -> HeapLimit | None:
    try:
        return as_heap_limit(value)
    except (TypeError, ValueError) as error:
        raise InvalidChildSpec(
            "max_heap_size", value, str(error), 'give bytes, text such as "256 KiB", or a HeapLimit'
        ) from None


def _quota(value: Any) -> int | None:
    try:
        return None if value is None else bytes_of(value)
    except (TypeError, ValueError) as error:
        raise InvalidChildSpec("memory_quota", value, str(error), 'give bytes, or text such as "256 MiB"') from None


def _name(value: Any) -> Any:
    # Exactly a string: one of a subclass has code of its own, which would run at its holder's end.
    return str.__str__(value) if isinstance(value, str) else value


def _frozen_mapping(value: Any) -> Any:
    return MappingProxyType(dict(value)) if isinstance(value, Mapping) else value


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class ChildSpec(Generic[A_co]):
    """How to start one child, and how to treat it.

    ``start``, ``args``, ``kwargs``  what to call, and with what
    ``id``            names the child within its supervisor (default: ``name``, else the qualified
                      name of ``start``)
    ``restart``       "permanent": always; "transient": only after an abnormal end; "temporary":
                      never, and the spec is forgotten when the child ends
    ``shutdown``      seconds it may take to end when asked, then it is killed; ``math.inf``: as
                      long as it likes; "brutal_kill": killed at once. Default: 5 for a worker,
                      infinity for a supervisor, which needs the time for its own children.
    ``kind``          "worker" or "supervisor"
    ``significant``   its end may end the supervisor (see ``SupervisorFlags.auto_shutdown``)
    ``name``          registered name, if any
    ``init_timeout``  seconds that its start may take
    ``backoff``       the waits before its restarts; None: restart at once, as OTP does
    ``scheduling``    its share of the processor
    ``mailbox``       how many messages it holds (``math.inf``: any number)
    ``overflow``      what happens to one more: ``reject`` (the sender is told), ``wait`` (so do calls, in their
                      deadline), ``drop_oldest``, ``drop_newest`` (lossy: the loss is counted, the sender not troubled)
    ``max_heap_size`` bytes that it may hold: an int, text such as ``"256 KiB"``, or a ``HeapLimit``; None: the node's
                      default
    ``priority``      who is given up first when the node runs out of memory: ``Priority.LOW`` before NORMAL before
                      HIGH; CRITICAL ones are never killed for memory's sake. (Not to be confused with ``scheduling``.)
    ``memory_quota``  for a supervisor: bytes that all actors below it may hold together; over it, they lose their
                      lowest-priority, largest ones. None: no quota of their own
    ``options``       for the layers above; not looked at here

    Raises InvalidChildSpec for a value that cannot be, TypeError for an unknown field.
    """

    start: Callable[..., A_co] = attrs.field(kw_only=False)
    args: tuple[Any, ...] = attrs.field(default=(), converter=_tuple)
    kwargs: Mapping[str, Any] = attrs.field(default=_NOTHING, converter=_frozen_mapping, hash=False)
    id: object = None
    restart: Restart = "permanent"
    shutdown: ShutdownTime | None = None
    kind: Kind = "worker"
    significant: bool = False
    name: str | None = attrs.field(default=None, converter=_name)
    init_timeout: float = 5.0
    backoff: Backoff | None = None
    scheduling: Scheduling = "normal"
    mailbox: float = 1024
    overflow: Overflow = "reject"
    max_heap_size: HeapLimit | None = attrs.field(default=None, converter=_heap_limit)
    priority: Priority = Priority.NORMAL
    memory_quota: int | None = attrs.field(default=None, converter=_quota)
    options: Mapping[str, object] = attrs.field(default=_NOTHING, converter=_frozen_mapping, hash=False)
    _left_open: frozenset[str] = attrs.field(init=False, default=frozenset(), eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._check_start()
        self._check_life()
        self._check_runtime()
        # Last, since the defaults follow from fields that are known to be sound only now.
        left_open = {field for field in ("id", "shutdown") if getattr(self, field) is None}
        if "id" in left_open:
            self._set("id", self._default_id())
        if "shutdown" in left_open:
            self._set("shutdown", WORKER_SHUTDOWN if self.kind == "worker" else math.inf)
        self._set("_left_open", frozenset(left_open))

    def with_(self, **changes: Unpack[ChildSpecChanges]) -> Self:
        """A copy with ``changes``. Raises what the constructor raises."""
        given: dict[str, Any] = dict.fromkeys(self._left_open)
        return attrs.evolve(self, **{**given, **changes})

    def with_args(self, *args: Any) -> Self:
        """A copy with other arguments, for one start. As nothing else changes, nothing is checked
        again: it costs a fifth of what ``with_`` does."""
        copy = object.__new__(type(self))
        for name in _FIELDS:
            object.__setattr__(copy, name, getattr(self, name))
        object.__setattr__(copy, "args", args)
        return copy

    @property
    def shutdown_time(self) -> ShutdownTime:
        """``shutdown``, for type checkers: it is None only while the spec is being made."""
        assert self.shutdown is not None
        return self.shutdown

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _default_id(self) -> object:
        if self.name is not None:
            return self.name
        name = getattr(self.start, "__qualname__", None)
        if name is None:
            raise InvalidChildSpec("id", None, "start has no __qualname__ to make an id of", "give id=")
        return name

    def _check_start(self) -> None:
        if not callable(self.start):
            raise InvalidChildSpec("start", self.start, *_not_callable(self.start))
        if not isinstance(self.args, tuple):
            raise InvalidChildSpec("args", self.args, "not a tuple", "give a tuple of arguments: args=(x,)")
        for field in ("kwargs", "options"):
            value = getattr(self, field)
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise InvalidChildSpec(field, value, "not a mapping with strings for keys", "give a dict like {'x': 1}")
        if not _sound(self.id):
            raise InvalidChildSpec(
                "id",
                self.id,
                "not hashable, or its own code (__hash__, __eq__, __repr__) raises",
                "give a string, a number or a tuple of those",
            )
        if self.name is not None and not (isinstance(self.name, str) and self.name):
            raise InvalidChildSpec("name", self.name, "not a name", "give a non-empty string, or None")

    def _check_life(self) -> None:
        if not _member(self.restart, get_args(Restart)):
            raise InvalidChildSpec("restart", self.restart, "unknown", _one_of(get_args(Restart)))
        if not _member(self.kind, get_args(Kind)):
            raise InvalidChildSpec("kind", self.kind, "unknown", _one_of(get_args(Kind)))
        shutdown: Any = self.shutdown
        if shutdown is not None and shutdown != "brutal_kill" and not (_number(shutdown) and shutdown >= 0):
            raise InvalidChildSpec(
                "shutdown",
                shutdown,
                "neither a time nor a kill",
                'give seconds >= 0, math.inf or "brutal_kill"',
            )
        if not isinstance(self.significant, bool):
            raise InvalidChildSpec("significant", self.significant, "not a truth value", "give True or False")
        if self.significant and self.restart == "permanent":
            raise InvalidChildSpec(
                "significant",
                True,
                "a permanent child is always restarted, so its end never means the supervisor's",
                'give restart="transient" or "temporary" as well, or leave significant out',
            )
        if not (_number(self.init_timeout) and self.init_timeout > 0):
            raise InvalidChildSpec("init_timeout", self.init_timeout, "not a time", "give seconds > 0, or math.inf")
        if not (self.backoff is None or isinstance(self.backoff, Backoff)):
            raise InvalidChildSpec("backoff", self.backoff, "not a Backoff", "give Backoff(...), or None")

    def _check_runtime(self) -> None:
        if not _member(self.scheduling, get_args(Scheduling)):
            raise InvalidChildSpec("scheduling", self.scheduling, "unknown", _one_of(get_args(Scheduling)))
        mailbox: Any = self.mailbox
        whole = _number(mailbox) and (isinstance(mailbox, int) or mailbox == math.inf)
        if not (whole and mailbox >= 1):
            raise InvalidChildSpec("mailbox", mailbox, "not a number of messages", "give an int >= 1, or math.inf")
        if not _member(self.overflow, get_args(Overflow)):
            raise InvalidChildSpec("overflow", self.overflow, "unknown", _one_of(get_args(Overflow)))
        if not isinstance(self.priority, Priority):
            raise InvalidChildSpec("priority", self.priority, "not a Priority", "give ak.Priority.LOW … CRITICAL")
        if self.memory_quota is not None and (self.kind != "supervisor" or self.memory_quota < 1):
            raise InvalidChildSpec(
                "memory_quota",
                self.memory_quota,
                "a quota is for the actors below a supervisor, and more than 0",
                "give a worker max_heap_size, or put it below a supervisor that has the quota",
            )


_FIELDS = tuple(field.name for field in attrs.fields(ChildSpec))


def _not_callable(start: object) -> tuple[str, str]:
    """Why it cannot be started, and what can."""
    if isinstance(start, ChildSpec):
        return "a child spec already", "use it as it is; .with_(…) makes a changed copy"
    if inspect.iscoroutine(start):
        start.close()
        return "a coroutine, so its function was called already", f"give {start.__qualname__} and its arguments"
    if isinstance(start, (str, bytes, int, float, list, tuple, dict)) or start is None:
        return "not callable", "give an actor class or a function"
    name = type(start).__qualname__
    return f"not callable: an object of class {name}", f"give the class and its arguments: {name}, …"


def _check_intensity(max_restarts: object, max_seconds: object) -> None:
    if not isinstance(max_restarts, int) or isinstance(max_restarts, bool) or max_restarts < 0:
        raise InvalidSupervisorFlag("max_restarts", max_restarts, "give an int >= 0")
    if not _number(max_seconds) or not isinstance(max_seconds, (int, float)) or not 0 < max_seconds < math.inf:
        raise InvalidSupervisorFlag("max_seconds", max_seconds, "give seconds > 0, finite")


@attrs.frozen(kw_only=True)
class SupervisorFlags:
    """How a supervisor treats its children together.

    ``strategy``       which siblings a failing child takes along: none ("one_for_one"), all
                       ("one_for_all"), or those started after it ("rest_for_one")
    ``max_restarts``   more restarts than this within ``max_seconds`` and the supervisor gives up
    ``auto_shutdown``  end when a significant child has ended by itself: "any_significant" at the
                       first, "all_significant" at the last that is active, or "never"
    """

    strategy: Strategy = attrs.field(default="one_for_one", kw_only=False)
    max_restarts: int = 3
    max_seconds: float = 5.0
    auto_shutdown: AutoShutdown = "never"

    def __attrs_post_init__(self) -> None:
        if not _member(self.strategy, get_args(Strategy)):
            raise InvalidSupervisorFlag("strategy", self.strategy, _one_of(get_args(Strategy)))
        _check_intensity(self.max_restarts, self.max_seconds)
        if not _member(self.auto_shutdown, get_args(AutoShutdown)):
            raise InvalidSupervisorFlag("auto_shutdown", self.auto_shutdown, _one_of(get_args(AutoShutdown)))


@attrs.frozen(kw_only=True)
class DynamicFlags:
    """As SupervisorFlags, for a dynamic supervisor. ``max_children`` counts the starting and the
    restarting ones too; ``math.inf``: any number."""

    max_restarts: int = 3
    max_seconds: float = 5.0
    max_children: float = math.inf

    def __attrs_post_init__(self) -> None:
        _check_intensity(self.max_restarts, self.max_seconds)
        limit: Any = self.max_children
        whole = _number(limit) and (isinstance(limit, int) or limit == math.inf)
        if not (whole and limit >= 0):
            raise InvalidSupervisorFlag("max_children", limit, "give an int >= 0, or math.inf")


def check_spec(value: object, what: str = "spec") -> None:
    """Raise InvalidChildSpec, with the remedy, for what was given in the place of a child spec (``what``)."""
    if isinstance(value, ChildSpec):
        return
    if isinstance(value, type):
        why = "a class, not a child spec"
        remedy = f"give ak.child({value.__qualname__}, …), the class and its arguments"
    elif isinstance(value, (list, tuple, set)) or inspect.isgenerator(value):
        why, remedy = f"a {type(value).__name__}, not a child spec", "give the specs one by one: supervisor(*specs)"
    elif inspect.iscoroutine(value):
        value.close()
        why = "a coroutine, so its function was called already"
        remedy = f"give ak.child({value.__qualname__}, …), the function and its arguments"
    elif inspect.isfunction(value):
        name = value.__qualname__
        made_here = value.__module__.startswith("actorkit.")
        why = "a function, not a child spec"
        remedy = f"call it: ak.{name}(…)" if made_here else f"give ak.child({name}, …), the function and its arguments"
    elif callable(getattr(type(value), "cast", None)) and callable(getattr(type(value), "send", None)):
        why, remedy = "a ref, so it runs already", "give ak.child(…), from which the supervisor starts its own"
    else:
        name = type(value).__qualname__
        why, remedy = f"an object of class {name}, not a child spec", f"give ak.child({name}, …): a supervisor makes it"
    raise InvalidChildSpec(what, value, why, remedy)


def validate_children(specs: Iterable[ChildSpec[Any]], auto_shutdown: AutoShutdown = "never") -> None:
    """Check what one spec cannot know of itself: DuplicateChildId for an id that comes twice,
    InvalidChildSpec for a significant child where the supervisor never shuts itself down."""
    seen: KeyTable[Slot] = KeyTable(exactly=False)
    for spec in specs:
        check_spec(spec)
        try:
            place = seen.locate(spec.id)
        except (BadKey, TypeError) as error:
            raise InvalidChildSpec("id", spec.id, str(error), "give a string, a number or a tuple of those") from None
        if place.slot is not None:
            raise DuplicateChildId(spec.id)
        seen.put(place, Slot())
        if spec.significant and auto_shutdown == "never":
            raise InvalidChildSpec(
                "significant",
                True,
                f'child {shown(spec.id, 200)} is significant, and its supervisor has auto_shutdown="never"',
                'give the supervisor auto_shutdown="any_significant" or "all_significant"',
            )
