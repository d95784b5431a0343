"""Where an alarm may raise: in the actor's own frames, never in trio's or the runtime's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, cast

import pytest

from actorkit.errors import MemoryLimitExceeded
from actorkit.heap import clock
from actorkit.heap.python.interruption import is_foreign, may_raise


def in_module(name: str) -> Callable[[Callable[[], Any]], Any]:
    """A function that calls another one, and whose frame belongs to that module."""
    namespace: dict[str, Any] = {"__name__": name}
    exec("def through(function):\n    return function()", namespace)
    through: Callable[[Callable[[], Any]], Any] = namespace["through"]
    return through


def activation(function: Callable[[], Any]) -> Any:
    return function()


def is_activation(frame: FrameType) -> bool:
    return frame.f_code is activation.__code__


def ask() -> bool:
    return may_raise(sys._getframe(), until=is_activation, foreign=is_foreign)


@pytest.mark.parametrize(
    "name",
    ["trio", "trio._core._run", "actorkit", "actorkit.runtime.scheduler", "contextlib", "outcome", "outcome._impl"],
)
def test_frames_of_trio_and_the_runtime_are_foreign(name: str) -> None:
    through = in_module(name)
    assert through(lambda: is_foreign(sys._getframe(1)))
    assert not activation(lambda: through(ask))


@pytest.mark.parametrize("name", ["__main__", "triode", "actorkitchen.app", "tests.heap", "json.decoder"])
def test_other_frames_are_not(name: str) -> None:
    through = in_module(name)
    assert not through(lambda: is_foreign(sys._getframe(1)))
    assert activation(lambda: through(ask))


def test_only_frames_of_the_activation_are_asked_about() -> None:
    through = in_module("trio")
    assert through(lambda: activation(ask))
    assert activation(ask)
    assert not ask(), "the activation is not on the stack"
    assert not may_raise(None, until=is_activation, foreign=is_foreign)


def test_the_name_may_be_anything() -> None:
    for through in (in_module(""), in_module(cast(str, 3))):
        assert activation(partial(through, ask))


def test_the_error_says_who_and_how_much() -> None:
    error = MemoryLimitExceeded("Parser <3.7.1>", 2_500_000, 1_000_000)
    assert (error.usage, error.limit) == (2_500_000, 1_000_000)
    assert "Parser <3.7.1>" in str(error)
    assert "2,500,000" in str(error)
    assert not isinstance(error, Exception)


@pytest.mark.skipif(not clock.COUNTS_ALLOCATIONS, reason="portable clock")
async def test_alarms_at_every_step_leave_trio_whole(autojump_clock: Any) -> None:
    """An alarm comes every few allocations, inside scopes, checkpoints and nurseries: it raises in
    this test's frames only.
    """
    import trio

    def here(frame: FrameType) -> bool:
        return frame.f_code is actor.__code__

    raised = passed = 0

    def alarm(account: clock.Account, activation: int) -> None:
        nonlocal raised, passed
        account.reset()
        if may_raise(sys._getframe(1), until=here, foreign=is_foreign):
            raised += 1
            raise MemoryLimitExceeded("it", 1, 0)
        passed += 1

    account = clock.Account()
    account.soft = 1

    async def actor() -> None:
        for _ in range(50):
            try:
                with trio.move_on_after(1_000):
                    previous = clock.enter(account)
                    try:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(trio.lowlevel.checkpoint)
                            await trio.lowlevel.checkpoint()
                            [bytearray(10) for _ in range(10)]
                    finally:
                        clock.enter(previous)
            except* MemoryLimitExceeded:
                pass

    clock.install(alarm)
    try:
        await actor()
    finally:
        clock.enter(None)
        clock.uninstall()
    assert raised > 20
    assert passed > 20
    with trio.fail_after(1_000), pytest.raises(trio.TooSlowError), trio.fail_after(5):
        await trio.sleep(10)


async def nothing() -> None:
    """Something to await."""


def test_nothing_is_raised_between_a_call_and_its_await() -> None:
    """A coroutine that was made and not awaited is lost, and with it the way out of an ``async
    with``.
    """
    answers: list[bool] = []

    def made(*_: object) -> Any:
        answers.append(may_raise(sys._getframe(1), until=is_activation))
        return nothing()

    class Manager:
        def __aenter__(self) -> Any:
            return nothing()

        __aexit__ = made

    async def awaits() -> None:
        await made()
        await made(*(), **{})
        async with Manager():
            made().close()

    def run() -> None:
        with pytest.raises(StopIteration):
            awaits().send(None)

    activation(run)
    assert answers == [False, False, True, False]
