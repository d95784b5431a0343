"""The two processes that the demonstration starts, seen from outside: status, events, commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import psutil
import trio

__all__ = ["Ended", "Worker", "rate", "start"]


class Ended(Exception):
    """A worker process ended although nobody had asked it to."""


class Worker:
    """One of the two processes: its latest status, its events, its commands."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.status: dict[str, Any] = {}
        self.previous: dict[str, Any] = {}
        self.complaints: deque[str] = deque(maxlen=15)
        self.told: Callable[[str, dict[str, Any]], None] = lambda event, record: None
        """Called for each event."""
        self._seen: dict[str, dict[str, Any]] = {}
        self._changed = trio.Event()
        self._ended = False

    async def read(self) -> None:
        assert self.process.stdout is not None
        tail = b""
        async for chunk in self.process.stdout:
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                record: dict[str, Any] = json.loads(line)
                if (event := record.pop("event")) == "status":
                    self.previous, self.status = self.status, record
                else:
                    self._seen[f"{event} {record['name']}" if "name" in record else event] = record
                    self.told(event, record)
                self._wake()
        self._ended = True
        self._wake()

    async def read_complaints(self) -> None:
        """Crash reports are expected here: they are kept, and shown only if something is wrong in
        the end."""
        assert self.process.stderr is not None
        tail = b""
        async for chunk in self.process.stderr:
            *lines, tail = (tail + chunk).split(b"\n")
            self.complaints.extend(line.decode(errors="replace") for line in lines)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def event(self, name: str) -> dict[str, Any]:
        """Wait until the worker has reported this, ever."""
        while name not in self._seen:
            if self._ended:
                raise Ended(f"the {self.name} process ended before it was {name!r}")
            await self._changed.wait()
        return self._seen[name]

    async def next_status(self) -> dict[str, Any]:
        last = self.status
        while self.status is last:
            if self._ended:
                raise Ended(f"the {self.name} process ended too early")
            await self._changed.wait()
        return self.status

    async def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send_all(command.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Ended(f"the {self.name} process ended before it was told {command!r}") from None

    def rate(self, *keys: str) -> float:
        """By how much the sum of these grows in a second."""
        return rate(self.previous, self.status, *keys) if self.previous else 0.0

    def rss(self) -> int:
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0


def rate(first: dict[str, Any], last: dict[str, Any], *keys: str) -> float:
    seconds = last["at"] - first["at"]
    return sum(last[key] - first[key] for key in keys) / seconds if seconds > 0 else 0.0


async def start(nursery: trio.Nursery, name: str, *arguments: str) -> Worker:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", f"{__package__}.{name}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    worker = Worker(name, process)
    nursery.start_soon(worker.read)
    nursery.start_soon(worker.read_complaints)
    return worker
