"""Arguments that do not fit a handler are the fault of the sender, through every door, whatever the
shape.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorkit as ak
from actorkit.runtime.actor.fitting import fits
from tests.effort import effort

from .kit import Puppet, settle
from .test_threads import in_thread


def logged(method: Any) -> Any:
    """A decorator as users write them."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **kwargs)

    return wrapper


def logged_async(method: Any) -> Any:
    """The same for async methods."""

    @functools.wraps(method)
    async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await method(self, *args, **kwargs)

    return wrapper


class Shop(ak.Actor):
    """Messages of every shape, and state that a wrong one must not touch."""

    def __init__(self) -> None:
        self.sold: list[int] = []

    @ak.call
    def plain(self, x: int) -> int:
        self.sold.append(x)
        return x

    @ak.call
    async def later(self, x: int) -> int:
        self.sold.append(x)
        return x

    @ak.call
    def by_name(self, *, x: int) -> int:
        self.sold.append(x)
        return x

    @ak.call
    @logged
    @logged
    def wrapped(self, x: int) -> int:
        self.sold.append(x)
        return x

    @ak.call
    @logged_async
    async def wrapped_async(self, x: int) -> int:
        self.sold.append(x)
        return x

    @ak.cast
    def tell(self, x: int) -> None:
        self.sold.append(x)

    @ak.call
    def all_sold(self) -> list[int]:
        return self.sold

    @ak.call
    async def hold(self, gate: trio.Event) -> None:
        await gate.wait()

    @ak.call
    def breaks(self, x: int) -> int:
        return self.plain()  # type: ignore[call-arg]

    @ak.call
    @logged
    def breaks_inside(self, x: int) -> int:
        return self.plain()  # type: ignore[call-arg]

    @ak.call
    async def breaks_later(self, x: int) -> int:
        await trio.lowlevel.checkpoint()
        return self.plain()  # type: ignore[call-arg]


SHAPES = [Shop.plain, Shop.later, Shop.by_name, Shop.wrapped, Shop.wrapped_async]
WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1, 2, 3), {}),
    ((), {"y": 1}),
    ((1,), {"x": 1, "y": 2}),
]


async def by_ref(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any, **kwargs: Any) -> Any:
    return await ref.call(method, *args, **kwargs)


async def by_name(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any, **kwargs: Any) -> Any:
    return await ak.named(Shop, "shop").call(method, *args, **kwargs)


async def within(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any, **kwargs: Any) -> Any:
    return await ref.within(3).call(method, *args, **kwargs)


async def from_a_thread(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any, **kwargs: Any) -> Any:
    return await in_thread(lambda: node.from_thread.call(ref, method, *args, **kwargs))


async def from_an_actor(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any, **kwargs: Any) -> Any:
    async def ask(_: Any) -> Any:
        return await ref.call(method, *args, **kwargs)

    user = node.spawn(Puppet)
    try:
        return await user.call(Puppet.run, ask)
    except ak.CalleeDied as died:  # not caught: its own crash, as with any other error of its own
        assert isinstance(died.reason, ak.Crash)
        assert died.reason.type == "actorkit.errors.BadArguments"
        raise ak.BadArguments(died.reason.message) from None


async def queued(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any, **kwargs: Any) -> Any:
    """The callee is busy."""
    gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.call, Shop.hold, gate)
        await settle()
        nursery.start_soon(opens, gate)
        try:
            return await ref.call(method, *args, **kwargs)
        except ak.BadArguments as error:
            refused = error
    raise refused


async def opens(gate: trio.Event) -> None:
    await settle()
    gate.set()


async def traced(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any, **kwargs: Any) -> Any:
    await ak.sys.trace(ref, lambda message: None)
    return await ref.call(method, *args, **kwargs)


DOORS = [by_ref, by_name, within, from_a_thread, from_an_actor, queued, traced]
SPECS = {"free": {}, "with a budget": {"max_heap_size": "1 MiB"}, "waiting": {"overflow": "wait", "mailbox": 1}}


