"""What all benchmarks in this folder share.

A *contender* is a process that prints one JSON line when it is ready and then answers each line it
reads with one JSON line. So all contenders live at the same time, each in its own interpreter or
virtual machine, and a round asks one after the other: any disturbance of the machine affects all of
them alike. A figure is the median over the rounds; a ratio is the median of the ratios *within* a
round, which is not quite the ratio of the two medians printed beside it.
"""

import json
import os
import platform
import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.worker import cpu_seconds, rss

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, as the benchmarks see it."""

    rounds: int | None = None
    quick: bool = False
    only: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    count: int | None = None
    base: Path | None = None
    """A working tree to compare with."""

    def rounds_or(self, default: int) -> int:
        return self.rounds or (1 if self.quick else default)

    def scaled(self, n: int) -> int:
        return max(1, n // 10) if self.quick else n

    def columns(self, known: Sequence[str]) -> list[str]:
        return selected("--only", self.only, known)


def selected(option: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    if unknown := set(wanted) - set(known):
        raise ValueError(f"{option} {', '.join(sorted(unknown))}: known are {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


# -- contenders ------------------------------------------------------------------------------------


class ContenderError(Exception):
    """A contender ended, fell silent, or sent something that is not in its protocol."""


class Contender:
    """A child process asked one line at a time; it ends when its stdin does, at the latest by a
    kill.
    """

    def __init__(self, *command: str, ready_within: float = 180, env: Mapping[str, str] | None = None) -> None:
        self.command = command
        environ = {**os.environ, **(env or {})}
        self._process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._received = b""
        try:
            self.hello = self._answer(ready_within)
        except BaseException:
            self.close()
            raise

    @classmethod
    def module(cls, name: str, *args: object, ready_within: float = 180, env: Mapping[str, str] | None = None) -> Self:
        """A module of this package, under the interpreter that runs the benchmark."""
        return cls(sys.executable, "-m", f"bench.{name}", *map(str, args), ready_within=ready_within, env=env)

    @classmethod
    def with_base(cls, base: Path, name: str, *args: object) -> Self:
        """The same with the actorkit of another working tree."""
        return cls(sys.executable, "-m", "bench.with_base", str(base.resolve()), name, *map(str, args))

    def ask(self, *words: object, within: float = 300) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("has closed its stdin") from None
        return self._answer(within)

    def _answer(self, within: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + within
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise self._failure(f"said nothing for {within:.0f} s")
                chunk = os.read(self._process.stdout.fileno(), 65536)
                if not chunk:
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(5)
                    raise self._failure("ended")
                self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            raise self._failure(f"said {line[:200]!r}, which is not JSON") from None
        if not isinstance(answer, dict):
            raise self._failure(f"said {line[:200]!r}, which is not an object")
        return answer

    def _failure(self, what: str) -> ContenderError:
        return ContenderError(f"{' '.join(self.command)} {what} (exit status {self._process.poll()})")

    def rss(self) -> int:
        return rss(self._process.pid)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def kill(self) -> None:
        """For a contender that holds nothing worth keeping."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()


def in_turn(names: Sequence[str], round_number: int) -> list[str]:
    """The order of one round. Over all rounds, each contender comes first equally often."""
    shift = round_number % len(names) if names else 0
    return [*names[shift:], *names[:shift]]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- results ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on the subject's figure, or on its ratio to another column."""

    limit: float
    against: str | None = None
    at_least: bool = False

    def met_by(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {_figure(self.limit)}" + (f" × {self.against}" if self.against else "")  # noqa: RUF001


@dataclass(slots=True)
class Row:
    """One thing measured: a figure per column and round."""

    name: str
    unit: str
    goals: tuple[Goal, ...] = ()
    figures: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, column: str, round_number: int, figure: float) -> None:
        self.figures.setdefault(column, {})[round_number] = figure

    def median(self, column: str) -> float | None:
        values = self.figures.get(column)
        return statistics.median(values.values()) if values else None

    def ratio(self, column: str, against: str) -> float | None:
        """The median over the rounds of one column's figure by the other's in the same round."""
        ours, theirs = self.figures.get(column, {}), self.figures.get(against, {})
        pairs = [ours[n] / theirs[n] for n in ours.keys() & theirs.keys() if theirs[n]]
        return statistics.median(pairs) if pairs else None

    def verdict(self, subject: str) -> list[tuple[Goal, float | None, bool | None]]:
        """Each goal, the figure that it refers to, and whether it was met; None where it was not
        measured.
        """
        figures = [self.ratio(subject, g.against) if g.against else self.median(subject) for g in self.goals]
        return [(g, f, None if f is None else g.met_by(f)) for g, f in zip(self.goals, figures, strict=True)]


