"""Crash reports, to ``logging`` (logger ``actorkit``), bounded before they are formatted.

A report must not be what kills the node: one state of 10 MB, formatted, has taken a gigabyte. So
the state is rendered with ``reprlib``'s limits on depth and length, of the mailbox only the length
is reported, and every text is cut. An actor can shorten or hide its state with ``format_status``.
The library sets up no logging: without a handler, Python prints errors to stderr.
"""

from __future__ import annotations

import logging
import reprlib
from typing import Any, Final

from ...log import log
from ...reasons import Crash, ExitReason, bounded, shown, text_of
from .record import Record

__all__ = ["render", "render_state", "report_crash", "report_supervisor", "report_unexpected", "report_unkillable"]

_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdeque = _SHORT.maxdict = 6
_PLAIN: Final = (str, bytes, bytearray, int, float, bool, type(None), list, tuple, dict, set, frozenset)


def render(value: object, limit: int = 400) -> str:
    """``value`` as text of at most ``limit`` characters, without ever formatting all of a large
    one.

    Objects of the user's are shown by type only: their ``__repr__`` may be as large as what they
    hold.
    """
    try:
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 400:
            return f"<int of {value.bit_length()} bits>"
        if isinstance(value, bytearray) or type(value) not in _PLAIN:
            return f"<{type(value).__qualname__}>"
        if isinstance(value, (list, tuple, set, frozenset)):
            return bounded(_render_sequence(value), limit)
        if isinstance(value, dict):
            return bounded(_render_mapping(value), limit)
        return bounded(_SHORT.repr(value[:200] if isinstance(value, (str, bytes)) else value), limit)
    except BaseException as error:
        return f"<{type(value).__qualname__}: rendering raised {type(error).__qualname__}>"


def _render_sequence(values: Any) -> str:
    shown = []
    for count, value in enumerate(values):
        if count == 6:
            shown.append(f"… {len(values) - 6} more")
            break
        shown.append(render(value, 80) if type(value) not in (list, tuple, dict, set, frozenset) else _sized(value))
    return f"{type(values).__name__}({', '.join(shown)})"


def _render_mapping(values: dict[Any, Any]) -> str:
    shown = []
    for count, (key, value) in enumerate(values.items()):
        if count == 6:
            shown.append(f"… {len(values) - 6} more")
            break
        text = render(value, 80) if type(value) not in (list, tuple, dict, set, frozenset) else _sized(value)
        shown.append(f"{render(key, 40)}: {text}")
    return "{" + ", ".join(shown) + "}"


def _sized(value: Any) -> str:
    return f"<{type(value).__qualname__} of {len(value)}>"


def render_state(record: Record[Any]) -> str:
    """The actor's state for a report, through its ``format_status`` if it has one."""
    obj = record.obj
    if obj is None:
        return "<gone>"
    try:
        status = obj.format_status()
    except BaseException as error:
        return f"<format_status raised {type(error).__qualname__}>"
    return render(status, 1_200)


def report_crash(record: Record[Any], reason: ExitReason) -> None:
    """An actor ended abnormally by its own doing."""
    if not log.wants(logging.ERROR):
        return
    parent = record.parent
    relations = record.relations
    text = f"actor {record.pid} ({record.started_as}) ends: {text_of(reason, 600)}"
    details = [
        f"parent: {parent.pid if parent is not None else 'none'}",
        f"mailbox: {record.mailbox_length} messages",
        f"links: {len(relations.links) if relations is not None and relations.links else 0}",
        f"state: {render_state(record)}",
    ]
    handling = record.kind.engine.handling
    if handling is not None and handling.record is record:
        details.insert(1, handling.told())
    if isinstance(reason, Crash) and reason.traceback:
        details.append(reason.traceback.rstrip())
    log.error("%s\n  %s", text, "\n  ".join(details))


def report_unkillable(record: Record[Any], seconds: float) -> None:
    log.error(
        "actor %s (%s) was killed %.1f s ago and still runs: it is in a shielded scope, in a thread, in a "
        "blocking loop, or "
        "swallows cancellation; its node cannot stop before it ends",
        record.pid,
        record.started_as,
        seconds,
    )


def report_supervisor(
    level: int, supervisor: str, kind: str, child_id: object, reason: ExitReason | None, because: str
) -> None:
    """OTP's four fixed fields: supervisor, context, reason, offender."""
    if not log.wants(level):
        return
    log.say(
        level,
        "supervisor %s: %s, child %s, reason: %s (%s)",
        supervisor,
        kind,
        shown(child_id, 120),
        text_of(reason, 600),
        because,
    )


def report_unexpected(record: Record[Any], message: object) -> None:
    log.warning("actor %s (%s) has no handle_info; dropped %s", record.pid, record.started_as, render(message))
