"""Trace: what a decision machine was told and what it answered, to keep in a file and to replay.

The machines in ``actorkit.policy`` are deterministic: the same events (with their ``now``, and with the random numbers
that were drawn) give the same actions. So a trace of a supervisor or a governor that did something strange in the
field is a test: it is replayed at a desk, without trio, clock or node, as often as one likes.

How it works. A trace stands in a machine's place and hands every event on. Events and actions are written as JSON, one
line each: attrs classes, named tuples and enumerations by name and fields, containers as they are. What means something
only to its own process (refs, calls) becomes a number, and comes back as a placeholder that is equal to itself alone:
the machines compare such things and hand them back, no more. Errors in answers are kept by their class.
"""

from __future__ import annotations

import enum
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import attrs

from ..policy.memory.candidates import Census
from ..policy.memory.governor_events import CensusTaken
from ..reasons import bounded

__all__ = ["Diverged", "Trace"]

Json = Any


class Diverged(AssertionError):
    """A replay came to other actions than the recorded ones: the machine has changed since, or is not deterministic."""


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


class _Writer:
    """Turns values into JSON; remembers strangers, so that each has one number."""

    def __init__(self) -> None:
        self._strangers: dict[int, tuple[int, Any]] = {}

    def write(self, value: Any) -> Json:
        match value:
            case enum.Enum():
                return {"enum": _name(type(value)), "value": value.value}
            case None | bool() | int() | float() | str():
                return value
            case BaseException():
                return {"error": _name(type(value))}
            case tuple() if hasattr(value, "_fields"):
                return {"tuple of": _name(type(value)), "items": [self.write(each) for each in value]}
            case tuple():
                return {"tuple": [self.write(each) for each in value]}
            case list():
                return [self.write(each) for each in value]
            case frozenset() | set():
                return {"set": sorted((self.write(each) for each in value), key=json.dumps)}
            case Mapping():
                return {"map": [[self.write(key), self.write(each)] for key, each in value.items()]}
            case type() | FunctionType() if "<" not in value.__qualname__:
                return {"named": _name(value)}
            case _Stranger():
                return {"stranger": value.number, "text": value.text}
            case _Absent():
                return {"named": value.name}
            case Census():
                return {"census": [[self.write(key), self.write(group)] for key, group in value.groups.items()]}
        kind: Any = type(value)
        if attrs.has(kind):
            fields = {f.alias: self.write(getattr(value, f.name)) for f in attrs.fields(kind) if f.init}
            return {"class": _name(kind), "fields": fields}
        number, _ = self._strangers.setdefault(id(value), (len(self._strangers), value))  # kept, so that its id is
        return {"stranger": number, "text": bounded(repr(value), 200)}


def _name(what: Any) -> str:
    return f"{what.__module__}:{what.__qualname__}"


def _find(name: str) -> Any:
    """What has that name: in actorkit, or in a module that is there already (no others are imported for a file)."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module) if module.startswith("actorkit.") else sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _read(value: Json) -> Any:
    match value:
        case list():
            return [_read(each) for each in value]
        case {"enum": name, "value": each}:
            return _find(name)(each)
        case {"tuple of": name, "items": items}:
            return _find(name)(*map(_read, items))
        case {"tuple": items}:
            return tuple(map(_read, items))
        case {"set": items}:
            return frozenset(map(_read, items))
        case {"map": items}:
            return {_read(key): _read(each) for key, each in items}
        case {"named": name}:
            return _find(name) or _Absent(name)
        case {"class": name, "fields": fields}:
            return _find(name)(**{key: _read(each) for key, each in fields.items()})
        case {"stranger": number, "text": text}:
            return _Stranger(number, text)
        case {"census": groups}:
            census = Census()
            census.groups.update((_read(key), _read(group)) for key, group in groups)
            return census
        case {"answers": answers}:
            return {_read(key): _read(each) for key, each in answers}.get
    return value


def _plain(value: Json) -> Json:
    """Without what is for people only."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        if "stranger" in value:
            return value["stranger"]
        return {key: _plain(each) for key, each in value.items() if key != "because"}
    return value


