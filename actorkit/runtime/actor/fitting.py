"""Do the arguments of a message fit its handler, and who sent it?

``fits`` answers exactly as Python would. It reads the code object, which takes about a microsecond,
and calls nothing of the user's. What happens to a message that does not fit is decided in
``runtime.life.sender_pays``.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Protocol

from trio.lowlevel import current_task

from ...reasons import bounded, shown

__all__ = ["fits", "misfit_in", "misfit_of", "parameters_of", "plain", "sender_now", "sender_of"]


def fits(function: Any, given: int, names: Collection[str]) -> bool:
    """Would Python begin ``function`` with ``given`` positional arguments and keyword arguments of
    these ``names``? True for anything but plain functions, and methods and partials of those: it
    may take anything."""
    while True:
        if type(function) is MethodType:
            function = function.__func__
            given += 1
        elif isinstance(function, partial):
            given += len(function.args)
            names = {*function.keywords, *names}
            function = function.func
        else:
            break
    if not isinstance(function, FunctionType):
        return True
    code = function.__code__
    positional = code.co_argcount
    if given > positional and not code.co_flags & inspect.CO_VARARGS:
        return False
    parameters = code.co_varnames
    by_name = parameters[code.co_posonlyargcount : positional + code.co_kwonlyargcount]
    for name in names:
        if name in by_name:
            if name in parameters[:given] and name in parameters[:positional]:
                return False  # it is given twice
        elif not code.co_flags & inspect.CO_VARKEYWORDS:
            return False
    required = positional - len(function.__defaults__ or ())
    for index in range(given, required):
        if index < code.co_posonlyargcount or parameters[index] not in names:
            return False
    optional = function.__kwdefaults__ or ()
    return all(
        name in names or name in optional for name in parameters[positional : positional + code.co_kwonlyargcount]
    )


def misfit_in(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, ahead: int = 0) -> tuple[str, str]:
    """A call whose arguments do not fit, as text, and what Python would complain about.

    Args:
        ahead: how many positional arguments the runtime puts before these.
    """
    given = [shown(value, 80) for value in args[:4]]
    given += [f"{name}={shown(value, 80)}" for name, value in list(kwargs.items())[:4]]
    if len(args) > 4 or len(kwargs) > 4:
        given.append("…")
    name = getattr(plain(function), "__qualname__", None) or shown(function, 100)
    head = f"{name}({bounded(', '.join(given), 300)})"
    try:
        inspect.signature(function, follow_wrapped=False).bind(*[None] * ahead, *args, **kwargs)
    except TypeError as error:
        return head, bounded(str(error), 300)
    except Exception:  # a decorator may have left anything as the signature
        pass
    return head, "its arguments do not fit"


def plain(function: Any) -> Any:
    """The function of a message or a start, without the arguments that partials give it."""
    while isinstance(function, partial):
        function = function.func
    return function


def misfit_of(error: BaseException, function: Any, args: tuple[Any, ...]) -> FunctionType | None:
    """The function that Python could not begin with the arguments of this message; None if a
    handler did begin, or if the error is another one. ``error`` has passed one frame of the
    runtime's."""
    if type(error) is not TypeError or error.__traceback__ is None:
        return None
    names: list[str] = []
    while isinstance(function, partial):
        names += function.keywords
        function = function.func
    tb = error.__traceback__.tb_next
    began = False
    while tb is not None:  # wrappers: each calls the next one, or returns its coroutine
        while isinstance(function, FunctionType) and tb.tb_frame.f_code is not function.__code__:
            function = getattr(function, "__wrapped__", None)
        if not isinstance(function, FunctionType):
            return None
        function = getattr(function, "__wrapped__", None)
        began = True
        tb = tb.tb_next
    if not isinstance(function, FunctionType):
        return None
    if began:  # a wrapper may pass on other arguments than it got: whom does Python complain about?
        return function if str(error).startswith(f"{function.__qualname__}()") else None
    return None if fits(function, len(args) + 1, names) else function


def parameters_of(function: FunctionType) -> str:
    """The parameters of ``function`` as text, without the first one, which is the object."""
    code = function.__code__
    names = code.co_varnames
    positional, last = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    first_optional = positional - len(function.__defaults__ or ())
    shown = [name if index < first_optional else f"{name}=…" for index, name in enumerate(names[:positional])][1:]
    if code.co_flags & inspect.CO_VARARGS:
        shown.append(f"*{names[last]}")
        last += 1
    elif code.co_kwonlyargcount:
        shown.append("*")
    optional = function.__kwdefaults__ or ()
    shown += [
        f"{name}=…" if name in optional else name for name in names[positional : positional + code.co_kwonlyargcount]
    ]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        shown.append(f"**{names[last]}")
    return bounded(", ".join(shown), 200) or "nothing"


# --- the sender ----------------------------------------------------------------------------------


class Sender(Protocol):
    """What is reported of an actor that sends."""

    @property
    def pid(self) -> object: ...
    @property
    def started_as(self) -> str: ...


def sender_now(current: Sender | None) -> str:
    """Whose code runs now, as text: that of the actor ``current``, or of some task."""
    if current is not None:
        return f"{current.pid} ({current.started_as})"
    try:
        name = current_task().name
    except RuntimeError:
        return "outside of any task"
    return "another thread" if "run_sync_soon" in name else f"task {bounded(name, 100)}, outside of any actor"


def sender_of(function: Any) -> str:
    """Who sent a cast, as text. The function carries that if the cast was checked when sent."""
    while isinstance(function, partial):
        sender: str | None = getattr(function, "sender", None)
        if sender is not None:
            return sender
        function = function.func
    return "an unknown sender (a cast carries none; from now on casts of this message are checked as they are sent)"
