"""The load generator of `python -m bench connections`: `python -m bench.load PORT CONNECTIONS
ROOMS`.

It opens the connections, each joins a room, and then runs the traffic it is asked for:

    E <connection> <serial>    to be echoed
    B <room> <serial>          to be delivered to every member of the room of the connection that
                               sent it

A window bounds the number of lines in flight; when one comes back, the next connection in turn
sends the next. Each line received is checked against the line that is due on that connection, so a
line that is lost, doubled, garbled or out of order ends the run. The generator uses epoll directly:
it must never be the bottleneck. Its own CPU time is in the answer.
"""

import contextlib
import resource
import select
import socket
import sys
import time
from collections import deque

from bench.worker import questions, say

AT_ONCE = 200  # connections that wait for the answer to their join
SILENCE = 20.0  # seconds without a line that end the run


class Connection:
    __slots__ = ("buffered", "due", "room", "socket")

    def __init__(self, sock: socket.socket, room: int) -> None:
        self.socket = sock
        self.room = room
        self.buffered = b""
        self.due: deque[tuple[bytes, float]] = deque()  # echoes on their way back, and when they were sent


class Room:
    """The broadcasts in flight to one room. Two of them may overtake each other if their senders
    differ.
    """

    __slots__ = ("members", "sent")

    def __init__(self) -> None:
        self.members: list[Connection] = []
        self.sent: dict[bytes, Broadcast] = {}


class Broadcast:
    __slots__ = ("missing", "started")

    def __init__(self, missing: set[Connection], started: float) -> None:
        self.missing = missing
        self.started = started


class Generator:
    def __init__(self, port: int, connections: int, rooms: int) -> None:
        self.poll = select.epoll()
        self.by_fd: dict[int, Connection] = {}
        self.connections: list[Connection] = []
        self.rooms = [Room() for _ in range(rooms)]
        self.serial = 0
        self.turn = 0
        joining = 0
        for number in range(connections):
            connection = self.connect(port, number % rooms)
            joining += 1
            while joining >= AT_ONCE or (number == connections - 1 and joining):
                for who, lines in self.receive():
                    assert lines == [b"J %d" % who.room], f"{lines} instead of the answer to a join"
                    joining -= 1
            self.connections.append(connection)

    def connect(self, port: int, room: int) -> Connection:
        sock = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        connection = Connection(sock, room)
        self.by_fd[sock.fileno()] = connection
        self.rooms[room].members.append(connection)
        self.poll.register(sock, select.EPOLLIN)
        self.send(connection, b"J %d" % room)
        return connection

    def send(self, connection: Connection, line: bytes) -> None:
        sent = connection.socket.send(line + b"\n")
        assert sent == len(line) + 1, "a socket's buffer is full: the server does not read"

    def receive(self) -> list[tuple[Connection, list[bytes]]]:
        """The next complete lines of each connection that has any."""
        ready = self.poll.poll(SILENCE)
        if not ready:
            raise TimeoutError(f"no line for {SILENCE:.0f} s")
        received = []
        for fd, _ in ready:
            connection = self.by_fd[fd]
            chunk = connection.socket.recv(65536)
            if not chunk:
                raise ConnectionError("the server has closed a connection")
            *lines, connection.buffered = (connection.buffered + chunk).split(b"\n")
            received.append((connection, lines))
        return received

    def next_connection(self) -> Connection:
        """All take turns, rooms too: neighbours are in different ones."""
        connection = self.connections[self.turn]
        self.turn = (self.turn + 1) % len(self.connections)
        return connection

    def run(self, echoes: int, echo_window: int, broadcasts: int, broadcast_window: int) -> dict[str, object]:
        """Send this many of each; broadcasts are spread evenly among the echoes."""
        now = time.perf_counter
        echo_times: list[float] = []
        delivery_times: list[float] = []
        echoes_sent = broadcasts_sent = broadcasts_done = 0

        def refill() -> None:
            nonlocal echoes_sent, broadcasts_sent
            while echoes_sent < echoes and echoes_sent - len(echo_times) < echo_window:
                connection = self.next_connection()
                self.serial += 1
                line = b"E %d %d" % (connection.socket.fileno(), self.serial)
                connection.due.append((line, now()))
                self.send(connection, line)
                echoes_sent += 1
            due = broadcasts if echoes_sent == echoes else broadcasts * echoes_sent // echoes
            while broadcasts_sent < due and broadcasts_sent - broadcasts_done < broadcast_window:
                connection = self.next_connection()
                room = self.rooms[connection.room]
                self.serial += 1
                line = b"B %d %d" % (connection.room, self.serial)
                room.sent[line] = Broadcast(set(room.members), now())
                self.send(connection, line)
                broadcasts_sent += 1

        def take(connection: Connection, line: bytes) -> None:
            nonlocal broadcasts_done
            if line.startswith(b"E"):
                assert connection.due, f"{line!r} was not due"
                expected, started = connection.due.popleft()
                assert line == expected, f"{line!r} instead of {expected!r}"
                echo_times.append(now() - started)
                return
            room = self.rooms[connection.room]
            broadcast = room.sent.get(line)
            assert broadcast is not None, f"{line!r} was not due"
            assert connection in broadcast.missing, f"{line!r} came twice"
            broadcast.missing.remove(connection)
            delivery_times.append(now() - broadcast.started)
            if not broadcast.missing:
                del room.sent[line]
                broadcasts_done += 1

        cpu, start = time.process_time(), now()
        refill()
        while len(echo_times) < echoes or broadcasts_done < broadcasts:
            for connection, lines in self.receive():
                for line in lines:
                    take(connection, line)
            refill()
        seconds = now() - start
        return {
            "seconds": seconds,
            "generator_cpu": time.process_time() - cpu,
            "echoes": len(echo_times),
            "echo_p50": quantile(echo_times, 0.50),
            "echo_p99": quantile(echo_times, 0.99),
            "deliveries": len(delivery_times),
            "delivery_p50": quantile(delivery_times, 0.50),
            "delivery_p99": quantile(delivery_times, 0.99),
        }


def quantile(values: list[float], q: float) -> float | None:
    return sorted(values)[int(q * (len(values) - 1))] if values else None


def raise_descriptor_limit(needed: int) -> None:
    """Raise the soft limit as far as the hard one allows; complain if that is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ValueError(f"{needed} descriptors needed and the hard limit is {hard}: use --count {hard - 100} or less")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def main() -> None:
    port, connections, rooms = map(int, sys.argv[1:])
    raise_descriptor_limit(connections + 100)
    start = time.perf_counter()
    generator = Generator(port, connections, rooms)
    say(connected=connections, seconds=time.perf_counter() - start)
    for words in questions():
        say(**generator.run(*map(int, words)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
