"""A node's stop cannot be stopped: what is raised in the middle of it is tried again, or comes out
at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import attrs
import pytest
import trio

import actorkit as ak
from actorkit.policy.supervision.restart_window import TOO_MANY_RESTARTS
from actorkit.runtime.life import node_stop
from actorkit.runtime.life.node_settings import NodeOptions, NodeSettings
from actorkit.runtime.life.root import gave_up


class TimeIsUp(BaseException):
    """What a test runner's signal handler raises, wherever the signal finds the program."""


class Lasting(ak.Actor):
    trap_exit = True

    def __init__(self, ends: list[str], name: str) -> None:
        self.ends = ends
        self.name = name

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.sleep(1)
        self.ends.append(self.name)


def raising(error: BaseException, then: Callable[..., Any]) -> Callable[..., Any]:
    """``then``, except that the first call raises."""
    todo = [error]

    def call(*args: Any) -> Any:
        if todo:
            raise todo.pop()
        return then(*args)

    return call


@pytest.mark.parametrize("error", [TimeIsUp("60 s"), ValueError("from a signal handler"), RuntimeError("the same")])
async def test_what_was_meant_for_the_host_comes_out_when_all_have_stopped(
    autojump_clock: Any, error: BaseException
) -> None:
    """Whichever line of the stop raises it, no actor is left behind, and none loses its
    ``terminate``. Fault: it was logged as if memory had run out, and a test went on forever after
    its time was up.
    """
    ends: list[str] = []
    with pytest.raises(type(error)) as caught:
        async with ak.open_node() as node:
            for name in "abc":
                node.spawn(Lasting, ends, name)
            node.engine.shutdown_child = raising(error, node.engine.shutdown_child)  # type: ignore[method-assign]
    assert caught.value is error
    assert sorted(ends) == ["a", "b", "c"]
    assert not node.engine.actors


async def test_it_comes_out_instead_of_what_the_body_raised_and_tells_of_that(autojump_clock: Any) -> None:
    with pytest.raises(TimeIsUp) as caught:
        async with ak.open_node() as node:
            node.spawn(Lasting, [], "a")
            node.engine.shutdown_child = raising(TimeIsUp(), node.engine.shutdown_child)  # type: ignore[method-assign]
            raise KeyError("the body's")
    assert isinstance(caught.value.__context__, KeyError)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError()])
async def test_without_memory_or_stack_it_is_tried_again(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    ends: list[str] = []
    async with ak.open_node() as node:
        node.spawn(Lasting, ends, "a")
        node.engine.shutdown_child = raising(error, node.engine.shutdown_child)  # type: ignore[method-assign]
    assert ends == ["a"]
    assert "trying again" in caplog.text


async def test_a_failure_of_the_runtimes_own_is_tried_again_and_logged(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    async with ak.open_node() as node:
        node.spawn(Lasting, ends, "a")
        monkeypatch.setattr(node_stop, "ORPHAN_SHUTDOWN", None)
        node.engine.timers.after(0.5, lambda: monkeypatch.setattr(node_stop, "ORPHAN_SHUTDOWN", 5.0))
    assert ends == ["a"]
    assert "failed to stop its 1 actors" in caplog.text
    assert "TypeError" in caplog.text


async def test_the_whole_stop_has_one_deadline(autojump_clock: Any) -> None:
    """The deadline holds however often the stop is tried again, and a door that is closed at its
    beginning is closed once.
    """
    closed: list[float] = []
    async with ak.open_node(stop_timeout=3) as node:
        node.spawn(ak.child(Stubborn))
        node.engine.stop.before.append(lambda: closed.append(trio.current_time()))
        node.engine.shutdown_child = raising(MemoryError(), node.engine.shutdown_child)  # type: ignore[method-assign]
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3, abs=0.2)
    assert len(closed) == 1


class Stubborn(ak.Actor):
    trap_exit = True

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.sleep(100)


def test_who_gave_up_is_known_by_the_reason_itself() -> None:
    """The reason itself says that a supervisor gave up, not its text, which an actor may choose for
    its own shutdown.
    """
    assert gave_up(TOO_MANY_RESTARTS)
    assert not gave_up(ak.Shutdown("reached_max_restart_intensity"))
    assert not gave_up(ak.NORMAL)
    assert not gave_up(ak.SHUTDOWN)
    assert gave_up(ak.KILLED)


def test_the_options_of_a_node_are_one_list() -> None:
    assert list(get_type_hints(NodeOptions)) == [field.name for field in attrs.fields(NodeSettings)]


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("name", 3, TypeError),
        ("stop_timeout", -1, ValueError),
        ("call_timeout", 0, ValueError),
        ("kill_timeout", "5", ValueError),
        ("slice_seconds", float("inf"), ValueError),
        ("max_heap_size", "lots", ValueError),
        ("own_heaps", "no", TypeError),
        ("own_heaps", None, TypeError),
        ("own_heaps", 0, TypeError),
        ("debug", "yes", TypeError),
        ("debug", 1, TypeError),
        ("quantum", 0, ValueError),
        ("quantum", True, TypeError),
        ("max_idle", -1, ValueError),
        ("max_idle", 2.5, TypeError),
    ],
)
def test_an_option_that_cannot_be_is_refused_where_the_node_is_opened(
    option: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"{option}=|is not a size|is no time"):
        ak.open_node(**{option: value})


def test_the_node_shows_its_api_and_nothing_else() -> None:
    """What ``help(ak.Node)`` shows has a text, and everything internal is behind one attribute."""
    names = [name for name in vars(ak.Node) if not name.startswith("_")]
    assert all(getattr(ak.Node, name).__doc__ for name in names)
    assert ak.Node.__mro__ == (ak.Node, object)


async def test_the_reason_of_an_inline_crash_is_rendered_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report and the caller get the same reason, with the handler's own frames in it. Fault:
    the report was rendered anew, without the first of them.
    """
    rendered = []
    render = ak.Crash.from_exception

    def counted(error: BaseException, frames: int = 0) -> ak.Crash:
        rendered.append(error)
        return render(error, frames)

    monkeypatch.setattr(ak.Crash, "from_exception", counted)
    async with ak.open_node() as node:
        with pytest.raises(ak.CalleeDied) as caught:
            await node.spawn(Divides).call(Divides.divide, 0)
    assert len(rendered) == 1
    reason = caught.value.reason
    assert isinstance(reason, ak.Crash)
    assert "in divide" in reason.traceback
    assert "in by" in reason.traceback
    assert reason.traceback.rstrip() in caplog.text


class Divides(ak.Actor):
    @ak.call
    def divide(self, number: int) -> float:
        return self.by(number)

    def by(self, number: int) -> float:
        return 1 / number


async def test_init_says_what_it_may_return() -> None:
    class Chatty(ak.Actor):
        def init(self) -> Any:
            return "hello"

    async with ak.open_node() as node:
        with pytest.raises(ak.StartFailed, match=r"None, ak\.IGNORE or ak\.Stop\(reason\)"):
            await node.start(Chatty)
