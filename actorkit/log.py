"""The package's log: ``logging``'s logger "actorkit", behind calls that never raise.

A log call must decide nothing: not whether a child is restarted, not what a caller hears, not
whether the node stops. But a handler, a filter or a formatter of the application's may raise
anything, even KeyboardInterrupt. What it raises is printed to stderr, as ``logging`` prints its own
handlers' errors, and dropped.

The library sets up no logging: without a handler, Python prints warnings and errors to stderr.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Final

__all__ = ["Log", "log"]


class Log:
    """A logger whose calls never raise. Otherwise they are those of ``logging.Logger``."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def wants(self, level: int) -> bool:
        """Would a record of this level be handled?"""
        try:
            return self._logger.isEnabledFor(level)
        except BaseException as error:
            _complain(error)
            return False

    def say(self, level: int, text: str, *args: object, exc_info: BaseException | bool = False) -> None:
        """``logging.Logger.log``."""
        try:
            self._logger.log(level, text, *args, exc_info=exc_info, stacklevel=3)
        except BaseException as error:
            _complain(error)

    def debug(self, text: str, *args: object) -> None:
        self.say(logging.DEBUG, text, *args)

    def info(self, text: str, *args: object) -> None:
        self.say(logging.INFO, text, *args)

    def warning(self, text: str, *args: object) -> None:
        self.say(logging.WARNING, text, *args)

    def error(self, text: str, *args: object, exc_info: BaseException | bool = False) -> None:
        self.say(logging.ERROR, text, *args, exc_info=exc_info)

    def critical(self, text: str, *args: object) -> None:
        self.say(logging.CRITICAL, text, *args)

    def exception(self, text: str, *args: object) -> None:
        """``error``, with the exception that is being handled."""
        self.say(logging.ERROR, text, *args, exc_info=True)


def _complain(error: BaseException) -> None:
    """Print what a log handler has raised. Nothing comes of that either."""
    try:
        if logging.raiseExceptions and sys.stderr is not None:
            print("--- actorkit: a log call raised ---", file=sys.stderr)
            traceback.print_exception(error, limit=-3, file=sys.stderr)
    except BaseException:
        pass


log: Final = Log("actorkit")
