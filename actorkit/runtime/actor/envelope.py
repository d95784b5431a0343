"""What lies in a mailbox: a message as the runtime carries it.

A message is the tuple ``(function, args, reply)``: the function that the receiver's class runs, its
arguments after the object, and who waits for the answer (or None). A plain tuple is a message that
somebody sent. The runtime's own are tuples of a class of their own, by which they are told apart.
"""

from __future__ import annotations

from functools import partial
from typing import Any

__all__ = ["Continuation", "FirstMessage", "Message", "Notice", "function_of", "is_sent"]

Message = tuple[Any, tuple[Any, ...], Any]


class Notice(tuple[Any, tuple[Any, ...], Any]):
    """A message of the runtime's own (Down, Exit, timers, ``init`` …). No bound, overflow policy or
    shedding applies to it."""

    __slots__ = ()


class FirstMessage(Notice):
    """``init``: it comes before what the actor has sent to itself in its constructor."""

    __slots__ = ()


class Continuation(Notice):
    """More of the message before it (``continue_with``): always the next one, and nothing comes
    between the two but a kill."""

    __slots__ = ()


def is_sent(message: Message) -> bool:
    """Did somebody send it? Then bound, overflow policies and shedding apply."""
    return type(message) is tuple


def function_of(message: Message) -> Any:
    """The handler's function, without the keyword arguments that it may carry."""
    function = message[0]
    while isinstance(function, partial):
        function = function.func
    return function
