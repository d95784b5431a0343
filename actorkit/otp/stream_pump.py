"""The pump of a task stream: what goes on whether or not anybody asks for an outcome.

How it works. Three things go on by themselves, from the first step of the stream to its end:

1. *Fetching*: a process, the feeder, takes items from the source and starts tasks. It waits while
   ``concurrency`` tasks run, or while as many again have finished and have not been taken. So a
   quiet source holds up nobody but itself.
2. *Time-outs*: one timer of the node, set to the oldest task's deadline. It does not depend on the
   consumer.
3. *Results*: the task itself notes its end, in the step in which it dies.

References decide when it all ends. The stream holds the pump and the basket, in which outcomes lie
until they are taken. The pump is held by everything that goes on, and knows the basket by a weak
reference only. So outcomes belong to the consumer's heap, and a stream that nobody holds any more
is really gone. Its finaliser may run in any thread, at any point of the runtime's own code, and
after trio or the node have ended. It only asks trio to run ``close`` soon
(``TrioToken.run_sync_soon``, which is made for that). Should even that fail, whatever goes on next
finds the basket gone.

The feeder steps the source as its consumer (``stream_source``), and ends with it.
"""

from __future__ import annotations

import contextvars
import math
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import trio

from ..behaviours.task import Task
from ..errors import CalleeDied, NodeStopped
from ..log import log
from ..policy.supervision.child_spec import ChildSpec
from ..reasons import SHUTDOWN, ExitReason
from ..runtime.actor.names import CURRENT_ENGINE
from ..runtime.actor.record import Record
from ..runtime.actor.ref import Ref
from ..runtime.actor.states import DEAD
from ..runtime.base.activations import way_in
from ..runtime.base.timers import Timer
from ..runtime.base.trio_internals import is_fatal
from ..runtime.life.starter import Starter
from ..runtime.node import ProcessContext
from .basket import Basket, Item
from .stream_source import END, AsConsumer, begin_source, close_source, fetch
from .task_supervisor import TaskSupervisor

if TYPE_CHECKING:
    from ..runtime.life.node_engine import NodeEngine

__all__ = ["Pump"]

I = TypeVar("I")  # noqa: E741
T = TypeVar("T")

STARTER: Final = "task_stream"
"""What feeders are called, and where the node keeps their starter."""

WAITING: Final = 1
"""Outcomes that may wait for the consumer, for each task that may run."""


class Feeders:
    """The owner of all feeders. A process that has an owner may be started even while its node
    stops, and an actor may stream in its ``terminate``."""

    __slots__ = ()

    def child_exited(self, record: Record[Any], reason: ExitReason) -> None:
        """There is nothing to do: the feeder's stream knows already."""

    def companions(self, record: Record[Any]) -> list[Record[Any]]:
        """It takes nobody along."""
        return []


