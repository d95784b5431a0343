"""What a newcomer gets wrong: each mistake is an error that says what was attempted, why it cannot
work, and what to do instead, as early as it can be known.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import pickle
import types
import weakref
from dataclasses import dataclass
from typing import Any

import attrs
import pytest
import trio

import actorkit as ak

from .kit import Puppet, settle


class Shop(ak.Actor):
    @ak.call
    def get_item(self, x: int) -> int:
        return x

    @ak.cast
    def put_item(self, x: int) -> None:
        pass


async def work(ctx: ak.ProcessContext, n: int = 0) -> None:
    pass


# --- specs ---------------------------------------------------------------------------------------


async def opened(tree: Any) -> None:
    async with ak.open_node(tree):
        raise AssertionError("opened")


async def supervised(spec: Any) -> None:
    ak.supervisor(spec)


async def partitions(spec: Any) -> None:
    ak.partition_supervisor(spec, name="p")


async def asked(spec: Any) -> None:
    async with ak.open_node(ak.supervisor()) as node:
        assert node.root is not None
        try:
            await node.root.call(ak.Supervisor.start_child, spec)
        finally:
            assert node.root.alive


async def asked_dynamic(spec: Any) -> None:
    async with ak.open_node(ak.dynamic_supervisor()) as node:
        assert node.root is not None
        try:
            await node.root.call(ak.DynamicSupervisor.start_child, spec)
        finally:
            assert node.root.alive


NO_SPECS = {
    "a class": (lambda: Shop, "a class, not a child spec; give ak.child(Shop, …)"),
    "an object": (lambda: Shop(), "an object of class Shop, not a child spec; give ak.child(Shop, …)"),
    "a list": (lambda: [ak.child(Shop)], "a list, not a child spec; give the specs one by one"),
    "a function": (lambda: work, "a function, not a child spec; give ak.child(work, …)"),
    "a coroutine": (lambda: work(1), "its function was called already; give ak.child(work, …)"),  # type: ignore[arg-type]
    "one of ours": (lambda: ak.registry, "call it: ak.registry(…)"),
    "a ref": (lambda: ak.named(Shop, "x"), "a ref, so it runs already; give ak.child(…)"),
}


@pytest.mark.parametrize("door", [opened, supervised, partitions, asked, asked_dynamic], ids=lambda door: door.__name__)
@pytest.mark.parametrize("what", NO_SPECS)
async def test_what_is_no_spec_is_told_what_it_is(door: Any, what: str) -> None:
    """open_node(Shop), supervisor(Shop), start_child(Shop) and the like: the error says what was
    given, and how to make a spec of it.
    """
    make, text = NO_SPECS[what]
    with pytest.raises(ak.InvalidChildSpec) as caught:
        await door(make())
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Shop(), "an object of class Shop; give the class and its arguments"),
        (lambda: ak.child(Shop), "a child spec already; use it as it is"),
        (lambda: work(1), "its function was called already; give work and its arguments"),  # type: ignore[arg-type]
        (lambda: "Shop", "give an actor class or a function"),
    ],
)
async def test_what_cannot_be_started_is_told_what_can(node: ak.Node, clock: Any, make: Any, text: str) -> None:
    """child and spawn refuse an object, a spec, a coroutine and a name."""
    with pytest.raises(ak.InvalidChildSpec) as caught:
        ak.child(make())
    assert text in str(caught.value)
    given = make()
    if not isinstance(given, ak.ChildSpec):
        with pytest.raises(ak.InvalidChildSpec) as caught:
            node.spawn(given)
        assert text in str(caught.value)


def test_options_among_the_arguments_are_found() -> None:
    """child(Shop, restart=…) would fail only at each start, so it is refused; a class that takes
    such an argument may have it.
    """

    @attrs.define
    class Takes(ak.Actor):
        name: str

    class Any_(ak.Actor):
        def __init__(self, **more: object) -> None:
            pass

    for start in (Shop, work):
        with pytest.raises(ak.InvalidChildSpec, match=r"\.with_\(restart=…\)"):
            ak.child(start, restart="transient")  # type: ignore[call-overload]
    assert ak.child(Takes, name="x").kwargs == {"name": "x"}
    assert ak.child(Any_, restart="x").kwargs == {"restart": "x"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: ak.named("shop", Shop),  # type: ignore[arg-type]
        lambda: ak.named(Shop, ""),
        lambda: ak.via(Shop, Shop, "key"),  # type: ignore[arg-type]
        lambda: ak.partitioned(Shop, 1, "key"),  # type: ignore[arg-type]
    ],
)
def test_a_name_is_a_string(make: Any) -> None:
    """Arguments in the wrong order, or without a name, are refused: such a ref would never lead to
    anybody.
    """
    with pytest.raises(TypeError, match="a name is a non-empty string; give the class, "):
        make()


@pytest.mark.parametrize("what", [int, "ActorExited", ak.Down, None, lambda: 1])
async def test_only_classes_of_events_can_be_subscribed_to(node: ak.Node, clock: Any, what: Any) -> None:
    """Anything but a class of events is refused: it would raise where an event is sent."""
    puppet = node.spawn(Puppet)
    with pytest.raises(TypeError, match="no class of system events"):
        node.subscribe(what)

    def subscribe(self: Puppet) -> str:
        try:
            self.ctx.subscribe(what)
        except TypeError as error:
            return str(error)
        return "accepted"

    assert "no class of system events" in await puppet.call(Puppet.do, subscribe)


# --- refs ----------------------------------------------------------------------------------------


def refs(node: ak.Node) -> dict[str, Any]:
    return {
        "a ref": node.spawn(Shop),
        "with a budget": node.spawn(ak.child(Shop).with_(max_heap_size="1 MiB")),
        "a named ref": ak.named(Shop, "shop"),
        "a ref by key": ak.via(Shop, "registry", "key"),
        "a partition": ak.partitioned(Shop, "shops", 1),
        "a process": node.spawn(work),
    }


async def test_a_method_of_a_ref_tells_how_it_is_sent(node: ak.Node, clock: Any) -> None:
    """ref.get_item(1) is an AttributeError that names the way to do it, on every kind of ref."""
    for kind, ref in refs(node).items():
        for name in ("get_item", "put_item"):
            with pytest.raises(AttributeError) as caught:
                getattr(ref, name)(1)
            assert f".{name}, …)" in str(caught.value), kind
            assert "await ref.call(" in str(caught.value)
            assert not hasattr(ref, name)
            assert getattr(ref, name, None) is None
    with pytest.raises(AttributeError, match=r"ref\.call\(Shop\.get_item, …\)"):
        node.spawn(Shop).get_item  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nobody_has_this'"):
        node.spawn(Shop).nobody_has_this  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'get_item'"):
        ak.Ref.get_item  # type: ignore[attr-defined]  # noqa: B018


COMMON = """
    put get find post add remove pop push update delete list open close start join leave say read write flush reset
    gather refuse rewrite detach children fits refill overflow remove_if put_first put_next take_oldest drop_oldest
    queues next_message ended insert append extend clear count index sort reverse copy peek take drop give set fetch
    load save store create destroy init terminate setup teardown begin end finish done cancel abort pause resume suspend
    retry restart run execute submit enqueue dequeue process handle work perform apply notify publish emit broadcast
    deliver receive reply answer ask tell request respond ack nack confirm reject accept approve deny login logout
    connect disconnect attach bind unbind acquire release lock unlock reserve withdraw deposit transfer balance pay
    refund charge total sum increment decrement inc dec bump tick tock ping pong echo hello status info health check
    validate verify report log print show display render draw move step turn play draw_card attack heal spend earn
    buy sell order ship track locate search query filter map reduce collect merge split forward relay route dispatch
    schedule expire refresh invalidate touch keys values items size length is_empty has contains lookup first last
    next previous all any top bottom head tail change set_state get_state resolve fail succeed crash
    rename tag mark archive restore backup export upload download stream encode decode visit leave_room
