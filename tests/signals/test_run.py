"""``ak.run``: it returns and raises what ``trio.run`` does, and it handles signals when ``main``
has not begun, is over, or does not listen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

import actorkit as ak
from actorkit import cli

ROOT = Path(__file__).parent.parent.parent


class Own(Exception):
    """An exception of the program's own."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Check that the handlers are what they were before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


async def at_once() -> int:
    return 5


async def later(value: object) -> object:
    await trio.lowlevel.checkpoint()
    return value


async def fails(error: BaseException) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def in_node(error: BaseException | None) -> str:
    async with ak.open_node(ak.supervisor()):
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error
    return "over"


async def in_nursery(error: BaseException) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, error)
        await trio.sleep_forever()


def outcome(run: Callable[..., object], main: Callable[..., Awaitable[object]], *args: object) -> tuple[Any, ...]:
    """What came out of the run, in a form that can be compared."""
    try:
        return ("returned", run(main, *args))
    except BaseException as error:
        return ("raised", *_shape(error))


def _shape(error: BaseException) -> tuple[Any, ...]:
    if isinstance(error, BaseExceptionGroup):
        return (type(error), error.message, [_shape(each) for each in error.exceptions])
    return (type(error), error.args, _shape(error.__cause__) if error.__cause__ else None)


@pytest.mark.parametrize(
    ("main", "args"),
    [
        (at_once, ()),
        (later, (7,)),
        (later, (None,)),
        (fails, (Own("a", 1),)),
        (fails, (SystemExit(3),)),
        (fails, (KeyboardInterrupt(),)),
        (fails, (ExceptionGroup("mine", [Own(), ValueError()]),)),
        (fails, (BaseExceptionGroup("mine", [KeyboardInterrupt(), ValueError()]),)),
        (fails, (GeneratorExit(),)),
        (in_node, (None,)),
        (in_node, (Own("in a node"),)),
        (in_node, (SystemExit(4),)),
        (in_node, (ExceptionGroup("mine", [Own()]),)),
        (in_nursery, (Own(),)),
        (in_nursery, (SystemExit(5),)),
        (later, ()),
    ],
)
def test_it_returns_and_raises_what_trio_run_does(main: Callable[..., Awaitable[object]], args: tuple[object]) -> None:
    """A value, an error, a group of the program's own or an end of the program comes out: nothing
    is added, and nothing is lost.
    """
    assert outcome(ak.run, main, *args) == outcome(trio.run, main, *args)


def test_the_error_is_the_very_one() -> None:
    """The error is not a copy, and its traceback says where it was raised."""
    error = Own()
    with pytest.raises(Own) as caught:
        ak.run(fails, error)
    assert caught.value is error
    assert caught.traceback[-1].name == "fails"


@pytest.mark.parametrize("what", ["a coroutine", "a plain function", "a number"])
def test_what_is_no_async_function_is_refused(what: str) -> None:
    """The error says what to write instead."""
    given: Any = {"a coroutine": lambda: at_once(), "a plain function": lambda: lambda: 5, "a number": lambda: 5}
    with pytest.raises(TypeError, match=r"ak\.run\(main\)|async function|not callable"):
        ak.run(given[what]())


def test_another_thread_is_refused_before_anything_begins() -> None:
    """Python lets only the main thread handle signals. The error says which thread it was, and what
    to use.
    """
    begun: list[bool] = []
    errors: list[BaseException] = []

    async def main() -> None:
        begun.append(True)

    def run() -> None:
        try:
            ak.run(main)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="aside")
    thread.start()
    thread.join()
    [error] = errors
    assert type(error) is RuntimeError
    assert "'aside'" in str(error)
    assert "trio.run" in str(error)
    assert not begun


async def test_a_run_inside_a_run_is_refused() -> None:
    """A run inside a run is refused as by ``trio.run``, and SIGTERM is left as it was."""
    with pytest.raises(RuntimeError, match="from inside"):
        ak.run(at_once)


def test_out_of_memory_becomes_an_exit_status(capfd: pytest.CaptureFixture[str]) -> None:
    """NodeOutOfMemory becomes an exit status, even from within the program's own nursery; the text
    goes to standard error.
    """
    for main in (fails, in_nursery):
        with pytest.raises(SystemExit) as caught:
            ak.run(main, ak.NodeOutOfMemory("no memory at all", 79))
        assert caught.value.code == 79
        assert "no memory at all" in capfd.readouterr().err


