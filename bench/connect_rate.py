"""Connects and disconnects as fast as the machine can: actorkit's listener beside plain trio.

    python -m bench.connect_rate [--rounds N] [--count N] [--json FILE]

A client of raw sockets, in this process, connects and closes at once, a batch at a time. The
servers' handlers are empty. A round is over when the server has seen the end of every connection.
Servers are processes of their own and take turns. The result is the median, over the rounds, of the
ratio of the two rates within a round; the goal is 0.6.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

import actorkit as ak
from bench.harness import ROOT
from bench.worker import rss, say

GOAL = 0.6
BATCH = 50


class Empty(ak.StreamActor):
    """Does nothing."""


async def answer_questions(ended: Callable[[], int]) -> None:
    """Each line on stdin is a number: print a line when that many connections have ended."""
    while True:
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
        line = sys.stdin.readline()
        if not line:
            return
        while ended() < int(line):  # noqa: ASYNC110  # an event for each would be part of what is measured
            await trio.sleep(0.001)
        say(ended=ended(), rss=rss())


async def actorkit_server() -> None:
    async with ak.open_node(ak.supervisor(ak.tcp_listener(Empty, port=0, name="listener"))) as node:
        [(_, port)] = await ak.named(ak.Listener, "listener").call(ak.Listener.addresses)
        say(port=port)
        await answer_questions(lambda: node.statistics().exited)


async def trio_server() -> None:
    ended = [0]

    async def handler(stream: trio.SocketStream) -> None:
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        ended[0] += 1

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        say(port=listener.socket.getsockname()[1])
        await answer_questions(lambda: ended[0])
        nursery.cancel_scope.cancel()


SERVERS = {"actorkit": actorkit_server, "trio": trio_server}


@contextmanager
def server(name: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "bench.connect_rate", "--serve", name]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["port"]
    finally:
        process.kill()
        process.communicate()


def ask(process: subprocess.Popen[str], ended: int) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{ended}\n")
    process.stdin.flush()
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


def drive(port: int, count: int) -> None:
    for _ in range(count // BATCH):
        batch = [socket.create_connection(("127.0.0.1", port)) for _ in range(BATCH)]
        for sock in batch:
            sock.close()


def measure(name: str, count: int) -> tuple[float, int]:
    """Connections a second, and by how many bytes the server has grown for them."""
    with server(name) as (process, port):
        drive(port, BATCH * 4)
        before = ask(process, BATCH * 4)["rss"]
        start = time.perf_counter()
        drive(port, count)
        after = ask(process, BATCH * 4 + count)
        return count / (time.perf_counter() - start), after["rss"] - before


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.connect_rate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--count", type=int, default=4_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        trio.run(SERVERS[args.serve])
        return 0
    rows: list[dict[str, Any]] = []
    for number in range(args.rounds):
        row: dict[str, Any] = {}
        for name in list(SERVERS)[:: 1 if number % 2 else -1]:
            row[name], row[f"{name} grew"] = measure(name, args.count)
        row["ratio"] = row["actorkit"] / row["trio"]
        rows.append(row)
    ratio = statistics.median(row["ratio"] for row in rows)
    for name in SERVERS:
        rate = statistics.median(row[name] for row in rows)
        grown = max(row[f"{name} grew"] for row in rows)
        print(f"connect_rate: {name:8} {rate:8,.0f} connections/s, grew by at most {grown:,} bytes")
    met = "met" if ratio >= GOAL else "MISSED"
    print(f"connect_rate: actorkit ÷ trio {ratio:.2f} (goal {GOAL}: {met}), {args.rounds} rounds of {args.count:,}")
    if args.json is not None:
        args.json.write_text(json.dumps({"goal": GOAL, "ratio": ratio, "rounds": rows}, indent=2) + "\n")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