"""
"""What messages are often called."""


class Queue(ak.Actor):
    def __init__(self) -> None:
        self.jobs: list[str] = []

    @ak.cast
    def put(self, job: str) -> None:
        self.jobs.append(job)

    @ak.call
    def size(self) -> int:
        return len(self.jobs)

    @ak.call
    async def work(self) -> None:
        await trio.sleep(1)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("budget", [None, "1 MiB"])
async def test_a_forgotten_cast_does_nothing(node: ak.Node, clock: Any, busy: bool, budget: Any) -> None:
    """A ref has no method of its own with a name that is common for messages: who writes
    ``ref.put(job)`` gets an error, and nothing has come into the mailbox."""
    assert len(COMMON.split()) >= 150
    ref: Any = node.spawn(ak.child(Queue).with_(max_heap_size=budget))
    async with trio.open_nursery() as nursery:
        if busy:
            nursery.start_soon(ref.call, Queue.work)
            await settle()
            ref.cast(Queue.put, "waits")
        for name in COMMON.split():
            for args in ((), ("abc",)):
                if name == "resolve" and not args:
                    continue  # it is the runtime's, and only tells
                with pytest.raises((AttributeError, TypeError)):
                    getattr(ref, name)(*args)
                    pytest.fail(f"ref.{name}{args} did something")
                assert ref.mailbox_length == busy, name
                assert ref.alive, name
                ref.validate_mailbox()
    with pytest.raises(AttributeError, match=r"use `await ref\.call\(Queue\.put, …\)`"):
        ref.put("abc")
    assert await ref.call(Queue.size) == busy
    assert node.statistics().crashes == 0


async def test_what_looks_at_objects_still_can(node: ak.Node, clock: Any) -> None:
    """copy, pickle, inspect, weakref and doctest's unwrap ask for attributes that are not there,
    and get the answer that they expect.
    """
    for ref in refs(node).values():
        assert not inspect.isawaitable(ref)
        assert not callable(ref)
        assert inspect.unwrap(ref) is ref
        dir(ref)
        assert not hasattr(ref, "__wrapped__")
        assert isinstance(repr(ref), str)
        if isinstance(ref, ak.Context):
            inspect.getmembers(ref)
            assert weakref.ref(ref)() is ref
        else:
            assert pickle.loads(pickle.dumps(ref)) == ref


@dataclass
class Order:
    who: ak.Ref[Shop]
    items: list[int]


async def test_a_copy_of_a_ref_is_the_ref(node: ak.Node, clock: Any) -> None:
    """A record's copy would be a second record of one actor: alive after its end."""
    for kind, ref in refs(node).items():
        assert copy.copy(ref) is ref, kind
        assert copy.deepcopy(ref) is ref, kind
        assert copy.deepcopy([ref, {ref: ref}])[1] == {ref: ref}, kind
        order = Order(ref, [1])
        assert dataclasses.asdict(order) == {"who": ref, "items": [1]}
        assert dataclasses.replace(order).who is ref
        again = copy.deepcopy(order)
        assert again.who is ref
        assert again.items is not order.items
        copy.deepcopy(ref.within(2))


