"""Framing: bytes as they come in, messages out. Pure: no sockets, no clock.

A framer holds at most one incomplete message, and refuses to let it grow beyond its limit: a peer cannot make a connection hold
more than ``limit`` bytes by sending half a line.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["FrameTooLong", "Framer", "Frames", "Lines", "Raw"]


class FrameTooLong(Exception):
    """The peer's fault: a message longer than the limit. The messages before it, if any, are in ``complete``."""

    def __init__(self, what: str, limit: int, complete: list[bytes]) -> None:
        super().__init__(f"{what} longer than {limit} bytes")
        self.complete = complete


class Framer(Protocol):
    """Cuts a stream of bytes into messages."""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes. Raises FrameTooLong; the framer is of no more use then."""

    @property
    def pending(self) -> int:
        """Bytes of the incomplete message."""


class Raw:
    """No framing: whatever was read is a message."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        return [data]

    @property
    def pending(self) -> int:
        return 0


class Lines:
    """Messages end with ``\\n``; it and a ``\\r`` before it are cut off. ``limit`` bounds the line without them."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        if self._rest:
            # Only the new part can hold the end of the line, so look there: repeated feeding of one long line stays linear
            # up to the limit, which is small.
            data = self._rest + data
            self._rest = b""
        lines = data.split(b"\n")
        rest = lines.pop()
        limit = self._limit
        for index, line in enumerate(lines):
            if line.endswith(b"\r"):
                lines[index] = line = line[:-1]
            if len(line) > limit:
                raise FrameTooLong("line", limit, lines[:index])
        if len(rest) > limit + 1 or (len(rest) == limit + 1 and not rest.endswith(b"\r")):
            raise FrameTooLong("line", limit, lines)
        self._rest = rest
        return lines

    @property
    def pending(self) -> int:
        return len(self._rest)


class Frames:
    """Messages with their length before them: 4 bytes, big-endian, not counting themselves."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        rest = self._rest
        rest += data
        frames: list[bytes] = []
        at = 0
        while len(rest) - at >= 4:
            size = int.from_bytes(rest[at : at + 4], "big")
            if size > self._limit:
                raise FrameTooLong(f"frame of {size} bytes,", self._limit, frames)
            if len(rest) - at - 4 < size:
                break
            frames.append(bytes(rest[at + 4 : at + 4 + size]))
            at += 4 + size
        if at:
            del rest[:at]
        return frames

    @property
    def pending(self) -> int:
        return len(self._rest)

    @staticmethod
    def encode(payload: bytes) -> bytes:
        """``payload`` as a frame."""
        return len(payload).to_bytes(4, "big") + payload
