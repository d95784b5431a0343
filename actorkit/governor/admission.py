"""Admission: whether new work is let in. The shell around ``policy.memory.admission``.

``node.admission`` while a governor runs. Listeners ask it for each connection. Any other code asks
with a *slot*::

    async with node.admission.slot("upload"):
        ...                       # AdmissionRefused, with retry_after, if there is no room

A refusal is quick, and costs nothing that is not given back at once. What one more takes is learned
from those that are in: the footprints of their kind, and ``OVERHEAD`` for what a footprint does not
show (sockets, tasks, buffers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from ..errors import AdmissionRefused
from ..policy.memory.admission import AdmissionMachine, AdmissionSettings, Refuse
from ..policy.memory.memory_sample import MemoryLevel, MemorySample
from ..runtime.actor.doors import AdmissionCounts
from ..runtime.base.interrupts import protected_context

if TYPE_CHECKING:
    from ..runtime.node import Node

__all__ = ["NodeAdmission"]

OVERHEAD: Final = 6_144
"""Bytes of a connection that its actor's heap does not show (record, task, socket, buffers), as
measured with 10,000 of them."""


class NodeAdmission:
    """See the module's docstring.

    Args:
        node: whose footprints are learned from.
        settings: limits by kind of work; a listener's kind is the class of its connections.
    """

    def __init__(self, node: Node, settings: AdmissionSettings) -> None:
        self._node = node
        self._policy = AdmissionMachine(settings)
        #: By kind: how many were let in so far, and how many were not.
        self._admitted: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        #: By kind: how many samples its footprint had when it was last learned from.
        self._learned: dict[str, int] = {}

    # --- What it is asked -------------------------------------------------------------------------

    def admit(self, kind: str, *, exempt: bool = False) -> bool:
        """May one more of this kind begin? If so it counts, until ``release``. For code that cannot
        use ``slot``."""
        return self._ask(kind, exempt) is None

    def release(self, kind: str) -> None:
        """One that was admitted has ended."""
        self._node.engine.home.check("release", kind)
        self._policy.ended(kind)

    @protected_context
    @asynccontextmanager
    async def slot(self, kind: str) -> AsyncIterator[None]:
        """Hold a place for some work.

        Raises:
            AdmissionRefused: there is no room; ``retry_after`` says when to ask again. It is
                nobody's fault.

        Example::

            async with node.admission.slot("report"):
                await render()
        """
        await trio.lowlevel.checkpoint()
        refusal = self._ask(kind, False)
        if refusal is not None:
            raise AdmissionRefused(refusal.because, refusal.retry_after)
        try:
            yield
        finally:
            self.release(kind)

    def capacity(self, kind: str) -> float:
        """How many more of this kind would be let in now; ``inf`` if nothing limits them."""
        return self._policy.capacity(kind)

    def counts(self, kind: str) -> AdmissionCounts:
        """How many there are, and were."""
        return AdmissionCounts(self._policy.count(kind), self._admitted[kind], self._refused[kind])

    def _ask(self, kind: str, exempt: bool) -> Refuse | None:
        self._node.engine.home.check("admit", kind)
        verdict = self._policy.ask(kind, trio.current_time(), exempt=exempt)
        if isinstance(verdict, Refuse):
            self._refused[kind] += 1
            return verdict
        self._admitted[kind] += 1
        return None

    # --- What the governor says -------------------------------------------------------------------

    def sampled(self, sample: MemorySample, level: MemoryLevel) -> None:
        """The governor has looked: what was admitted shows by now, and footprints may have been
        learned."""
        self._policy.looked(sample)
        for kind in {*self._admitted, *self._refused}:
            footprint = self._node.footprint_of(kind)
            if footprint is not None and self._learned.get(kind) != footprint.count:
                self._learned[kind] = footprint.count
                self._policy.predict(kind, footprint.predict() + OVERHEAD)

    def refuse(self, because: str | None) -> None:
        """Refuse everything but what is exempt; None: let the rules decide again."""
        if because is None:
            self._policy.allow()
        else:
            self._policy.refuse_all(because)
