"""Framing is a pure function of the bytes, however they are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorkit.net.framing import Framer, Frames, FrameTooLong, Lines, Raw

LIMIT = 8


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in zip(ends, ends[1:], strict=False) if a < b]


def fed(framer: Framer, pieces: list[bytes], slack: int = 0) -> tuple[list[bytes], bool]:
    """The messages, and whether one that was too long came after them."""
    messages: list[bytes] = []
    for piece in pieces:
        try:
            messages += framer.feed(piece)
        except FrameTooLong as error:
            return messages + error.complete, True
        assert framer.pending <= LIMIT + slack
    return messages, False


streams = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"defghij"]), max_size=30).map(b"".join)
places = st.lists(st.integers(0, 10_000), max_size=20)


@settings(max_examples=40, deadline=None)
@given(streams, places)
def test_any_cut_of_a_stream_gives_the_same_lines(data: bytes, places: list[int]) -> None:
    """Lines, and the place of one that is too long, do not depend on how the bytes come."""
    assert fed(Lines(LIMIT), cut(data, places), 1) == fed(Lines(LIMIT), [bytes([b]) for b in data], 1)
    assert fed(Lines(LIMIT), cut(data, places), 1) == fed(Lines(LIMIT), [data] if data else [], 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=LIMIT + 2), max_size=10), st.binary(max_size=3), places)
def test_any_cut_of_a_stream_gives_the_same_frames(frames: list[bytes], tail: bytes, places: list[int]) -> None:
    """Frames, and the place of one that is too long, do not depend on how the bytes come."""
    data = b"".join(map(Frames.encode, frames)) + tail
    good: list[bytes] = []
    for frame in frames:
        if len(frame) > LIMIT:
            break
        good.append(frame)
    expected = (good, len(good) < len(frames))
    assert fed(Frames(LIMIT), cut(data, places), 4) == expected
    assert fed(Frames(LIMIT), [bytes([b]) for b in data], 4) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=LIMIT).filter(lambda b: not set(b) & {10, 13}), max_size=10), st.booleans())
def test_lines_are_what_is_between_the_ends(lines: list[bytes], windows: bool) -> None:
    """Both line ends are cut off; nothing else is."""
    end = b"\r\n" if windows else b"\n"
    assert fed(Lines(LIMIT), [b"".join(line + end for line in lines)], 1) == (lines, False)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_limit_of_a_line_is_exact(end: bytes) -> None:
    """A line of exactly the limit passes with either line end; a line of one byte more does not,
    even before its end has come.
    """
    assert Lines(LIMIT).feed(b"x" * LIMIT + end) == [b"x" * LIMIT]
    with pytest.raises(FrameTooLong, match="line longer than 8 bytes"):
        Lines(LIMIT).feed(b"x" * (LIMIT + 1) + end)
    with pytest.raises(FrameTooLong):
        Lines(LIMIT).feed(b"x" * (LIMIT + 1))


def test_a_return_within_a_line_counts() -> None:
    """A carriage return is cut off only directly before the newline."""
    framer = Lines(LIMIT)
    assert framer.feed(b"x" * LIMIT + b"\r") == []
    with pytest.raises(FrameTooLong):
        framer.feed(b"x\n")
    assert Lines(LIMIT).feed(b"a\rb\r\r\n") == [b"a\rb\r"]


def test_the_lines_before_a_too_long_one_are_told() -> None:
    """FrameTooLong carries the messages that were complete."""
    with pytest.raises(FrameTooLong) as caught:
        Lines(LIMIT).feed(b"one\ntwo\r\n" + b"x" * 20 + b"\nfour\n")
    assert caught.value.complete == [b"one", b"two"]


def test_the_limit_of_a_frame_is_exact() -> None:
    """A frame of exactly the limit passes; a frame of one byte more is refused as soon as its
    length is known.
    """
    assert Frames(LIMIT).feed(Frames.encode(b"x" * LIMIT)) == [b"x" * LIMIT]
    with pytest.raises(FrameTooLong, match="frame of 9 bytes, longer than 8 bytes") as caught:
        Frames(LIMIT).feed(Frames.encode(b"one") + (LIMIT + 1).to_bytes(4, "big"))
    assert caught.value.complete == [b"one"]


def test_empty_messages_are_messages() -> None:
    """An empty line and a frame of no bytes are delivered."""
    assert Lines(LIMIT).feed(b"\n\r\na\n") == [b"", b"", b"a"]
    assert Frames(LIMIT).feed(Frames.encode(b"") * 2) == [b"", b""]


def test_messages_are_bytes() -> None:
    """Whatever the framer keeps its unfinished part in, the messages that come out are hashable and
    immutable.
    """
    lines, frames = Lines(100), Frames(100)
    got = [m for b in b"hello\n" for m in lines.feed(bytes([b]))] + [
        m for b in Frames.encode(b"hello") for m in frames.feed(bytes([b]))
    ]
    assert got == [b"hello", b"hello"]
    assert {type(message) for message in got} == {bytes}


def test_raw_passes_on_what_comes() -> None:
    """Without framing each chunk is a message."""
    framer = Raw()
    assert framer.feed(b"a\nb") == [b"a\nb"]
    assert framer.pending == 0


def test_nothing_is_pending_between_messages() -> None:
    """A framer that has given out everything keeps nothing."""
    for framer, whole in ((Lines(LIMIT), b"abc\n"), (Frames(LIMIT), Frames.encode(b"abc"))):
        framer.feed(whole[:2])
        assert framer.pending == 2
        assert framer.feed(whole[2:]) == [b"abc"]
        assert framer.pending == 0


@pytest.mark.parametrize("make", [Lines, Frames])
def test_a_long_message_in_small_pieces_takes_linear_time(make: Callable[[int], Framer]) -> None:
    """A new piece is added to what is there. The old bytes are neither copied nor searched again:
    only a few of them are read.
    """
    size = 10_000
    framer: Any = make(1 << 30)
    framer.feed(b"xx" if make is Lines else size.to_bytes(4, "big"))
    framer.feed(b"xx")  # from here on it has a buffer
    watched = framer._rest = Watched(framer._rest)
    for piece in range(100):
        framer.feed(b"x" * 10)
        assert framer._rest is watched, "copied"
        assert framer.pending == len(watched) >= 10 * piece
        assert watched.read <= 10, "bytes that were there before are read again"
        watched.read = 0


class Watched(bytearray):
    """Counts those of its bytes that are read, except by ``join`` and ``+``, which Python does not
    report.
    """

    read = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.read += 1 if isinstance(found, int) else len(found)
        return found

    def _whole(name: str) -> Any:  # type: ignore[misc]
        method = getattr(bytearray, name)

        def reads_all(self: Any, *args: Any) -> Any:
            self.read += len(self)
            return method(self, *args)

        return reads_all

    for name in ("__contains__", "__iter__", "__add__", "find", "index", "count", "split", "partition", "splitlines"):
        locals()[name] = _whole(name)
    del name
