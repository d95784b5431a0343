"""The value stack of running frames: how deep it is, and that the walk finds what is on it."""

from __future__ import annotations

import ctypes
import dis
import functools
import gc
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import pytest

from actorkit.heap import walk
from actorkit.heap.interpreter import stack_depth
from actorkit.heap.interpreter.stack_depth import depth_of
from actorkit.heap.interpreter.versions import WHY_UNKNOWN

pytestmark = pytest.mark.skipif(walk.IMPLEMENTATION != "c", reason="needs the walk in C")

BIG = 200_000


# --- The analysis --------------------------------------------------------------------------------

SHAPES = """
def loops(n):
    for i in range(n):
        while i:
            if i % 2: continue
            if i == 7: break
            i -= 1
        else:
            print(i)
    return [x for y in n for x in y if x], {x: y for x, y in n}, {x for x in n}, (x for x in n)

def raising(f):
    try:
        for x in [1, 2]:
            try:
                f(x)
            except (ValueError, TypeError) as error:
                raise KeyError from error
            finally:
                f(0)
    except* OSError as group:
        print(group)
    finally:
        with f() as a, f() as (b, *c):
            return a, b, c

def expressions(a, b, *args, k=None, **kwargs):
    f"{a!r:>{b}} {a=} {k:x}"
    a < b < k < 4 and (a or b) if k else not a
    a[b:k], a[b], a[b:k:2], -a, a @ b, [*args, 1], {**kwargs, "x": 1}, {*args}
    a.b.c(*args, 1, x=2, **kwargs)(a, b=1)(k=2)
    a.b[k] += 1
    del a[b], a.k
    assert a, b
    return lambda x=a, *, y=b: (x, y, k)

def matching(x):
    match x:
        case [1, *rest] | (2, rest): return rest
        case {"a": a, **rest}: return a, rest
        case str() | int(real=3): return x
        case object(a=b) if b: return b
        case _: return None

async def waiting(x):
    async with x as y, y():
        async for z in y:
            await z
            yield [a async for a in z if await a]
    [await a for a in x]

def generating(x):
    y = yield (x, (yield 1), (yield from x))
    try:
        z = [(yield)] + [(yield y)]
    finally:
        yield z

class Thing(list, metaclass=type):
    x: int = 3
    def f(self): return super().f(__class__)
import os.path as p
from os import path, sep as q
"""


