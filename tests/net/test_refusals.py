"""Refused peers are told why and seen off within a moment, never for long and never many at
once.
"""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from actorkit.net.refusals import AT_A_TIME, SECONDS, Refusals

WORDS = b"no\n"


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def read(theirs: socket.socket) -> bytes:
    with theirs:
        said = theirs.recv(100)
        assert theirs.recv(100) == b""
    return said


async def test_each_is_told_and_closed_after_its_moment(autojump_clock: trio.testing.MockClock) -> None:
    """Each refused peer is told and closed after its moment, including those that come when all
    earlier ones have been closed.
    """
    refusals = Refusals(WORDS)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            ours, theirs = pair()
            refusals.refuse(ours, nursery)
            assert ours.fileno() >= 0, "the peer may still be sending"
            theirs.send(b"x" * 1000)
            await trio.sleep(2 * SECONDS)
            assert ours.fileno() == -1
            assert read(theirs) == WORDS
    assert refusals.count == 3


async def test_no_more_than_so_many_are_open(autojump_clock: trio.testing.MockClock) -> None:
    refusals = Refusals(WORDS)
    pairs = [pair() for _ in range(AT_A_TIME + 10)]
    async with trio.open_nursery() as nursery:
        for ours, _ in pairs:
            refusals.refuse(ours, nursery)
        assert [ours.fileno() == -1 for ours, _ in pairs] == [True] * 10 + [False] * AT_A_TIME
        refusals.close_all()
        assert all(ours.fileno() == -1 for ours, _ in pairs)
        assert all(read(theirs) == WORDS for _, theirs in pairs)
        (late, theirs) = pair()
        refusals.refuse(late, nursery)
        with trio.fail_after(SECONDS / 2):
            refusals.end()
            await trio.testing.wait_all_tasks_blocked()
        assert late.fileno() == -1
        theirs.close()


@pytest.mark.parametrize("words", [b"", WORDS])
async def test_without_anybody_to_wait(words: bytes) -> None:
    """When there is no nursery any more, a refused peer is closed at once."""
    ours, theirs = pair()
    Refusals(words).refuse(ours, None)
    assert ours.fileno() == -1
    assert theirs.recv(100) == words
    theirs.close()
