"""What the bytecode says around an instruction: questions that are asked of code objects.

``stack_depth.py`` has the one that needs all of the code: how deep the value stack is.
"""

from __future__ import annotations

import dis
from types import CodeType, FrameType
from typing import Final

__all__ = ["is_about_to_await", "line_that_assigns"]

_CACHE: Final = dis.opmap.get("CACHE", 0)
_PRECALL: Final = dis.opmap.get("PRECALL")
_CALL: Final = dis.opmap.get("CALL")
_AWAIT: Final = dis.opmap.get("GET_AWAITABLE")


def is_about_to_await(frame: FrameType) -> bool:
    """Does the frame ``await`` the result of the call that it has just made?"""
    code = frame.f_code.co_code
    at = frame.f_lasti
    if at < 0:
        return False
    called = code[at] != _PRECALL  # in 3.11, PRECALL may do the whole call, with CALL after it
    at += 2
    while at < len(code) and (code[at] == _CACHE or (not called and code[at] == _CALL)):
        called = called or code[at] == _CALL
        at += 2
    return at < len(code) and code[at] == _AWAIT


def line_that_assigns(code: CodeType, name: str) -> int | None:
    """The line where the code sets or deletes this attribute of its first argument; None if it does
    not."""
    if name not in code.co_names or not code.co_argcount:
        return None
    before: dis.Instruction | None = None
    for step in dis.get_instructions(code):
        if step.argval == name and step.opname in ("STORE_ATTR", "DELETE_ATTR"):
            on = before.argval if before is not None else None
            if (on[-1] if isinstance(on, tuple) else on) == code.co_varnames[0]:
                line = step.positions.lineno if step.positions is not None else None
                return code.co_firstlineno if line is None else line
        before = step
    return None
