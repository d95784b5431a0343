"""Where the extension cannot be used, the package is complete without it: on an interpreter without
reference counts, and in a build without the GIL. Neither is at hand, so a process of its own
pretends to be one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

WITHOUT_EXTENSIONS = """
import sys
sys.modules["actorkit.heap.c._walk"] = sys.modules["actorkit.heap.c._clock"] = None
"""

FREE_THREADED = """
import sysconfig
ask = sysconfig.get_config_var
sysconfig.get_config_var = lambda name: 1 if name == "Py_GIL_DISABLED" else ask(name)
"""

# The missing parts are removed only after everything else, which would ask for them too, has been
# imported.
ANOTHER = """
import attrs, ctypes, logging, sys, sysconfig, trio
sys.implementation.name = "pypy"
del sys.getrefcount
"""

PROGRAM = """
import attrs, logging, trio
import actorkit as ak
from actorkit.__main__ import UNSUPPORTED, doctor
from actorkit.heap import clock, walk
from actorkit.heap.capabilities import capabilities, remedies

logging.disable()
assert walk.IMPLEMENTATION == "python" and not clock.COUNTS_ALLOCATIONS
there = attrs.asdict(capabilities())
assert not (there["clock"] or there["stop_in_handler"] or there["refuse_large"]), there
assert there["exact_heap"] is EXACT, there
assert {name for name, has in there.items() if not has} == set(remedies())
assert WHY in remedies()["clock"], remedies()
assert doctor() == (0 if EXACT else UNSUPPORTED)


class Keeper(ak.Actor):
    def __init__(self):
        self.kept = []

    @ak.call
    def keep(self, what):
        self.kept.append(what)
        return len(self.kept)

    @ak.cast
    async def pause(self, event):
        await event.wait()


async def main():
    async with ak.open_node(max_heap_size="1 MiB") as node:
        with node.subscribe(ak.ActorExited, capacity=100) as exits:
            first, second = node.spawn(Keeper), node.spawn(Keeper)
            memory = node.process_info(first, walk=True).memory
            assert memory.private > 0 and memory.exact is EXACT
            gate = trio.Event()
            second.cast(Keeper.pause, gate)
            await trio.testing.wait_all_tasks_blocked()
            accepted = sum(second.send(bytes(50_000)) for _ in range(100))
            assert 15 <= accepted <= 21, accepted
            gate.set()
            await trio.testing.wait_all_tasks_blocked()
            try:
                for number in range(1000):
                    await first.call(Keeper.keep, bytes(10_000) + bytes([number % 256]))
                    await trio.lowlevel.checkpoint()
            except (ak.CalleeDied, ak.MailboxFull):
                pass
            else:
                raise AssertionError("ten times its limit")
            assert number < 200, number
            assert second.alive
            census = await node.heap_census()
            assert census.bytes > 0
            assert str(node.heap_explain(second))


import trio.testing
trio.run(main)
"""


@pytest.mark.parametrize(
    ("pretence", "exact", "why"),
    [
        (WITHOUT_EXTENSIONS + FREE_THREADED, False, "free-threaded"),
        (ANOTHER + WITHOUT_EXTENSIONS, False, "pypy"),
        (WITHOUT_EXTENSIONS, True, "extension"),
    ],
    ids=["free-threaded", "another interpreter", "nothing built"],
)
def test_everything_else_is_there(pretence: str, exact: bool, why: str) -> None:
    """Without the extension the package imports, says what is in force and why, measures as well as
    it can, and still stops floods and growth.
    """
    program = f"EXACT, WHY = {exact}, {why!r}\n{pretence}{PROGRAM}"
    environment = {name: value for name, value in os.environ.items() if name != "ACTORKIT_PURE"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