class Pump(Generic[I, T]):
    """See the module's docstring."""

    def __init__(
        self,
        basket: Basket[T],
        supervisor: Ref[TaskSupervisor],
        function: Callable[[I], Any],
        items: Iterable[I] | AsyncIterable[I],
        concurrency: int,
        item_timeout: float,
        stops_at_timeout: bool,
    ) -> None:
        self.basket: Callable[[], Basket[T] | None] = weakref.ref(basket)
        self.supervisor = supervisor
        self.function = function
        self.is_async = isinstance(items, AsyncIterable)
        self.source: Iterator[I] | AsyncIterator[I] | None = begin_source(items)
        self.concurrency = concurrency
        self.places = concurrency * (1 + WAITING)
        self.item_timeout = item_timeout
        self.stops_at_timeout = stops_at_timeout
        self.alive: dict[Item[T], None] = {}
        """Items whose tasks run, in the order of their start."""
        self.fetched = 0
        self.exhausted = False
        """The source has come to its end."""
        self.doomed = False
        """A time-out will be raised: nothing more is started."""
        self.error: BaseException | None = None
        self.fallen: tuple[Record[Any], ExitReason] | None = None
        """The feeder or the supervisor, which the stream cannot do without, and why it ended."""
        self.lost: CalleeDied | None = None
        """The same, found out by a call to the supervisor."""
        self.closed = False
        self.engine: NodeEngine | None = None
        self.feeder: Record[Any] | None = None
        self.consumer: Record[Any] | None = None
        self.driver: AsConsumer | None = None
        self.timer: Timer | None = None
        self.news: trio.Event | None = None
        self.room: trio.Event | None = None

    @property
    def over(self) -> bool:
        """Nothing more is started."""
        return self.closed or self.doomed or self.error is not None or self.cut_off

    @property
    def cut_off(self) -> bool:
        """Nothing more can be started, but what was started has its outcomes."""
        return self.fallen is not None or self.lost is not None

    @property
    def begun(self) -> bool:
        """Has it taken its first step?"""
        return self.feeder is not None

    # --- the consumer's side ------------------------------------------------------------------

    def begin(self) -> None:
        """The first step: start the feeder. Raises NodeStopped, NotInsideActor."""
        here = CURRENT_ENGINE.get(None)
        consumer = None if here is None else here.current
        supervisor: Record[Any] | None = self.supervisor.bound_record()
        if consumer is None and supervisor is not None:
            here = supervisor.kind.engine
        elif here is None:
            self.supervisor.resolve()  # says what is wrong
        engine = self.engine = cast("NodeEngine", here)
        if engine.closing:
            raise NodeStopped(f"cannot start a task stream: node {engine.name!r} has stopped; open another one")
        starter = engine.starters.get(STARTER)
        if starter is None:
            spec = ChildSpec(feed_stream, max_heap_size=0, id=STARTER)
            starter = engine.starters.put(STARTER, Starter(engine, spec, Feeders(), label=STARTER))
        feeder = starter((self,), {})
        feeder.variables = contextvars.copy_context()
        self.feeder = feeder
        feeder.need_relations().call_at_exit(self._feeder_ended)
        if consumer is not None:
            self.consumer = consumer
            consumer.need_relations().call_at_exit(self._consumer_ended)
        if supervisor is not None and supervisor.state != DEAD:
            supervisor.need_relations().call_at_exit(self._supervisor_ended)

    async def wait_for_news(self) -> None:
        """Wait until an item has its outcome, or all has ended. Several tasks may wait."""
        if self.news is None:
            self.news = trio.Event()
        await self.news.wait()

    def take_error(self) -> BaseException | None:
        """The error that has ended the stream, if any. It is given out once."""
        error, self.error = self.error, None
        if error is not None or self.closed or not self.cut_off:
            return error
        if not all(item.done for item in self.alive):
            return None  # each of them ends with its supervisor, and has that as its outcome
        if self.fallen is None:
            return self.lost
        who, reason = self.fallen
        return CalleeDied(who.describe(), reason, method="task_stream")

    def take_fatal(self) -> BaseException | None:
        """The error, if it must not wait until the outcomes that are ready have been taken:
        KeyboardInterrupt, SystemExit."""
        error = self.error
        if error is None or not is_fatal(error):
            return None
        self.error = None
        return error

    async def gone(self) -> None:
        """Wait until the feeder has ended, and so has let go of the source."""
        if self.engine is not None and self.feeder is not None:
            await self.engine.stopped(self.feeder)

    def taken(self) -> None:
        """An outcome was taken, so there is room for another item."""
        if self.room is not None:
            self.room.set()

    def close(self) -> None:
        """End everything, and wait for nothing. May be called from anywhere in trio's thread."""
        if self.closed:
            return
        self.closed = True
        try:
            self._end_all()
        except (MemoryError, RecursionError):  # here; there will be room when the stack is empty
            self.soon()

    def soon(self) -> None:
        """Have it closed from trio's own loop. May be called in any thread, at any time."""
        engine = self.engine
        try:
            if engine is not None:
                engine.trio_token.run_sync_soon(self._end_soon)
        except Exception:  # trio has ended, and all tasks with it; or no memory: see _abandoned
            pass

    def dropped(self) -> None:
        """The stream is being finalised. The module's docstring says what must not be done here."""
        if self.begun and not self.closed:
            self.soon()

    def _end_soon(self) -> None:
        self.closed = True
        try:
            self._end_all()
        except MemoryError:
            self.soon()  # again in trio's next pass
        except Exception:  # trio would end with it
            log.exception("a task stream could not be ended")

    def _end_all(self) -> None:
        """May be called again if there was no memory for all of it."""
        for item in list(self.alive):
            if item.task is not None:
                item.task.cancel()
        feeder = self.feeder
        if feeder is None:
            self.source = None
        elif feeder.state != DEAD:
            feeder.kind.engine.end_now(feeder, SHUTDOWN)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self._forget(self.supervisor.bound_record(), self._supervisor_ended)
        self._forget_consumer()
        basket = self.basket()
        if basket is not None:
            basket.clear()
        self._notify()

    def _forget_consumer(self) -> None:
        """Do so only when nothing is stepped as the consumer any more."""
        if self.closed and (self.feeder is None or self.feeder.state == DEAD):
            self._forget(self.consumer, self._consumer_ended)

    @staticmethod
    def _forget(record: Record[Any] | None, callback: Callable[[Record[Any], ExitReason], None]) -> None:
        """Leave nothing behind in an actor that lives on."""
        relations = None if record is None else record.relations
        if relations is not None and relations.at_exit and callback in relations.at_exit:
            relations.at_exit.remove(callback)

    # --- what comes by itself -----------------------------------------------------------------

    def _notify(self) -> None:
        news, self.news = self.news, None
        if news is not None:
            news.set()

    def _finish(self, item: Item[T]) -> None:
        basket = self.basket()
        if basket is not None:
            basket.finished(item)
            self._notify()

    def _ended(self, item: Item[T]) -> None:
        """The item's task has died; called in that end."""
        self.alive.pop(item, None)
        if not item.done and not self.closed:
            self._finish(item)
        self.taken()

    def _expire(self) -> None:
        """End the tasks whose time is up."""
        self.timer = None
        if self._abandoned():
            return
        now = trio.current_time()
        due = []
        for item in self.alive:
            if not item.done:
                if now < item.deadline:
                    self._arm(item.deadline - now)
                    break
                due.append(item)
        for item in due:
            item.timed_out = True
            self.doomed = self.stops_at_timeout
            self._finish(item)
            if item.task is not None:
                item.task.cancel()

    def _arm(self, seconds: float) -> None:
        if self.timer is None and seconds != math.inf and not self.closed:
            assert self.engine is not None
            self.timer = self.engine.timers.after(seconds, self._expire)

    def _abandoned(self) -> bool:
        """Has the stream been closed or dropped? Then everything ends."""
        if self.closed:
            self._end_soon()
        elif self.basket() is None:
            self.close()
        return self.closed

    def _feeder_ended(self, record: Record[Any], reason: ExitReason) -> None:
        self.source = None
        self._forget_consumer()
        if not self.exhausted and not self.over:
            self.fallen = (record, reason)
        self._notify()

    def _supervisor_ended(self, record: Record[Any], reason: ExitReason) -> None:
        if not self.exhausted and not self.over:
            self.fallen = (record, reason)
            self._notify()

    def _consumer_ended(self, record: Record[Any], _: ExitReason) -> None:
        driver = self.driver
        if driver is not None and self.feeder is not None:
            driver.leave(self.feeder)
        self.close()

    # --- the feeder ---------------------------------------------------------------------------

    async def drive(self, ctx: ProcessContext) -> None:
        """The feeder's process."""
        consumer = self.consumer
        if consumer is None or consumer.state == DEAD:
            await self._feed()
            return
        driver = self.driver = AsConsumer(self._feed(), consumer)
        try:
            driver.begin()
            await driver
        finally:
            driver.leave(ctx)
            driver.close()
            self.driver = None

    @way_in
    async def _feed(self) -> None:
        # Held by this frame alone, the source is in the consumer's heap.
        source: Any = self.source
        self.source = None
        try:
            while await self._has_room():
                item = await fetch(source, self.is_async)
                if item is END:
                    self.exhausted = True
                    self._notify()
                    return
                await self._start(item)
                del item
        except BaseException as error:
            feeder = self.feeder
            control = None if feeder is None else feeder.control
            if self.closed or (control is not None and control.kill is not None):
                raise
            if is_fatal(error) and self.news is None:
                raise  # nobody waits who could raise it now, and Ctrl-C must not be kept for later
            self.error = error
            self._notify()
        finally:
            await close_source(source)

    async def _has_room(self) -> bool:
        """Wait until another item may be fetched. False: none will be."""
        while not self.over:
            basket = self.basket()
            if basket is None:
                self.close()
                break
            if len(self.alive) < self.concurrency and basket.count < self.places:
                return True
            del basket
            self.room = trio.Event()
            await self.room.wait()
            self.room = None
        return False

    async def _start(self, value: Any) -> None:
        """Start a task for an item. Whatever becomes of the call, a task that starts is known here,
        or is ended at once."""
        if self.over:
            return
        item = Item[T](value, self.fetched)
        self.fetched += 1

        def begun(task: Task[Any]) -> None:
            basket = self.basket()
            if self.over or basket is None:
                task.cancel()
                return
            item.task = task
            item.deadline = trio.current_time() + self.item_timeout
            try:
                self.alive[item] = None
                task.when_ended(lambda: self._ended(item))
            except MemoryError as error:  # this is a step of the supervisor, which must not end of it
                self.alive.pop(item, None)
                self.error = error
                task.cancel()
                return
            basket.begun(item)

        starting = self.supervisor.call(TaskSupervisor._run_item, begun, self.function, value)
        del value
        try:
            await starting
        except CalleeDied as error:
            self.lost = error
            self._notify()
            return
        self._arm(item.deadline - trio.current_time())


async def feed_stream(ctx: ProcessContext, pump: Pump[Any, Any]) -> None:
    """The process that feeds a stream."""
    await pump.drive(ctx)
