"""What a node is opened with: every option once, with its default, its check and its meaning.

``NodeOptions`` are the same names as keyword arguments, for the signatures of those who open nodes;
a type checker sees that ``NodeSettings`` takes them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any, TypedDict

import attrs

from ...policy.memory.heap_limit import HeapLimit, as_heap_limit
from ...policy.seconds import as_seconds
from ...reasons import shown
from ..base.trio_internals import FEATURES, Features

__all__ = ["NodeOptions", "NodeSettings", "check_options"]


def _seconds(least: float = 0.0) -> Any:
    def check(_: object, option: attrs.Attribute[float], value: object) -> None:
        as_seconds(value, option.name, least=least)

    return check


def _text(_: object, __: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"name={shown(value, 100)}: a node's name is a text")


def _finite(_: object, option: attrs.Attribute[float], value: object) -> None:
    if as_seconds(value, option.name) == math.inf:
        raise ValueError(f"{option.name}=inf: trio would never run anything else; give seconds, as 0.0005")


def _yes_or_no(_: object, option: attrs.Attribute[Any], value: object) -> None:
    if not (isinstance(value, bool) or (value is None and option.default is None)):
        either = "True, False or None" if option.default is None else "True or False"
        raise TypeError(f"{option.name}={shown(value, 100)} is neither yes nor no: give {either}")


def _count(least: int) -> Any:
    def check(_: object, option: attrs.Attribute[int], value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{option.name}={shown(value, 100)} is no number: give an int >= {least}")
        if value < least:
            raise ValueError(f"{option.name}={value} is too few: give an int >= {least}")

    return check


@attrs.frozen(kw_only=True)
class NodeSettings:
    """The options of one node. Raises TypeError or ValueError for a value that cannot be one."""

    #: The node's part in pids and in messages.
    name: str = attrs.field(default="node", validator=_text)
    #: Seconds for the whole orderly stop; what still runs then is killed.
    stop_timeout: float = attrs.field(default=30.0, validator=_seconds())
    #: The default deadline of calls, in seconds.
    call_timeout: float = attrs.field(default=5.0, validator=_seconds(0.001))
    #: Seconds after which a killed actor that still runs is reported as unkillable.
    kill_timeout: float = attrs.field(default=5.0, validator=_seconds())
    #: How long the pool works before trio looks at I/O. Other tasks are late by about two slices.
    slice_seconds: float = attrs.field(default=0.000_5, validator=_finite)
    #: Messages that one actor handles in a row while others wait.
    quantum: int = attrs.field(default=64, validator=_count(1))
    #: Workers without work that are kept.
    max_idle: int = attrs.field(default=16, validator=_count(0))
    #: Which private names of trio are used; ``Features.degraded()`` is for tests.
    features: Features = FEATURES
    #: What each worker may hold unless its spec says otherwise. None: no limit.
    max_heap_size: HeapLimit | None = attrs.field(default=None, converter=as_heap_limit)
    #: Do actors with a limit get pages of their own, which go back to the system when they die?
    own_heaps: bool = attrs.field(default=True, validator=_yes_or_no)
    #: Is the thread of every cast and send checked? None: if Python runs in its development mode
    #: (``-X dev``).
    debug: bool | None = attrs.field(default=None, validator=_yes_or_no)


class NodeOptions(TypedDict, total=False):
    """The fields of ``NodeSettings``, as keyword arguments."""

    name: str
    stop_timeout: float
    call_timeout: float
    kill_timeout: float
    slice_seconds: float
    quantum: int
    max_idle: int
    features: Features
    max_heap_size: HeapLimit | int | str | None
    own_heaps: bool
    debug: bool | None


def check_options(options: Mapping[str, object], open_node: Callable[..., Any]) -> None:
    """Raise TypeError for an option that no node has, with what may have been meant.

    Args:
        options: what ``open_node`` got besides its own options.
        open_node: the function that got them: it takes its own keyword arguments too.
    """
    fields = [option.name for option in attrs.fields(NodeSettings)]
    for name in options:
        if name not in fields:
            own = [one.name for one in signature(open_node).parameters.values() if one.kind is one.KEYWORD_ONLY]
            near = get_close_matches(name, own + fields)
            remedy = f"did you mean {' or '.join(near)}?" if near else f"its options are {', '.join(own + fields)}"
            raise TypeError(f"open_node() got an unexpected option {name!r}: {remedy}")