@pytest.mark.parametrize("stream", [None, open(os.devnull)])  # noqa: SIM115
def test_out_of_memory_with_nobody_to_tell(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a standard error, or when it cannot be written to, the status is the same."""
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(SystemExit) as caught:
        ak.run(fails, ak.NodeOutOfMemory("no memory at all", 79))
    assert caught.value.code == 79


# --- SIGTERM ---------------------------------------------------------------------------------


def test_sigterm_cancels_main() -> None:
    """None comes out, and ``finally`` has run; a second SIGTERM changes nothing."""
    seen: list[str] = []

    async def main() -> str:
        try:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        finally:
            seen.append("finally")
        return "never"

    assert ak.run(main) is None
    assert seen == ["finally"]


def test_sigterm_is_no_error_of_a_nursery() -> None:
    """A program with a nursery of its own and tasks in it ends just as quietly."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            signal.raise_signal(signal.SIGTERM)

    assert ak.run(main) is None


def test_what_main_raises_after_sigterm_comes_out() -> None:
    """An error that main raises while it is being cancelled is not swallowed."""

    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            await trio.sleep_forever()
        finally:
            raise Own

    with pytest.raises(Own):
        ak.run(main)


def test_main_may_decline() -> None:
    """A main that has something to return after SIGTERM returns it."""

    async def main() -> int:
        signal.raise_signal(signal.SIGTERM)
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        return 3

    assert ak.run(main) == 3


def test_the_programs_own_receiver_is_heard() -> None:
    """A receiver for SIGTERM inside main gets the signal; ``ak.run`` gets the next one again
    afterwards.
    """

    async def main() -> str:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            signal.raise_signal(signal.SIGTERM)
            async for _ in signals:
                break
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()
        return "never"

    assert ak.run(main) is None


@pytest.fixture
def terminated() -> Iterator[list[int]]:
    """The signals that came to the handler of SIGTERM that was set before."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, before)


def test_before_main_has_begun_it_is_not_begun(terminated: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM comes in the lines between: the program has nothing to stop yet."""
    begun: list[bool] = []
    real = trio.run

    def run(*args: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return real(*args)

    async def main() -> None:
        begun.append(True)

    monkeypatch.setattr(trio, "run", run)
    assert ak.run(main) is None
    assert not begun
    assert not terminated


def test_after_main_has_ended_it_is_not_lost(terminated: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM goes to the handler that was set before; ``ak.run`` still returns what main has
    returned.
    """
    real = trio.run

    def run(*args: Any) -> Any:
        result = real(*args)
        signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(trio, "run", run)
    assert ak.run(at_once) == 5
    assert terminated == [signal.SIGTERM]


def test_a_handler_that_main_leaves_behind_stays() -> None:
    """A handler of SIGTERM that the program sets inside is not taken away."""
    before = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    ak.run(main)
    assert signal.signal(signal.SIGTERM, before) == signal.SIG_IGN


def test_a_loop_that_stands_still_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGTERM code that never awaits is not waited for forever: it gets a Ctrl-C."""
    monkeypatch.setattr(cli, "STANDSTILL_SECONDS", 0.05)
    real = signal.pthread_kill

    def press(thread: int, number: int) -> None:
        cli.STANDSTILL_SECONDS = 600.0  # a second press would end this very process
        real(thread, number)

    monkeypatch.setattr(signal, "pthread_kill", press)

    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)
        while True:
            pass

    with pytest.raises(KeyboardInterrupt):
        ak.run(main)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_a_loop_that_stands_still_ends_where_ctrl_c_means_nothing(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell's background job ignores SIGINT, so nothing else would end the process: it exits with
    143.
    """
    monkeypatch.setattr(cli, "STANDSTILL_SECONDS", 0.05)
    exits: list[tuple[Any, ...]] = []
    ended = threading.Event()

    def exit_at_once(*how: Any) -> None:
        exits.append(how)
        monkeypatch.setattr(cli, "STANDSTILL_SECONDS", 600.0)
        ended.set()

    monkeypatch.setattr(cli, "exit_at_once", exit_at_once)
    pressed: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda _, number: pressed.append(number))
    before = signal.signal(signal.SIGINT, handler)
    try:

        async def main() -> None:
            signal.raise_signal(signal.SIGTERM)
            ended.wait()  # the loop stands still until then

        ak.run(main)
    finally:
        signal.signal(signal.SIGINT, before)
    assert exits == [(143, cli.STOOD_STILL)]


def test_a_loop_that_turns_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that turns is left alone, however long the stop takes and however often the loop is
    asked.
    """
    asked: list[object] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            asked.append(timeout)
            # It waits for the loop as long as it must, and asks again at once.
            return super().wait(timeout if timeout == cli.STANDSTILL_SECONDS else 0)

    namespace = SimpleNamespace(**{**vars(threading), "Event": Event})
    monkeypatch.setattr(cli, "threading", namespace)

    async def main() -> str:
        signal.raise_signal(signal.SIGTERM)
        with trio.CancelScope(shield=True):
            while len(asked) < 20:
                await trio.lowlevel.checkpoint()
        return "in order"

    assert ak.run(main) == "in order"


# --- SIGINT ----------------------------------------------------------------------------------


def test_ctrl_c_is_as_under_trio() -> None:
    """KeyboardInterrupt comes out in main's own code, at a checkpoint, in another task and in
    main's last line.
    """

    async def in_code() -> None:
        signal.raise_signal(signal.SIGINT)

    @trio.lowlevel.enable_ki_protection
    async def at_checkpoint() -> None:
        signal.raise_signal(signal.SIGINT)
        await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def at_the_end() -> int:
        signal.raise_signal(signal.SIGINT)
        return 5

    async def elsewhere() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_code)

    for main in (in_code, at_checkpoint, at_the_end, elsewhere):
        assert outcome(ak.run, main) == outcome(trio.run, main)
        assert "KeyboardInterrupt" in repr(outcome(ak.run, main))


def test_a_sigint_that_is_not_pythons_own_is_left_alone() -> None:
    """SIGINT is left alone if it is ignored, as in the background of a shell, or if the program has
    its own handler.
    """
    seen: list[int] = []

    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        await trio.lowlevel.checkpoint()

    for handler in (signal.SIG_IGN, lambda number, _: seen.append(number)):
        before = signal.signal(signal.SIGINT, handler)
        try:
            ak.run(main)
            assert signal.getsignal(signal.SIGINT) == handler
        finally:
            signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT, signal.SIGINT]


def test_each_run_counts_its_own() -> None:
    """The first Ctrl-C of a second run counts as a first one."""

    async def main() -> None:
        signal.raise_signal(signal.SIGINT)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            ak.run(main)


FORCED = """
import os, signal, sys, threading, time
import trio
import actorkit as ak

async def main():
    print("in a buffer", end="")
    {before}
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass
    try:
        {code}
    finally:
        os.write(2, b"a finally has run")
{after}
"""


def forced(code: str, before: str = "pass", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a program whose second Ctrl-C comes in ``code``."""
    text = FORCED.format(before=before, code=code, after="ak.run(main)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", text], env=environment, timeout=60, check=False, **options)


def test_a_second_ctrl_c_ends_the_process_at_once() -> None:
    """The process exits with 130, with what was printed, with one line that says so, and with
    nothing else.
    """
    end = forced("signal.raise_signal(signal.SIGINT)", capture_output=True)
    assert (end.returncode, end.stdout, end.stderr) == (130, b"in a buffer", cli.FORCED)


@pytest.mark.parametrize(
    "before",
    [
        "sys.stdout = None",
        "sys.stdout.close()",
        "sys.stderr = None; os.close(2)",
        "os.close(1)",
        # Nobody reads, and the buffer holds more than the pipe takes.
        "r, w = os.pipe(); os.dup2(w, 1); sys.stdout = open(1, 'w', 1 << 22); sys.stdout.write('x' * (1 << 21))",
        # Another thread is in the middle of such a write and holds the buffer's lock.
        "r, w = os.pipe(); os.dup2(w, 1); t = threading.Thread(target=sys.stdout.write, args=('x' * (1 << 21),), "
        "daemon=True); t.start(); time.sleep(0.05)",
    ],
)
def test_nothing_keeps_it_from_ending(before: str) -> None:
    """The process ends though standard output or error is missing, closed, full, or held by another
    thread.
    """
    end = forced("signal.raise_signal(signal.SIGINT)", before, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert end.returncode == 130


def test_a_third_ctrl_c_does_not_wait_for_the_flush() -> None:
    """A third Ctrl-C ends the process even if the flush hangs."""
    code = (
        "r, w = os.pipe(); os.dup2(w, 1); sys.stdout = open(1, 'w', 1 << 22); sys.stdout.write('x' * (1 << 21)); "
        "import actorkit.cli; actorkit.cli.FLUSH_SECONDS = 1000; "
        "threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start(); "
        "signal.raise_signal(signal.SIGINT)"
    )
    assert forced(code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 130


EXIT = """
import signal, sys
import trio
import actorkit as ak

async def main():
    {code}
{after}
"""


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("return 5", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
        ("signal.raise_signal(signal.SIGTERM); await trio.sleep_forever()", 0),
        ("raise ak.NodeOutOfMemory('none', 79)", 79),
    ],
)
def test_exit_statuses(code: str, status: int) -> None:
    """The exit statuses are those in docs/deployment.md."""
    text = EXIT.format(code=code, after="ak.run(main)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    end = subprocess.run([sys.executable, "-c", text], env=environment, timeout=60, check=False, capture_output=True)
    assert end.returncode == status, end.stderr.decode()
