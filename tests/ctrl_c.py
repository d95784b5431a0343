"""Ctrl-C works as in a terminal, also when these tests run in the background of a shell."""

from __future__ import annotations

import signal

__all__ = ["as_in_a_terminal"]


def as_in_a_terminal() -> None:
    """Shells start what runs in the background with SIGINT ignored, and Python leaves it so: a test
    that sends SIGINT would wait for ever. Programs that are started later inherit this."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
