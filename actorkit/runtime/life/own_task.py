"""An activation in a task that is the actor's own: a connection's reader runs its handlers where it
reads.

No worker is needed, and no token: the reader has its turn of the pass (see ``base.turns``). A
handler that suspends is carried by the same task. A crash is the actor's, not the task's.
"""

from __future__ import annotations

from types import CoroutineType
from typing import Any

from trio.lowlevel import enable_ki_protection

from ..actor.record import Record
from ..actor.states import DEAD, RUNNING
from ..base.activations import activation
from ..base.trio_internals import is_fatal
from .birth import is_clean
from .pool import Pool
from .worker import Carrier

__all__ = ["OwnTaskRuns"]


class OwnTaskRuns(Pool):
    """See the module's docstring."""

    @activation
    @enable_ki_protection
    async def run_here(self, worker: Carrier, actor: Record[Any], function: Any, args: tuple[Any, ...]) -> None:
        """One activation of an idle actor in the current task, which is the actor's own.

        Args:
            worker: what stands for the task.
            actor: whose handler it is.
            function, args: the handler, and what it gets after the object.
        """
        base = self.base_context
        free = self.free_contexts
        hook = self.step_hook
        context = actor.variables
        if context is None:
            context = free.pop() if free else base.copy()
        actor.state = RUNNING
        self.current = actor
        self.flush_promised = True
        if hook is not None:
            hook(actor)
        suspended = None
        try:
            result = context.run(function, actor.obj, *args)
            if type(result) is CoroutineType:
                try:
                    trap = context.run(result.send, None)
                except StopIteration:
                    pass
                else:
                    suspended = (result, trap, None)
            result = None
            function = args = ()
        except BaseException as error:
            if self.crashed(actor, error, None):
                self.requeue(actor)
            if is_fatal(error):
                self.leave(error)
        else:
            if suspended is None and (actor.control is None or self.attend(actor)):
                self.requeue(actor)
        finally:
            self.current = None
            self.flush_promised = False
            if hook is not None:
                hook(None)
        if self.flushes:
            self.flush()
        if suspended is not None:
            actor.variables = context
            carried = self.carry(worker, actor, suspended, context)
            suspended = None
            await carried
            context = actor.variables
            if self.has_work and not self.busy:
                self.wake()
        if context is not None and is_clean(context, base):
            free.append(context)
            actor.variables = None
        elif actor.state != DEAD:
            actor.variables = context
