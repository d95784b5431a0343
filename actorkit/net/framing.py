"""Framing: bytes as they come in, messages out. Pure: no sockets, no clock.

How it works. Each connection has a framer of its own. Whatever was read is fed to it, in pieces of
any size, and it returns the messages that are complete; ``StreamActor.received`` gets them one by
one. A framer holds at most one incomplete message and refuses to let it grow beyond its limit. So a
peer cannot make a connection hold more than ``limit`` bytes (and the few that separate messages) by
sending half a message.

To add a framing:

1. Write a class with ``feed`` and ``pending`` (see ``Framer``), here or in a file beside this one.
   It must take time linear in what comes, since a peer may send one byte at a time. It must check
   the length of a message before it keeps it, and raise ``FrameTooLong`` with the messages that
   were complete. If bytes can break the framing's rules, it must raise ``BadFrame`` in the same
   way. Any other exception is a fault of the package: it ends the node.
2. Let ``framing_of`` choose it by an option, and give the functions in ``listener_specs`` that
   option.

Nothing else knows which framings there are. A listener is given a function without arguments that
makes a framer; a connection feeds whatever that has made. Test it as ``tests/net/test_framing.py``
does: however a stream is cut, the messages are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from ..errors import InvalidChildSpec, MadeAgain
from .limits import check_count

__all__ = ["BadFrame", "FrameTooLong", "Framer", "Frames", "Framing", "Lines", "Raw", "framing_of"]


class BadFrame(MadeAgain, Exception):
    """What came is not a message: the peer's fault. The connection handles the messages before it
    and ends.

    Args:
        what: completes "the peer sent a …", as in "frame without a length".
        complete: the messages before it, if any.
    """

    def __init__(self, what: str, complete: list[bytes]) -> None:
        super().__init__(what)
        self.complete = complete


class FrameTooLong(BadFrame):
    """A message is longer than the limit."""

    def __init__(self, what: str, limit: int, complete: list[bytes]) -> None:
        super().__init__(f"{what} longer than {limit} bytes", complete)


class Framer(Protocol):
    """Cuts the stream of one connection into messages."""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes. Raises BadFrame; after that the framer is of
        no more use."""
        ...

    @property
    def pending(self) -> int:
        """Bytes of the incomplete message."""
        ...


Framing = Callable[[], Framer]
"""Makes the framer of one connection."""


def framing_of(max_line: int | None, max_frame: int | None) -> Framing:
    """The framing that a listener's options choose. Raises InvalidChildSpec."""
    if max_line is not None and max_frame is not None:
        raise InvalidChildSpec("max_frame", max_frame, "max_line is given too", "give one of them, or neither")
    if max_line is not None:
        check_count("max_line", max_line)
        return partial(Lines, max_line)
    if max_frame is not None:
        check_count("max_frame", max_frame)
        return partial(Frames, max_frame)
    return Raw


class Raw:
    """No framing: whatever was read is a message, of any size."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        return [data]

    @property
    def pending(self) -> int:
        return 0


class Lines:
    """Messages end with ``\\n``, which is cut off, as is a ``\\r`` before it. ``limit`` bounds the
    line without them."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest: bytes | bytearray = b""

    def feed(self, data: bytes) -> list[bytes]:
        limit = self._limit
        rest = self._rest
        if rest:
            if b"\n" not in data:
                # Only the new part is looked at, so a line that comes in many parts costs linear
                # time.
                if type(rest) is bytes:
                    rest = self._rest = bytearray(rest)
                rest += data
                if len(rest) > limit:
                    self._check_rest(rest, [])
                return []
            data = b"".join((rest, data))
            self._rest = b""
        lines = data.split(b"\n")
        rest = lines.pop()
        if b"\r" in data:
            lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
        if len(data) > limit:
            for index, line in enumerate(lines):
                if len(line) > limit:
                    raise FrameTooLong("line", limit, lines[:index])
            if len(rest) > limit:
                self._check_rest(rest, lines)
        self._rest = rest
        return lines

    def _check_rest(self, rest: bytes | bytearray, lines: list[bytes]) -> None:
        """One byte more than the limit may be the ``\\r`` that does not count."""
        limit = self._limit
        if len(rest) > limit + 1 or not rest.endswith(b"\r"):
            self._rest = b""
            raise FrameTooLong("line", limit, lines)

    @property
    def pending(self) -> int:
        return len(self._rest)


class Frames:
    """A message comes behind its length: 4 bytes, big-endian, which do not count themselves."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest: bytearray | None = None

    def feed(self, data: bytes) -> list[bytes]:
        rest = self._rest
        source: bytes | bytearray = data
        if rest is not None:
            rest += data
            source = rest
        frames: list[bytes] = []
        at = 0
        have = len(source)
        limit = self._limit
        while have - at >= 4:
            start = at + 4
            size = int.from_bytes(source[at:start], "big")
            if size > limit:
                self._rest = None
                raise FrameTooLong(f"frame of {size} bytes,", limit, frames)
            if have - start < size:
                break
            at = start + size
            frames.append(bytes(source[start:at]))
        if at == have:
            self._rest = None
        elif rest is None:
            self._rest = bytearray(data[at:])
        elif at:
            del rest[:at]
        return frames

    @property
    def pending(self) -> int:
        return 0 if self._rest is None else len(self._rest)

    @staticmethod
    def encode(payload: bytes) -> bytes:
        """``payload`` as a frame."""
        return len(payload).to_bytes(4, "big") + payload
