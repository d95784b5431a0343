"""The contender's side of the harness's protocol, for contenders that are written in Python."""

import functools
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import trio

Work = Callable[[int], Awaitable[float]]


def say(**answer: object) -> None:
    """Send one line, at once."""
    print(json.dumps(answer), flush=True)


def questions() -> Iterator[list[str]]:
    """The words of each question, until no more come."""
    for line in sys.stdin:
        yield line.split()


def serve(rows: Sequence[Work]) -> None:
    """Answer `ROW N` with the row's figure for one operation: microseconds, or bytes if the row is
    called idle.
    """
    by_name = {getattr(row, "__name__"): row for row in rows}  # noqa: B009
    for name, count in questions():
        n = int(count)
        value = trio.run(functools.partial(by_name[name], n)) / n
        gc.collect()
        say(value=value if name == "idle" else value * 1e6)


async def timed(work: Callable[[int], Awaitable[object]], n: int) -> float:
    """Seconds for this much work, starting with nothing to collect; collections during it count."""
    gc.collect()
    start = time.perf_counter()
    await work(n)
    return time.perf_counter() - start


def gc_settings() -> dict[str, object]:
    return {"enabled": gc.isenabled(), "threshold": gc.get_threshold()}


def rss(pid: int | str = "self") -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int | str = "self") -> float:
    """User and system time, children not included."""
    with open(f"/proc/{pid}/stat") as stat:
        after_name = stat.read().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


async def asker_gone() -> None:
    """Return when stdin has ended (or has something to say), without a thread to read it."""
    await trio.lowlevel.wait_readable(sys.stdin.fileno())
