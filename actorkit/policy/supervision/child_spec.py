"""What a supervisor is told about a child.

Everything is checked here, when the spec is made: in the caller's stack, before any supervisor is
involved. A spec that exists is valid, so the machines that use specs check only what takes two of
them (``validate_children``).

Specs are immutable and hold no state; the same spec may be given to many supervisors. ``with_``
makes changed copies. What the author left open (``id``, ``shutdown``) stays open in the copy: the
id of the copy follows its new name, its shutdown its new kind.

The options of the running actor are the fields of ``ActorOptions``; what is added here is what to
start, and what the supervisor does with it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, Generic, Literal, Self, TypedDict, TypeVar, Unpack, get_args

import attrs

from ...errors import BadKey, DuplicateChildId, InvalidChildSpec
from ...reasons import shown
from ..field_checks import is_number
from ..key_table import KeyTable, Slot
from ..memory.heap_limit import HeapLimit
from ..memory.memory_sample import Priority
from .actor_options import (
    NOTHING,
    ActorOptions,
    Kind,
    Overflow,
    Scheduling,
    checked,
    checked_mapping,
    frozen_mapping,
    one_of,
)
from .backoff import Backoff
from .supervisor_flags import AutoShutdown

__all__ = ["ChildSpec", "ChildSpecChanges", "Restart", "ShutdownTime", "check_spec", "validate_children"]

Restart = Literal["permanent", "transient", "temporary"]
ShutdownTime = float | Literal["brutal_kill"]

WORKER_SHUTDOWN: Final = 5.0

# Covariant: a spec only ever yields its actor, so a spec of a subclass does for one of its base.
A_co = TypeVar("A_co", covariant=True)


class ChildSpecChanges(TypedDict, total=False):
    """The keyword arguments of ``ChildSpec.with_``: its fields, in the order for people."""

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


def _as_listed(cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """The fields in the order of ``ChildSpecChanges``, which must list each of them."""
    order = list(ChildSpecChanges.__annotations__)
    missing = [field.name for field in fields if field.init and field.name not in order]
    if missing:
        raise TypeError(f"{cls.__name__} has fields that ChildSpecChanges does not list: {', '.join(missing)}")
    return sorted(fields, key=lambda field: order.index(field.name) if field.init else len(order))


def _tuple(value: Any) -> Any:
    # Only what is plainly a sequence of arguments: tuple("ab") would be two arguments.
    return tuple(value) if isinstance(value, list) else value


def _check_start(_: object, __: object, start: Any) -> None:
    if not callable(start):
        raise InvalidChildSpec("start", start, *_not_callable(start))


@attrs.frozen(kw_only=True, field_transformer=_as_listed, getstate_setstate=False)
class ChildSpec(ActorOptions, Generic[A_co]):
    """How to start one child, and how to treat it.

    ``start``, ``args``, ``kwargs``  what to call, and with what
    ``id``             names the child within its supervisor (default: ``name``, else the qualified
                       name of ``start``)
    ``restart``        "permanent": always; "transient": only after an abnormal end; "temporary":
                       never, and the spec is forgotten when the child ends
    ``shutdown``       seconds that it may take to end when asked, then it is killed; ``math.inf``:
                       as long as it likes; "brutal_kill": it is killed at once. Default: 5 for a
                       worker, infinity for a supervisor, which needs the time for its own children
    ``kind``           "worker" or "supervisor"
    ``significant``    its end may end the supervisor (see ``auto_shutdown`` of ``ak.supervisor``)
    ``name``           the name that it is registered under, if any
    ``init_timeout``   seconds that its start may take
    ``backoff``        the waits before its restarts; None: restart at once, as OTP does
    ``scheduling``     its share of the processor: "max", "high", "normal" or "low"
    ``mailbox``        how many messages it holds; ``math.inf``: any number
    ``overflow``       what happens to one more. "reject": the sender learns of it. "wait": the
                       same, but calls wait for room, within their deadline. "drop_oldest" and
                       "drop_newest" lose a message; that is counted, and the sender not troubled
    ``max_heap_size``  bytes that it may hold: an int, text such as ``"256 KiB"``, or a
                       ``HeapLimit``. None: the node's default, which binds workers only
    ``priority``       which actors are given up first when the node runs out of memory:
                       ``Priority.LOW`` before NORMAL before HIGH; CRITICAL ones are never killed
                       for memory's sake. (Not to be confused with ``scheduling``.)
    ``memory_quota``   for a supervisor: bytes that all actors below it may hold together. Over it,
                       the least important and largest of them are killed. None: no quota
    ``options``        for the layers above; the runtime ignores it

    It can be pickled as far as ``start`` and the arguments can.

    Raises InvalidChildSpec for a value that cannot be, TypeError for an unknown field.
    """

    start: Callable[..., A_co] = attrs.field(kw_only=False, validator=_check_start)
    args: tuple[Any, ...] = attrs.field(
        default=(),
        converter=_tuple,
        validator=checked(
            lambda value: isinstance(value, tuple), "not a tuple", "give a tuple of arguments: args=(x,)"
        ),
    )
    kwargs: Mapping[str, Any] = attrs.field(
        default=NOTHING, converter=frozen_mapping, validator=checked_mapping, hash=False
    )
    restart: Restart = attrs.field(default="permanent", validator=one_of(get_args(Restart)))
    shutdown: ShutdownTime | None = attrs.field(
        default=None,
        validator=checked(
            lambda value: value is None or value == "brutal_kill" or (is_number(value) and value >= 0),
            "neither a time nor a kill",
            'give seconds >= 0, math.inf or "brutal_kill"',
        ),
    )
    significant: bool = attrs.field(
        default=False,
        validator=checked(lambda value: isinstance(value, bool), "not a truth value", "give True or False"),
    )
    backoff: Backoff | None = attrs.field(
        default=None,
        validator=checked(
            lambda value: value is None or isinstance(value, Backoff), "not a Backoff", "give Backoff(...), or None"
        ),
    )
    #: Which of ``id`` and ``shutdown`` the author left open.
    _left_open: tuple[str, ...] = attrs.field(init=False, default=(), eq=False, repr=False)
    #: What ``actor_options`` has made.
    _actor_options: ActorOptions | None = attrs.field(init=False, default=None, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.significant and self.restart == "permanent":
            raise InvalidChildSpec(
                "significant",
                True,
                "a permanent child is always restarted, so its end never means the supervisor's",
                'give restart="transient" or "temporary" as well, or leave significant out',
            )
        if self.memory_quota is not None and (self.kind != "supervisor" or self.memory_quota < 1):
            raise InvalidChildSpec(
                "memory_quota",
                self.memory_quota,
                "a quota is for the actors below a supervisor, and more than 0",
                "give a worker max_heap_size, or put it below a supervisor that has the quota",
            )
        if self.id is None:
            self._leave_open("id", self._default_id())
        if self.shutdown is None:
            self._leave_open("shutdown", WORKER_SHUTDOWN if self.kind == "worker" else math.inf)

    def with_(self, **changes: Unpack[ChildSpecChanges]) -> Self:
        """A copy with ``changes``. Raises what the constructor raises."""
        given: dict[str, Any] = dict.fromkeys(self._left_open)
        return attrs.evolve(self, **{**given, **changes})

    def with_args(self, *args: Any) -> Self:
        """A copy with other arguments, for one start. As nothing else changes, nothing is checked
        again: it costs a fifth of what ``with_`` does."""
        copy = object.__new__(type(self))
        for put, value in zip(_PUT_FIELDS, _GET_FIELDS(self), strict=True):
            put(copy, value)
        object.__setattr__(copy, "args", args)
        return copy

    @property
    def shutdown_time(self) -> ShutdownTime:
        """``shutdown``, for type checkers: it is None only while the spec is being made."""
        assert self.shutdown is not None
        return self.shutdown

    def actor_options(self) -> ActorOptions:
        """What concerns the running actor. It is the same object each time."""
        options = self._actor_options
        if options is None:
            options = object.__new__(ActorOptions)  # all of it has been checked
            for name in _OF_THE_ACTOR:
                object.__setattr__(options, name, getattr(self, name))
            object.__setattr__(self, "_actor_options", options)
        return options

    def _leave_open(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)
        object.__setattr__(self, "_left_open", (*self._left_open, field))

    def _default_id(self) -> object:
        if self.name is not None:
            return self.name
        name = getattr(self.start, "__qualname__", None)
        if name is None:
            raise InvalidChildSpec(
                "id", None, "start has no __qualname__ to make an id of", "give one: ak.ChildSpec(start, id=…)"
            )
        return name


_OF_THE_ACTOR: Final = tuple(field.name for field in attrs.fields(ActorOptions))
_FIELDS: Final = tuple(field.name for field in attrs.fields(ChildSpec))
_GET_FIELDS: Final = attrgetter(*_FIELDS)
_PUT_FIELDS: Final = tuple(getattr(ChildSpec, name).__set__ for name in _FIELDS)


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


def check_spec(value: object, what: str = "spec") -> None:
    """Raise InvalidChildSpec, with the remedy, for what was given in place of a child spec, as
    argument ``what``."""
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
    """Check what a spec cannot know by itself. Raises DuplicateChildId for an id that comes twice,
    and InvalidChildSpec for a significant child where the supervisor never shuts itself down."""
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
