"""Limits: how much a listener and each of its connections may hold, and for how long."""

from __future__ import annotations

import math
from typing import Any, Final, Literal, get_args

import attrs

from ..errors import InvalidChildSpec
from ..policy.field_checks import is_number, is_one_of

__all__ = ["BACKLOG", "Limits", "SlowReader", "check_count"]

SlowReader = Literal["disconnect", "drop"]

BACKLOG: Final = 65_535
"""As much as Linux allows (``net.core.somaxconn``). When the backlog is full, the kernel drops a
newcomer's first packet, and the newcomer tries again a second later."""


def check_count(name: str, value: Any) -> None:
    """Raises InvalidChildSpec for what is not a number of bytes or connections."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidChildSpec(name, value, "not a number of bytes or connections", "give an int >= 1")


def _is_count(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    check_count(field.name, value)


def _is_count_or_infinite(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value != math.inf:
        check_count(field.name, value)


def _is_time(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if not is_number(value) or value < 0:
        raise InvalidChildSpec(field.name, value, "not a time", "give seconds >= 0")


def _is_slow_reader(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if not is_one_of(value, get_args(SlowReader)):
        raise InvalidChildSpec(field.name, value, "unknown", 'give "disconnect" or "drop"')


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of one listener. Raises InvalidChildSpec for a value that cannot be."""

    max_children: float = attrs.field(default=10_000, validator=_is_count_or_infinite)
    """Connections at a time; one more is refused."""
    backlog: int = attrs.field(default=BACKLOG, validator=_is_count)
    """Connections that the kernel holds until they are accepted."""
    max_unsent: int = attrs.field(default=65_536, validator=_is_count)
    """Bytes of one connection that were written and that the kernel has not taken."""
    slow_reader: SlowReader = attrs.field(default="disconnect", validator=_is_slow_reader)
    """What happens to one write more. ``disconnect``: the actor ends with Failure; ``drop``: the
    data is dropped, and ``write`` returns False."""
    handshake: float = attrs.field(default=5.0, validator=_is_time)
    """Seconds that a peer has for its TLS handshake."""
    linger: float = attrs.field(default=2.0, validator=_is_time)
    """Seconds in which buffered output may still go out after an orderly end."""