@dataclass(slots=True)
class Report:
    """All rows of one benchmark. The first column is the subject; a ratio is its figure by
    another's.
    """

    benchmark: str
    columns: Sequence[str]
    rows: list[Row]
    settings: dict[str, object]
    notes: list[str] = field(default_factory=list)
    contenders: dict[str, object] = field(default_factory=dict)
    machine: dict[str, object] = field(default_factory=lambda: machine())
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def drop_goals(self, because: str) -> None:
        for row in self.rows:
            row.goals = ()
        self.notes.append(because)

    def table(self) -> str:
        subject, *others = self.columns
        header = ["", "unit", *self.columns, *(f"÷ {name}" for name in others), "goal", ""]
        body = [[*self._cells(row, others), *_goal_cells(row, subject)] for row in self.rows]
        m = self.machine
        facts = [
            f"bench {self.benchmark}, {self.date}, {m['cpu']} × {m['cores']}, load {m['load']} at the start",  # noqa: RUF001
            f"its speed: a million additions took {m['addition_ms']} ms at the start, {addition_ms()} ms at the end, "
            "about 30 ms where nothing else runs",
            ", ".join(f"{name} {number}" for name, number in versions(self).items()),
            *self.notes,
        ]
        return "\n".join([*_aligned(header, body), "", *facts])

    def _cells(self, row: Row, others: Sequence[str]) -> list[str]:
        subject = self.columns[0]
        medians = [_figure(row.median(column)) for column in self.columns]
        ratios = [_figure(row.ratio(subject, other)) for other in others]
        return [row.name, row.unit, *medians, *ratios]

    def as_json(self) -> dict[str, object]:
        subject, *others = self.columns
        return {
            "benchmark": self.benchmark,
            "date": self.date,
            "machine": self.machine,
            "versions": versions(self),
            "contenders": self.contenders,
            "settings": self.settings,
            "notes": self.notes,
            "rows": [
                {
                    "name": row.name,
                    "unit": row.unit,
                    "columns": {
                        column: {
                            "median": row.median(column),
                            "rounds": [v for _, v in sorted(values.items())],
                        }
                        for column, values in row.figures.items()
                    },
                    "ratios": {other: row.ratio(subject, other) for other in others},
                    "goals": [
                        {**asdict(goal), "figure": figure, "met": met} for goal, figure, met in row.verdict(subject)
                    ],
                }
                for row in self.rows
            ],
        }


def _goal_cells(row: Row, subject: str) -> list[str]:
    words = {True: "met", False: "MISSED", None: "n/a"}
    verdict = row.verdict(subject)
    return ["; ".join(str(goal) for goal, _, _ in verdict), "; ".join(words[met] for _, _, met in verdict)]


def _figure(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return "n/a"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _aligned(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table that is also readable as it stands: words left, figures right."""
    lines = [list(header), *map(list, body)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = {0, 1, len(header) - 2, len(header) - 1}

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i in words else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * w if i in words else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(lines[0]), "| " + " | ".join(rule) + " |", *map(line, lines[1:])]


# -- where it ran ----------------------------------------------------------------------------------


def addition_ms() -> int:
    """How fast the machine is just now. The speed of a shared one changes by an order of magnitude
    within minutes, so only ratios count.
    """
    total, began = 0, time.perf_counter()
    for number in range(1_000_000):
        total += number
    return round((time.perf_counter() - began) * 1000)


def machine() -> dict[str, object]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
        "addition_ms": addition_ms(),
    }


def _cpu() -> str:
    with suppress(OSError), open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions(report: Report) -> dict[str, str]:
    found = {"Python": platform.python_version(), "trio": version("trio")}
    try:
        found["actorkit"] = version("actorkit")
    except PackageNotFoundError:
        found["actorkit"] = "source tree"
    for hello in report.contenders.values():
        if isinstance(hello, dict) and "otp" in hello:
            found["OTP"] = str(hello["otp"])
    return found