@pytest.mark.parametrize("options", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("method", SHAPES, ids=lambda method: method.__name__)
async def test_a_call_whose_arguments_do_not_fit_raises_at_its_caller(
    method: Any, door: Callable[..., Any], options: dict[str, Any], autojump_clock: Any
) -> None:
    """The caller gets a TypeError that says what would fit; the callee and its state live."""
    async with ak.open_node() as node:
        shop = node.spawn(ak.child(Shop).with_(name="shop", **options))
        await shop.call(Shop.plain, 7)
        for args, kwargs in WRONG:
            with pytest.raises(TypeError, match="beside the method give ") as caught:
                await door(node, shop, method, *args, **kwargs)
            assert isinstance(caught.value, ak.BadArguments)
            assert "x" in str(caught.value).split("beside the method give ")[1]
            assert caught.value.__context__ is None or isinstance(caught.value.__context__, ak.CalleeDied)
        assert await shop.call(Shop.all_sold) == [7]
        fitting = door(node, shop, method, x=8) if method is Shop.by_name else door(node, shop, method, 8)
        assert await fitting == 8
        assert node.statistics().dead_letters == 0
        assert node.engine.current is None


async def cast(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any) -> None:
    ref.cast(method, *args)


async def cast_wait(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any) -> None:
    await ref.cast_wait(method, *args)


async def cast_by_name(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any) -> None:
    ak.named(Shop, "shop").cast(method, *args)


async def cast_with_names(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any) -> None:
    ref.cast(method, *args, **({} if args else {"y": 1}))


async def cast_from_a_thread(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any) -> None:
    await in_thread(lambda: node.from_thread.cast(ref, method, *args))


async def cast_from_an_actor(node: ak.Node, ref: ak.Ref[Shop], method: Any, *args: Any) -> None:
    user = node.spawn(ak.child(Puppet).with_(name="user"))
    await user.call(Puppet.do, lambda _: ref.cast(method, *args))
    user.stop()


CASTS = {
    cast: "task",
    cast_wait: "task",
    cast_by_name: "task",
    cast_with_names: "task",
    cast_from_a_thread: "another thread",
    cast_from_an_actor: "Puppet 'user'",
}


@pytest.mark.parametrize("options", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("door", CASTS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("method", [Shop.tell, Shop.plain, Shop.later, Shop.wrapped], ids=lambda m: m.__name__)
async def test_a_cast_that_does_not_fit_is_a_dead_letter(
    method: Any, door: Callable[..., Any], options: dict[str, Any], autojump_clock: Any, caplog: Any
) -> None:
    """The warning names the sender and the message; the receiver goes on with the next one, in
    order.
    """
    async with ak.open_node() as node, node.subscribe(ak.DeadLetter) as letters:
        shop = node.spawn(ak.child(Shop).with_(name="shop", **options))
        await door(node, shop, method)
        await settle()
        await door(node, shop, method, 1)
        await settle()
        assert await shop.call(Shop.all_sold) == [1]
        (letter,) = letters.drain()
        assert letter.why.startswith("bad_arguments: ")
        assert letter.message == method.__qualname__
        assert letter.ref is shop
        assert node.statistics().dead_letters == 1
    (record,) = [record for record in caplog.records if record.name == "actorkit"]
    assert record.levelno == logging.WARNING
    assert method.__qualname__ in record.getMessage()
    assert f"sent by {CASTS[door]}" in record.getMessage() or CASTS[door] in record.getMessage()


async def test_a_misfit_among_casts_that_were_right_is_named_from_the_second_on(node: ak.Node, caplog: Any) -> None:
    """A cast carries no sender, so that of the first misfit is unknown, and the warning says so;
    later casts are checked when they are sent.
    """
    shop = node.spawn(Shop)
    for wrong in (False, True, False, True, False):
        shop.cast(Shop.tell, *(() if wrong else (1,)))
        await settle()
    assert await shop.call(Shop.all_sold) == [1, 1, 1]
    first, second = [record.getMessage() for record in caplog.records if record.name == "actorkit"]
    assert "an unknown sender" in first
    assert "sent by task" in second


async def test_a_caller_that_has_gone_is_no_reason_to_lose_the_warning(node: ak.Node, clock: Any, caplog: Any) -> None:
    """A queued call that was given up and does not fit becomes a dead letter: there is no caller
    left to raise in.
    """
    shop = node.spawn(Shop)
    gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shop.call, Shop.hold, gate)
        await settle()
        with trio.move_on_after(1):
            await shop.call(Shop.plain)  # type: ignore[call-arg]
        gate.set()
    await settle()
    assert await shop.call(Shop.all_sold) == []
    assert "a caller that has gone" in caplog.text
    assert node.statistics().dead_letters == 1


@pytest.mark.parametrize("method", [Shop.breaks, Shop.breaks_inside, Shop.breaks_later], ids=lambda m: m.__name__)
@pytest.mark.parametrize("door", [by_ref, within], ids=lambda door: door.__name__)
async def test_a_type_error_inside_a_handler_is_a_crash(
    node: ak.Node, clock: Any, method: Any, door: Callable[..., Any]
) -> None:
    """A call with wrong arguments inside the handler is the handler's own crash."""
    shop = node.spawn(Shop)
    with pytest.raises(ak.CalleeDied) as caught:
        await door(node, shop, method, 1)
    assert isinstance(caught.value.reason, ak.Crash)
    assert caught.value.reason.type == "TypeError"
    assert not shop.alive


async def test_callbacks_that_take_something_else_are_the_class_s_fault(node: ak.Node, clock: Any) -> None:
    """The runtime calls handle_info, init and terminate: a misfit there is a crash."""

    class Info(ak.Actor):
        def handle_info(self) -> None:  # type: ignore[override]
            pass

    class Init(ak.Actor):
        def init(self, x: int) -> None:  # type: ignore[override]
            pass

    class Terminate(ak.Actor):
        def terminate(self) -> None:  # type: ignore[override]
            pass

    info = node.spawn(Info)
    info.send(1)
    await settle()
    assert not info.alive
    with pytest.raises(ak.StartFailed, match="TypeError"):
        await node.start(Init)
    last = node.spawn(Terminate)
    last.stop()
    await settle()
    assert not last.alive


async def test_continue_with_raises_where_it_is_called(node: ak.Node, clock: Any) -> None:
    """The actor itself is the caller: it may catch the error, and nothing is queued."""

    class Slow(ak.Actor):
        def __init__(self) -> None:
            self.seen: list[object] = []

        @ak.call
        def begin(self) -> list[object]:
            for args, kwargs in WRONG:
                try:
                    self.ctx.continue_with(Slow.rest, *args, **kwargs)
                except TypeError as error:
                    assert "cannot continue with" in str(error)
                else:
                    raise AssertionError("accepted")
            self.ctx.continue_with(Slow.rest, 3)
            return self.seen

        def rest(self, x: int) -> None:
            self.seen.append(x)

    slow = node.spawn(Slow)
    seen = await slow.call(Slow.begin)
    await settle()
    assert seen == [3]


async def test_a_task_whose_arguments_do_not_fit_is_not_begun(clock: Any) -> None:
    """run and start of a task supervisor raise in their caller."""

    async def fetch(url: str) -> str:
        return url

    async with ak.open_node(ak.task_supervisor(name="jobs")):
        jobs = ak.named(ak.TaskSupervisor, "jobs")
        for method in (ak.TaskSupervisor.run, ak.TaskSupervisor.start):
            with pytest.raises(ak.BadArguments, match="fetch"):
                await jobs.call(method, fetch)  # type: ignore[arg-type]
            with pytest.raises(ak.BadArguments):
                await jobs.call(ak.TaskSupervisor.run, fetch, "a", uri="b")
        assert await (await jobs.call(ak.TaskSupervisor.run, fetch, "a")).result() == "a"


async def test_a_log_handler_that_raises_changes_nothing(node: ak.Node, clock: Any) -> None:
    """A failure to log the warning changes nothing."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the disk is full")

    handler = Broken()
    logging.getLogger("actorkit").addHandler(handler)
    try:
        shop = node.spawn(Shop)
        shop.cast(Shop.tell)  # type: ignore[call-arg]
        shop.cast(Shop.tell, 1)
        await settle()
        assert await shop.call(Shop.all_sold) == [1]
    finally:
        logging.getLogger("actorkit").removeHandler(handler)


# --- the report of a crash -----------------------------------------------------------------------


class Bank(ak.Actor):
    @ak.call
    def pay(self, amount: int, note: object = None) -> None:
        raise ValueError("no money")

    @ak.call
    async def pay_later(self, amount: int, note: object = None) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("no money")

    def handle_info(self, message: object) -> None:
        raise ValueError("no idea")


@pytest.mark.parametrize("method", [Bank.pay, Bank.pay_later], ids=lambda method: method.__name__)
@pytest.mark.parametrize("sender", ["an actor", "a task"])
@pytest.mark.parametrize("way", ["call", "within", "cast"])
async def test_a_crash_report_tells_the_request(
    node: ak.Node, clock: Any, caplog: Any, method: Any, sender: str, way: str
) -> None:
    """The report has the head of the message, bounded, with objects by their type only, and for a
    call the sender too.
    """
    bank = node.spawn(Bank)

    class Secret:
        def __repr__(self) -> str:
            raise AssertionError("shown")

    async def ask(_: Any) -> None:
        if way == "cast":
            bank.cast(method, 5, note=Secret())
        else:
            callee = bank if way == "call" else bank.within(2)
            with pytest.raises(ak.CalleeDied):
                await callee.call(method, 5, Secret())

    if sender == "a task":
        await ask(None)
    else:
        user = node.spawn(ak.child(Puppet).with_(name="user"))
        await user.call(Puppet.run, ask)
    await settle()
    (report,) = [r.getMessage() for r in caplog.records if "ends: ValueError" in r.getMessage()]
    line = next(line.strip() for line in report.splitlines() if "Bank.pay" in line and "File" not in line)
    assert f"{method.__qualname__}(5, " in line
    assert "Secret>" in line
    if way == "cast":
        assert line.startswith("message: ")
    else:
        assert line.startswith("request: ")
        assert line.endswith("(Puppet 'user')") if sender == "an actor" else "outside of any actor" in line


async def test_a_crash_report_of_a_plain_message_tells_it(node: ak.Node, clock: Any, caplog: Any) -> None:
    """The report has what handle_info got, or what terminate got."""
    bank = node.spawn(Bank)
    bank.send("x" * 10_000)
    await settle()
    assert "message: Bank.handle_info('xxx" in caplog.text
    assert len(caplog.text) < 5_000


# --- fits, against Python ------------------------------------------------------------------------


NAMES = ["a", "b", "c", "d"]


@st.composite
def functions(draw: st.DrawFn) -> Any:
    """A function of any signature."""
    posonly, normal, keyword = (draw(st.integers(0, 2)) for _ in range(3))
    names = iter(["a", "b", "c", "d", "e", "f"])
    positional = [next(names) for _ in range(posonly + normal)]
    defaults = draw(st.integers(0, len(positional)))
    texts = [n if i < len(positional) - defaults else f"{n}=0" for i, n in enumerate(positional)]
    if posonly:
        texts.insert(posonly, "/")
    star = draw(st.booleans())
    only = [next(names) + draw(st.sampled_from(["", "=0"])) for _ in range(keyword)]
    if star or only:
        texts.append("*rest" if star else "*")
    texts += only
    if draw(st.booleans()):
        texts.append("**more")
    space: dict[str, Any] = {}
    exec(f"def f({', '.join(texts)}): pass", space)
    return space["f"]


@effort(200)
@given(functions(), st.integers(0, 5), st.sets(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), max_size=3))
def test_fits_says_what_python_does(function: Any, number: int, names: set[str]) -> None:
    """``fits`` agrees with Python for every signature and every way to call it, methods and
    partials included.
    """
    args, kwargs = (0,) * number, dict.fromkeys(names, 0)
    try:
        function(*args, **kwargs)
    except TypeError:
        bound = False
    else:
        bound = True
    assert fits(function, number, names) is bound
    assert fits(functools.partial(function, **kwargs), number, ()) is bound
    assert fits(functools.partial(function, *args), 0, names) is bound
    if number:
        assert fits(function.__get__(object()), number - 1, names) is bound
    assert fits(len, number, names)


async def test_a_process_whose_arguments_do_not_fit_does_not_start(node: ak.Node, clock: Any) -> None:
    """It fails as a class whose constructor raises does: StartFailed at once, in spawn and in a
    supervisor's start.
    """

    async def work(ctx: ak.ProcessContext, n: int, *, m: int = 0) -> None:
        pass

    for args, kwargs in (((), {}), ((1, 2), {}), ((1,), {"x": 1})):
        with pytest.raises(ak.StartFailed, match=r"cannot run .*work\(.*\) as a process: "):
            node.spawn(work, *args, **kwargs)
        with pytest.raises(ak.StartFailed, match=r"cannot run .*work\(.*\) as a process: "):
            async with ak.open_node(ak.supervisor(ak.child(work, *args, **kwargs))):
                raise AssertionError("started")
    node.spawn(work, 1, m=2)
    await settle()
    assert not list(node.processes())
