"""A node runs: ``open_node``'s own part, around the body of its host.

The engine works in a nursery of the host's task. The body runs when the whole tree has started.
However it is left, the tree is stopped, then all other actors, then the engine; only then does what
the body raised go on, or what made the node end: one exception, and no group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from ...errors import SupervisorGaveUp
from ...log import log
from ...policy.supervision.child_spec import ChildSpec
from ..actor.names import CURRENT_ENGINE
from ..base.interrupts import protected_context
from ..base.trio_internals import fatal_leaf, is_fatal
from .node_engine import NodeEngine
from .root import gave_up

__all__ = ["run_node"]

T = TypeVar("T")


@protected_context
@asynccontextmanager
async def run_node(
    make: Callable[[], tuple[NodeEngine, T]], tree: ChildSpec[Any] | None, prepare: Callable[[T], None] | None
) -> AsyncIterator[T]:
    """Run an engine for the length of a ``with`` block.

    Args:
        make: called in the host's task, when the block is entered: the engine, and what the block
            gets.
        tree: what is started before the body; None: nothing.
        prepare: called before that, with what the block gets.
    """
    engine, given = make()
    error: BaseException | None = None
    token = CURRENT_ENGINE.set(engine)
    try:
        # The scope is there so that those within need no room in the nursery's, where every worker
        # has its own: a node that is short of memory must be able to stop.
        async with trio.open_nursery() as nursery:
            with trio.CancelScope():
                engine.open(nursery)
                try:
                    if prepare is not None:
                        prepare(given)
                    with trio.CancelScope() as engine.body.scope:
                        if tree is not None:
                            await engine.start_root(tree)
                        if engine.left is None:
                            yield given
                        else:
                            raise engine.left
                except BaseException as raised:
                    error = raised
                    engine.stop.interrupted(error)
                engine.body.scope = None
                with trio.CancelScope(shield=True):
                    await engine.stop.run(engine.root.record)
                    for callback in engine.at_close:
                        try:
                            callback()
                        except BaseException as raised:
                            engine.step_failed(raised)
                    engine.budgets.close()
                    engine.close()
    except BaseExceptionGroup as group:
        error = _unwrapped(group, error)
    finally:
        engine.closed()
        engine.root.ended.set()
        try:
            CURRENT_ENGINE.reset(token)
        except ValueError:
            pass  # left in another context than entered: an async generator or fixture does that
    found = _what_comes_out(engine, error)
    if found is not None:
        error = None
        try:
            raise found
        finally:
            found = None


def _what_comes_out(engine: NodeEngine, error: BaseException | None) -> BaseException | None:
    """Of what the body raised and what made the node end, the one that whoever opened it must hear
    of."""
    if error is not None and is_fatal(error):
        return error
    left, engine.left = engine.left, None
    if left is not None:
        error = left
    elif engine.stop.meant_for_host is not None:
        meant = engine.stop.meant_for_host
        if meant.__context__ is None:
            meant.__context__ = error
        return meant
    if error is not None and not isinstance(error, trio.Cancelled):
        return error
    if engine.out_of_memory is not None:
        return engine.out_of_memory
    reason = engine.root.reason
    if reason is not None and gave_up(reason):
        error = SupervisorGaveUp(
            f"the supervision tree of node {engine.name!r} ended: {reason}; the reports before this tell which "
            f"children failed",
            reason,
        )
        error.__suppress_context__ = True
    return error


def _unwrapped(group: BaseExceptionGroup[BaseException], error: BaseException | None) -> BaseException:
    """What comes out when the node's own nursery has raised: KeyboardInterrupt, which trio delivers
    to the host while it waits for the workers, or a fault of the runtime's, on top of the body's
    ``error``. One, and no group."""
    if is_fatal(group):
        return fatal_leaf(group)
    if error is not None and not isinstance(error, trio.Cancelled):
        log.error("a node's own task has failed", exc_info=group)
        return error
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if len(group.exceptions) > 1:
        log.error("several of a node's own tasks have failed", exc_info=group)
    return first
