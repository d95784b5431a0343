"""Memory over time as an SVG, two contenders side by side.

    python -m bench.survival.picture FILE.json CASE OUT.svg

The picture shows usage against the limit and the levels of the ladder, from the timeline in the
JSON, and what Python itself holds where the server reports it. Below it there is a mark for each
tenth of a second in which connections were lost or refused, or in which the server reports a kill
or a restart. A contender that the kernel has killed ends with a cross. Both panels have the same
axes, so that they can be compared by eye. The background is always light. The output is plain text,
and there is no dependency.
"""

from __future__ import annotations

import argparse
import json
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

PANELS = ("actorkit", "trio")
LEVELS = (
    (0.70, "CONSERVE", "#fdf6d8"),
    (0.80, "SHED", "#fbe6c8"),
    (0.90, "KILL", "#f8d2c4"),
    (0.96, "EXHAUSTED", "#efb3b3"),
)
"""Where each level is entered, its name, and its colour up to the next."""
WIDTH, HEIGHT = 440, 300
LEFT, TOP, GAP, LANE = 132, 66, 60, 18
AXIS, LEGEND = 44, 44
"""Below a panel, and below its lanes."""
INK, FAINT, RED, LINE, NEEDED, PRESSURE = "#222", "#666", "#b3261e", "#1f3a5f", "#0b7a75", "#3b5b8c"
LANES = {
    "good lost": ("well-behaved lost", "#b3261e"),
    "lost": ("others cut off", "#b26a00"),
    "refused": ("refused politely", "#1e6fb3"),
    "kills": ("killed by the node", "#7b3fa0"),
    "restarts": ("restarted", "#1d7a3f"),
}
"""Kind of mark, its name, its colour. A lane without a mark in either panel is left out."""


@dataclass(frozen=True, slots=True)
class Axes:
    """From seconds and bytes to points, within one panel whose left edge is at ``x``."""

    x: float
    first: float
    last: float
    limit: int

    def across(self, seconds: float) -> float:
        return round(self.x + WIDTH * (seconds - self.first) / (self.last - self.first), 1)

    def up(self, used: float) -> float:
        return round(TOP + HEIGHT * (1 - used / (1.05 * self.limit)), 1)


def marks_of(run: dict[str, Any]) -> list[tuple[float, str, int]]:
    """What the clients have seen, and the growth of what the server counts."""
    found = [(at, kind, count) for at, kind, count in run["marks"] if kind in LANES]
    for key in ("kills", "restarts"):
        before = 0
        for at, told in run["told"]:
            now = told.get(key, before)
            if now > before:
                found.append((at, key, now - before))
            before = now
    return sorted(found)


def picture(document: dict[str, Any], case: str, names: Sequence[str] = PANELS) -> str:
    """The SVG. Raises ValueError when a contender has no run of this case with a timeline."""
    runs = [_run(document, case, name) for name in names]
    first = min(run["timeline"][0][0] for run in runs)
    last = max(max(run["timeline"][-1][0] for run in runs), first + 1)
    marks = [marks_of(run) for run in runs]
    lanes = [lane for lane in LANES if any(kind == lane for found in marks for _, kind, _ in found)]
    width = LEFT + len(runs) * (WIDTH + GAP)
    height = TOP + HEIGHT + AXIS + LANE * len(lanes) + LEGEND
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 24, f"{case} {document['cases'][case]}", size=15, bold=True),
    ]
    for number, (name, run, found) in enumerate(zip(names, runs, marks, strict=True)):
        axes = Axes(LEFT + number * (WIDTH + GAP), first, last, run["limit"])
        lines += _panel(name, run, axes, labelled=number == 0)
        lines += _lanes(axes, found, lanes, labelled=number == 0)
    lines += _legend(height - 16, any(_needed(run) for run in runs))
    return "\n".join([*lines, "</svg>", ""])


