"""The test suites of other people's packages on heaps of their own: ``python -m tests.prove.suites
PACKAGE [ARGUMENT …]``.

Each test runs in an account with a heap of its own and a ledger, as an actor's message would, and
what it leaves to fixtures and caches outlives its account. The arguments are pytest's; without any
the parts of ``SUITES`` run. ``--plain`` runs the same without accounts: what fails there, too, is
not ours.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from actorkit.heap import clock, own_heaps

SUITES: dict[str, list[str]] = {
    "numpy": ["numpy._core.tests.test_multiarray", "numpy._core.tests.test_ufunc", "numpy.ma.tests", "numpy.lib.tests"],
    "pandas": [
        "pandas.tests.frame.methods", "pandas.tests.groupby.aggregate", "pandas.tests.reshape", "pandas.tests.strings",
        "pandas.tests.libs", "pandas.tests.indexing",
    ],
    "pyarrow": [
        "pyarrow.tests.test_array", "pyarrow.tests.test_table", "pyarrow.tests.test_pandas", "pyarrow.tests.test_ipc",
        "pyarrow.tests.test_convert_builtin", "pyarrow.tests.test_udf", "pyarrow.tests.test_memory",
    ],
}  # fmt: skip
"""The parts that run if none are named."""
LARGE = 1 << 30
OPTIONS = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-o",
    "timeout=0",
    "-W",
    "ignore",
    "--no-header",
    "--tb=no",
    "-p",
    "no:pytest_trio",
)


def nothing(account: clock.Account, *_: Any) -> None:
    """An alarm, or a boundary: nobody is over anything."""
    account.reset()


class OnOwnHeaps:
    """Lets each test run in an account of its own."""

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain
        self.tests = 0
        self.failed: list[str] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        account = clock.Account(None)
        account.settle(LARGE)
        before = clock.enter(None if self.plain else account)
        try:
            yield
        finally:
            clock.enter(before)
        self.tests += 1
        if self.tests % 500 == 0:
            gc.collect()
            own_heaps.purge()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def main(package: str, arguments: list[str]) -> int:
    why = own_heaps.why_not()
    if why is not None and "--plain" not in arguments:
        print(f"no heaps of their own here: {why}")
        return 1
    plugin = OnOwnHeaps(plain="--plain" in arguments)
    parts = [each for each in arguments if each != "--plain"] or SUITES[package]
    clock.install(nothing, nothing)
    pytest.main([*OPTIONS, "--pyargs", *parts], plugins=[plugin])
    clock.uninstall()
    for name in sorted(plugin.failed):
        print("failed:", name)
    where = "without accounts" if plugin.plain else "on heaps of their own"
    print(f"suites: {package}, {plugin.tests} tests {where}, {len(plugin.failed)} failed")
    return 0 if plugin.tests and not plugin.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
