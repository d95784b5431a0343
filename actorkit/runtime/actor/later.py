"""Later: an answer that comes later than the end of the handler that was asked for it.

What a ``Later`` asks of the two sides of a call is written down here, so that it knows neither
records nor replies: ``Asker`` waits for the answer, ``Answerer`` has promised it.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from ...reasons import ExitReason, shown

__all__ = ["Answerer", "Asker", "Later"]

T = TypeVar("T")


class Asker(Protocol):
    """Who waits for an answer: a pending call, or a start that waits for ``init``."""

    def ok(self, value: Any) -> None:
        """Here is the answer."""

    def fail(self, reason: ExitReason) -> None:
        """Whoever should have answered has ended."""

    def refuse(self, error: Any) -> None:
        """The answer is an exception."""

    def promised(self, later: Later[Any] | None) -> None:
        """The answer will come from ``later``; None: ``later`` is done, and the answer comes
        next."""


class Answerer:
    """The actor that has returned a Later as its answer. A record is one."""

    __slots__ = ()

    @property
    def alive(self) -> bool:
        """Can it still answer?"""
        raise NotImplementedError

    @property
    def end_reason(self) -> ExitReason:
        """Why it has ended. Asked right after its end."""
        raise NotImplementedError

    def check_thread(self, what: str) -> None:
        """Raise RuntimeError in a thread that may not do ``what`` to it."""
        raise NotImplementedError

    def owe(self, asker: Asker) -> None:
        """Fail ``asker`` if this actor ends before it is answered."""
        raise NotImplementedError

    def owe_no_more(self, asker: Asker) -> None:
        """``asker`` has its answer, or does not want it any more."""
        raise NotImplementedError


class Later(Generic[T]):
    """An answer that comes later, from wherever it is ready. Return it from a ``@ak.call`` method;
    the caller gets ``T``.

    Use it to answer from another message, task or actor without blocking this one. The caller's
    deadline goes on; if this actor ends first, the caller gets CalleeDied. The first answer counts,
    others are dropped. One ``Later`` may be returned to several callers: all get its answer.

    Source: gen_server:reply/2 after ``{noreply, State}``.

    Example::

        @ak.call
        def next_job(self) -> ak.Later[Job]:
            answer = ak.Later[Job]()
            self.waiting.append(answer)         # … and in another message: answer.set(job)
            return answer
    """

    __slots__ = ("_askers", "_done", "_error", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._askers: dict[Asker, Answerer] | None = None
        """Who waits, and whose answer each of them waits for."""

    @property
    def wanted(self) -> bool:
        """Is somebody still waiting? False when answered, timed out, or the caller was
        cancelled."""
        return not self._done and (self._askers is None or bool(self._askers))

    def set(self, value: T) -> None:
        """Answer with ``value``. Raises TypeError for this very Later: it would never be
        answered."""
        if value is self:
            raise TypeError("cannot answer a Later with itself: nobody would ever be answered")
        if not self._done:
            self._check()
            self._value = value
            self._done = True
            self._settle()

    def fail(self, error: Exception) -> None:
        """Answer by raising ``error`` in the caller. It should hold plain data: it is handed over
        as it is. Raises TypeError for what is no Exception: only that can be raised there, and ends
        nobody but its caller."""
        if not isinstance(error, Exception):
            raise TypeError(f"cannot answer with {shown(error, 100)}: fail takes an Exception, which the caller gets")
        if not self._done:
            self._check()
            self._error = error
            self._done = True
            self._settle()

    def _check(self) -> None:
        """If somebody waits already, answering reschedules a task."""
        for answerer in (self._askers or {}).values():
            answerer.check_thread("answer a call to")
            return

    def _attach(self, asker: Asker, answerer: Answerer) -> None:
        """For the runtime: ``answerer`` has returned this as its answer to ``asker``, who is
        parked, or will be if this is not done yet."""
        if self._done:
            self._answer(asker)
        elif answerer.alive:
            askers = self._askers
            if askers is None:
                askers = self._askers = {}
            askers[asker] = answerer
            asker.promised(self)
            answerer.owe(asker)
        else:
            asker.fail(answerer.end_reason)

    def _outcome(self) -> tuple[bool, Any]:
        """For the runtime: is it done, and then the value. Raises what ``fail`` was given."""
        if self._error is not None:
            raise self._error
        return self._done, self._value

    def _settle(self) -> None:
        for asker in list(self._askers or ()):
            self._forget(asker)
            asker.promised(None)
            self._answer(asker)

    def _answer(self, asker: Asker) -> None:
        if self._error is not None:
            asker.refuse(self._error)
        else:
            asker.ok(self._value)

    def _forget(self, asker: Asker) -> None:
        """For the runtime: ``asker`` waits no more."""
        answerer = self._askers.pop(asker, None) if self._askers is not None else None
        if answerer is not None:
            answerer.owe_no_more(asker)
