"""The processes of a run: the server, its neighbour, the load generators."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import deque
from typing import Any

import trio

from bench.harness import ROOT


class Gone(Exception):
    """A child process has ended too early."""


class Child:
    """A process that prints JSON lines; its last lines on stderr are kept."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.complaints: deque[bytes] = deque(maxlen=20)
        self._events: dict[str, dict[str, Any]] = {}
        self._changed = trio.Event()
        self._silent = False

    @classmethod
    async def start(
        cls, nursery: trio.Nursery, name: str, command: list[str], env: dict[str, str] | None = None
    ) -> Child:
        pipe = subprocess.PIPE
        process = await trio.lowlevel.open_process(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
        child = cls(name, process)
        nursery.start_soon(child._read)
        nursery.start_soon(child._read_complaints)
        return child

    async def _read(self) -> None:
        assert self.process.stdout is not None
        tail = b""
        async for chunk in self.process.stdout:
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    self._events[event.get("event", "ready")] = event
            self._wake()
        self._silent = True
        self._wake()

    async def _read_complaints(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.complaints.append(bytes(chunk[-200:]))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def event(self, name: str) -> dict[str, Any]:
        while name not in self._events:
            if self._silent:
                raise Gone(f"{self.name} ended before it was {name!r}: {self.last_words()}")
            await self._changed.wait()
        return self._events[name]

    async def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.process.stdin.send_all(text.encode() + b"\n")

    def last_words(self) -> str:
        return b"".join(self.complaints).decode(errors="replace").strip()[-600:]

    def alive(self) -> bool:
        return self.process.poll() is None
