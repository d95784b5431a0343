"""What clients and servers say to each other: lines of ASCII, a request and its reply.

A request is ``VERB seq arguments``; its reply repeats verb and sequence number, so that a client
sees at once whether one was lost, doubled or belongs to another. Replies come in the order of the
requests.

    HELLO 0 <client> <class>     HELLO 0 welcome           class: low, normal, high; low is the
                                                           first to be given up
    ECHO  <seq> <text>           ECHO  <seq> <text>
    HOLD  <seq> <bytes>          HOLD  <seq> <total>       the connection's state grows by rows of
                                                           256 bytes
    KEEP  <seq> <bytes>          KEEP  <seq> <bytes>       the same, in pieces of 4 KiB
    DROP  <seq>                  DROP  <seq> 0             the connection drops its state
    CACHE <seq> <bytes>          CACHE <seq> <entries>     the server's one cache gets entries of
                                                           16 KiB
    GIANT <seq> <bytes> <how>    GIANT <seq> <bytes>       one handler allocates this much: in a
                                                           ``loop`` or in one ``piece``
    FEED  <seq> <count> <bytes>  FEED  <seq> <accepted>    messages to the one slow consumer, which
                                                           takes 10 ms for each
    DUMP  <seq>                  DUMP  <seq> told          the service with the large state raises
    STATS <seq>                  STATS <seq> <json>        on the control port only

A client that is not let in gets ``BUSY`` and the end of the stream instead of its welcome; a
request that is declined gets ``BUSY <seq>``. Both are polite: the client knows, and may try again.
Anything else that ends a connection is a loss.

``STATS`` is an object with those of the following that the server knows about itself:
``connections``, ``refused``, ``kills``, ``restarts`` (counted since its start) and ``level``
(``NORMAL`` … ``EXHAUSTED``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

CLASSES = ("low", "normal", "high")
LEVELS = ("NORMAL", "CONSERVE", "SHED", "KILL", "EXHAUSTED")
MAX_LINE = 4096
ROW = 256
PIECE = 4096
CACHED = 16 * 1024
SLOW = 0.01
"""Seconds that the slow consumer takes for a message."""

BUSY = b"BUSY try again later\n"


@dataclass(frozen=True, slots=True)
class Request:
    verb: bytes
    seq: int
    arguments: tuple[bytes, ...]


def parse(line: bytes) -> Request:
    """Raises ValueError if the line is not a request."""
    verb, _, rest = line.partition(b" ")
    seq, *arguments = rest.split(b" ")
    try:
        return Request(verb, int(seq), tuple(arguments))
    except ValueError:
        raise ValueError(f"not a request: {line[:60]!r}") from None


def reply(request: Request, result: object) -> bytes:
    return b"%s %d %s\n" % (request.verb, request.seq, str(result).encode())


def expected(line: bytes) -> bytes:
    """What the reply to this request begins with; an echo must be equal to it."""
    verb, seq, *_ = line.split(b" ", 2)
    return line if verb == b"ECHO" else verb + b" " + seq + b" "


def fits(answer: bytes, due: bytes) -> bool:
    return answer == due if due.startswith(b"ECHO") else answer.startswith(due)


def declined(answer: bytes, due: bytes) -> bool:
    return answer.startswith(b"BUSY " + due.split(b" ", 2)[1])


def stats(request: Request, **known: object) -> bytes:
    return reply(request, json.dumps(known))


# -- what the servers in Python do alike -----------------------------------------------------------


def row(number: int) -> bytes:
    """A message, a line, a record: an object of its own."""
    return b"%-*d" % (ROW, number)


def rows(size: int) -> list[bytes]:
    return [row(number) for number in range(max(1, size // ROW))]


def pieces(size: int) -> list[bytes]:
    """Part of an upload, a picture."""
    return [b"%-*d" % (PIECE, number) for number in range(max(1, size // PIECE))]


def cached(size: int) -> list[bytes]:
    """Entries of a cache: they can be had again, at a price."""
    return [b"%-*d" % (CACHED, number) for number in range(max(1, size // CACHED))]


def giant(size: int, how: bytes) -> int:
    """Allocate ``size`` bytes and touch them, in one handler, without a pause."""
    if how == b"piece":
        return len(b"x" * size)
    hoard = []
    for number in range(size // ROW):
        hoard.append(row(number))
    return len(hoard) * ROW
