"""The names that classes have in saved traces, and what was different in earlier versions.

How it works. A class of the decision machines has a *tag*: its area and its own name, as in
``supervision.ChildExited``. The area is the package that it is in (``AREAS``), not its file, so a
class may move within its area. Everything else (a user's reason, a child's start) has the name of
its module and its own, as in ``shop.orders:Refused``.

When a class of an area gets another name, or an event loses a field, traces that were saved before
must still load: write it into ``RENAMED`` or ``DROPPED``. A class that gets a field needs no entry
if the field has a default (``trace_values.completed``). ``tests/models/traces`` has a trace of each
version.

Version 1 named classes by module, and the modules have moved since: ``V1_SUPERVISION`` says where
to.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import cache
from typing import Any, Final

__all__ = ["VERSION", "find", "modernised", "tag"]

Json = Any

VERSION: Final = 2

AREAS: Final = {
    "supervision": "actorkit.policy.supervision",
    "memory": "actorkit.policy.memory",
    "reasons": "actorkit.reasons",
    "errors": "actorkit.errors",
}

RENAMED: Final = {
    "memory.Governor": "memory.GovernorMachine",
    "memory.Kill": "memory.KillVictims",
    "memory.Report": "memory.EmitReport",
    "memory.RestartGate": "memory.RestartQueue",
    "supervision.Reply": "supervision.AnswerCall",
    "supervision.ReplyError": "supervision.FailCall",
    "supervision.Report": "supervision.ReportChild",
    "supervision.Stop": "supervision.StopRequested",
}
"""Tags that were written once, and what they are now."""

DROPPED: Final = {("supervision.ChildStarted", "info")}
"""Fields that were written once."""

V1_SUPERVISION: Final = {
    "backoff",
    "child_lives",
    "child_spec",
    "child_table",
    "dynamic_supervision",
    "restart_window",
    "strategy",
    "supervision",
    "supervision_events",
}
"""The modules of ``actorkit.policy`` that are now in the area of supervision; the others that occur
in traces are in that of memory."""


def tag(what: Any) -> str:
    """The name of a class or function in a trace."""
    module, name = what.__module__, what.__qualname__
    for area, home in AREAS.items():
        if module == home or module.startswith(f"{home}."):
            return f"{area}.{name}"
    return f"{module}:{name}"


def find(name: str) -> Any:
    """What has that name; None if it is not here. A module of the user's must have been imported: a
    file is no reason to import one."""
    module, colon, path = name.partition(":")
    if not colon:
        area, _, path = name.partition(".")
        return next((found for home in _modules(area) if (found := _within(home, path)) is not None), None)
    if module.startswith("actorkit."):
        try:
            return _within(importlib.import_module(module), path)
        except ModuleNotFoundError:
            return None
    return _within(sys.modules.get(module), path)


def modernised(lines: list[Json]) -> list[Json]:
    """A trace of any version, as this version would have written it. Raises ValueError for one that
    is newer."""
    version = lines[0].get("version", 1)
    if version > VERSION:
        raise ValueError(f"a trace of version {version}, and this actorkit reads versions up to {VERSION}: update it")
    return lines if version == VERSION else [_modern(line) for line in lines]


# --- inside ---------------------------------------------------------------------------------------


@cache
def _modules(area: str) -> tuple[Any, ...]:
    home: Any = importlib.import_module(AREAS[area]) if area in AREAS else None
    if home is None:
        return ()
    inside = pkgutil.iter_modules(getattr(home, "__path__", ()), f"{home.__name__}.")
    return (home, *(importlib.import_module(module.name) for module in inside))


def _within(module: Any, path: str) -> Any:
    found = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _modern(value: Json) -> Json:
    match value:
        case list():
            return [_modern(each) for each in value]
        case {"class": name, "fields": fields}:
            kind = _modern_name(name)
            kept = {key: _modern(each) for key, each in fields.items() if (kind, key) not in DROPPED}
            match kind, kept:
                case "supervision.AnswerCall", {"value": {"tuple": [ref, None]}}:
                    kept["value"] = ref  # a start was answered with the child's ref and its info, which was always None
            return {"class": kind, "fields": kept}
        case dict():
            return {
                key: _modern_name(each) if key in NAMING and isinstance(each, str) else _modern(each)
                for key, each in value.items()
            }
    return value


NAMING: Final = ("machine", "enum", "error", "tuple of", "named")
"""Keys whose value is a name."""


def _modern_name(name: str) -> str:
    module, _, path = name.partition(":")
    if module in ("actorkit.reasons", "actorkit.errors"):
        return f"{module.removeprefix('actorkit.')}.{path}"
    if module.startswith("actorkit.policy."):
        area = "supervision" if module.split(".")[2] in V1_SUPERVISION else "memory"
        name = f"{area}.{path}"
    return RENAMED.get(name, name)
