"""A run as it happens, in a terminal: memory against the levels, and the server's report of what it
did.

``chart`` makes the lines from what has been observed so far, and knows nothing of terminals but
ANSI's colours; ``Screen`` draws them over the last ones. Where the output is not a terminal,
``line`` prints the same once a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

Timeline = Sequence[tuple[float, int, str | None]]
Told = Sequence[tuple[float, dict[str, Any]]]

LEVELS = ((0.70, "CONSERVE", 33), (0.80, "SHED", 33), (0.90, "KILL", 31), (0.96, "EXHAUSTED", 31))
"""Where each level is entered, its name, and the colour of the bars from there."""
COUNTS = ("kills", "refused", "restarts")
ROWS = 16
SECONDS_A_COLUMN = 0.5
MARGIN = 18
EIGHTHS = " ▁▂▃▄▅▆▇█"


def chart(timeline: Timeline, told: Told, limit: int, *, width: int, colour: bool = True) -> list[str]:
    """The last ``width`` columns of half a second each: bars of memory, the levels, and a digit
    where something was counted.
    """
    columns = max(10, width - MARGIN)
    if not timeline:
        return ["" for _ in range(ROWS + 2 + len(COUNTS))]
    last = timeline[-1][0]
    first = max(timeline[0][0], last - (columns - 1) * SECONDS_A_COLUMN)
    bars: list[int | None] = [None] * columns
    for at, used, _ in timeline:
        if at >= first:
            column = min(columns - 1, int((at - first) / SECONDS_A_COLUMN))
            bars[column] = max(used, bars[column] or 0)
    lines = [f"{f'limit {limit / 2**20:.0f} MiB':>{MARGIN - 3}} ┬ " + "─" * columns]
    for row in range(ROWS, 0, -1):
        low = (row - 1) / ROWS
        names = [(share, name) for share, name, _ in LEVELS if low <= share < row / ROWS]
        label = f"{names[-1][1]:>9} {names[-1][0]:.0%}" if names else ""
        tint = next((code for share, _, code in reversed(LEVELS) if (row / ROWS) > share), 32)
        cells = "".join(_cell(used, limit, row, bool(names)) for used in bars)
        lines.append(f"{label:>{MARGIN - 3}} ┤ " + (f"\x1b[{tint}m{cells}\x1b[0m" if colour else cells))
    lines.append(" " * (MARGIN - 2) + "└─" + "─" * columns)
    lines += [_counted(told, key, first, columns) for key in COUNTS]
    return lines


def _cell(used: int | None, limit: int, row: int, ruled: bool) -> str:
    filled = 0 if used is None else used / limit * ROWS - (row - 1)
    if filled <= 0:
        return "╌" if ruled else " "
    return EIGHTHS[min(8, max(1, int(filled * 8)))]


def _counted(told: Told, key: str, first: float, columns: int) -> str:
    cells = [0] * columns
    before = total = 0
    for at, says in told:
        total = says.get(key, before)
        if total > before and at >= first:
            cells[min(columns - 1, int((at - first) / SECONDS_A_COLUMN))] += total - before
        before = total
    shown = "".join("·" if n == 0 else str(n) if n < 10 else "+" for n in cells)
    return f"{f'{key} {total}':>{MARGIN - 3}}   {shown}"


def line(timeline: Timeline, told: Told, limit: int, phase: str) -> str:
    """One observation, in one line."""
    at, used, _ = timeline[-1]
    says = told[-1][1] if told else {}
    level = says.get("level") or ""
    counts = ", ".join(f"{key} {says[key]}" for key in COUNTS if key in says)
    return f"{at - timeline[0][0]:6.1f} s  {phase:<9} {used / 2**20:7.1f} MiB {used / limit:6.1%}  {level:<9} {counts}"


class Screen:
    """Where the picture is drawn.

    Args:
        out: a terminal gets a picture that moves; anything else a line a second.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._drawn = 0
        self._next_line = 0.0
        self.moves = out.isatty() and os.environ.get("TERM", "") != "dumb"

    def show(self, title: str, timeline: Timeline, told: Told, limit: int, phase: str) -> None:
        """Draw it, over what was drawn before."""
        if not timeline:
            return
        now = timeline[-1][0]
        if self.moves:
            width = min(110, os.get_terminal_size(self._out.fileno()).columns - 1)
            status = f"{title}: {line(timeline, told, limit, phase).strip()}"
            lines = [status[:width], "", *chart(timeline, told, limit, width=width)]
            above = f"\x1b[{self._drawn}A" if self._drawn else ""
            self._out.write(above + "".join(f"\r\x1b[2K{text}\n" for text in lines))
            self._drawn = len(lines)
        elif now >= self._next_line:
            self._next_line = now + 1.0
            self._out.write(f"{title:<9}{line(timeline, told, limit, phase)}\n")
        self._out.flush()

    def done(self) -> None:
        """The next picture begins below this one."""
        self._drawn = 0
        self._next_line = 0.0
