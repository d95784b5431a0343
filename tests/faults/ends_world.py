"""What the sweep of ends (``ends_sweep``) injects, and the books that must balance whatever was
injected.

Every call out of the runtime in a scenario passes ``step(kind)``. One run in which nothing is
injected counts the steps; the others raise something at one step, or at several in a row.
Interrupts at checkpoints are delivered as trio delivers them, and those at lines are raised where a
signal would raise them.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import trio
from trio.lowlevel import enable_ki_protection

import actorkit as ak
from actorkit.runtime.actor.names import CURRENT_ENGINE
from actorkit.runtime.base.trio_internals import fatal_leaf
from bench.soak.invariants import consistent, left


class Boom(Exception):
    """What faulty code raises."""


class Plain(BaseException):
    """Neither an Exception nor a request to end the interpreter."""


def group(text: str) -> BaseException:
    """What a nursery in a handler makes of Ctrl-C and a fault."""
    return BaseExceptionGroup(text, [Boom(text), BaseExceptionGroup(text, [KeyboardInterrupt(text)])])


FAULTS: dict[str, Callable[[str], BaseException]] = {
    "error": Boom,
    "base": Plain,
    "generator-exit": GeneratorExit,
    "interrupt": KeyboardInterrupt,
    "exit": SystemExit,
    "group": group,
}
"""The faults that are raised at steps."""
CHECKPOINT, LINE = "checkpoint", "line"
"""KeyboardInterrupt from the signal's handler: in protected code, and in unprotected code."""
FATAL = (KeyboardInterrupt, SystemExit)

DROPPED = {"log", "log filter", "repr", "str", "eq", "del", "weakref", "format_status"}
"""Kinds of steps where an exception changes no outcome."""
EITHER = {"event"}
"""Kinds of steps where KeyboardInterrupt and SystemExit may come out or be dropped, and any other
exception changes no outcome.
"""
HOST = {"host"}
"""The host's own code: its exceptions are the host's."""

HERE = Path(__file__).parent
SCENARIOS = str(HERE / "ends_scenarios.py")
PACKAGE = str(Path(ak.__file__).parent)


class Plan:
    """What is injected into one run: ``fault`` at the ``first`` step and at the ``count - 1`` steps
    after it.
    """

    def __init__(self, fault: str = "error", first: int = 0, count: int = 0) -> None:
        self.fault = fault
        self.first = first
        self.count = count
        self.seen = 0
        self.kinds: Counter[str] = Counter()
        self.injected: list[tuple[str, BaseException]] = []

    @property
    def due(self) -> bool:
        return self.first <= self.seen < self.first + self.count

    def step(self, kind: str) -> None:
        if self.fault not in FAULTS:
            return
        self.seen += 1
        self.kinds[kind] += 1
        if self.due:
            error = FAULTS[self.fault](f"injected at step {self.seen}, {kind}")
            self.injected.append((kind, error if kind in HOST else fatal_leaf(error)))
            raise error


PLAN = Plan()


@enable_ki_protection
def step(kind: str) -> None:
    """Called when a call out of the runtime begins."""
    PLAN.step(kind)


@contextlib.contextmanager
def injecting(plan: Plan) -> Iterator[None]:
    """Within the block, ``step`` asks this plan."""
    global PLAN
    PLAN = plan
    try:
        yield
    finally:
        PLAN = Plan()


