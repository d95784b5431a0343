"""``ak.open_node``: a node, with a governor if a memory limit is given.

The governor is optional, and off without a limit: a library that is embedded in a program must not
kill by a limit that nobody set. Nodes of one trio run that have a limit share one governor, since
they share one resident set. The settings and the limit of the first one are in force.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Unpack

import trio

from ..policy.memory.admission import AdmissionSettings
from ..policy.memory.governor import GovernorMachine
from ..policy.memory.governor_settings import GovernorSettings
from ..policy.memory.heap_limit import bytes_of
from ..policy.memory.restart_queue import GateSettings
from ..policy.supervision.child_spec import ChildSpec, check_spec
from ..pressure.sources import MemorySource, NodeMemory
from ..runtime import node as runtime
from ..runtime.life.node_settings import NodeOptions, check_options
from ..runtime.node import Node
from .admission import NodeAdmission
from .node_governor import NodeGovernor
from .quota import QuotaKeeper
from .restart_gate import MemoryGate

__all__ = ["open_node"]

_governor: trio.lowlevel.RunVar[NodeGovernor | None] = trio.lowlevel.RunVar("actorkit governor", default=None)


def open_node(
    tree: ChildSpec[Any] | None = None,
    *,
    memory_limit: int | str | Literal["auto"] | None = None,
    governor: GovernorSettings | None = None,
    admission: AdmissionSettings | None = None,
    gate: GateSettings | None = None,
    memory_source: MemorySource | None = None,
    memory_report: str | None = None,
    **options: Unpack[NodeOptions],
) -> AbstractAsyncContextManager[Node]:
    """Run a supervision tree inside any trio program, for the length of a ``with`` block.

    The body runs when the whole tree has started; leaving it stops the tree in reverse order. See
    ``runtime.node`` for all promises.

    Args:
        tree: the root's child spec, usually ``ak.supervisor(…)``; None: no tree, actors are started
            with ``node.spawn``.
        memory_limit: what this process may use: bytes, or text such as ``"256 MiB"``; ``"auto"``:
            what the system allows (control groups, resource limits, what is available). With a
            limit a governor runs: under pressure it collects garbage, sheds, refuses new work and
            kills the least important, largest actors before the kernel kills the process. A lower
            limit of the system's counts in any case. None: no governor.
        governor: thresholds, pace, ranking and other knobs.
        admission: how many of each kind of work may be in, and how fast they may come.
        gate: how restarts are let through while memory is short.
        memory_source: where samples come from; for tests (``actorkit.testing.ScriptedMemory``).
        memory_report: a file that is written before the governor stops the node.
        options: ``name``, ``stop_timeout`` (30 s), ``call_timeout`` (5 s), ``kill_timeout`` (5 s),
            ``max_heap_size`` (of each worker, unless its spec says otherwise), ``own_heaps`` (pages
            of their own for actors with such a limit, which go back to the system when they die;
            on), and the scheduler's ``slice_seconds``, ``quantum``, ``max_idle``, ``features``;
            ``debug``: check the thread of every message, and not only of those that wake somebody.

    Raises:
        StartFailed: the tree did not start.
        SupervisorGaveUp: the tree ended abnormally, or passed its restart intensity.
        NodeOutOfMemory: the governor stopped the node, since nothing brought memory back.
        InvalidChildSpec: ``tree`` is no child spec: a class, perhaps.
        TypeError: there is no such option, or an option cannot be that.
        ValueError: ``memory_limit`` is not a size.

    Example::

        async with ak.open_node(tree, memory_limit="256 MiB") as node:
            await node.finished()
    """
    check_options(options, open_node)
    if tree is not None:
        check_spec(tree, "tree")
    limit = None if memory_limit is None or memory_limit == "auto" else bytes_of(memory_limit)
    governed = memory_limit is not None or memory_source is not None
    settings = governor or GovernorSettings()

    def prepare(node: Node) -> None:
        QuotaKeeper(node)
        if not governed:
            return
        serving = _governor.get()
        if serving is None or memory_source is not None:
            source = memory_source or NodeMemory(limit)
            serving = NodeGovernor(GovernorMachine(settings), source, settings.reserve, memory_report)
            _governor.set(serving)
        _attach(
            node,
            serving,
            MemoryGate(node, gate or GateSettings()),
            NodeAdmission(node, admission or AdmissionSettings()),
        )

    return runtime.open_node(tree, prepare=prepare, **options)


def _attach(node: Node, governor: NodeGovernor, gate: MemoryGate, admission: NodeAdmission) -> None:
    def detach() -> None:
        gate.close()
        if not governor.detach(node) and _governor.get() is governor:
            _governor.set(None)

    governor.attach(node, gate, admission)
    node.engine.at_close.append(detach)
