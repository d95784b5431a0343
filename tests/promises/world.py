"""The small world in which a cell runs: a node, an actor with a budget (the subject), and another
actor (the bystander), who has the subject's code run through a door.

The bystander does everything, in its own handler, so that a birth, a call or a start that is
charged to who asks for it shows. Time stands still: nothing is swept unless ``settle`` has it
swept.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

import actorkit as ak
from actorkit.heap import clock
from actorkit.runtime.budgets.budget import Budget
from tests.promises.shapes import OUTSIDE, PIECE, Shape, Way, grow, lead, tokens

KIB = 1024
LIMIT = (512 if clock.COUNTS_ALLOCATIONS else 256) * KIB
"""What the subject and the bystander may hold. Without the extension a walk takes longer."""

SWEEPS = 5
"""So many seconds an actor has before it must have been found out."""

PASSES = 1_000_000
"""Of trio's, until a subject that neither gets done nor ends is given up."""

SUBJECTS = "Subject"
"""What the labels of subjects begin with."""


@attrs.frozen
class Load:
    """What the subject's code is to make, in limits; how much of it it keeps at a time, also in
    limits; and whether an actor that holds too much is ended."""

    made: float
    kept: float
    kill: bool = True


class Work:
    """The subject's code: it makes pieces, and keeps them with ``owner.held``."""

    def __init__(self, shape: Shape, way: Way, load: Load) -> None:
        self.shape = shape
        self.way = way
        self.count = int(load.made * LIMIT) // PIECE[shape]
        self.keeps = max(1, int(load.kept * LIMIT) // PIECE[shape])
        #: Pieces that were made.
        self.made = 0
        #: Did it come to its end?
        self.finished = False
        #: Has it ended in whatever way?
        self.over = False
        #: What was raised in it.
        self.raised: type[BaseException] | None = None
        #: Whoever stays after it waits for this.
        self.gate = trio.Event()

    @property
    def bytes_made(self) -> int:
        return self.made * PIECE[self.shape]

    def run(self, owner: Any) -> None:
        """Do it. (A method: an object that is called would be called by C.)"""
        try:
            self.do(owner)
        finally:
            self.over = True

    def do(self, owner: Any) -> None:
        """Do it, and leave it to the caller to say that it is over."""
        try:
            lead(self.way, _Steps(self, owner).one, self.count)
            self.finished = True
        except BaseException as error:
            self.raised = type(error)
            raise


class _Steps:
    """Pieces, one by one. When as many are there as are kept at a time, they are dropped before the
    next. It finds them by their owner, as methods find their data by ``self``."""

    def __init__(self, work: Work, owner: Any) -> None:
        self.work = work
        self.owner = owner
        self.since = 0

    def one(self) -> None:
        work = self.work
        if self.since >= work.keeps:
            self.owner.held = []
            self.since = 0
        grow(work.shape, self.owner.held)
        self.since += 1
        work.made += 1


class Bystander(ak.Actor):
    """Does what it is told, in its own turn."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    @ak.call
    async def do(self, what: Callable[[], Any]) -> None:
        try:
            answer = what()
            if inspect.isawaitable(answer):
                await answer
        except (ak.CallError, ak.StartFailed):
            pass  # the subject has ended


class World:
    """See the module's docstring."""

    def __init__(self, node: ak.Node, work: Work, load: Load, stack: AsyncExitStack) -> None:
        self.node = node
        self.work = work
        self.limit = ak.HeapLimit(LIMIT, kill=load.kill, log=False)
        self.stack = stack
        #: The subject, when it is known.
        self.ref: Any = None
        self.bystander = node.spawn(ak.child(Bystander).with_(max_heap_size=LIMIT))
        #: Who has ended, what it was called, and why.
        self.ends: list[ak.ActorExited] = []
        self.tokens_before = tokens()

    def budgeted(self, start: Any, *args: Any) -> Any:
        """The spec of a subject."""
        return ak.child(start, *args).with_(max_heap_size=self.limit)

    def spawn(self, start: Any, *args: Any) -> Any:
        """Start a subject, as the bystander."""
        self.ref = self.node.spawn(self.budgeted(start, *args))
        return self.ref

    @property
    def reason(self) -> Any:
        """Why the subject has ended; None: it lives."""
        return next((end.reason for end in self.ends if end.ref is self.ref or end.who.startswith(SUBJECTS)), None)

    @property
    def budget(self) -> Budget:
        """The subject's budget."""
        return budget_of(self.ref)

    def account_figures(self) -> str:
        """What its account says, for a failure."""
        account = getattr(self.ref, "account", None)
        names = ("bytes", "soft", "limit", "own_live", "large_live", "elsewhere", "due", "verdict")
        return ", ".join(f"{name}={getattr(account, name, None)}" for name in names)

    async def listen(self, stream: Any) -> None:
        async for event in stream:
            self.ends.append(event)

    async def run(self, door: Callable[[World], Any]) -> None:
        """Have the work done behind the door, and wait until all is quiet."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, door)
                passes = 0
                while not self.work.over and self.reason is None:
                    await trio.lowlevel.checkpoint()
                    passes += 1
                    assert passes < PASSES, f"neither done nor ended: {self.ref}, {self.account_figures()}"
                await self.settle()
                self.nursery = nursery
                scope.cancel()

    async def _ask(self, door: Callable[[World], Any]) -> None:
        with contextlib.suppress(ak.CallError):
            await self.bystander.within(10**6).call(Bystander.do, lambda: door(self))

    async def settle(self) -> None:
        """Until nobody has anything to do, and all have been looked at. What is in others' hands
        for a moment is found by one of the next looks."""
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(SWEEPS):
            if self.reason is not None:
                break
            await self.node.engine.budgets.look_at_all()
            if not clock.COUNTS_ALLOCATIONS:  # in time activations would make it due
                for budget in list(self.node.engine.budgets.all.values()):
                    budget.at_boundary()
            await trio.testing.wait_all_tasks_blocked()


def budget_of(ref: Any) -> Budget:
    account = ref.account
    assert account is not None, f"{ref} has no budget"
    assert isinstance(account.owner, Budget)
    return account.owner


def inside_is_possible() -> bool:
    """Can an actor be stopped in the middle of a message, here and now?"""
    return clock.COUNTS_ALLOCATIONS and threading.current_thread() is threading.main_thread()


@asynccontextmanager
async def a_world(shape: Shape, way: Way, load: Load, **options: Any) -> AsyncIterator[World]:
    work = Work(shape, way, load)
    limit = ak.HeapLimit(LIMIT, kill=load.kill, log=False)
    try:
        async with AsyncExitStack() as stack, ak.open_node(max_heap_size=limit, **options) as node:
            with node.subscribe(ak.ActorExited, capacity=1000) as stream:
                async with trio.open_nursery() as nursery:
                    world = World(node, work, load, stack)
                    nursery.start_soon(world.listen, stream)
                    try:
                        yield world
                    finally:
                        work.gate.set()
                        nursery.cancel_scope.cancel()
            node.shutdown()
    finally:
        OUTSIDE.clear()
