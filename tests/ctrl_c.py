"""Ctrl-C works as in a terminal, even if a shell runs these tests in the background."""

from __future__ import annotations

import signal

__all__ = ["as_in_a_terminal"]


def as_in_a_terminal() -> None:
    """A shell starts a background job with SIGINT ignored, and Python leaves it so: a test that
    sends SIGINT would wait for ever. Programs that are started later inherit the setting made here.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
