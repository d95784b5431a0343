"""How a supervisor treats its children together: the flags of static and of dynamic supervisors.

They are checked when they are made, in the caller's stack: flags that exist are valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import attrs

from ...errors import InvalidSupervisorFlag
from ..field_checks import choose_from, is_count, is_number, is_one_of

__all__ = ["AutoShutdown", "DynamicFlags", "Strategy", "SupervisorFlags"]

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]

Check = Callable[[Any, Any, Any], None]
W = TypeVar("W", bound=str)


def _checked(accepts: Callable[[Any], bool], remedy: str) -> Check:
    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if not accepts(value):
            raise InvalidSupervisorFlag(field.name, value, remedy)

    return check


def _one_of(choices: tuple[W, ...]) -> Callable[[Any, attrs.Attribute[W], W], None]:
    return _checked(lambda value: is_one_of(value, choices), choose_from(choices))


_check_restarts = _checked(lambda value: is_count(value, 0) and value != math.inf, "give an int >= 0")
_check_seconds = _checked(lambda value: is_number(value) and 0 < value < math.inf, "give seconds > 0, finite")


@attrs.frozen(kw_only=True)
class SupervisorFlags:
    """How a static supervisor treats its children together.

    ``strategy``       which siblings a failing child takes along: none ("one_for_one"), all
                       ("one_for_all"), or those that were started after it ("rest_for_one")
    ``max_restarts``   more restarts than this within ``max_seconds``, and the supervisor gives up
    ``auto_shutdown``  the supervisor ends when a significant child has ended by itself:
                       "any_significant" at the first one, "all_significant" at the last one that
                       is active; or "never"
    """

    strategy: Strategy = attrs.field(default="one_for_one", validator=_one_of(get_args(Strategy)), kw_only=False)
    max_restarts: int = attrs.field(default=3, validator=_check_restarts)
    max_seconds: float = attrs.field(default=5.0, validator=_check_seconds)
    auto_shutdown: AutoShutdown = attrs.field(default="never", validator=_one_of(get_args(AutoShutdown)))


@attrs.frozen(kw_only=True)
class DynamicFlags:
    """As SupervisorFlags, for a dynamic supervisor. ``max_children`` counts the children that are
    starting or restarting too; ``math.inf``: any number."""

    max_restarts: int = attrs.field(default=3, validator=_check_restarts)
    max_seconds: float = attrs.field(default=5.0, validator=_check_seconds)
    max_children: float = attrs.field(
        default=math.inf, validator=_checked(lambda value: is_count(value, 0), "give an int >= 0, or math.inf")
    )