class Ticks(trio.abc.Instrument):
    """Presses Ctrl-C between two steps of trio's tasks: the signal finds protected code, and trio
    delivers it at the main task's next checkpoint.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        from trio._core._run import GLOBAL_RUN_CONTEXT

        plan = self.plan
        runner = GLOBAL_RUN_CONTEXT.runner
        if runner.main_task is None or runner.main_task_outcome is not None:
            return
        plan.seen += 1
        if plan.due:
            plan.injected.append((CHECKPOINT, KeyboardInterrupt()))
            runner.deliver_ki()


def left_out(path: str) -> set[int]:
    """Lines of a program at which the sweep raises nothing.

    They are the lines of ``with`` statements: between the end of a body and the call of
    ``__exit__`` there is a moment in which an interrupt gets past the statement. It is Python's,
    trio's own nurseries have it too, and nothing that is called can close it. The lines of ``try``
    are left out too: Python handles no signal there (but reports the line to tracers, and, if it is
    the first line in a ``with``, outside of that).
    """
    lines: set[int] = set()
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, (ast.With, ast.AsyncWith)):
            lines.update(range(node.lineno, node.body[0].lineno))
        elif isinstance(node, ast.Try):
            lines.add(node.lineno)
    return lines


class Lines:
    """Raises KeyboardInterrupt at a line of an unprotected frame of the runtime, of a scenario or
    of ``contextlib``, as the signal would.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.left_out = left_out(SCENARIOS)
        self.concerns: dict[CodeType, bool] = {}

    def __enter__(self) -> None:
        sys.settrace(self.call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def call(self, frame: FrameType, event: str, arg: object) -> Any:
        from trio._core._ki import ki_protection_enabled

        code = frame.f_code
        concerns = self.concerns.get(code)
        if concerns is None:
            path = code.co_filename
            concerns = path == SCENARIOS or path.startswith(PACKAGE) or path == contextlib.__file__
            self.concerns[code] = concerns
        if not concerns or ki_protection_enabled(frame):
            return None
        return self.line

    def line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event != "line" or (frame.f_code.co_filename == SCENARIOS and frame.f_lineno in self.left_out):
            return self.line
        plan = self.plan
        plan.seen += 1
        if plan.due:
            where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            plan.injected.append((f"{LINE} {where}", KeyboardInterrupt()))
            raise KeyboardInterrupt
        return self.line


# --- hostile values ------------------------------------------------------------------------------


class Odd:
    """A value whose texts are calls out of the runtime."""

    @enable_ki_protection
    def __repr__(self) -> str:
        step("repr")
        return "odd"

    @enable_ki_protection
    def __str__(self) -> str:
        step("str")
        return "odd"


class OddError(Boom):
    """An error whose texts are calls out of the runtime."""

    @enable_ki_protection
    def __repr__(self) -> str:
        step("repr")
        return "odd"

    @enable_ki_protection
    def __str__(self) -> str:
        step("str")
        return "odd"


class Value:
    """A value for a context variable."""

    @enable_ki_protection
    def __eq__(self, other: object) -> bool:
        step("eq")
        return self is other

    __hash__ = object.__hash__


class Held:
    """An actor's state whose finaliser and whose weakref's callback are calls out of the
    runtime.
    """

    references: set[Any] = set()

    def __init__(self) -> None:
        references = self.references

        @enable_ki_protection
        def gone(reference: Any) -> None:
            references.discard(reference)
            step("weakref")

        references.add(weakref.ref(self, gone))

    def __del__(self) -> None:
        step("del")


class Handler(logging.Handler):
    """An application's log handler."""

    @enable_ki_protection
    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()
        step("log")

    @enable_ki_protection
    def filter(self, record: logging.LogRecord) -> bool:
        step("log filter")
        return True


class Delivery(ak.EventStream):
    """An event stream's receiver, which may raise."""

    def put(self, event: ak.SystemEvent) -> None:
        step("event")
        super().put(event)


class Books(ak.EventStream):
    """Counts the actors that have begun and those that have ended."""

    def __init__(self, node: ak.Node) -> None:
        super().__init__(node.engine.events, (ak.ActorStarted, ak.ActorExited), 1)
        self.story: list[str] = []
        self.started: Counter[Any] = Counter()
        self.exited: Counter[Any] = Counter()

    @enable_ki_protection
    def put(self, event: ak.SystemEvent) -> None:
        reason = getattr(event, "reason", None)
        self.story.append(f"{event.who} {type(event).__name__} {type(reason).__name__}")
        (self.started if isinstance(event, ak.ActorStarted) else self.exited)[event.pid] += 1

    def wrong(self) -> Iterator[str]:
        for pid, count in self.exited.items():
            if count != 1:
                yield f"{pid} has ended {count} times"
        for pid in self.started:
            if not self.exited[pid]:
                yield f"{pid} has begun and nobody was told of its end"


# --- the ledger ----------------------------------------------------------------------------------


class Ledger:
    """Monitors actors from a process of its own, and counts the reports it receives."""

    def __init__(self) -> None:
        self.watched: dict[Any, Any] = {}
        self.downs: Counter[Any] = Counter()
        self.whole = False
        """True once the process has ended by itself, after all of its actors."""

    @enable_ki_protection
    async def run(self, ctx: ak.ProcessContext) -> None:
        ctx.trap_exit = True
        stopping = False
        while not (stopping and len(self.downs) == len(self.watched)):
            message = await ctx.receive()
            if isinstance(message, ak.Down):
                self.downs[message.monitor] += 1
            elif isinstance(message, ak.Exit):
                stopping = True
            else:
                self.watched[ctx.monitor(message)] = message
        self.whole = True

    def wrong(self, *, closed: bool) -> Iterator[str]:
        for monitor, ref in self.watched.items():
            told = self.downs[monitor]
            if told > 1 or (told == 1 and ref.alive) or (told == 0 and not ref.alive and (not closed or self.whole)):
                yield f"{told} times told of {ref!r:.100}"


EXPECTED = (
    ak.CallError,
    ak.ActorDead,
    ak.SupervisorError,
    ak.TaskFailed,
    ak.CallbackFailed,
    ak.NotAlive,
    ak.NotRegistered,
    ak.AlreadyRegistered,
    ak.NodeStopped,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    OSError,
)


class Attempt:
    """A block that may fail because of a fault elsewhere. It must fail with one of the runtime's
    own errors.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    @enable_ki_protection
    def __enter__(self) -> None:
        pass

    @enable_ki_protection
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is not None and self.world.books is not None:
            self.world.books.story.append(f"the host got {type(error).__name__}")
        if isinstance(error, ak.CallTimeout):
            self.world.problems.append(f"nobody answered: {error}")
        return isinstance(error, EXPECTED)


class World:
    """A node under a scenario."""

    def __init__(self) -> None:
        self.node: Any = None
        self.problems: list[str] = []
        self.ledger = Ledger()
        self.books: Books | None = None
        self.waiting: dict[Any, None] = {}
        self.closing: float | None = None
        self.checked = False
        self.stop_now = False
        """True if the scenario wants the node to stop at once, in the midst of everything."""
        self.gives_up = False
        """True if the tree gives up, so that SupervisorGaveUp may come out."""
        self.log = logging.getLogger("actorkit")

    def attempt(self) -> Attempt:
        return Attempt(self)

    @enable_ki_protection
    def prepare(self, node: ak.Node) -> None:
        if self.node is not None:
            return
        self.node = node
        stream = Delivery(node.engine.events, (ak.SystemEvent,), 10)
        stream.__enter__()
        self.books = Books(node)
        self.books.__enter__()
        self.keeper = node.spawn(self.ledger.run)

    @enable_ki_protection
    def watch(self, *refs: Any) -> None:
        """Expect that the ends of these actors are reported to a monitor and to a task that waits
        for them.
        """
        for ref in refs:
            if ref is not None and ref not in self.ledger.watched.values():
                self.keeper.send(ref)
                trio.lowlevel.spawn_system_task(self._wait_for, ref)

    @enable_ki_protection
    async def _wait_for(self, ref: Any) -> None:
        record = self.node.engine.resolve(ref)
        if record is None or not record.alive:
            return
        self.waiting[ref] = None
        await self.node.stopped(record)
        del self.waiting[ref]

    @enable_ki_protection
    def check(self) -> None:
        """Check the books while the node runs and is at rest."""
        node = self.node
        self.problems += [*consistent(node), *self.ledger.wrong(closed=False)]
        if node.engine.deadlines.pending:
            self.problems.append(f"{node.engine.deadlines.pending} calls are pending at rest")
        self.checked = True

    @enable_ki_protection
    def closes(self) -> None:
        """Called when the body is left, in whatever way."""
        self.closing = trio.current_time()

    @enable_ki_protection
    def closed(self) -> None:
        """Called when ``open_node`` has been left."""
        if self.closing is not None and trio.current_time() - self.closing > 4.5:
            self.problems.append(f"the stop took {trio.current_time() - self.closing:.1f} s")
        if CURRENT_ENGINE.get(None) is not None:
            self.problems.append("the node is still the current one")

    def after(self) -> Iterator[str]:
        """What is wrong after trio has returned."""
        yield from self.problems
        node = self.node
        if node is None:
            return
        yield from left(node)
        yield from self.ledger.wrong(closed=True)
        if self.books is not None:
            yield from self.books.wrong()
        for ref in self.waiting:
            yield f"node.stopped({ref!r:.100}) has not returned"


def judge(plan: Plan, outcome: BaseException | None, gives_up: bool) -> Iterator[str]:
    """What is wrong with how a run ended."""
    injected = [error for kind, error in plan.injected if kind not in DROPPED | EITHER]
    either = [error for kind, error in plan.injected if kind in EITHER and isinstance(error, FATAL)]
    hosts = [error for kind, error in plan.injected if kind in HOST]
    fatal = [error for error in injected if isinstance(error, FATAL)]
    if plan.fault in (CHECKPOINT, LINE):
        if fatal and type(outcome) is not KeyboardInterrupt:
            yield f"KeyboardInterrupt did not come out, but {outcome!r:.300}{_where(outcome)}"
    elif fatal:
        if not any(outcome is error for error in fatal + either + hosts):
            yield f"{fatal[0]!r} did not come out, but {outcome!r:.300}{_where(outcome)}"
    elif not (
        outcome is None
        or any(outcome is error for error in either)
        or any(outcome is error for error in hosts)
        or (isinstance(outcome, (ak.StartFailed, ak.SupervisorGaveUp)) and (injected or gives_up))
    ):
        yield f"{outcome!r:.300} came out{_where(outcome)}"


def changed(plan: Plan, story: list[str], told: list[str]) -> Iterator[str]:
    """The differences where nothing may have changed: which actors began, which ended and why, and
    what the host was told.
    """
    if not plan.injected or any(
        kind not in DROPPED | EITHER or (kind in EITHER and isinstance(error, FATAL)) for kind, error in plan.injected
    ):
        return
    usual, now = Counter(story), Counter(told)
    if usual != now:
        yield f"it changed what came: {dict(now - usual)} instead of {dict(usual - now)}"


def _where(error: BaseException | None) -> str:
    if error is None:
        return ""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace, places = error.__traceback__, []
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f" ({type(error).__name__} {' '.join(places[-5:])})"


Scenario = Callable[[World], Any]
