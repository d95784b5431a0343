"""Trace: what a decision machine was told and what it answered, to keep in a file and to replay.

The machines in ``actorkit.policy`` are deterministic: the same events (with their ``now``, and with
the random numbers that were drawn) give the same actions. So a trace of a supervisor or a governor
that did something strange in the field is a test. It is replayed at a desk, without trio, clock or
node, as often as one likes.

How it works. A trace stands in a machine's place and hands every event on. The first line of its
file is the machine and what it was made of; each further line is an event, the random numbers that
were drawn while it was handled, and the actions. ``trace_values`` says how values are written, and
``trace_names`` how classes are named, so that a trace still loads when a class has moved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

from ..policy.memory.candidates import Census
from ..policy.memory.governor_events import CensusTaken
from .trace_names import VERSION, find, modernised, tag
from .trace_values import Writer, completed, plain, read

__all__ = ["Diverged", "Recorded", "Trace"]

Json = Any


class Diverged(AssertionError):
    """A replay came to other actions than the recorded ones: the machine has changed since, or it
    is not deterministic."""


class Trace:
    """A machine that writes down what it is told and what it answers. Use it in the machine's
    place.

    It keeps every event, and the refs in them, for as long as it lives. So it is for tests and for
    hunting a fault, not for a node that runs for weeks.

    Args:
        machine: the class of the machine: ``Supervision``, ``DynamicSupervision``,
            ``GovernorMachine``, ``RestartQueue``.
        arguments: what to make it of.
        fraction: where random numbers come from, for the machines that draw some.

    Example::

        import random, tempfile
        from actorkit.policy.supervision.static import Supervision
        from actorkit.policy.supervision.supervision_events import Begin
        from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
        from actorkit.testing import Trace

        trace = Trace(Supervision, SupervisorFlags(), (), fraction=random.random)
        trace.handle(Begin(0.0))
        with tempfile.NamedTemporaryFile() as file:
            trace.save(file.name)
            assert Trace.load(file.name).replay() == 1
    """

    def __init__(self, machine: type[Any], /, *arguments: Any, fraction: Callable[[], float] | None = None) -> None:
        self._writer = Writer()
        self._draws: list[float] = []
        self._fraction = fraction
        keywords = {} if fraction is None else {"fraction": self._draw}
        self.lines: list[Json] = [
            {
                "version": VERSION,
                "machine": tag(machine),
                "arguments": self._writer.write(list(arguments)),
                "draws": fraction is not None,
            }
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
        """Hand the event to the machine and the machine's actions back, and write both down."""
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
        """Write it to a file, one line of JSON for each event. Raises OSError."""
        Path(path).write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> Recorded:
        """Read what ``save`` has written, in this version or an earlier one.

        Raises OSError, and ValueError for a file that is no trace, or that a newer version has
        written.
        """
        lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        if not lines or not isinstance(lines[0], dict) or "machine" not in lines[0]:
            raise ValueError(f"{path} is no trace: its first line must name a machine")
        return Recorded(modernised(lines))

    def replay(self) -> int:
        """See ``Recorded.replay``."""
        return Recorded(json.loads(json.dumps(self.lines))).replay()


def _noting(asked: list[tuple[Any, Any]], key: Any, answer: Any) -> Any:
    asked.append((key, answer))
    return answer


class Recorded:
    """A trace that was loaded: ``Trace.load`` makes it."""

    def __init__(self, lines: Iterable[Json]) -> None:
        self.lines = list(lines)

    def replay(self) -> int:
        """Tell a new machine the same events; returns how many they were.

        Raises Diverged at the first event that is answered otherwise (texts for people,
        ``because``, are not compared), and LookupError for a class that is not here: import its
        module first.
        """
        head, *steps = self.lines
        draws: list[float] = []
        keywords = {"fraction": lambda: draws.pop(0)} if head["draws"] else {}
        kind = find(head["machine"])
        if not isinstance(kind, type) or not hasattr(kind, "handle"):
            raise LookupError(f"{head['machine']} is no machine that is here")
        machine: Any = kind(*read(head["arguments"]), **keywords)
        for number, step in enumerate(steps):
            draws[:] = step["draws"]
            answered = Writer().write(list(machine.handle(read(step["event"]))))
            if plain(answered) != plain(completed(step["actions"])) or draws:
                raise Diverged(
                    f"event {number}, {step['event']}: recorded were {step['actions']}, the replay came to {answered}"
                    + (f", and drew {len(draws)} random numbers less" if draws else "")
                )
        return len(steps)