def _legend(y: float, needed: bool) -> Iterable[str]:
    x = float(LEFT)
    entries = [
        (f'<line x1="{{x}}" y1="{y - 4}" x2="{{e}}" y2="{y - 4}" stroke="{LINE}" stroke-width="2"/>', "memory in use"),
        (
            f'<line x1="{{x}}" y1="{y - 4}" x2="{{e}}" y2="{y - 4}" stroke="{NEEDED}" stroke-width="2" '
            'stroke-dasharray="5 3"/>',
            "of it needed; the rest is free for the next who allocates",
        ),
        (f'<line x1="{{x}}" y1="{y - 4}" x2="{{e}}" y2="{y - 4}" stroke="{PRESSURE}" stroke-width="5"/>', "pressure"),
    ]
    for shape, label in entries if needed else (entries[0], entries[2]):
        yield shape.format(x=x, e=x + 24)
        yield _text(x + 30, y, label)
        x += 56 + 6.5 * len(label)


def _run(document: dict[str, Any], case: str, name: str) -> dict[str, Any]:
    for run in document["runs"]:
        if (run["case"], run["contender"]) == (case, name) and run.get("timeline"):
            found: dict[str, Any] = run
            return found
    raise ValueError(f"no run of {name} in {case} with a timeline: run it with --case {case} --only {name}")


def _needed(run: dict[str, Any]) -> list[tuple[float, int]]:
    """What is in use without what Python has freed, where the server reports that."""
    at = [seconds for seconds, _, _ in run["timeline"]]
    found = []
    for seconds, told in run["told"]:
        if told.get("live") is not None and at[0] <= seconds <= at[-1]:
            used = run["timeline"][bisect_left(at, seconds)][1]
            found.append((seconds, max(0, used - max(0, told["resident"] - told["live"]))))
    return found


def _panel(name: str, run: dict[str, Any], axes: Axes, labelled: bool) -> Iterable[str]:
    right, floor, ceiling = axes.x + WIDTH, axes.up(0), axes.up(axes.limit)
    yield _text(axes.x, TOP - 12, name, size=14, bold=True)
    kept = f"{run['kept']:,} of {run['good']:,} well-behaved connections kept"
    if run.get("capacity"):
        kept = f"{run['kept']:,} of {run['good']:,} kept, {run['capacity']:.0%} of what fits"
    yield _text(right, TOP - 12, kept, anchor="end", colour=INK if run["kept"] else RED, size=13)
    yield from _bands(axes, labelled)
    for share in (0.25, 0.5):
        y = axes.up(share * axes.limit)
        yield f'<line x1="{axes.x}" y1="{y}" x2="{right}" y2="{y}" stroke="#e4e4e4"/>'
        if labelled:
            yield _text(axes.x - 6, y + 4, f"{share:.0%}", anchor="end", colour=FAINT)
    points = [(axes.across(at), axes.up(used)) for at, used, _ in run["timeline"]]
    drawn = " ".join(f"{x},{y}" for x, y in points)
    yield (
        f'<polygon points="{points[0][0]},{floor} {drawn} {points[-1][0]},{floor}" fill="{LINE}" fill-opacity="0.10"/>'
    )
    yield f'<polyline points="{drawn}" fill="none" stroke="{LINE}" stroke-width="2" stroke-linejoin="round"/>'
    needed = " ".join(f"{axes.across(at)},{axes.up(bytes_)}" for at, bytes_ in _needed(run))
    if needed:
        yield f'<polyline points="{needed}" fill="none" stroke="{NEEDED}" stroke-width="1.5" stroke-dasharray="5 3"/>'
    yield f'<rect x="{axes.x}" y="{ceiling}" width="{WIDTH}" height="{floor - ceiling:.1f}" fill="none" stroke="#888"/>'
    yield f'<line x1="{axes.x}" y1="{ceiling}" x2="{right}" y2="{ceiling}" stroke="{RED}" stroke-width="2"/>'
    if labelled:
        yield _text(axes.x - 6, ceiling - 1, f"{axes.limit / 2**20:.0f} MiB", anchor="end", colour=RED)
        yield _text(axes.x - 6, floor + 4, "0", anchor="end", colour=FAINT)
    press, relax = axes.across(run["times"]["press"]), axes.across(run["times"]["relax"])
    if relax > press:
        yield f'<line x1="{press}" y1="{floor}" x2="{relax}" y2="{floor}" stroke="{PRESSURE}" stroke-width="5"/>'
    if run.get("killed_by_kernel"):
        x, y = points[-1][0], min(y for _, y in points)
        yield f'<path d="M{x - 7} {y - 7}l14 14m0 -14l-14 14" stroke="{RED}" stroke-width="4"/>'
        beyond = x > axes.x + WIDTH / 2
        side, anchor = (-14, "end") if beyond else (14, "start")
        yield _text(x + side, y + 30, "killed by the kernel", anchor=anchor, colour=RED, size=14, bold=True)
    for seconds in _ticks(axes.first, axes.last):
        x = axes.across(seconds)
        yield f'<line x1="{x}" y1="{floor}" x2="{x}" y2="{floor + 6}" stroke="#888"/>'
        yield _text(x, floor + 20, f"{seconds:g} s", anchor="middle", colour=FAINT)