async def test_the_ref_of_an_actor_is_not_pickled(node: ak.Node, clock: Any) -> None:
    """It means something in this process only. The error says what to send instead."""
    for kind, ref in refs(node).items():
        if isinstance(ref, ak.Context):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with pytest.raises(TypeError, match=r"cannot pickle <Ref .*send ref\.pid, or use a named ref"):
                    pickle.dumps(Order(ref, []), protocol)
            assert pickle.loads(pickle.dumps(ref.pid)) == ref.pid
        else:
            assert pickle.loads(pickle.dumps(ref)) == ref, kind


async def test_a_message_may_have_any_name(node: ak.Node, clock: Any) -> None:
    """A message may have the name of an attribute of a ref or a record, or take keywords with an
    underscore: everything stays what it was.
    """
    names = ["call", "cast", "send", "alive", "pid", "state", "kind", "inbox", "name", "within", "link", "_hidden"]
    methods = {}
    for name in names:

        def method(self: Any, x: int) -> int:
            return x

        method.__name__ = name
        methods[name] = ak.call(method)
    odd: Any = types.new_class("Odd", (ak.Actor,), exec_body=lambda space: space.update(methods))
    ref = node.spawn(odd)
    for name in names:
        assert await ref.call(getattr(odd, name), 3) == 3
    assert ref.alive
    with pytest.raises(AttributeError, match="call"):
        ak.named(odd, "odd").kind  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("get_item", "give the method itself, Shop.get_item, and not its name"),
        ("get item", "give the method itself, Shop.method"),
        (Shop().get_item, "it belongs to one instance"),
        (Shop, "it is not one of its declared messages"),
        (3, "it is not one of its declared messages"),
    ],
)
async def test_what_is_no_method_is_refused_at_the_sender(node: ak.Node, clock: Any, method: Any, text: str) -> None:
    """Names, bound methods and classes are refused at the sender."""
    shop = node.spawn(Shop)
    for send in (lambda: shop.call(method, 1), lambda: shop.within(1).call(method, 1)):
        with pytest.raises(ak.NotAMessage) as caught:
            await send()
        assert text in str(caught.value)
    for cast in (lambda: shop.cast(method, 1), lambda: shop.cast(method, x=1)):
        with pytest.raises(ak.NotAMessage, match="cannot send"):
            cast()
    with pytest.raises(ak.NotAMessage, match="cannot send"):
        shop.cast([])  # type: ignore[arg-type]
    assert shop.alive