class Trace:
    """A machine that writes down what it is told and what it answers. Use it in the machine's place.

    It keeps every event, and the refs in them, for as long as it lives: it is for tests and for hunting a fault, not
    for a node that runs for weeks.

    Args:
        machine: the class of the machine: ``Supervision``, ``DynamicSupervision``, ``Governor``, ``RestartGate``.
        arguments: what to make it of.
        fraction: where random numbers come from, for the machines that draw some.

    Example::

        import random, tempfile
        from actorkit.policy.supervisor_flags import SupervisorFlags
        from actorkit.policy.supervision import Supervision
        from actorkit.policy.supervision_events import Begin
        from actorkit.testing import Trace

        trace = Trace(Supervision, SupervisorFlags(), (), fraction=random.random)
        trace.handle(Begin(0.0))
        with tempfile.NamedTemporaryFile() as file:
            trace.save(file.name)
            assert Trace.load(file.name).replay() == 1
    """

    def __init__(self, machine: type[Any], /, *arguments: Any, fraction: Callable[[], float] | None = None) -> None:
        self._writer = _Writer()
        self._draws: list[float] = []
        self._fraction = fraction
        keywords = {} if fraction is None else {"fraction": self._draw}
        self.lines: list[Json] = [
            {"machine": _name(machine), "arguments": self._writer.write(list(arguments)), "draws": fraction is not None}
        ]
        self._machine: Any = machine(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def _draw(self) -> float:
        assert self._fraction is not None
        drawn = self._fraction()
        self._draws.append(drawn)
        return drawn

    def handle(self, event: Any) -> list[Any]:
        """Hand the event to the machine and its actions back, and write both down."""
        line: Json = {}
        asked: list[tuple[Any, Any]] = []
        radius_of = None
        if isinstance(event, CensusTaken):
            if not isinstance(event.candidates, Census):
                event = attrs.evolve(event, candidates=list(event.candidates))
            radius_of = event.radius_of
            if radius_of is not None:
                event = attrs.evolve(event, radius_of=lambda key: _noting(asked, key, radius_of(key)))
        line["event"] = self._writer.write(event)
        actions: list[Any] = self._machine.handle(event)
        if radius_of is not None:
            line["event"]["fields"]["radius_of"] = {"answers": [self._writer.write(list(pair)) for pair in asked]}
        line["draws"], self._draws = self._draws, []
        line["actions"] = self._writer.write(list(actions))
        self.lines.append(line)
        return actions

    def save(self, path: str | Path) -> None:
        """Write it to a file, one line of JSON for each event."""
        Path(path).write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> Recorded:
        """Read what ``save`` has written."""
        return Recorded([json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()])

    def replay(self) -> int:
        """See ``Recorded.replay``."""
        return Recorded(json.loads(json.dumps(self.lines))).replay()


def _noting(asked: list[tuple[Any, Any]], key: Any, answer: Any) -> Any:
    asked.append((key, answer))
    return answer


class Recorded:
    """A trace that was loaded."""

    def __init__(self, lines: Iterable[Json]) -> None:
        self.lines = list(lines)

    def replay(self) -> int:
        """Tell a new machine the same events. Returns how many they were; raises Diverged at the first one that is
        answered otherwise (texts for people, ``because``, are not compared)."""
        head, *steps = self.lines
        draws: list[float] = []
        keywords = {"fraction": lambda: draws.pop(0)} if head["draws"] else {}
        machine = _find(head["machine"])(*_read(head["arguments"]), **keywords)
        for number, step in enumerate(steps):
            draws[:] = step["draws"]
            told = _Writer().write(list(machine.handle(_read(step["event"]))))
            if _plain(told) != _plain(step["actions"]) or draws:
                raise Diverged(
                    f"event {number}, {step['event']}: recorded were {step['actions']}, the replay came to {told}"
                    + (f", and drew {len(draws)} random numbers less" if draws else "")
                )
        return len(steps)
