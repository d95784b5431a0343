"""How the two workers talk to the process that started them: JSON lines out, command lines in.

A worker prints ``{"event": "status", ...}`` twice a second, and other events when they happen. Its
commands arrive on its standard input. The end of that input means that nobody is watching any more;
then the worker ends, too.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import AsyncIterator

import trio

__all__ = ["SPARE_DESCRIPTORS", "STATUS_INTERVAL", "commands", "emit", "raise_descriptor_limit"]

STATUS_INTERVAL = 0.5

SPARE_DESCRIPTORS = 200
"""What a process needs beside one descriptor for each connection, generously counted."""


def emit(event: str, **fields: object) -> None:
    """Tell the watching process something. It always reads, so this does not block for long."""
    print(json.dumps({"event": event, **fields}), flush=True)


async def commands() -> AsyncIterator[str]:
    """The lines that the watching process sends, until it ends."""
    tail = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        async for chunk in stdin:
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                yield line.decode()


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one. Returns how many connections that allows:
    a connection takes one descriptor in each process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1_048_576)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # the kernel's own ceiling is lower: stay with what there is
            hard = soft
    return max(0, hard - SPARE_DESCRIPTORS)
