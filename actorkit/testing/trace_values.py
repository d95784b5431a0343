"""How values are written into a trace, and read again.

attrs classes, named tuples and enumerations are written by tag (``trace_names``) and fields,
containers as they are. What means something only to its own process (refs, calls) becomes a number,
and is read as a placeholder that is equal to itself alone: the machines compare such things and
hand them back, no more. Errors are kept by their class.

A trace is data. Reading one makes attrs classes, named tuples and enumerations, and calls nothing
else, whatever the file says.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import attrs

from ..policy.memory.candidates import Census
from ..reasons import shown
from .trace_names import find, tag

__all__ = ["Writer", "completed", "plain", "read"]

Json = Any


@attrs.frozen
class _Stranger:
    """An object of the recorded process."""

    number: int
    text: str = attrs.field(eq=False)


@attrs.frozen
class _Absent:
    """A class or function that is not here."""

    name: str

    def __call__(self, *_: object, **__: object) -> Any:
        raise TypeError(f"{self.name} is in a trace by its name only: import its module to have it")


class Writer:
    """Turns values into JSON. It remembers strangers, so that each has one number."""

    def __init__(self) -> None:
        self._strangers: dict[int, tuple[int, Any]] = {}

    def write(self, value: Any) -> Json:
        """What ``read`` reads again."""
        match value:
            case enum.Enum():
                return {"enum": tag(type(value)), "value": value.value}
            case None | bool() | int() | float() | str():
                return value
            case BaseException():
                return {"error": tag(type(value))}
            case tuple() if hasattr(value, "_fields"):
                return {"tuple of": tag(type(value)), "items": [self.write(each) for each in value]}
            case tuple():
                return {"tuple": [self.write(each) for each in value]}
            case list():
                return [self.write(each) for each in value]
            case frozenset() | set():
                return {"set": sorted((self.write(each) for each in value), key=json.dumps)}
            case Mapping():
                return {"map": [[self.write(key), self.write(each)] for key, each in value.items()]}
            case type() | FunctionType() if "<" not in value.__qualname__:
                return {"named": tag(value)}
            case _Stranger():
                return {"stranger": value.number, "text": value.text}
            case _Absent():
                return {"named": value.name}
            case Census():
                return {"census": [[self.write(key), self.write(group)] for key, group in value.groups.items()]}
        kind: Any = type(value)
        if attrs.has(kind):
            fields = {f.alias: self.write(getattr(value, f.name)) for f in attrs.fields(kind) if f.init}
            return {"class": tag(kind), "fields": fields}
        # The value is kept, so that nothing else gets its id.
        number, _ = self._strangers.setdefault(id(value), (len(self._strangers), value))
        return {"stranger": number, "text": shown(value, 200)}


def read(value: Json) -> Any:
    """The value that was written. Raises LookupError for a class that is not here."""
    match value:
        case list():
            return [read(each) for each in value]
        case {"enum": name, "value": each}:
            return _known(name, enum.Enum)(each)
        case {"tuple of": name, "items": items}:
            return _known(name, tuple)(*map(read, items))
        case {"tuple": items}:
            return tuple(map(read, items))
        case {"set": items}:
            return frozenset(map(read, items))
        case {"map": items}:
            return {read(key): read(each) for key, each in items}
        case {"named": name}:
            found = find(name)
            return _Absent(name) if found is None else found
        case {"class": name, "fields": fields}:
            return _known(name, object)(**{key: read(each) for key, each in fields.items()})
        case {"stranger": number, "text": text}:
            return _Stranger(number, text)
        case {"census": groups}:
            census = Census()
            census.groups.update((read(key), read(group)) for key, group in groups)
            return census
        case {"answers": answers}:
            return {read(key): read(each) for key, each in answers}.get
    return value


def plain(value: Json) -> Json:
    """For comparisons: without the texts, which are for people (``because``)."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        if "stranger" in value:
            return value["stranger"]
        return {key: plain(each) for key, each in value.items() if key != "because"}
    return value


def completed(value: Json) -> Json:
    """For comparisons: with the fields that classes have got since it was written, at their
    defaults. A class that is not here stays as it is."""
    match value:
        case list():
            return [completed(each) for each in value]
        case {"class": name, "fields": fields}:
            whole = {key: completed(each) for key, each in fields.items()}
            kind: Any = find(name)
            if isinstance(kind, type) and attrs.has(kind):
                missing = [f for f in attrs.fields(kind) if f.init and f.alias not in fields]
                if missing and all(f.default is not attrs.NOTHING for f in missing):
                    # It is made, since a default may be converted, or depend on other fields.
                    made = read(value)
                    whole |= {f.alias: Writer().write(getattr(made, f.name)) for f in missing}
            return {"class": name, "fields": whole}
        case dict():
            return {key: completed(each) for key, each in value.items()}
    return value


def _known(name: str, base: type) -> Any:
    """The class of that name, if it is one of those that a trace is made of. Raises LookupError."""
    kind = find(name)
    if not isinstance(kind, type) or not issubclass(kind, base) or not (base is not object or attrs.has(kind)):
        raise LookupError(f"{name} is in a trace, and no such class is here: import its module before the replay")
    return kind
