"""A program: CPython's own regression tests, with every object on an account's own heap.

    python -m tests.heap.regression [--without] [TEST ...]

The interpreter's test suite, as far as it is installed, in one process whose main thread and
further threads each run in an account with a heap of its own. ``--without``: the same without the
clock, for comparison. The exit status is the suite's.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

TESTS = (
    "test_list", "test_dict", "test_set", "test_tuple", "test_str", "test_bytes", "test_pickle", "test_json", "test_re",
    "test_gc", "test_threading", "test_weakref", "test_generators", "test_coroutines", "test_deque", "test_array",
    "test_memoryview", "test_tracemalloc",
)  # fmt: skip


def main(arguments: list[str]) -> None:
    if "--without" in arguments:
        arguments.remove("--without")
    else:
        from actorkit.heap import clock, own_heaps

        clock.install(lambda account, _: account.reset())
        if (why := own_heaps.why_not()) is not None:
            sys.exit(f"nothing to test: {why}")

        def enter() -> None:
            account = clock.Account()
            account.own_heap = True
            clock.enter(account)

        bootstrap: Any = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

        def in_account(self: threading.Thread) -> None:
            enter()
            try:
                bootstrap(self)
            finally:
                clock.enter(None)

        threading.Thread._bootstrap_inner = in_account  # type: ignore[attr-defined]
        enter()
        import atexit

        atexit.register(lambda: print(own_heaps.statistics(), file=sys.__stderr__))

    from test.libregrtest.main import main as run

    names = arguments or list(TESTS)
    if sys.version_info < (3, 13):
        names = ["test_unicode" if name == "test_str" else name for name in names]
    sys.argv = ["test", *names]
    run()


if __name__ == "__main__":
    main(sys.argv[1:])
