"""The clients of `python -m bench passes`: `python -m bench.passes_clients PORT CONNECTIONS`.

It opens the connections and, when it is asked to, keeps all of them full of short lines until it is
asked again or its stdin ends. Full means that the kernel takes no more. It uses epoll directly.
"""

import contextlib
import select
import socket
import sys

from bench.load import SILENCE, raise_descriptor_limit
from bench.worker import say

LINE = b"a short line\n"
LUMP = LINE * 512
AT_ONCE = 500
"""Connections that are opened between two checks that the server still accepts."""


class Clients:
    """Sockets that are kept full."""

    def __init__(self, port: int, count: int) -> None:
        self.poll = select.epoll()
        self.by_fd: dict[int, socket.socket] = {}
        self.sent: dict[int, int] = {}
        """How much of its current lump each connection has sent."""
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # the bytes sent lie at the server
            sock.setblocking(False)
            self.by_fd[sock.fileno()] = sock
            self.sent[sock.fileno()] = 0
            self.poll.register(sock, select.EPOLLOUT)

    def fill(self, fd: int) -> int:
        """Send as much as the kernel takes; return the number of bytes."""
        sock, total = self.by_fd[fd], 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent = sock.send(memoryview(LUMP)[self.sent[fd] :])
                self.sent[fd] = (self.sent[fd] + sent) % len(LUMP)
                total += sent
        return total

    def fill_all(self) -> int:
        """Fill all connections, until none takes more."""
        return sum(map(self.fill, self.by_fd))

    def keep_full(self, stop: int) -> None:
        """Keep them full until there is something to read from the descriptor ``stop``."""
        self.poll.register(stop, select.EPOLLIN)
        while True:
            for fd, _ in self.poll.poll():
                if fd == stop:
                    self.poll.unregister(stop)
                    return
                self.fill(fd)


def main() -> None:
    port, count = map(int, sys.argv[1:])
    raise_descriptor_limit(count + 100)
    clients = Clients(port, count)
    say(connected=count)
    while sys.stdin.readline():
        say(sent=clients.fill_all())
        with contextlib.suppress(ConnectionError):
            clients.keep_full(sys.stdin.fileno())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
