"""Crashes: a handler has raised, and that ends its actor and nobody else.

The exception becomes a ``Crash``, bounded text. It is reported once, let go of, and then the actor
ends: by ``terminate``, if it has one and has not begun it, else at once. Its caller hears when the
actor is dead and its name free. A handler that raises because it was killed has not crashed: it
ends for the reason of the kill. Whatever fails here, the actor ends.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from ...errors import ActorExit
from ...log import log
from ...reasons import Crash, ExitReason, bounded
from ..actor.events import ActorCrashed
from ..actor.record import Record
from ..actor.reports import report_crash
from ..actor.states import DEAD
from ..base.trio_internals import is_fatal
from .init_outcome import Starting
from .let_go import alone, let_go
from .orderly_end import OrderlyEnds

__all__ = ["Crashes"]

RUNTIME_FRAMES: Final = 2
"""Frames of the runtime's that a handler's traceback begins with."""


class Crashes(OrderlyEnds):
    """See the module's docstring."""

    def reason_of(self, record: Record[Any], error: BaseException, frames: int = RUNTIME_FRAMES) -> ExitReason:
        """Why an actor ends whose handler has raised ``error``: a kill that is due, what
        ``exit_now`` said, or the error. The first ``frames`` of its traceback are the runtime's."""
        control = record.control
        if control is not None and control.kill is not None:
            return control.kill
        leaf = alone(error)
        if isinstance(leaf, ActorExit) and isinstance(leaf.reason, ExitReason):
            return leaf.reason
        return self.crash_of(record, error, leaf, frames)

    def crash_of(self, record: Record[Any], error: BaseException, leaf: BaseException, frames: int) -> Crash:
        """The crash that ``error`` is. If its ``leaf`` is a MemoryError because the actor's budget
        has refused a request, the crash says so."""
        crash = Crash.from_exception(error, frames)
        account = record.account
        refusal = "" if account is None or not isinstance(leaf, MemoryError) else account.owner.refusal()
        if not refusal:
            return crash
        return attrs.evolve(crash, message=bounded(f"{crash.message}: {refusal}" if crash.message else refusal))

    def crashed(self, record: Record[Any], error: BaseException, reply: Any, reason: ExitReason | None = None) -> bool:
        """A handler raised. True: ``terminate`` is its next message; False: it is dead. ``reason``:
        what ``reason_of`` has said already."""
        try:
            return self._crashed(record, error, reply, reason)
        except RecursionError:
            raise  # nothing is half done that burying it would not do; see ``doomed``
        except BaseException as failure:
            self.step_failed(failure)
            reason = Crash(type(error).__qualname__, "its crash could not be handled in order")
            self.die(record, reason)
            if reply is not None:
                reply.fail(reason)
            return False

    def _crashed(self, record: Record[Any], error: BaseException, reply: Any, reason: ExitReason | None) -> bool:
        control = record.control
        relations = record.relations
        # OTP calls terminate/2 once, and not for an init that failed.
        terminating = (relations is not None and relations.terminating) or type(reply) is Starting
        if reason is None:
            reason = self.reason_of(record, error)
        killed = control is not None and control.kill is not None
        if not killed:
            self.report_end(record, reason)
        kind = record.kind
        if kind.footprint is not None and kind.process and not killed:
            try:
                self.learned.at_death(record, reason, error, alone(error))
            except BaseException as failure:
                self.step_failed(failure)
        self.forget(error)
        killed = control is not None and control.kill is not None
        if killed or terminating or kind.terminate is None:
            self.die(record, reason)
            if reply is not None:
                reply.fail(reason)
            return False
        if reply is not None:
            record.owe(reply)
        self.begin_terminate(record, reason)
        return record.state != DEAD

    def report_end(self, record: Record[Any], reason: ExitReason) -> None:
        """An actor ends by its own doing: if abnormally, that is reported (OTP: terminate/2's
        reason)."""
        if not reason.abnormal:
            return
        self.crashed_count += 1
        try:
            report_crash(record, reason)
        except BaseException as failure:  # the stack is full, say: its end does not depend on the report
            log.debug("a crash report could not be written: %s", type(failure).__qualname__)
        if self.events.wanted(ActorCrashed):
            self.events.emit(ActorCrashed(record, record.pid, record.started_as, reason))

    def forget(self, error: BaseException) -> None:
        """It has been reported: free what its frames hold. What leaves the runtime keeps its
        traceback."""
        if not is_fatal(error):
            try:
                let_go(error)
            except RecursionError:
                pass
            except BaseException as failure:
                self.step_failed(failure)
