"""The partition supervisor: n children of one spec, and refs that pick one of them by a key.

It is a static supervisor whose children have the ids 0 to n-1. Beside the machine's table it keeps
them in a list, so ``partitioned`` finds the child for a key with one name lookup, one remainder and
one index, at each send. A key goes to the same partition as long as the process lives. A partition
that restarts keeps its number and loses its state.

Use it where one actor is the bottleneck and its work falls apart by key: a cache, a counter, or a
dynamic supervisor that starts too many children. Python runs on one core, so partitions do not
compute faster; they wait side by side. Source: Elixir's PartitionSupervisor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import InvalidChildSpec, InvalidSupervisorFlag
from ..policy.supervision.child_spec import ChildSpec, validate_children
from ..policy.supervision.supervisor_flags import Strategy, SupervisorFlags
from ..reasons import ExitReason, shown
from ..runtime.actor.dispatch import call
from ..runtime.actor.names import ServiceRef, checked_class, checked_name
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from ..runtime.actor.states import DEAD
from .static import Supervisor, supervisor

__all__ = ["PartitionSupervisor", "partition_supervisor", "partitioned"]

A = TypeVar("A")


def partition_supervisor(
    spec: ChildSpec[Any],
    *,
    name: str,
    partitions: int | None = None,
    with_arguments: Callable[[tuple[Any, ...], int], tuple[Any, ...]] | None = None,
    strategy: Strategy = "one_for_one",
    max_restarts: int = 3,
    max_seconds: float = 5.0,
) -> ChildSpec[PartitionSupervisor]:
    """The spec of a supervisor of ``partitions`` children of ``spec``, with the ids 0, 1, 2 …

    Args:
        spec: that of each partition. Its ``id`` is replaced. It may have no ``name``, since they
            cannot all have the same one.
        name: the supervisor's name on its node, by which ``partitioned`` finds it.
        partitions: how many; default: one for each processor.
        with_arguments: gets the spec's arguments and the number of a partition, and returns the
            arguments of that partition.
        strategy, max_restarts, max_seconds: as in ``ak.supervisor``.

    Raises InvalidChildSpec or InvalidSupervisorFlag at once, or what ``with_arguments`` raises.

    Example::

        ak.partition_supervisor(ak.child(Counter), name="counters", partitions=8)
        …
        ak.partitioned(Counter, "counters", user_id).cast(Counter.add, 1)
    """
    number: Any = (os.cpu_count() or 1) if partitions is None else partitions
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InvalidSupervisorFlag("partitions", partitions, "give an int >= 1, or None for one per processor")
    validate_children((spec,))
    if spec.name is not None:
        raise InvalidChildSpec(
            "name", spec.name, "every partition would take the same name", "leave it out; use ak.partitioned(…)"
        )
    children = []
    for index in range(number):
        args = spec.args if with_arguments is None else with_arguments(spec.args, index)
        children.append(spec.with_(id=index, args=args))
    flags = SupervisorFlags(strategy, max_restarts=max_restarts, max_seconds=max_seconds)
    common = supervisor()
    return ChildSpec(
        PartitionSupervisor,
        args=(flags, tuple(children)),
        name=name,
        kind="supervisor",
        mailbox=common.mailbox,
        init_timeout=common.init_timeout,
    )


class PartitionSupervisor(Supervisor):
    """A running partition supervisor. Administer it like any ``Supervisor``: the ids of its
    children are the numbers of the partitions."""

    def __init__(self, flags: SupervisorFlags, children: tuple[ChildSpec[Any], ...]) -> None:
        super().__init__(flags, children)
        self.slots: list[Record[Any] | None] = [None] * len(children)

    @call
    def partitions(self) -> int:
        """How many partitions there are, whether they run or not. Source:
        PartitionSupervisor.partitions/1."""
        return len(self.slots)

    def partition(self, index: int) -> Record[Any] | None:
        """The partition of that number, if it runs."""
        record = self.slots[index]
        return None if record is None or record.state == DEAD else record

    def _outcome(self, record: Record[Any], reason: ExitReason | None, ignored: bool) -> None:
        child_id = record.kind.child_id
        if reason is None and not ignored and isinstance(child_id, int) and 0 <= child_id < len(self.slots):
            self.slots[child_id] = record
        super()._outcome(record, reason, ignored)


class PartitionedRef(ServiceRef[A]):
    """The partition that a key belongs to, at the moment of each send."""

    __slots__ = ("value",)

    kind_of_service = "partition supervisor"

    def __init__(self, supervisor: str, value: int, key: object) -> None:
        super().__init__(supervisor, shown(key, 100))
        self.value = value

    def __repr__(self) -> str:
        return f"<partition of {self.name}>"

    def __eq__(self, other: object) -> bool:
        """Two are equal if they lead to the same place, whatever the number of partitions is."""
        return isinstance(other, PartitionedRef) and other.service == self.service and other.value == self.value

    def __hash__(self) -> int:
        return hash((PartitionedRef, self.service, self.value))

    def service_class(self) -> type[PartitionSupervisor]:
        return PartitionSupervisor

    def look_up(self, service: PartitionSupervisor) -> Record[Any] | None:
        return service.partition(self.value % len(service.slots))

    def why_not(self, service: PartitionSupervisor) -> str:
        return f"partition {self.value % len(service.slots)} of {self.service!r} does not run now"


def partitioned(cls: Callable[..., A], supervisor_name: str, key: object) -> Ref[A]:
    """A ref to the partition that ``key`` belongs to, of the partition supervisor of that name;
    ``cls`` gives its type.

    An int goes to partition ``abs(key) % n``, so a number below n picks that very partition. Any
    other key goes by its ``hash``, which is stable within the process and not beyond it
    (``PYTHONHASHSEED``): do not store which key belongs to which partition. While the partition
    restarts, ``cast`` and ``send`` return False and ``call`` raises CalleeDied with NoProc. Raises
    TypeError at once for a key that is not hashable.

    Source: ``{:via, PartitionSupervisor, {name, key}}``.
    """
    checked_name(supervisor_name, "ak.partitioned", "the class, the supervisor's name, then the key")
    checked_class(cls, "ak.partitioned", "the class itself, the supervisor's name, then the key")
    return PartitionedRef(supervisor_name, abs(int(key)) if isinstance(key, int) else hash(key), key)
