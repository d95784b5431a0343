"""What one sees of the demonstration: a panel that is redrawn on a terminal, else plain lines."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol, TextIO

__all__ = ["Display", "Snapshot", "display_for", "megabytes", "table"]

PLAIN_INTERVAL = 2.0
BARS = "▁▂▃▄▅▆▇█"
COLOURS = {"NORMAL": 32, "CONSERVE": 36, "SHED": 33}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of this moment."""

    seconds: float
    connections: int
    wanted: int
    lines: float
    """Lines a second that the clients sent and received."""
    messages: float
    """Messages a second between actors."""
    turns: float
    """The part of all turns that is done, 0 … 1."""
    crashes: int
    restarts: int
    lost: int
    service_rss: int
    load_rss: int
    level: str = ""
    """How short of memory the service is; empty: it has no limit."""
    used: int = 0
    limit: int = 0
    killed: int = 0
    refused: int = 0


class Display(Protocol):
    def say(self, text: str) -> None:
        """Something happened."""

    def update(self, now: Snapshot) -> None:
        """The numbers changed."""

    def close(self) -> None:
        """Leave the screen tidy; nothing is shown any more."""


def display_for(stream: TextIO, title: str) -> Display:
    """A panel if ``stream`` is a terminal that can show one."""
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Panel(stream, title)
    return Lines(stream, title)


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


class Lines:
    """For logs: a line when something happens, and one every other second."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self.stream = stream
        self.began = time.monotonic()
        self.next = 0.0
        print(title, file=stream, flush=True)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:5.1f} s  {text}", file=self.stream, flush=True)

    def update(self, now: Snapshot) -> None:
        if now.seconds < self.next:
            return
        self.next = now.seconds + PLAIN_INTERVAL
        self.say(
            f"{now.connections:,} connections, {now.lines:,.0f} lines/s, {now.messages:,.0f} messages/s, "
            f"turns {now.turns:.0%}, {now.crashes:,} crashes, {now.restarts:,} restarts, "
            f"{megabytes(now.service_rss)}"
            + (
                f" of {megabytes(now.limit)}: {now.level}, {now.killed:,} ended for memory, {now.refused:,} refused"
                if now.level
                else ""
            )
        )

    def close(self) -> None:
        pass


class Panel:
    """For people: a block of lines that stays in its place, below it nothing."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self.stream = stream
        self.title = title
        self.began = time.monotonic()
        self.log: deque[str] = deque(maxlen=6)
        self.rates: deque[float] = deque(maxlen=48)
        self.drawn = 0
        self.last: Snapshot | None = None
        self.unicode = (stream.encoding or "").lower().replace("-", "") == "utf8"
        self.colour = "NO_COLOR" not in os.environ
        stream.write("\x1b[?25l")  # hide the cursor

    def say(self, text: str) -> None:
        self.log.append(f"{time.monotonic() - self.began:5.1f} s  {text}")
        self.draw()

    def update(self, now: Snapshot) -> None:
        self.last = now
        self.rates.append(now.messages)
        self.draw()

    def close(self) -> None:
        self.stream.write("\x1b[?25h\n")
        self.stream.flush()

    def bar(self, part: float, width: int = 40) -> str:
        full, empty = ("█", "░") if self.unicode else ("#", ".")
        done = round(min(max(part, 0.0), 1.0) * width)
        return full * done + empty * (width - done)

    def spark(self) -> str:
        if not self.unicode:
            return ""
        top = max(self.rates, default=0.0) or 1.0
        return "".join(BARS[min(7, int(rate / top * 7.99))] for rate in self.rates)

    def paint(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def draw(self) -> None:
        now = self.last
        rows: list[tuple[str, int]] = [(self.title, 1), ("", 0)]
        if now is not None:
            rows += [
                (f"connections  {now.connections:>9,}  {self.bar(now.connections / (now.wanted or 1))}", 32),
                (f"turns        {now.turns:>9.0%}  {self.bar(now.turns)}", 32),
                (f"messages/s   {now.messages:>9,.0f}  {self.spark()}", 36),
                (f"lines/s      {now.lines:>9,.0f}", 36),
                (f"crashes      {now.crashes:>9,}  restarts {now.restarts:,}, lost {now.lost:,}", 33),
                (f"memory       {megabytes(now.service_rss):>9}  clients {megabytes(now.load_rss)}", 35),
            ]
            if now.level:
                bar = self.bar(now.used / (now.limit or 1))
                rows += [
                    (f"level        {now.level:>9}  {bar} of {megabytes(now.limit)}", COLOURS.get(now.level, 31)),
                    (f"ended        {now.killed:>9,}  for memory, refused {now.refused:,}", 33),
                ]
            rows.append(("", 0))
        rows += [(text, 0) for text in self.log]
        width = shutil.get_terminal_size().columns - 1
        height = max(self.drawn, len(rows))
        rows += [("", 0)] * (height - len(rows))
        out = [f"\x1b[{self.drawn}F"] if self.drawn else []  # up to the panel's first line
        for text, code in rows:
            out.append("\x1b[2K" + (self.paint(text[:width], code) if code else text[:width]) + "\n")
        self.drawn = height
        self.stream.write("".join(out))
        self.stream.flush()


def table(title: str, rows: list[tuple[str, str, str]], stream: TextIO = sys.stdout) -> None:
    """Name, value and remark, in columns; a row without a name continues the one above."""
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    print(f"\n{title}\n{'-' * len(title)}", file=stream)
    for name, value, remark in rows:
        print(f"{name:<{names}}  {value:>{values}}  {remark}".rstrip(), file=stream)
    stream.flush()
