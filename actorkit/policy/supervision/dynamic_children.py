"""What a dynamic supervisor remembers of its children, in as little memory as it takes.

A temporary child, the usual case, is remembered as its ref and how to stop it, without its spec,
whose arguments may be large. A child that may be restarted is the same ``KeptChild`` over all its
lives.
"""

from __future__ import annotations

from typing import Any, Final

from .actor_options import Kind
from .backoff import BackoffState
from .child_spec import ChildSpec, Restart, ShutdownTime

__all__ = ["NOBODY", "ChildEnding", "KeptChild", "StartedChild", "PendingStart"]


class StartedChild:
    """A child that has started. For a temporary one this is all that is remembered."""

    __slots__ = ("instance", "kind", "ref", "restart", "shutdown")

    def __init__(self, instance: int, ref: object, spec: ChildSpec[Any]) -> None:
        #: Its present life, or the last one.
        self.instance = instance
        #: What callers and the shell know that life by.
        self.ref = ref
        self.restart: Restart = spec.restart
        self.shutdown: ShutdownTime = spec.shutdown_time
        self.kind: Kind = spec.kind


class KeptChild(StartedChild):
    """A child that may be restarted."""

    __slots__ = ("backoff", "key", "since", "spec", "ticket")

    def __init__(self, instance: int, ref: object, spec: ChildSpec[Any]) -> None:
        super().__init__(instance, ref, spec)
        self.spec = spec
        #: Its first instance, which names it across its lives.
        self.key = instance
        #: When its present life began to run.
        self.since = 0.0
        #: Its pending restart; 0 if there is none.
        self.ticket = 0
        #: Its present row of failures; None if its spec has no backoff.
        self.backoff = None if spec.backoff is None else BackoffState(spec.backoff)


class PendingStart:
    """A child in its init: asked for by ``call``, or the next life of ``child``."""

    __slots__ = ("call", "child", "spec")

    def __init__(self, spec: ChildSpec[Any], call: object, child: KeptChild | None) -> None:
        self.spec = spec
        #: Who waits for the outcome; ``NOBODY`` if nobody does.
        self.call = call
        #: Whose next life this is; None of a new child.
        self.child = child


class ChildEnding:
    """What is known of a child that was told to end: who waits for that, and how far it went."""

    __slots__ = ("calls", "killed", "unkillable")

    def __init__(self, calls: list[object]) -> None:
        #: Who waits for the end.
        self.calls = calls
        #: Whether it was killed for not stopping in time. That is done once.
        self.killed = False
        #: Whether it did not end even then.
        self.unkillable = False


NOBODY: Final[object] = object()
"""Stands in place of a call if nobody waits any more. A caller's own token may be anything."""
