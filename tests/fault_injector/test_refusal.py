"""The fault "the nth large request is refused": counted, refused once, and gone afterwards."""

from __future__ import annotations

import threading

import pytest

from actorkit.heap import clock
from tests.fault_injector import REFUSABLE, WHY_NOT, refusing

if WHY_NOT is None:
    try:
        with refusing(0):
            pass
    except RuntimeError as error:
        pytest.skip(str(error), allow_module_level=True)


@pytest.mark.skipif(WHY_NOT is None, reason="the extension is there")
def test_without_the_extension_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="cannot be refused here"), refusing(1):
        pass


@pytest.mark.skipif(WHY_NOT is not None, reason="needs the extension")
class TestRefusing:
    def test_the_nth_is_refused_and_no_other(self) -> None:
        failed = []
        with refusing(3, 2) as told:
            for number in range(1, 7):
                try:
                    bytearray(REFUSABLE)
                except MemoryError:
                    failed.append(number)
        assert failed == [3, 4]
        assert (told.seen, told.refused) == (6, 2)

    def test_smaller_requests_are_none(self) -> None:
        with refusing(1) as told:
            _ = [bytearray(REFUSABLE - 100) for _ in range(10)]
        assert (told.seen, told.refused) == (0, 0)

    def test_zero_only_counts(self) -> None:
        with refusing(0) as told:
            bytearray(REFUSABLE)
        assert (told.seen, told.refused) == (1, 0)

    def test_growth_counts_and_shrinking_does_not(self) -> None:
        items = [None] * 100_000
        with refusing(1) as told:
            while len(items) > 10_000:
                items.pop()
        assert (told.seen, told.refused) == (0, 0)
        with refusing(1) as told:
            with pytest.raises(MemoryError):
                for _ in range(100_000):
                    items.append(None)
            assert len(items) >= 10_000
        assert (told.seen, told.refused) == (1, 1)

    def test_afterwards_nothing_is_refused(self) -> None:
        with refusing(1):
            pass
        bytearray(REFUSABLE)

    def test_other_threads_are_left_alone(self) -> None:
        answers: list[object] = []

        def work() -> None:
            answers.append(bytearray(REFUSABLE))

        with refusing(1) as told:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert len(answers) == 1
        assert told.seen == 0

    def test_beside_the_clock(self) -> None:
        """Our hook is on top: the clock never sees what it refuses, and goes on counting before, in
        and after the block.
        """

        def alarm(account: clock.Account, activation: int) -> None:
            pass

        account = clock.Account()
        with refusing(1) as told:
            clock.install(alarm)
            try:
                clock.enter(account)
                with pytest.raises(MemoryError):
                    bytearray(REFUSABLE)
                kept = bytearray(REFUSABLE)
                clock.enter(None)
                assert account.bytes >= REFUSABLE
                assert clock.verify()
            finally:
                clock.enter(None)
                clock.uninstall()
        assert told.refused == 1
        assert len(kept) == REFUSABLE

    def test_beneath_a_clock_that_stayed(self) -> None:
        """The clock's hook, put on top of ours, cannot be taken away while an account's own heap
        has blocks. Fault: the next ``with`` block counted each request twice, and refused to begin.
        """
        account, kept = clock.Account(), []
        with refusing(0):
            clock.install(print)
            account.own_heap = True
            clock.enter(account)
            kept = [object() for _ in range(10)]
            clock.enter(None)
            clock.uninstall()
        with refusing(2) as told:
            bytearray(REFUSABLE)
            with pytest.raises(MemoryError):
                bytearray(REFUSABLE)
        assert (told.seen, told.refused) == (2, 1)
        assert len(kept) == 10
