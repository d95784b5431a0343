"""One client of the load generator: what it has sent, which replies are due, what it will send
next."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from bench.survival.protocol import CLASSES


class Client:
    """One client; if it belongs to the storm, one socket after another."""

    __slots__ = (
        "active",
        "buffered",
        "due",
        "group",
        "number",
        "polled",
        "refusals",
        "script",
        "seq",
        "socket",
        "speaking",
        "state",
        "unsent",
        "verified",
    )

    def __init__(self, number: int, group: dict[str, Any]) -> None:
        self.number = number
        self.group = group
        self.socket: socket.socket | None = None
        self.state = "new"  # joining, in, refused, lost, left
        self.verified = False
        self.refusals = 0  # in a row
        self.active = False  # its script is not finished
        self.reset()

    def reset(self) -> None:
        self.buffered = b""
        self.unsent = b""
        self.seq = 0
        self.speaking = False
        self.polled = 0
        self.due: deque[tuple[bytes, float, Callable[[], None] | None]] = deque()
        self.script: Iterator[tuple[str, float]] = iter(())

    @property
    def klass(self) -> str:
        return CLASSES[self.number % len(CLASSES)]


def unrolled(steps: list[dict[str, Any]], size: int) -> Iterator[tuple[str, float]]:
    for step in steps:
        for _ in range(step["times"]):
            yield step["say"].format(fill=size), step["pause"]
