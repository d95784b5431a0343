from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from actorkit.heap.python.walk import CensusGroups, Figures, RecordPlan

_message_bound: object

def measure(
    roots: Sequence[object],
    mailbox: Sequence[object],
    frames: tuple[FrameType, ...],
    stacks: tuple[int, ...],
    limit: int,
    cycles: bool,
    edge_cap: int,
    record: int,
    /,
) -> Figures: ...
def census(actors: Sequence[tuple[Sequence[object], Sequence[object]]], /) -> list[int]: ...
def census_rows(records: Sequence[object], plan: RecordPlan, best: int | None, floor: int, /) -> CensusGroups: ...
def size_of(*objects: object) -> int: ...
def register(
    stop_types: tuple[type, ...],
    adapters_by_type: tuple[tuple[type, Callable[[Any], tuple[int, Sequence[object]]]], ...],
    adapters_by_name: tuple[tuple[bytes, Callable[[Any], tuple[int, Sequence[object]]]], ...],
    /,
) -> None: ...