def code_objects(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_objects(constant)


def unreached(code: CodeType) -> list[str]:
    """The instructions that can be reached but whose depth is not known."""
    depths = stack_depth._analyze(code)
    entries = {target for _, _, target, _ in stack_depth._handlers(code)}
    missing, live = [], True
    for instruction in dis.get_instructions(code):
        live = live or instruction.is_jump_target or instruction.offset in entries
        if live and depths.before[instruction.offset // 2] < 0 and instruction.opname != "NOP":
            missing.append(f"{code.co_qualname} {instruction.offset} {instruction.opname}")
        live = live and instruction.opname not in stack_depth._ENDS
    return missing


def test_all_shapes_are_understood() -> None:
    for code in code_objects(compile(SHAPES, "shapes", "exec")):
        assert not unreached(code)


@pytest.mark.parametrize("name", ["dis", "argparse", "asyncio.base_events", "contextlib", "typing", "tarfile", "enum"])
def test_the_standard_library_is_understood(name: str) -> None:
    module = __import__(name, fromlist=["x"])
    with open(module.__file__, encoding="utf-8") as file:
        source = file.read()
    for code in code_objects(compile(source, name, "exec")):
        depths = stack_depth._depths_of(code)
        assert depths is not None, code.co_qualname
        assert max(depths.before) <= code.co_stacksize


def test_the_cache_is_bounded() -> None:
    for i in range(stack_depth._CACHED + 10):
        stack_depth._depths_of(compile(f"x = {i}", "x", "exec"))
    assert len(stack_depth._cache) <= stack_depth._CACHED


@pytest.mark.parametrize(
    ("expression", "temporaries"),
    [
        ("(yield)", 0),
        ("(object(), (yield))", 1),
        ("[object(), object(), object(), (yield)]", 3),
        ("{object(): object(), object(): (yield)}", 3),
        ("[0 for x in [object()] for y in [object()]] and (object(), [object(), (yield)])", 2),
        ("object() == (object(), (yield))", 2),
    ],
)
def test_a_suspended_generator(expression: str, temporaries: int) -> None:
    """CPython knows the depth of a suspended generator: its traversal shows as many objects."""
    names: dict[str, Any] = {}
    exec(f"def plain():\n    (yield)\ndef full():\n    {expression}", names)
    plain, full = names["plain"](), names["full"]()
    next(plain)
    next(full)
    assert len(gc.get_referents(full)) - len(gc.get_referents(plain)) == temporaries
    # The value that will be sent counts as the result of the yield.
    assert depth_of(full.gi_frame, on_top=False) == temporaries + 1


def test_a_code_object_that_is_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    def nonsense(instruction: dis.Instruction, jump: bool) -> int:
        raise stack_depth._Unknown

    monkeypatch.setattr(stack_depth, "_effect", nonsense)
    frame = (lambda: sys._getframe())()
    assert depth_of(frame, on_top=True) is None
    assert depth_of(frame, on_top=False) is None
    assert stack_depth.stacks_of((frame,)) == (-1, 0)


# --- Pending calls -------------------------------------------------------------------------------

if WHY_UNKNOWN is None:
    Callback = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    add_pending_call = ctypes.pythonapi.Py_AddPendingCall
    add_pending_call.argtypes = [Callback, ctypes.c_void_p]


class Probe:
    """Measures the running frames from within a pending call."""

    def __init__(self, outermost: CodeType, held: Callable[[], int] | None = None) -> None:
        self.outermost = outermost
        self.held = held
        self.seen: list[int] = []
        self.wanted: list[int] = []
        self.exact: list[bool] = []
        self.errors: list[BaseException] = []
        self.roots: list[object] = []
        self.callback = Callback(self.look)

    def look(self, _: object) -> int:
        try:
            frames: list[FrameType] = []
            frame = sys._getframe(1)
            while frame is not None:
                frames.append(frame)
                if frame.f_code is self.outermost:
                    usage = walk.measure(self.roots, frames=frames)
                    self.seen.append(usage.private)
                    self.exact.append(usage.exact)
                    if self.held is not None:
                        self.wanted.append(self.held())
                    break
                frame = frame.f_back  # type: ignore[assignment]
        except BaseException as error:
            self.errors.append(error)
        return 0


def poke_of(probe: Probe) -> Callable[[], int]:
    """A C function: the pending call comes right after it."""
    return functools.partial(add_pending_call, probe.callback, None)


def run(pattern: Callable[..., Any], *arguments: object) -> Probe:
    """Run the pattern, which pokes while the big thing is held."""
    probe = Probe(pattern.__code__)
    pattern(poke_of(probe), *arguments)
    assert not probe.errors
    assert probe.seen
    return probe


def big() -> list[bytes]:
    return [bytes(BIG)]


def local_append(poke: Any) -> None:
    xs = [bytes(BIG)]
    xs.append(poke())


def local_append_warm(poke: Any) -> None:
    xs = [bytes(BIG)]
    for _ in range(200):
        xs.append(poke())


def closure_append(poke: Any) -> None:
    xs = [bytes(BIG)]

    def append() -> None:
        xs.append(poke())

    append()


def list_comprehension(poke: Any) -> None:
    [poke() if i else bytes(BIG) for i in range(3)]


def set_comprehension(poke: Any) -> None:
    {poke() if i else bytes(BIG) for i in range(3)}


def dict_comprehension(poke: Any) -> None:
    {i: poke() if i else bytes(BIG) for i in range(3)}


def nested_comprehension(poke: Any) -> None:
    [[poke() for _ in range(2)] if i else big() for i in range(3)]


def loop_over_literal(poke: Any) -> None:
    for _ in [bytes(BIG), bytes(BIG)]:
        poke()


def loop_over_generator(poke: Any) -> None:
    def values() -> Iterator[int]:
        for _ in big():
            yield poke()

    for _ in values():
        pass


def generator_in_the_middle(poke: Any) -> None:
    """In 3.11 the loop calls the generator through C."""

    def values() -> Iterator[int]:
        yield poke()

    for _ in [bytes(BIG), bytes(BIG)]:
        for _ in values():
            pass


def arguments_of_a_call(poke: Any) -> None:
    max(big(), [poke()], key=len)


def keyword_arguments(poke: Any) -> None:
    sorted(big(), key=None, reverse=bool(poke()))


def star_arguments(poke: Any) -> None:
    max(*[big(), [b""]], [poke()], key=len)


def with_block(poke: Any) -> None:
    @contextmanager
    def manager() -> Iterator[None]:
        kept = big()
        yield
        del kept

    with manager():
        poke()


def in_a_handler(poke: Any) -> None:
    try:
        raise KeyError
    except KeyError:
        for _ in big():
            try:
                [poke(), {}["missing"]]
            except KeyError:
                poke()


def chained_comparison(poke: Any) -> bool:
    return b"" < bytes(BIG) < bytes(BIG + 1) != poke()


def formatted(poke: Any) -> str:
    return f"{bytes(BIG).decode('latin-1')}{poke()}"


class Holder:
    def __init__(self, poke: Any) -> None:
        self.poke = poke
        self.xs = big()

    def __add__(self, other: object) -> Any:
        self.poke()

    def __len__(self) -> int:
        self.poke()
        return 1


def called_through_c(poke: Any) -> None:
    """The operands are on the stack of a frame that is in the middle of an instruction."""
    holder = Holder(poke)
    [holder + 1, len(holder), len(holder)]


class Builder:
    """Up to 3.12, and until the call is specialized, C code holds the instance during __init__."""

    def __init__(self, poke: Any) -> None:
        self.xs = big()
        poke()


def in_init(poke: Any) -> None:
    for _ in range(2):
        Builder(poke)


def awaiting(poke: Any) -> None:
    async def inner() -> None:
        poke()

    async def outer() -> None:
        for _ in big():
            [bytes(BIG), await inner()]

    drive(outer())


def drive(coroutine: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(StopIteration):
        coroutine.send(None)


HOLDING = [
    local_append,
    local_append_warm,
    closure_append,
    list_comprehension,
    set_comprehension,
    dict_comprehension,
    nested_comprehension,
    loop_over_literal,
    loop_over_generator,
    generator_in_the_middle,
    arguments_of_a_call,
    keyword_arguments,
    star_arguments,
    with_block,
    in_a_handler,
    chained_comparison,
    formatted,
    called_through_c,
    awaiting,
]


@pytest.mark.parametrize("pattern", HOLDING, ids=lambda pattern: pattern.__name__)
def test_what_lies_on_the_stack_is_found(pattern: Callable[..., Any]) -> None:
    for _ in range(20):  # more than it takes to specialize the instructions
        probe = run(pattern)
        assert min(probe.seen) >= BIG, (probe.seen, probe.exact)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="classes are called through C")
def test_an_instance_is_found_while_it_is_initialized() -> None:
    for _ in range(40):
        probe = run(in_init)
    assert min(probe.seen) >= BIG


def shared_on_the_stack(poke: Any, shared: list[bytes]) -> None:
    for _ in shared:
        [shared, shared, shared, poke()]
    max(shared, shared, [poke()], key=len)
    [shared for _ in range(3) if poke() or True]
    xs = [shared]
    xs.append(shared if poke() else shared)
    list(map(lambda x: poke(), shared))
    sorted(shared, key=lambda x: poke())


def test_what_others_hold_is_not_counted() -> None:
    shared = [bytes(BIG), bytes(BIG)]
    for _ in range(20):
        probe = run(shared_on_the_stack, shared)
        assert len(probe.seen) >= 8
        assert max(probe.seen) < BIG


class Finalized:
    def __init__(self, poke: Any) -> None:
        self.poke = poke

    def __del__(self) -> None:
        self.poke()


class Plain:
    """Its instances are freed in the middle of other work."""


def finalizers(poke: Any, shared: list[bytes]) -> None:
    """The stack is out of date while operands are released and while an exception unwinds it."""
    max([Plain()], [Plain(), Finalized(poke)], [], key=len)
    try:
        for _ in [Plain(), Finalized(poke)]:
            print(Plain(), [Plain(), Finalized(poke)], 1 / 0)
    except ZeroDivisionError:
        pass
    x: Any = Finalized(poke)
    x = shared
    x = [x, Finalized(poke)]
    x = None
    shared == [Finalized(poke), x]


def generator_finalizers(poke: Any, shared: list[bytes]) -> None:
    def generator() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            poke()

    def started() -> Generator[int, None, None]:
        result = generator()
        next(result)
        return result

    max([Plain()], [Plain(), started()], [Plain()], key=len)
    try:
        for _ in [Plain(), started()]:
            print([Plain()], [Plain(), started()], shared, 1 / 0)
    except ZeroDivisionError:
        pass
    for _ in started():
        break
    any(started())


@pytest.mark.parametrize("pattern", [finalizers, generator_finalizers])
def test_finalizers(pattern: Callable[..., Any]) -> None:
    shared = [bytes(BIG)]
    for _ in range(30):
        probe = run(pattern, shared)
        assert max(probe.seen) < BIG


# --- Random interruptions ------------------------------------------------------------------------


class Root:
    def __init__(self) -> None:
        self.xs: list[bytes] = []


def random_attribute(root: Root, rounds: int) -> None:
    for _ in range(rounds):
        root.xs.append(bytes(1000))


def random_mixture(root: Root, rounds: int) -> None:
    xs = root.xs
    for i in range(rounds // 20):
        xs.extend([bytes(1000) for _ in range(3)])
        xs.append(max(bytes(1000), bytes(1000 + i % 3), key=len))
        xs.extend(list(bytes(1000) for _ in range(2)))
        xs.sort(key=lambda x: len(x)) if len(xs) < 50 else xs.append(bytes(1000))
        {str(j): (j, [k for k in range(3) if k]) for j in range(3)}
        try:
            [int(x) for x in ("1", "2", "x")]
        except ValueError:
            xs += [bytes(1000)]


@pytest.mark.parametrize("pattern", [random_attribute, random_mixture])
def test_random_interruptions(pattern: Callable[..., Any]) -> None:
    root = Root()
    shared = [bytes(10_000_000)]
    probe = Probe(pattern.__code__, lambda: len(root.xs) * 1000)
    probe.roots = [root]
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            add_pending_call(probe.callback, None)
            done.wait(0.0005)

    def outermost() -> None:
        """The frame of this function, which is not measured, holds what is shared."""
        pattern(root, 2000)

    root.__dict__["shared"] = shared
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        while len(probe.seen) <= 50:  # however fast this is, and whenever the thread gets its turn
            outermost()
            root.xs.clear()
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(before)
    assert not probe.errors
    assert max(probe.seen) < 10_000_000
    # While a list is being sorted, it is empty.
    for seen, wanted in zip(probe.seen, probe.wanted, strict=True):
        assert seen >= wanted
