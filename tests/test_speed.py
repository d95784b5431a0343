"""No test's verdict depends on the machine's speed.

A slow machine, or one that stands still for a second, must not fail a test, and a fast one must not
let it pass. So tests count (messages, passes, lines of code, bytes), wait for a signal, or move the
clock themselves; ``python -m bench`` measures how fast things are. Here tests/ is searched for code
that reads or waits for a real clock, even in programs within strings. Each place that is allowed to
do so says why no verdict depends on it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

TESTS = Path(__file__).parent

READING = re.compile(
    r"\b(perf_counter|process_time|thread_time|clock_gettime|default_timer)(_ns)?\b"
    r"|\bmonotonic(_ns)?\b"
    r"|\btime\.(time|sleep)(_ns)?\("
    r"|\bfrom time import\b.*\b(time|sleep)\b"
)

READINGS = {
    "runtime/test_fairness.py": "the name of the clock that it replaces",
    "runtime/test_random_stress.py": "how long a soak goes on that was asked to by ACTORKIT_STRESS_SECONDS",
    "runtime/test_stress.py": "how long a soak goes on that was asked to by ACTORKIT_STRESS_SECONDS",
    "faults/ends_sweep.py": "told with the number of runs, and nothing else",
    "faults/sweep.py": "told with the number of runs, and nothing else",
    "signals/__main__.py": "told with the number of programs, and nothing else",
    "signals/sweep.py": "told with the number of runs, and nothing else",
    "signals/driver.py": "how long a program may hang; when a Ctrl-C that trio took for the one before is repeated",
    "signals/test_run.py": "a thread that gets into the middle of a write, or does not: the same must come of both",
    "prove/extensions.py": "how long to go on, and when a round counts as hung",
    "prove/__main__.py": "told with each result, and nothing else",
    "heap/test_doctor.py": "a program that hangs until doctor ends it",
    "heap/fuzz_slabs.py": "how long to go on, as a program of its own; the test gives the number of steps",
}
"""Files of tests/ that may read the clock, and what for."""

OWN_RUNS = {
    "messaging/test_foreign_threads.py": "several runs, in threads and in guest mode; they wait for signals only",
    "runtime/hidden_names.py": "a program of its own, which ends by itself",
    "runtime/test_dropped_generators.py": "many runs, each of which ends by itself",
    "runtime/test_random_stress.py": "deadlines shall come at any point; its calls have HANG seconds",
    "runtime/test_pool.py": "a program that is interrupted by a signal, whenever that comes",
    "bench/test_passes_parts.py": "the parts of a bench are run; what is looked at are counts",
    "net/hostile.py": "peers take their time; what is waited for has HANG seconds",
    "net/emfile.py": "a server whose peers are in a thread; each call has 60 s, each answer too",
    "behaviours/test_task_streams.py": "programs that are interrupted, or that end; they wait for signals only",
    "pressure/test_kernel.py": "a program that reads the kernel's files once",
    "heap/test_fallback.py": "a program that ends by itself",
    "prove/extensions_rounds.py": "a program that goes on until it is told to end",
    "architecture/test_versions.py": "a program that ends by itself",
    "budgets/test_nobodys_account.py": "a program that ends by itself",
    "prove/tools_program.py": "a program under profilers and debuggers, which ends by itself",
}
"""Files that call ``trio.run`` without a clock, and why."""

HANG = 60
"""A limit of at least so many seconds only says how long a hang may take."""

FILES = sorted(path for path in TESTS.rglob("*.py") if path != Path(__file__))


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def where(path: Path, node: ast.expr | int) -> str:
    return f"{name_of(path)}:{node if isinstance(node, int) else node.lineno}"


def readings(text: str) -> list[int]:
    """The numbers of the lines of ``text`` that read or wait for the real clock."""
    return [number for number, line in enumerate(text.splitlines(), 1) if READING.search(line)]


def test_nobody_reads_the_clock() -> None:
    """Only the files on the list read the real clock, and each of them does."""
    found = {name_of(path): [where(path, n) for n in readings(path.read_text(encoding="utf-8"))] for path in FILES}
    wrong = [place for name, places in found.items() if name not in READINGS for place in places]
    assert not wrong, f"these depend on the machine's speed: count, move the clock, or say why in READINGS: {wrong}"
    assert [name for name in READINGS if not found.get(name)] == [], "no longer needed on the list"


@pytest.mark.parametrize(
    "line",
    [
        "began = time.perf_counter()",
        "from time import perf_counter_ns",
        "deadline = time.monotonic() + 20",
        "time.sleep(0.01)",
        "from time import sleep",
        "time.time_ns()",
        "time.process_time()",
    ],
)
def test_readings_are_seen(line: str) -> None:
    """The search finds each way to read or wait for the real clock."""
    assert readings(f"pass\n    {line}") == [2]


def test_trio_runs_on_a_clock_that_is_given() -> None:
    """A call of ``trio.run`` gives a clock, or its file is on the list."""
    found: dict[str, list[str]] = {}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"\btrio\.run\((?!.*\bclock=)", line):
                found.setdefault(name_of(path), []).append(where(path, number))
    wrong = [place for name, places in found.items() if name not in OWN_RUNS for place in places]
    assert not wrong, f"on the real clock: give trio.run a clock, or say why in OWN_RUNS: {wrong}"
    assert [name for name in OWN_RUNS if name not in found] == [], "no longer needed on the list"


def test_limits_are_for_hangs() -> None:
    """The time limit for threads, processes and sockets is so long that only a hang exceeds it."""
    wrong = [
        where(path, call)
        for path in FILES
        for call in calls(path)
        for limit in (
            *(keyword.value for keyword in call.keywords if keyword.arg == "timeout"),
            *(call.args if isinstance(call.func, ast.Attribute) and call.func.attr == "settimeout" else ()),
        )
        if isinstance(limit, ast.Constant) and isinstance(limit.value, (int, float)) and limit.value < HANG
    ]
    assert not wrong, f"a machine that stands still for a moment fails these: wait {HANG} s: {wrong}"


def test_examples_have_no_deadline() -> None:
    """Hypothesis gives each example 200 ms unless told otherwise, and runs async tests on the real
    clock.
    """
    wrong = [
        where(path, keyword.value)
        for path in FILES
        for call in calls(path)
        for keyword in call.keywords
        if keyword.arg == "deadline" and ast.unparse(call.func).endswith(("settings", "register_profile"))
        if not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None)
    ]
    assert not wrong
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.AsyncFunctionDef):
                assert not any("given" in ast.unparse(decorator) for decorator in node.decorator_list), node.name


def test_who_wants_the_real_clock_says_why() -> None:
    """``@pytest.mark.real_clock("...")`` gives a reason."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            if "mark.real_clock" in line and name_of(path) != "conftest.py":
                assert re.search(r"mark\.real_clock\(\"\w+ .*\"\)", line), where(path, number)


async def test_time_stands_still() -> None:
    """Time stands still in a test that asks for no clock."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    assert (clock.rate, clock.autojump_threshold) == (0, float("inf"))
    assert trio.current_time() == 0


@pytest.mark.autojump
async def test_time_jumps_when_nothing_runs() -> None:
    """Time jumps in a test that is marked ``autojump``."""
    await trio.sleep(1_000)
    assert trio.current_time() == 1_000


@pytest.mark.real_clock("it looks for the real one")
async def test_time_passes_by_itself() -> None:
    """Time passes in a test that is marked ``real_clock``."""
    assert not isinstance(trio.lowlevel.current_clock(), MockClock)


async def test_the_clock_that_a_test_asks_for(autojump_clock: MockClock) -> None:
    """A test that asks for a clock runs on that clock."""
    assert trio.lowlevel.current_clock() is autojump_clock
