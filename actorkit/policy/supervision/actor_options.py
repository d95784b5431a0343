"""ActorOptions: what a child spec says about the running actor, as one value.

How an option gets from the author to where it has effect. A ``ChildSpec`` is an ``ActorOptions``
with more: what to start, and what its supervisor does with it. ``ChildSpec.actor_options()`` takes
the part that belongs to the actor. A ``Starter`` hands it on whole, and it becomes ``kind.options``
of the actor's kind. It is also the key under which starters are kept, so two children that differ
in any option never share one.

To add an option, add a field here, with its default and its check, and a line to
``ChildSpecChanges`` and to the docstring of ``ChildSpec``. Then read
``record.kind.options.<field>`` where it has effect. What a hot path reads has a slot of its own in
``ActorKind``, where some have another name: ``mailbox`` is ``kind.bound`` there, ``kind`` is
``kind.role``, ``id`` is ``kind.child_id``, and ``scheduling`` is the run queue ``kind.runq``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar, get_args

import attrs

from ...errors import InvalidChildSpec
from ..field_checks import choose_from, is_count, is_number, is_one_of
from ..memory.heap_limit import HeapLimit, as_heap_limit, bytes_of
from ..memory.memory_sample import Priority

__all__ = [
    "NOTHING",
    "ActorOptions",
    "Kind",
    "SCHEDULING",
    "Overflow",
    "Scheduling",
    "checked",
    "checked_mapping",
    "frozen_mapping",
    "is_sound",
    "one_of",
]

Kind = Literal["worker", "supervisor"]
Scheduling = Literal["max", "high", "normal", "low"]
Overflow = Literal["reject", "wait", "drop_oldest", "drop_newest"]

SCHEDULING: Final[tuple[Scheduling, ...]] = get_args(Scheduling)
"""Most urgent first: a scheduler has one run queue for each, in this order."""

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

Check = Callable[[Any, Any, Any], None]
W = TypeVar("W", bound=str)


def checked(accepts: Callable[[Any], bool], why: str, remedy: str) -> Check:
    """A validator: InvalidChildSpec, with ``why`` and ``remedy``, unless ``accepts`` says yes."""

    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if not accepts(value):
            raise InvalidChildSpec(field.name, value, why, remedy)

    return check


def one_of(choices: tuple[W, ...]) -> Callable[[Any, attrs.Attribute[W], W], None]:
    """A validator: one of these words."""
    return checked(lambda value: is_one_of(value, choices), "unknown", choose_from(choices))


def is_sound(child_id: object) -> bool:
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
    # Exactly a string: one of a subclass has code of its own, which would run when its holder ends.
    return str.__str__(value) if isinstance(value, str) else value


def frozen_mapping(value: Any) -> Any:
    """A converter: a copy that nobody can change."""
    if isinstance(value, Mapping):
        return MappingProxyType(dict(value)) if value else NOTHING
    return value


checked_mapping: Final = checked(
    lambda value: value is NOTHING or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)),
    "not a mapping with strings for keys",
    "give a dict like {'x': 1}",
)


@attrs.frozen(kw_only=True, getstate_setstate=False)
class ActorOptions:
    """How an actor is to run, whoever starts it. ``ChildSpec`` says what each option means."""

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, which cannot do mappings that nobody can change."""
        values = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {name: dict(v) if isinstance(v, MappingProxyType) else v for name, v in values.items()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for field in attrs.fields(type(self)):
            value = state[field.name]
            mapping = field.converter is frozen_mapping
            object.__setattr__(self, field.name, frozen_mapping(value) if mapping else value)

    #: Names the child within its supervisor, and in errors and reports.
    id: object = attrs.field(
        default=None,
        validator=checked(
            is_sound,
            "not hashable, or its own code (__hash__, __eq__, __repr__) raises",
            "give a string, a number or a tuple of those",
        ),
    )
    #: Whether it has children of its own.
    kind: Kind = attrs.field(default="worker", validator=one_of(get_args(Kind)))
    #: The name that it is registered under.
    name: str | None = attrs.field(
        default=None,
        converter=_name,
        validator=checked(
            lambda value: value is None or (isinstance(value, str) and value != ""),
            "not a name",
            "give a non-empty string, or None",
        ),
    )
    #: Seconds that its ``init`` may take.
    init_timeout: float = attrs.field(
        default=5.0,
        validator=checked(lambda value: is_number(value) and value > 0, "not a time", "give seconds > 0, or math.inf"),
    )
    #: Its share of the processor.
    scheduling: Scheduling = attrs.field(default="normal", validator=one_of(get_args(Scheduling)))
    #: How many messages wait in its mailbox at most.
    mailbox: float = attrs.field(
        default=1024,
        validator=checked(
            lambda value: is_count(value, 1), "not a number of messages", "give an int >= 1, or math.inf"
        ),
    )
    #: What becomes of one more.
    overflow: Overflow = attrs.field(default="reject", validator=one_of(get_args(Overflow)))
    #: Bytes that it may hold; None: the node's default for workers.
    max_heap_size: HeapLimit | None = attrs.field(default=None, converter=_heap_limit)
    #: How long it is spared when the node runs out of memory.
    priority: Priority = attrs.field(
        default=Priority.NORMAL,
        validator=checked(
            lambda value: isinstance(value, Priority), "not a Priority", "give ak.Priority.LOW … CRITICAL"
        ),
    )
    #: Of a supervisor: bytes that all actors below it may hold together.
    memory_quota: int | None = attrs.field(default=None, converter=_quota)
    #: For the layers above the runtime.
    options: Mapping[str, object] = attrs.field(
        default=NOTHING, converter=frozen_mapping, validator=checked_mapping, hash=False
    )
