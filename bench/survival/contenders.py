"""The contenders, and the command that starts each. The docstrings of the servers say how each is
written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

BEAM_ROW = 376
"""A cons cell, a tuple of four, and four heap binaries of 64 bytes; without what a copying
collector keeps free.
"""

SERVERS = Path(__file__).parent / "servers"


class Unavailable(Exception):
    """A contender that cannot take part here, and why."""


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    module: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    beam: str = ""
    """For the BEAM: "default" or "max_heap_size"."""
    row: int = 312
    """What a row of 256 bytes really takes in this contender: in CPython a block of 304 bytes and
    its place in a list.
    """
    subject: bool = False
    """Runs as often as requested; the others run once."""

    def command(self, arguments: dict[str, int], scratch: Path) -> list[str]:
        if self.beam:
            return _beam(self.beam, arguments, scratch)
        options = [text for name, value in arguments.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        return [sys.executable, "-m", f"bench.survival.servers.{self.module}", *options]

    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("actorkit", "actorkit_server", {"ACTORKIT_PURE": ""}, subject=True),
        Contender("actorkit-shared", "actorkit_server", {"ACTORKIT_PURE": "", "ACTORKIT_OWN_HEAPS": "0"}, subject=True),
        Contender("actorkit-pure", "actorkit_server", {"ACTORKIT_PURE": "1"}, subject=True),
        Contender("trio", "plain_trio"),
        Contender("asyncio", "plain_asyncio"),
        Contender("beam", beam="default", row=BEAM_ROW),
        Contender("beam-max-heap", beam="max_heap_size", row=BEAM_ROW),
    )
}


def _beam(variant: str, arguments: dict[str, int], scratch: Path) -> list[str]:
    erl, erlc = shutil.which("erl"), shutil.which("erlc")
    if erl is None or erlc is None:
        raise Unavailable("there is no erl (Debian: apt install erlang-base)")
    if not (scratch / "beam_server.beam").exists():
        source = SERVERS / "beam_server.erl"
        done = subprocess.run([erlc, "-o", str(scratch), str(source)], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Unavailable(f"erlc refuses {source.name}: {done.stdout[-500:]}")
    words = [variant, *(f"{name}={value}" for name, value in arguments.items())]
    # The default logger writes to stdout, where the ports are announced.
    logger = "[{handler, default, logger_std_h, #{config => #{type => standard_error}}}]"
    return [erl, "-noshell", "-pa", str(scratch), "-kernel", "logger", logger, "-s", "beam_server", "-extra", *words]