# --- classes -------------------------------------------------------------------------------------


def defines(body: str) -> str:
    """Define a class and return the text of the TypeError."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    with pytest.raises(TypeError) as caught:
        exec(f"class Bad(ak.Actor):\n{lines}\n", {"ak": ak, "attrs": attrs})
    return str(caught.value)


CLASSES = {
    "async constructor": ("async def __init__(self): pass", "cannot be async", "async def init(self)"),
    "generator constructor": ("def __init__(self): yield", "has a `yield`", "return a list"),
    "generator handler": ("@ak.call\ndef get(self): yield 1", "@ak.call cannot declare", "return a list"),
    "generator cast": ("@ak.cast(sheddable=True)\ndef get(self): yield 1", "@ak.cast(…) cannot", "return a list"),
    "async generator": ("@ak.call\nasync def get(self): yield 1", "has a `yield`", "return a list"),
    "generator handle_info": ("def handle_info(self, m): yield", "handle_info cannot be", "continue_with"),
    "generator init": ("async def init(self): yield", "init cannot be", "continue_with"),
    "message init": ("@ak.call\ndef init(self): pass", "the runtime calls init itself", "another name"),
    "message terminate": ("@ak.cast\ndef terminate(self, r): pass", "calls terminate itself", "another name"),
    "message handle_info": ("@ak.call\ndef handle_info(self, m): pass", "calls handle_info itself", "another name"),
    "message format_status": ("@ak.call\ndef format_status(self): pass", "calls format_status", "another name"),
    "message by assignment": ("@ak.call\ndef get(self): pass\ninit = get", "cannot be a message", "another name"),
    "message constructor": ("@ak.call\ndef __init__(self): pass", "a constructor is no message", "to spawn"),
    "async format_status": ("async def format_status(self): pass", "cannot be async", "plain method"),
    "ctx in the constructor": (
        "def __init__(self, ctx): self.ctx = ctx",
        "cannot assign self.ctx",
        "another attribute",
    ),
    "ctx in a handler": ("@ak.call\ndef get(me): me.ctx: int = 1", "cannot assign self.ctx", "another attribute"),
    "ctx among others": ("def f(self, x):\n  a, self.ctx = x", "cannot assign self.ctx", "another attribute"),
    "ctx with what is at hand": ("def f(self, x, y):\n  z = x; self.ctx = z", "cannot assign self.ctx", "another"),
    "ctx in an await": ("async def f(self, x):\n  self.ctx = await x()", "cannot assign self.ctx", "another attribute"),
    "ctx deleted": ("def f(self):\n  del self.ctx", "cannot assign self.ctx", "another attribute"),
    "ctx of the class": ("ctx = None", "cannot have a ctx of its own", "another name"),
    "ctx as a method": ("def ctx(self): pass", "cannot have a ctx of its own", "another name"),
    "ctx as a slot": ("__slots__ = ('ctx',)", "cannot have a ctx of its own", "another name"),
    "staticmethod inside": ("@ak.call\n@staticmethod\ndef f(): pass", "decorates a plain", "leave out the other"),
    "staticmethod outside": ("@staticmethod\n@ak.call\ndef f(): pass", "it is a staticmethod", "either decorator"),
    "classmethod outside": ("@classmethod\n@ak.call\ndef f(cls): pass", "it is a classmethod", "either decorator"),
    "property outside": ("@property\n@ak.call\ndef f(self): pass", "it is a property", "either decorator"),
}


@pytest.mark.parametrize("what", CLASSES)
def test_a_class_that_cannot_work_is_refused_when_it_is_defined(what: str) -> None:
    """The error comes in the stack of the class's author, and says the remedy."""
    body, why, remedy = CLASSES[what]
    text = defines(body)
    assert why in text
    assert remedy in text


