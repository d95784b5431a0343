"""The load generator: `python -m bench.survival.clients`, some thousand clients in one process,
outside the limit.

It reads one JSON object (its share of the plan), then commands, a line each; it answers with JSON
lines.

    connect        all but the storm connect and say HELLO
                   -> {"event": "connected", …}
    before FILL    the scripts for before
                   -> {"event": "prepared"}
    press FILL     the scripts of the pressure; the storm breaks loose
                   -> {"event": "pressed"}, when all are finished
    relax          the pressure ends; storm clients leave
    verify         each good client that is left sends one more request
                   -> {"event": "report", …}

From ``before`` on, the clients with ``echo`` take turns to send a request, at ``rate`` a second,
whether or not the others have been answered, so a server that stops for a second is seen to stop.
Each client has one request of that kind at a time. Every reply is compared with the one that is due
on that connection. The generator uses epoll and no framework: it must never be the bottleneck.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import json
import os
import random
import select
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.survival.client import Client, unrolled
from bench.survival.latency import bucket
from bench.survival.protocol import declined, expected, fits
from bench.worker import say

AT_ONCE = 100
"""How many clients of this process may wait for their welcome at a time, the storm included."""
BACKOFF = 1.0
BACKOFF_MOST = 8.0
"""Seconds until a refused client tries again: twice as long each time, plus or minus a half."""
VERIFY_SECONDS = 10.0
BIND_ADDRESS_NO_PORT = 24


class Generator:
    def __init__(self, share: dict[str, Any]) -> None:
        self.ports: dict[str, int] = share["ports"]
        self.source: str = share["source"]
        self.rate: float = share["rate"]
        self.poll = select.epoll()
        self.by_fd: dict[int, Client] = {}
        numbers = itertools.count(share["first"])
        self.clients = [Client(next(numbers), group) for group in share["groups"] for _ in range(group["count"])]
        self.good = [client for client in self.clients if client.group["good"]]
        self.speakers = [client for client in self.clients if client.group["echo"]]
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.phase = "start"
        self.busy_with = 0  # scripts that are not finished
        self.joining = 0
        self.waiting: deque[Client] = deque()
        self.turn = 0
        self.latencies: dict[str, Counter[int]] = {"steady": Counter(), "press": Counter(), "after": Counter()}
        self.refusals: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.marks: Counter[tuple[int, str]] = Counter()
        self.wrong: list[str] = []
        self.ended = False

    # --- time ---------------------------------------------------------------------------------

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.order), act))

    def mark(self, kind: str) -> None:
        self.counts[kind] += 1
        self.marks[round(time.monotonic() * 10), kind] += 1

    def run(self) -> None:
        self.poll.register(0, select.EPOLLIN)
        os.set_blocking(0, False)
        commands = b""
        while not self.ended:
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else 1.0
            for fd, events in self.poll.poll(wait):
                if fd == 0:
                    chunk = os.read(0, 65536)
                    if not chunk:
                        return
                    *lines, commands = (commands + chunk).split(b"\n")
                    for line in lines:
                        self.command(*line.decode().split())
                elif (client := self.by_fd.get(fd)) is not None:
                    self.ready(client, events)
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                heapq.heappop(self.timers)[2]()

    # --- phases -------------------------------------------------------------------------------

    def command(self, word: str, size: str = "0") -> None:
        match word:
            case "connect":
                self.phase = "connect"
                self.join(client for client in self.clients if not client.group["storm"])
            case "before":
                self.phase = "steady"
                self.after(0, self.speak)
                self.start("before", int(size))
            case "press":
                self.phase = "press"
                self.start("press", int(size))
            case "relax":
                self.phase = "after"
                self.busy_with = 0
                self.waiting.clear()
                for client in self.clients:
                    client.script = unrolled(client.group["after"], 0)
                    client.active = False
                    if client.group["storm"]:
                        self.close(client, "left")
                    elif client.group["after"]:
                        self.next_step(client)
            case "verify":
                self.verify()

    def start(self, which: str, size: int) -> None:
        self.busy_with = 1
        for client in self.clients:
            group = client.group
            if client.group["storm"] and which == "press":
                client.script = iter(())
                self.busy_with += 1  # the storm does not abate by itself
                self.after(random.uniform(0, group["spread"]), partial(self.join, [client]))
                group["fill"] = size
            elif group[which] and client.state == "in":
                client.script = unrolled(group[which], size)
                client.active = True
                self.busy_with += 1
                self.after(random.uniform(0, group["spread"]), partial(self.next_step, client))
        self.through()

    def done(self, client: Client) -> None:
        """Its script is finished, or the client has gone."""
        if client.active:
            client.active = False
            self.through()

    def through(self) -> None:
        self.busy_with -= 1
        if self.busy_with == 0 and self.phase in ("steady", "press"):
            say(event="prepared" if self.phase == "steady" else "pressed")

    def next_step(self, client: Client) -> None:
        if client.state != "in":
            return
        step = next(client.script, None)
        if step is None:
            self.done(client)
            return
        text, pause = step
        verb, _, arguments = text.partition(" ")

        def request() -> None:
            if client.state == "in":
                self.request(client, verb, arguments, lambda: self.next_step(client))

        if pause:
            self.after(pause, request)
        else:
            request()

    def speak(self) -> None:
        """Send for the next clients in turn, as many as are due."""
        at_once = max(1, round(self.rate / 20))
        left = at_once
        for _ in range(len(self.speakers)):
            client = self.speakers[self.turn % len(self.speakers)]
            self.turn += 1
            if client.state == "in" and not client.speaking:
                client.speaking = True
                self.request(client, "ECHO", f"client {client.number} says so", None)
                left -= 1
                if not left:
                    break
        if self.phase != "verify":
            self.after(at_once / self.rate, self.speak)

    def verify(self) -> None:
        self.phase = "verify"
        missing = {client for client in self.good if client.state == "in"}

        def answered(client: Client) -> None:
            client.verified = True
            missing.discard(client)
            if not missing:
                self.report()

        for client in tuple(missing):
            self.request(client, "ECHO", f"client {client.number} is still here", partial(answered, client))
        if missing:
            self.after(VERIFY_SECONDS, self.report)
        else:
            self.report()

    def report(self) -> None:
        if self.ended:
            return
        self.ended = True
        now = time.monotonic()
        for client in self.good:
            for due, sent, _ in client.due:  # what was never answered took at least this long
                if due.startswith(b"ECHO") and client.state == "in":
                    self.latencies["after"][bucket(now - sent)] += 1
        kept: Counter[str] = Counter(client.klass for client in self.good if client.verified and client.state == "in")
        say(
            event="report",
            good=Counter(client.klass for client in self.good),
            kept=kept,
            counts=self.counts,
            wrong=self.wrong[:5],
            latencies=self.latencies,
            refusals=self.refusals,
            marks=[[tenth / 10, kind, count] for (tenth, kind), count in sorted(self.marks.items())],
            cpu=time.process_time(),
        )

    # --- sockets ------------------------------------------------------------------------------

    def join(self, clients: Any) -> None:
        self.waiting.extend(clients)
        while self.waiting and self.joining < AT_ONCE:
            self.connect(self.waiting.popleft())
        if self.phase == "connect" and not self.joining and not self.waiting:
            self.phase = "connected"
            say(event="connected", good=sum(client.state == "in" for client in self.good))

    def connect(self, client: Client) -> None:
        client.reset()
        sock = client.socket = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        client.state = "joining"
        self.joining += 1
        try:
            sock.bind((self.source, 0))
            code = sock.connect_ex(("127.0.0.1", self.ports[client.klass]))
        except OSError as error:
            code = error.errno or errno.EIO
        self.by_fd[sock.fileno()] = client
        client.polled = select.EPOLLIN | select.EPOLLOUT
        self.poll.register(sock, client.polled)
        if code not in (0, errno.EINPROGRESS):
            self.close(client, "unreachable")
            return
        hello = b"HELLO 0 %d %s\n" % (client.number, client.klass.encode())
        client.unsent = hello
        client.due.append((b"HELLO 0 ", time.monotonic(), None))

    def request(self, client: Client, verb: str, arguments: str, then: Callable[[], None] | None) -> None:
        client.seq += 1
        line = f"{verb} {client.seq} {arguments}".rstrip().encode()
        client.due.append((expected(line), time.monotonic(), then))
        client.unsent += line + b"\n"
        self.flush(client)

    def flush(self, client: Client) -> None:
        sock = client.socket
        assert sock is not None
        try:
            sent = sock.send(client.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading will show it
        client.unsent = client.unsent[sent:]
        wanted = select.EPOLLIN | (select.EPOLLOUT if client.unsent else 0)
        if client.polled != wanted:
            client.polled = wanted
            self.poll.modify(sock, wanted)

    def ready(self, client: Client, events: int) -> None:
        sock = client.socket
        assert sock is not None
        if events & select.EPOLLOUT and client.unsent:
            self.flush(client)
        if not events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            return
        try:
            chunk = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.close(client, "unreachable" if client.state == "joining" else "lost")
            return
        *lines, client.buffered = (client.buffered + chunk).split(b"\n")
        for line in lines:
            if client.socket is sock:
                self.take(client, line)

    def take(self, client: Client, line: bytes) -> None:
        if client.state == "joining":
            if line.startswith(b"HELLO 0 "):
                client.due.clear()
                client.state = "in"
                self.joining -= 1
                self.counts["welcomed"] += 1
                if client.group["storm"] and self.phase == "press":
                    client.script = unrolled(client.group["press"], client.group["fill"])
                    self.next_step(client)
                self.join(())
            elif line.startswith(b"BUSY"):
                self.refusals[bucket(time.monotonic() - client.due[0][1])] += 1
                self.close(client, "refused")
            else:
                self.wrong_line(client, line, b"HELLO 0 ")
            return
        if not client.due:
            if not line.startswith(b"BUSY"):  # a farewell may precede the end of the stream
                self.wrong_line(client, line, b"nothing")
            return
        due, sent, then = client.due.popleft()
        if not fits(line, due):
            if declined(line, due):
                self.mark("declined")
            else:
                self.wrong_line(client, line, due)
                return
        if due.startswith(b"ECHO"):
            client.speaking = False
            if self.phase in self.latencies:
                self.latencies[self.phase][bucket(time.monotonic() - sent)] += 1
        if then is not None:
            then()

    def wrong_line(self, client: Client, line: bytes, due: bytes) -> None:
        self.wrong.append(f"client {client.number}: {line[:80]!r} where {due[:80]!r} was due")
        self.close(client, "wrong")

    def close(self, client: Client, how: str) -> None:
        """``how``: refused (politely), unreachable, lost, wrong, or left (of its own will)."""
        sock, client.socket = client.socket, None
        if sock is None:
            return
        was = client.state
        client.state = how
        del self.by_fd[sock.fileno()]
        self.poll.unregister(sock)
        sock.close()
        group = client.group
        if how != "left":
            self.mark(f"good {how}" if group["good"] and how in ("lost", "wrong") else how)
        self.done(client)
        if group["storm"] and self.phase == "press":
            # At once who was cut off; who is told to try later does that; where nobody listens, not
            # as a busy loop.
            client.refusals = client.refusals + 1 if how == "refused" else 0
            later = min(BACKOFF_MOST, BACKOFF * 2 ** (client.refusals - 1)) * random.uniform(0.5, 1.5)
            self.after({"lost": 0.0, "refused": later}.get(how, 0.1), lambda: self.join([client]))
        if was == "joining":
            self.joining -= 1
            self.join(())


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner ends us
    share = json.loads(os.fdopen(os.dup(0), "rb", buffering=0).readline())
    Generator(share).run()


if __name__ == "__main__":
    main()
