"""Framing: bytes as they come in, messages out. Pure: no sockets, no clock.

A framer holds at most one incomplete message, and refuses to let it grow beyond its limit: a peer cannot make a
connection hold more than ``limit`` bytes (and the few that separate messages) by sending half a line.
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
        ...

    @property
    def pending(self) -> int:
        """Bytes of the incomplete message."""
        ...


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
        self._rest: bytes | bytearray = b""

    def feed(self, data: bytes) -> list[bytes]:
        limit = self._limit
        rest = self._rest
        if rest:
            if (
                b"\n" not in data
            ):  # only the new part is looked at, so a line that comes in many parts costs linear time
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
    """Messages with their length before them: 4 bytes, big-endian, not counting themselves."""

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
