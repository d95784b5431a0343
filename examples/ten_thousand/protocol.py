"""What clients and service say to each other: lines of ASCII.

    client                     service
    HELLO <client> <room>      WELCOME <members>            once the room has let the client in
    ECHO <seq> <text>          ECHO <seq> <text>            from the client's own connection actor
    SAY <seq> <text>           SAID <client> <seq> <text>   from the room, to every member of it
    CRASH                      (end of stream)              the connection actor raises
    HOARD <bytes>              KEPT <bytes in all>          the connection actor keeps so much more;
    0: nothing (connects)                 BUSY try again later         and the end of stream: memory
    is short

A SAY is idempotent: a client says it again until it hears its own SAID. One that was on its way
through a room when the room crashed is lost, and said again; the others may then hear it twice.

``client`` and ``seq`` are decimal numbers, a room's name is ``room-<number>``.
"""

from __future__ import annotations

__all__ = [
    "BUSY",
    "CRASH",
    "MAX_LINE",
    "MEMBERS_PER_ROOM",
    "echo",
    "hello",
    "hoard",
    "kept",
    "room_name",
    "rooms_for",
    "said",
    "say",
    "welcome",
]

MAX_LINE = 4096
MEMBERS_PER_ROOM = 100

CRASH = b"CRASH\n"
BUSY = b"BUSY try again later\n"


def rooms_for(connections: int) -> int:
    """How many rooms so many connections share."""
    return max(1, -(-connections // MEMBERS_PER_ROOM))


def room_name(number: int) -> str:
    return f"room-{number}"


def hello(client: int, room: str) -> bytes:
    return b"HELLO %d %s\n" % (client, room.encode())


def welcome(members: int) -> bytes:
    return b"WELCOME %d\n" % members


def echo(seq: int, text: bytes) -> bytes:
    return b"ECHO %d %s\n" % (seq, text)


def say(seq: int, text: bytes) -> bytes:
    return b"SAY %d %s\n" % (seq, text)


def said(client: int, seq: int, text: bytes) -> bytes:
    return b"SAID %d %d %s\n" % (client, seq, text)


def hoard(size: int) -> bytes:
    return b"HOARD %d\n" % size


def kept(size: int) -> bytes:
    return b"KEPT %d\n" % size
