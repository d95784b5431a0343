"""Ctrl-C: it may stop users' code anywhere, and the runtime's nowhere.

trio raises KeyboardInterrupt where the signal finds code that is not protected, and otherwise at
the next checkpoint of the main task. A ``ref.call`` that is cut off between two of its lines would
leave an actor that is "running" for ever. So all code of this package is protected once, when it is
imported (``protect_package``). Users' code that the package calls is not protected
(``interruptible``): otherwise ``while True: pass`` in a handler could only be ended by killing the
process. A protected function is no slower: trio keeps a table of code objects and walks up the
stack when the signal comes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace, TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from trio.lowlevel import disable_ki_protection, enable_ki_protection

__all__ = ["codes_of", "interruptible", "is_own_module", "protect_package", "protected_context"]

F = TypeVar("F")
T = TypeVar("T")
P = ParamSpec("P")

PACKAGE: Final = __name__.partition(".")[0]
USERS: Final = ("cli", "doctor", "testing", "__main__")
"""Parts of the package whose functions users' code runs in: main programs, faults for tests."""


def is_own_module(name: str) -> bool:
    """Is this a module of the runtime's, whose code is protected?"""
    package, _, rest = name.partition(".")
    return package == PACKAGE and bool(rest) and rest.partition(".")[0] not in USERS


def interruptible(function: F) -> F:
    """Let Ctrl-C interrupt ``function``, which is a user's, although the runtime that calls it is
    protected."""
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    if isinstance(plain, MethodType):
        plain = plain.__func__
    elif not isinstance(plain, FunctionType) and not isinstance(plain, type):
        plain = getattr(type(plain), "__call__", None)  # noqa: B004
    if isinstance(plain, FunctionType) and not is_own_module(plain.__module__ or ""):
        disable_ki_protection(plain)
    return function


def protect_package() -> None:
    """Protect what has been imported of this package."""
    for name, module in list(sys.modules.items()):
        if is_own_module(name) and isinstance(module, ModuleType):
            for code in codes_of(module):
                holder: Any = SimpleNamespace(__code__=code)
                enable_ki_protection(holder)


class _Protected(AbstractAsyncContextManager[T]):
    """An async context manager whose entry and exit are protected."""

    def __init__(self, inside: AbstractAsyncContextManager[T], made_by: str) -> None:
        self._inside = inside
        self._made_by = made_by

    def __getattr__(self, name: str) -> Any:
        """What is asked of it was meant for what it gives when it is entered."""
        made_by: str = self.__dict__.get("_made_by", "it")
        if made_by == "run_node":
            remedy = "open_node(…) is not open yet: use async with ak.open_node(…) as node"
        else:
            remedy = f"{made_by}(…) is not entered yet: use async with …{made_by}(…)"
        raise AttributeError(f"no attribute {name!r}; {remedy}", name=name)

    async def __aenter__(self) -> T:
        return await self._inside.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._inside.__aexit__(kind, error, traceback)


def protected_context(
    make: Callable[P, AbstractAsyncContextManager[T]],
) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Put it above ``@asynccontextmanager``. ``contextlib``'s own lines are not protected: an
    interrupt there would leave the generator where it is, and what it holds would never be given
    back."""

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _Protected(make(*args, **kwargs), made.__name__)

    return made


def codes_of(module: ModuleType) -> Iterator[CodeType]:
    """The code of every function, method and nested function that is defined in ``module``."""
    todo: list[Any] = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, CodeType):
            if one.co_filename == module.__file__:
                yield one
            todo += [const for const in one.co_consts if isinstance(const, CodeType)]
        elif isinstance(one, type):
            todo += vars(one).values()
        elif isinstance(one, (staticmethod, classmethod)):
            todo.append(one.__func__)
        elif isinstance(one, property):
            todo += [one.fget, one.fset, one.fdel]
        elif isinstance(one, FunctionType):
            todo += [one.__code__, getattr(one, "__wrapped__", None)]
        elif isinstance(inner := getattr(one, "__wrapped__", None), FunctionType):  # as of ``nobodys``
            todo.append(inner)