def test_classes_that_only_look_like_it_are_fine() -> None:
    """A class may set the ctx of other objects, read its own, wrap generators and decorate
    helper methods.
    """
    import contextlib
    import functools

    def listed(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> list[Any]:
            return list(function(*args))

        return wrapper

    class Fine(ak.Actor):
        def __init__(self, other: Any = None) -> None:
            self.context = self.ctx
            other = other or types.SimpleNamespace()
            other.ctx = self.ctx
            self.other = other

        def init(self) -> None:
            self.other.ctx = 3

        async def terminate(self, reason: ak.ExitReason) -> None:
            pass

        @ak.call
        @listed
        def items(self) -> Any:
            yield from (1, 2)

        @contextlib.contextmanager
        def within_something(self) -> Any:
            yield self.ctx

        @property
        def shown(self) -> int:
            return 1

        @staticmethod
        def helper(ctx: Any) -> Any:
            ctx.ctx = 1
            return ctx

    assert Fine.items


async def test_what_makes_its_constructor_later_is_found_at_its_first_spawn(node: ak.Node, clock: Any) -> None:
    """A dataclass or attrs class with a field ctx, or a mixin that is no actor, is refused, and
    nothing is started.
    """

    @dataclass
    class Data(ak.Actor):
        ctx: Any

    class Mixin:
        def helper(self) -> None:
            self.ctx = 1

    for make in (lambda: node.spawn(Data, 1), lambda: node.spawn(ak.child(Data, 1))):
        with pytest.raises(TypeError, match="ctx"):
            make()
    with pytest.raises(TypeError, match=r"cannot assign self\.ctx"):
        node.spawn(type("Mixed", (Mixin, ak.Actor), {}))
    with pytest.raises(TypeError, match="ctx of its own"):

        @attrs.define
        class Slotted(ak.Actor):
            ctx: int = 1

    assert not list(node.processes())


async def test_an_override_needs_no_decorator_and_is_checked_too(node: ak.Node, clock: Any) -> None:
    """A generator under an undecorated override is refused when it is first sent: its answer would
    be a generator.
    """

    class Loud(Shop):
        def get_item(self, x: int) -> Any:
            yield x

    loud = node.spawn(Loud)
    with pytest.raises(ak.NotAMessage, match="a generator"):
        await loud.call(Shop.get_item, 1)
    assert loud.alive


async def test_puppets_go_on(node: ak.Node, clock: Any) -> None:
    """None of these mistakes has harmed what works."""
    puppet = node.spawn(Puppet)
    puppet.cast(Puppet.note, 1)
    await settle()
    assert await puppet.call(Puppet.all_seen) == [1]


# --- functions and refs that cannot work ---------------------------------------------------------


def plainly(x: int) -> int:
    return x


async def two(x: int, y: int) -> int:
    return x + y


async def doubled(x: int) -> int:
    return 2 * x


NO_TASKS = {
    "a plain function": (plainly, "cannot run plainly as a task: it is not an async function; write async def plainly"),
    "a partial of one": (functools.partial(plainly, 1), "cannot run plainly as a task: it is not an async function"),
    "a plain method": (Shop().get_item, "cannot run Shop.get_item as a task: it is not an async function"),
    "a class": (Shop, "cannot run Shop as a task: it is not an async function"),
    "a name": ("two", "cannot run 'two' as a task: it is not an async function"),
}


@pytest.mark.parametrize("what", NO_TASKS)
@pytest.mark.parametrize("door", ["run", "start", "run_linked", "task_stream"])
async def test_what_is_not_async_can_be_no_task(door: str, what: str, clock: Any) -> None:
    """A function that is not async is refused at once, before any of it has run; the supervisor
    lives on.
    """
    function: Any
    function, text = NO_TASKS[what]
    async with ak.open_node(ak.task_supervisor()) as node:
        jobs: Any = node.root
        with pytest.raises(TypeError) as caught:
            if door == "task_stream":
                ak.task_stream(jobs, function, [1])
            elif door == "run_linked":
                await jobs.call(ak.TaskSupervisor.run_linked, node.spawn(Puppet), function, 1)
            else:
                await jobs.call(getattr(ak.TaskSupervisor, door), function, 1)
        assert text in str(caught.value)
        assert jobs.alive


async def test_whatever_returns_a_coroutine_can_be_a_task(clock: Any) -> None:
    """Lambdas, partials, decorated functions and objects with ``__call__`` can be tasks; if they
    return something else, the reason says so.
    """

    @functools.wraps(doubled)
    def decorated(x: int) -> Any:
        return doubled(x)

    class Doubling:
        async def __call__(self, x: int) -> int:
            return 2 * x

        async def method(self, x: int) -> int:
            return 2 * x

    async with ak.open_node(ak.task_supervisor()) as node:
        jobs: Any = node.root
        for function in (
            doubled,
            lambda x: doubled(x),
            functools.partial(doubled),
            decorated,
            Doubling(),
            Doubling().method,
        ):
            assert await (await jobs.call(ak.TaskSupervisor.run, function, 3)).result() == 6
        task = await jobs.call(ak.TaskSupervisor.run, lambda: 3)
        with pytest.raises(ak.TaskFailed, match=r"not an async function.*it returned an object of int"):
            await task.result()


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1,), {}, "cannot run two(1) as a task: missing a required argument: 'y'"),
        ((1, 2, 3), {}, "cannot run two(1, 2, 3) as a task: too many positional arguments"),
        ((1, 2), {"z": 3}, "cannot run two(1, 2, z=3) as a task: got an unexpected keyword argument 'z'"),
    ],
)
async def test_a_task_that_does_not_fit_says_what_is_missing(
    clock: Any, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    """The error says in Python's own words what does not fit; for a process too, whose context
    comes first.
    """
    async with ak.open_node(ak.task_supervisor()) as node:
        jobs: Any = node.root
        with pytest.raises(ak.BadArguments) as caught:
            await jobs.call(ak.TaskSupervisor.run, two, *args, **kwargs)
        assert text in str(caught.value)
    async with ak.open_node() as node:
        with pytest.raises(ak.StartFailed, match=r"cannot run work\(1, 2\) as a process: too many positional"):
            node.spawn(work, 1, 2)  # type: ignore[call-overload]


@pytest.mark.parametrize("supervisor", ["jobs", None, ak.TaskSupervisor])
def test_a_task_stream_needs_a_ref(supervisor: Any) -> None:
    """A name, or the class, is refused at once."""
    with pytest.raises(TypeError) as caught:
        ak.task_stream(supervisor, doubled, [1])
    text = str(caught.value)
    assert text.startswith("task_stream: supervisor=")
    assert text.endswith('is not a ref; give ak.named(ak.TaskSupervisor, "jobs")')


async def test_a_process_without_async_is_told_apart_from_a_factory(node: ak.Node, clock: Any) -> None:
    """For ``def f(ctx)`` the error says that ``async`` is missing, not that an argument is. A
    factory may have a ctx of its own.
    """

    def f(ctx: Any) -> None:
        raise AssertionError("ran")

    def factory(ctx: int) -> Shop:
        assert ctx == 3
        return Shop()

    for start in (lambda: node.spawn(f), lambda: node.spawn(ak.child(f))):  # type: ignore[call-arg, call-overload]
        with pytest.raises(ak.StartFailed, match=r"is not an async function: write async def .*f\(ctx, …\)"):
            start()
    assert node.spawn(factory, 3).alive


async def test_a_node_that_is_not_open_says_how_it_is_opened() -> None:
    """``node = ak.open_node(…)`` without ``async with`` is an AttributeError at the first use."""
    node: Any = ak.open_node()
    with pytest.raises(AttributeError, match=r"open_node\(…\) is not open yet.*async with ak\.open_node\(…\) as node"):
        node.spawn(Shop)
    assert not hasattr(node, "__len__")
    assert isinstance(repr(node), str)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ak.named(Shop(), "x"),  # type: ignore[arg-type]
        lambda: ak.named("A", "x"),  # type: ignore[arg-type]
        lambda: ak.via(Shop(), "rr", "k"),  # type: ignore[arg-type]
        lambda: ak.partitioned(Shop(), "shops", "k"),  # type: ignore[arg-type]
    ],
)
def test_a_ref_by_name_is_given_the_class(make: Any) -> None:
    """An object, or the name of the class, is refused where the ref is made."""
    with pytest.raises(TypeError, match="in the place of the class; give the class itself, "):
        make()


