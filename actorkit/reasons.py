"""Exit reasons: why an actor ended, as plain data.

A reason outlives its actor by a long time (in monitors, reports, supervisors' memories), so it
must not keep the actor's state alive: no exception objects, no tracebacks, no references, only
bounded text and numbers.

Two questions are asked of a reason, and both are answered here:

* is it *abnormal*?  Supervisors restart transient children on it, and it is reported.
  Normal, Shutdown and Shutdown(detail) are not; everything else is.
* does it pass along a link?  Every reason but Normal does (see ``policy.exit_signals``).

Source: the Erlang reference manual, "Processes"; OTP supervisor, "restart".
"""

from __future__ import annotations

import reprlib
import traceback as _traceback
from types import TracebackType

import attrs

__all__ = [
    "KILL",
    "KILLED",
    "NOPROC",
    "NORMAL",
    "SHUTDOWN",
    "BadReturn",
    "Crash",
    "ExitReason",
    "Failure",
    "FailedToStart",
    "InitTimeout",
    "Kill",
    "Killed",
    "NoProc",
    "Normal",
    "Shutdown",
    "bounded",
]

TEXT_LIMIT = 2_000
TRACEBACK_LIMIT = 8_000


def bounded(text: str, limit: int = TEXT_LIMIT) -> str:
    """``text``, cut in its middle when it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} …[{len(text) - 2 * half} characters cut]… {text[-half:]}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 400


def shown(value: object, limit: int = TEXT_LIMIT) -> str:
    """``repr(value)`` of at most ``limit`` characters. A text that is larger than it should be is
    cut before it is formatted, and a ``__repr__`` may raise whatever it likes: errors and reports
    are made while ends are settled, and those must not fail.
    """
    try:
        return bounded(_SHORT.repr(value[:1_000] if isinstance(value, (str, bytes)) else value), limit)
    except BaseException as error:
        return f"<{type(value).__qualname__}: its repr raised {type(error).__qualname__}>"


def text_of(value: object, limit: int = TEXT_LIMIT) -> str:
    """``str(value)`` of at most ``limit`` characters, whatever its ``__str__`` does."""
    try:
        return bounded(str(value), limit)
    except BaseException as error:
        return f"<{type(value).__qualname__}: its str() raised {type(error).__qualname__}>"


def as_reason(reason: object, what: str) -> ExitReason:
    """``reason``, if it is an exit reason. Raises TypeError otherwise: the fault of whoever gives
    it.

    Args:
        what: what was attempted, for the message: "stop an actor".
    """
    if isinstance(reason, ExitReason):
        return reason
    if isinstance(reason, type) and issubclass(reason, ExitReason):
        name = reason.__qualname__
        where = "ak." if reason.__module__ == __name__ else ""
        raise TypeError(f"cannot {what} with {name}: it is not an exit reason, it is the class; give {where}{name}(…)")
    text = shown(reason, 60)
    raise TypeError(
        f"cannot {what} with {text}: it is not an exit reason; give one, such as ak.Failure({text}) or ak.SHUTDOWN"
    )


@attrs.frozen
class ExitReason:
    """Base of all exit reasons; match on the subclasses."""

    @property
    def abnormal(self) -> bool:
        """True unless the actor ended in an orderly way (Normal, Shutdown)."""
        return True


@attrs.frozen
class Normal(ExitReason):
    """The actor's work was done. Links do not carry it to actors that do not trap exits."""

    @property
    def abnormal(self) -> bool:
        return False


@attrs.frozen
class Shutdown(ExitReason):
    """An orderly stop, asked for by a supervisor or by the actor itself.

    ``detail`` is any plain, small datum for whoever watches. A transient child that ends with
    Shutdown is not restarted.
    """

    detail: object = attrs.field(default=None, repr=shown)

    @property
    def abnormal(self) -> bool:
        return False


@attrs.frozen
class Kill(ExitReason):
    """The untrappable request. As the argument of ``ref.exit(KILL)`` it makes the receiver end
    with Killed; an actor that *itself* exits with Kill passes it on over its links as an ordinary
    reason (OTP: ``kill`` over a link is not turned to ``killed``)."""


@attrs.frozen
class Killed(ExitReason):
    """The actor was killed: untrappably, without ``terminate``."""


@attrs.frozen
class NoProc(ExitReason):
    """There was no such actor when it was linked to, monitored or called."""


@attrs.frozen
class Failure(ExitReason):
    """An abnormal reason that a program chose itself, with ``detail`` as plain, small data."""

    detail: object = attrs.field(default=None, repr=shown)


@attrs.frozen
class InitTimeout(ExitReason):
    """``init`` did not return within ``seconds``; the actor was killed."""

    seconds: float


@attrs.frozen
class BadReturn(ExitReason):
    """``where`` returned what its contract does not allow (``value``, as bounded text)."""

    where: str
    value: str


@attrs.frozen
class FailedToStart(ExitReason):
    """A supervisor could not start its child ``child_id``, because of ``reason``."""

    child_id: object = attrs.field(repr=shown)
    reason: ExitReason = attrs.field(repr=shown)


@attrs.frozen
class Crash(ExitReason):
    """An exception ended the actor. Only bounded text is kept: the exception's frames hold the
    actor's state, so they are cleared once the report is written.

    ``type`` is the exception's qualified name, ``message`` its text, ``traceback`` the rendered
    stack, innermost frame last.
    """

    type: str
    message: str
    traceback: str = attrs.field(default="", eq=False, repr=False)

    @classmethod
    def from_exception(cls, error: BaseException, skip_frames: int = 0) -> Crash:
        """Render ``error``; its outermost ``skip_frames`` frames (the runtime's) are left out."""
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        message = text_of(error)
        if isinstance(error, BaseExceptionGroup):
            causes = [f"{type(leaf).__qualname__}: {text_of(leaf, 200)}" for leaf in _leaves(error)[:3]]
            message = bounded(f"{message}: {'; '.join(causes)}")
        tb: TracebackType | None = error.__traceback__
        for _ in range(skip_frames):
            if tb is None or tb.tb_next is None:
                break
            tb = tb.tb_next
        try:
            text = "".join(_traceback.format_tb(tb, limit=40))
            if isinstance(error, BaseExceptionGroup):
                for leaf in _leaves(error)[:3]:
                    text += f"  of which {type(leaf).__qualname__}:\n" + "".join(
                        _traceback.format_tb(leaf.__traceback__, limit=20)
                    )
            text = bounded(text, TRACEBACK_LIMIT)
        except BaseException as failure:  # of a loader's get_source, for one
            text = f"<the traceback could not be rendered: {type(failure).__qualname__}>"
        return cls(name, message, text)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions that a group is about, at most a hundred."""
    leaves: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo and len(leaves) < 100:
        error = todo.pop()
        if isinstance(error, BaseExceptionGroup):
            todo += reversed(error.exceptions)
        else:
            leaves.append(error)
    return leaves


NORMAL = Normal()
SHUTDOWN = Shutdown()
KILL = Kill()
KILLED = Killed()
NOPROC = NoProc()
