"""A fault for ``FaultPlan``: a large request is refused while a handler's own code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import attrs
from attrs.validators import ge

from actorkit.testing.faults import WhileRunning

from .refusal import WHY_NOT, Refusal, refusing

__all__ = ["RefuseAllocation"]


@attrs.frozen(kw_only=True)
class RefuseAllocation(WhileRunning):
    """While the handler's own code runs, refuse the ``nth`` request for 64 KiB or more:
    MemoryError. It counts as injected when a request was refused.

    Where requests cannot be refused, the handler raises MemoryError before it does anything.

    Args:
        nth: which of the message's large requests.
    """

    nth: int = attrs.field(default=1, validator=ge(1))

    def begin(self, happened: Callable[[], None]) -> Callable[[], AbstractContextManager[None]]:
        if WHY_NOT is not None:
            happened()
            raise MemoryError("a refused allocation was injected; without the extension, before the handler")
        seen = 0

        @contextmanager
        def step() -> Iterator[None]:
            nonlocal seen
            refusal = Refusal()
            try:
                with refusing(max(0, self.nth - seen)) as refusal:
                    yield
            finally:
                seen += refusal.seen
                if refusal.refused:
                    happened()

        return step