async def test_a_ref_that_leads_to_nobody_says_why(clock: Any) -> None:
    """The error says that there is no such registry, that nobody has the key, or that it is not a
    registry at all; the same for partitions.
    """
    tree = ak.supervisor(ak.registry(name="rr"), ak.child(Shop).with_(name="shop"))
    async with ak.open_node(tree):
        for ref, text in (
            (ak.named(Shop, "nobody"), "no actor has this name"),
            (ak.via(Shop, "r2", "k"), "no registry 'r2'"),
            (ak.via(Shop, "shop", "k"), "'shop' is no registry"),
            (ak.via(Shop, "rr", "k"), "registry 'rr' has nobody under 'k'"),
            (ak.partitioned(Shop, "pp", 1), "no partition supervisor 'pp'"),
            (ak.partitioned(Shop, "shop", 1), "'shop' is no partition supervisor"),
        ):
            with pytest.raises(ak.CalleeDied) as caught:
                await ref.call(Shop.get_item, 1)
            assert text in str(caught.value)
            with pytest.raises(ak.ActorDead) as dead:
                ref.pid  # noqa: B018
            assert text in str(dead.value)


def test_a_method_is_declared_once() -> None:
    """@ak.call and @ak.cast together are refused when the class is defined; an override may be
    declared in the other way.
    """
    assert "it is declared with @ak.cast already" in defines("@ak.call\n@ak.cast\ndef f(self): pass")
    assert "it is declared with @ak.call already" in defines("@ak.cast(sheddable=True)\n@ak.call\ndef f(self): pass")

    class Other(Shop):
        @ak.cast
        @functools.wraps(Shop.get_item)
        def get_item(self, x: int) -> Any:
            pass

    assert Other.get_item


def test_a_class_of_reasons_is_no_reason() -> None:
    """exit(ak.Failure) is refused, and the error says what is missing."""
    with pytest.raises(
        TypeError, match=r"with Failure: it is not an exit reason, it is the class; give ak\.Failure\(…\)"
    ):
        ak.named(Shop, "shop").exit(ak.Failure)  # type: ignore[arg-type]
