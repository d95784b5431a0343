"""What is seen of a server from outside, ten times a second, and what it says of itself, twice a
second.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

import trio

from bench.survival.children import Child
from bench.survival.limit import Limit

TICK = 0.1
STALE = 2.0
"""Seconds after which the level that the server reported no longer counts."""
LEAVE_CONSERVE = 0.65
"""A node that reports no level of its own counts as NORMAL below this share of its limit.
"""


def is_normal(used: int, level: str | None, limit: int) -> bool:
    return level == "NORMAL" if level is not None else used < LEAVE_CONSERVE * limit


@dataclass
class Observer:
    """What is seen of the server from outside, on one clock."""

    limit: Limit
    server: Child
    timeline: list[tuple[float, int, str | None]]
    told: list[tuple[float, dict[str, Any]]]
    """Its answers to STATS, and when they came."""

    async def watch(self) -> None:
        next_tick = time.monotonic()
        while self.server.alive():
            with contextlib.suppress(OSError):
                used = self.limit.usage(self.server.process.pid).used
                now = time.monotonic()
                fresh = self.told and now - self.told[-1][0] < STALE
                self.timeline.append((now, used, self.told[-1][1].get("level") if fresh else None))
            next_tick = max(next_tick + TICK, time.monotonic())  # a late observation is not made up for
            await trio.sleep(max(0.0, next_tick - time.monotonic()))

    async def ask(self, port: int) -> None:
        """The control connection: a question each half second, as long as the server answers."""
        seq = 0
        with contextlib.suppress(OSError, trio.BrokenResourceError, ValueError):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                buffered = b""
                while True:
                    seq += 1
                    await stream.send_all(b"STATS %d\n" % seq)
                    while b"\n" not in buffered:
                        chunk = await stream.receive_some()
                        if not chunk:
                            return
                        buffered += chunk
                    line, _, buffered = buffered.partition(b"\n")
                    self.told.append((time.monotonic(), json.loads(line.split(b" ", 2)[2])))
                    await trio.sleep(0.5)

    def used(self) -> int:
        return self.timeline[-1][1] if self.timeline else 0

    def normal(self) -> bool:
        return is_normal(self.used(), self.timeline[-1][2] if self.timeline else None, self.limit.size)