def _bands(axes: Axes, labelled: bool) -> Iterable[str]:
    ends = [share for share, _, _ in LEVELS[1:]] + [1.0]
    for (share, level, colour), end in zip(LEVELS, ends, strict=True):
        low, high = axes.up(share * axes.limit), axes.up(end * axes.limit)
        yield f'<rect x="{axes.x}" y="{high}" width="{WIDTH}" height="{low - high:.1f}" fill="{colour}"/>'
        yield f'<line x1="{axes.x}" y1="{low}" x2="{axes.x + WIDTH}" y2="{low}" stroke="#c9a58f" stroke-width="0.7"/>'
        yield _text(axes.x + 5, (low + high) / 2 + 3.5, level, colour="#7a4a35", size=10)
        if labelled:
            yield _text(axes.x - 6, low + 4, f"{share:.0%}", anchor="end", colour=FAINT)


def _lanes(axes: Axes, marks: list[tuple[float, str, int]], lanes: Sequence[str], labelled: bool) -> Iterable[str]:
    for number, lane in enumerate(lanes):
        label, colour = LANES[lane]
        floor = TOP + HEIGHT + AXIS + LANE * number
        total = sum(count for _, kind, count in marks if kind == lane)
        yield f'<line x1="{axes.x}" y1="{floor}" x2="{axes.x + WIDTH}" y2="{floor}" stroke="#ddd"/>'
        for at, kind, count in marks:
            if kind == lane and axes.first <= at <= axes.last:
                title = escape(f"{label}: {count} at {at:.1f} s")
                size = min(LANE - 3, 4 + 2 * count.bit_length())
                yield (
                    f'<rect x="{axes.across(at) - 1.5}" y="{floor - size}" width="3" height="{size}" fill="{colour}">'
                    f"<title>{title}</title></rect>"
                )
        yield _text(axes.x + WIDTH + 6, floor - 1, f"{total:,}", colour=colour if total else FAINT, bold=total > 0)
        if labelled:
            yield _text(axes.x - 6, floor - 1, label, anchor="end", colour=colour)


def _ticks(first: float, last: float) -> list[float]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if (last - first) / step <= 10)
    start = int(first // step + 1) * step
    return [float(at) for at in range(start, int(last) + 1, step)]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK, size: int = 12, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"{weight}>{escape(text)}</text>'
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.survival.picture", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("json", type=Path)
    parser.add_argument("case")
    parser.add_argument("svg", type=Path)
    parser.add_argument("--panels", nargs="+", default=PANELS, metavar="NAME")
    options = parser.parse_args(argv)
    try:
        drawn = picture(json.loads(options.json.read_text()), options.case, options.panels)
    except ValueError as error:
        parser.error(str(error))
    options.svg.write_text(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
