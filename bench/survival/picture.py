"""Memory over time as an SVG, two contenders side by side: `python -m bench.survival.picture FILE.json CASE OUT.svg`.

Usage against the limit and the four levels, from the timeline in the JSON; below it a mark for each tenth of a second
in which connections were lost or refused, or the server says that it killed or restarted. A contender that the kernel
has killed ends with a cross. Both panels have the same axes, so that they can be compared by eye. Plain text out, no
dependency.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

PANELS = ("actorkit", "trio")
THRESHOLDS = ((0.70, "CONSERVE"), (0.80, "SHED"), (0.90, "KILL"), (0.96, "EXHAUSTED"))
WIDTH, HEIGHT = 420, 240
LEFT, TOP, GAP, BELOW = 64, 48, 36, 96
LANES = {
    "good lost": ("well-behaved lost", "#c0392b"),
    "lost": ("others cut", "#e67e22"),
    "refused": ("refused politely", "#2980b9"),
    "kills": ("killed", "#8e44ad"),
    "restarts": ("restarted", "#27ae60"),
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
    height = TOP + HEIGHT + BELOW + 14 * len(lanes)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 18, f"{case} {document['cases'][case]}", size=13),
    ]
    for number, (name, run, found) in enumerate(zip(names, runs, marks, strict=True)):
        axes = Axes(LEFT + number * (WIDTH + GAP), first, last, run["limit"])
        lines += _panel(name, run, axes, labelled=number == 0)
        lines += _lanes(axes, found, lanes, labelled=number == 0)
    legend = LEFT
    for lane in lanes:
        label, colour = LANES[lane]
        lines.append(f'<rect x="{legend}" y="{height - 18}" width="9" height="9" fill="{colour}"/>')
        lines.append(_text(legend + 13, height - 10, label))
        legend += 26 + 6 * len(label)
    return "\n".join([*lines, "</svg>", ""])


def _run(document: dict[str, Any], case: str, name: str) -> dict[str, Any]:
    for run in document["runs"]:
        if (run["case"], run["contender"]) == (case, name) and run.get("timeline"):
            found: dict[str, Any] = run
            return found
    raise ValueError(f"no run of {name} in {case} with a timeline: run it with --case {case} --only {name}")


def _panel(name: str, run: dict[str, Any], axes: Axes, labelled: bool) -> Iterable[str]:
    right, floor = axes.x + WIDTH, axes.up(0)
    kept = f"{run['kept']:,} of {run['good']:,} well-behaved connections kept"
    yield _text(axes.x, TOP - 12, f"{name}: {kept}", bold=True)
    yield f'<rect x="{axes.x}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
    press, relax = axes.across(run["times"]["press"]), axes.across(run["times"]["relax"])
    if relax > press:
        yield f'<rect x="{press}" y="{TOP}" width="{relax - press:.1f}" height="{HEIGHT}" fill="#f4f1e8"/>'
    for share, level in THRESHOLDS:
        y = axes.up(share * axes.limit)
        yield f'<line x1="{axes.x}" y1="{y}" x2="{right}" y2="{y}" stroke="#bbb" stroke-dasharray="3 3"/>'
        if labelled:
            yield _text(axes.x - 4, y + 4, f"{share:.0%}", anchor="end")
        else:
            yield _text(right - 4, y - 2, level, anchor="end", colour="#999", size=8)
    top = axes.up(axes.limit)
    yield f'<line x1="{axes.x}" y1="{top}" x2="{right}" y2="{top}" stroke="#c0392b" stroke-width="1.5"/>'
    if labelled:
        yield _text(axes.x - 4, top - 1, f"{axes.limit / 2**20:.0f} MiB", anchor="end")
    points = " ".join(f"{axes.across(at)},{axes.up(used)}" for at, used, _ in run["timeline"])
    yield f'<polyline points="{points}" fill="none" stroke="#2c3e50" stroke-width="1.5"/>'
    if run.get("killed_by_kernel"):
        x, y = axes.across(run["timeline"][-1][0]), axes.up(max(used for _, used, _ in run["timeline"]))
        yield f'<path d="M{x - 5} {y - 5}l10 10m0 -10l-10 10" stroke="#c0392b" stroke-width="3"/>'
        yield _text(x + 9, y + 14, "killed by the kernel", colour="#c0392b")
    for seconds in _ticks(axes.first, axes.last):
        x = axes.across(seconds)
        yield f'<line x1="{x}" y1="{floor}" x2="{x}" y2="{floor + 4}" stroke="#999"/>'
        yield _text(x, floor + 15, f"{seconds:g} s", anchor="middle")


def _lanes(axes: Axes, marks: list[tuple[float, str, int]], lanes: Sequence[str], labelled: bool) -> Iterable[str]:
    for number, lane in enumerate(lanes):
        label, colour = LANES[lane]
        y = TOP + HEIGHT + 26 + 14 * number
        total = sum(count for _, kind, count in marks if kind == lane)
        for at, kind, count in marks:
            if kind == lane and axes.first <= at <= axes.last:
                title = escape(f"{label}: {count} at {at:.1f} s")
                size = min(10, 3 + count.bit_length())
                yield (
                    f'<rect x="{axes.across(at) - 1}" y="{y + 10 - size}" width="2" height="{size}" fill="{colour}">'
                    f"<title>{title}</title></rect>"
                )
        yield _text(axes.x + WIDTH + 3, y + 9, f"{total:,}", colour=colour, size=9)
        if labelled:
            yield _text(axes.x - 4, y + 9, label.split()[0], anchor="end", colour=colour, size=9)


def _ticks(first: float, last: float) -> list[float]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if (last - first) / step <= 10)
    start = int(first // step + 1) * step
    return [float(at) for at in range(start, int(last) + 1, step)]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#333", size: int = 11, bold: bool = False
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
