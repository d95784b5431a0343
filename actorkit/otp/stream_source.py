"""The source of a task stream: where its items come from, and as whom it is stepped.

How it works. The source is the consumer's code, so it is stepped *as the consumer* when that is an
actor: ``self.ctx``, calls, the account of the heap and the tasks in nurseries are the consumer's,
as if the consumer had fetched the item itself. The feeder's coroutine takes the place of a task in
one of the consumer's nurseries for that (``AsConsumer``). Ctrl-C may interrupt the source as it may
interrupt any code of the user's.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from types import CodeType, SimpleNamespace
from typing import Any, Final, TypeVar

from trio.lowlevel import current_task, disable_ki_protection

from ..runtime.actor.record import Record
from ..runtime.base.activations import way_in
from ..runtime.base.interrupts import interruptible
from ..runtime.life.stepping import BEGIN, Driver

__all__ = ["END", "AsConsumer", "begin_source", "close_source", "fetch"]

I = TypeVar("I")  # noqa: E741

END: Final = object()
"""The source has no more items."""


class AsConsumer(Driver):
    """The feeder's work, stepped as the consumer: in the place of a task in one of its
    nurseries."""

    __slots__ = ("task",)

    def __init__(self, coro: Any, consumer: Record[Any]) -> None:
        super().__init__(coro, BEGIN, consumer.kind.engine, consumer, None)
        self.task = current_task()

    def begin(self) -> None:
        """From now on the work belongs to the consumer."""
        self.engine.holders[self.task] = self
        relations = self.actor.need_relations()
        if relations.kids is None:
            relations.kids = set()
        relations.kids.add(self)

    def leave(self, feeder: Record[Any]) -> None:
        """The consumer has died, or the work is done. What is left is done as the feeder."""
        relations = self.actor.relations
        if relations is not None and relations.kids is not None:
            relations.kids.discard(self)
        self.actor = feeder


def begin_source(items: Iterable[I] | AsyncIterable[I]) -> Iterator[I] | AsyncIterator[I]:
    """The iterator of ``items``. Its code is the user's, so Ctrl-C may interrupt it."""
    source: Any
    if isinstance(items, AsyncIterable):
        interruptible(type(items).__aiter__)
        source = aiter(items)
        code = getattr(source, "ag_code", None)
        step = getattr(type(source), "__anext__", None)
    else:
        interruptible(getattr(type(items), "__iter__", None))
        source = iter(items)
        code = getattr(source, "gi_code", None)
        step = getattr(type(source), "__next__", None)
    if isinstance(code, CodeType):
        generator: Any = SimpleNamespace(__code__=code)
        disable_ki_protection(generator)
    else:
        interruptible(step)
    return source  # type: ignore[no-any-return]


@way_in
async def fetch(source: Any, is_async: bool) -> Any:
    """The source's next item, or ``END``."""
    if is_async:
        try:
            return await anext(source)
        except StopAsyncIteration:
            return END
    try:
        return next(source)
    except StopIteration:
        return END


@way_in
async def close_source(source: Any) -> None:
    """Nothing more will be fetched. An async generator must not be left to the collector."""
    if inspect.isasyncgen(source):
        await source.aclose()
