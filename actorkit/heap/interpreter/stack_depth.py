"""How deep the value stack of a running frame is, from its bytecode.

Theory of operation. While a frame runs, CPython keeps its stack pointer in a register, and the
frame itself says nothing about it. The slots, however, are in memory, and how many of them are in
use at an instruction does not depend on how the instruction was reached: the compiler relies on
that when it reserves the stack. So following the code once finds the depths: from offset 0 with an
empty stack, along fall-through, jumps and the exception table, adding up ``dis.stack_effect``. Two
different depths for one instruction would mean that this module does not understand the version of
the interpreter; then no depth of that code object is known.

Which depth counts depends on where the frame is in its instruction.

- *On top*, interrupted by a pending call. The interpreter looks for pending calls at the end of
  calls, at jumps backward and at ``RESUME``. The effect of the instruction is complete by then, its
  result lies on the stack, and ``f_lasti`` still points to the instruction, in 3.11, 3.12 and 3.13
  alike. So the depth *after* the instruction counts. In 3.11 a call is two instructions,
  ``PRECALL`` and ``CALL``. A specialized ``PRECALL`` does the whole call and looks for pending
  calls itself; the plain one does not look. So after ``PRECALL`` means after ``CALL`` too.
- *Further down*, in the middle of an instruction that called Python code through C. The operands
  lie on the stack until the instruction is done, so the depth *before* it counts. They may be out
  of date, though, if the Python code is a finalizer that runs while operands are released one by
  one, or while an exception unwinds the stack. Nothing tells a finalizer from other calls, so the
  walk must not follow such slots; see ``stacks_of``.

A frame that called another one without C in between has a valid stack top, which the walk prefers.
"""

from __future__ import annotations

import dis
import sys
from array import array
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Final

from .versions import WHY_UNKNOWN

__all__ = ["depth_of", "stacks_of"]

_CACHED: Final = 512
_UNREACHED: Final = -1
_UNIT: Final = 2
"""Bytes of a code unit."""

_JUMPS: Final = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_ENDS: Final = frozenset(
    {
        "RETURN_VALUE",
        "RETURN_CONST",
        "RAISE_VARARGS",
        "RERAISE",
        "INTERPRETER_EXIT",
        "JUMP_FORWARD",
        "JUMP_BACKWARD",
        "JUMP_BACKWARD_NO_INTERRUPT",
    }
)
"""Instructions after which the next one is never reached."""

_CHECKS: Final = frozenset(
    {
        "RESUME",
        "PRECALL",
        "CALL",
        "CALL_KW",
        "CALL_FUNCTION_EX",
        "JUMP_BACKWARD",
        "POP_JUMP_BACKWARD_IF_TRUE",
        "POP_JUMP_BACKWARD_IF_FALSE",
        "POP_JUMP_BACKWARD_IF_NONE",
        "POP_JUMP_BACKWARD_IF_NOT_NONE",
    }
)
"""Instructions that look for pending calls."""

_GENERATOR_SLOT: Final = {"FOR_ITER": 1, "SEND": 2}
"""Instructions that run a generator on the stack, and the place of the generator from the top."""

CERTAIN, UNCERTAIN = 0, -1


class _Depths:
    """The depths of one code object by code unit."""

    __slots__ = ("after", "before", "generator_slot")

    def __init__(self, code: CodeType) -> None:
        units = len(code.co_code) // _UNIT
        self.before = array("i", [_UNREACHED]) * units
        self.after = array("i", [_UNREACHED]) * units
        self.generator_slot = array("b", [0]) * units


class _Unknown(Exception):
    """The code cannot be understood."""


_cache: dict[int, tuple[CodeType, _Depths | None]] = {}
"""By the code's id; the code is kept, so that the id stays its own."""


def _numbers(table: bytes) -> Iterator[int]:
    """The numbers of an exception table: six bits in each byte; bit 6 says that more follow."""
    number = 0
    for byte in table:
        number = number << 6 | byte & 63
        if not byte & 64:
            yield number
            number = 0


def _handlers(code: CodeType) -> list[tuple[int, int, int, int]]:
    """(start, end, handler, depth of the stack in the handler), offsets in bytes."""
    numbers = list(_numbers(code.co_exceptiontable))
    handlers = []
    for start, length, target, depth_and_lasti in zip(*[iter(numbers)] * 4, strict=True):
        depth = (depth_and_lasti >> 1) + (depth_and_lasti & 1) + 1
        handlers.append((start * _UNIT, (start + length) * _UNIT, target * _UNIT, depth))
    return handlers


def _effect(instruction: dis.Instruction, jump: bool) -> int:
    """How much deeper the stack is after the instruction."""
    name = instruction.opname
    if name == "RETURN_GENERATOR":
        return 1  # what is sent first, which POP_TOP removes
    if name == "PRECALL":
        return 0  # dis says that it takes the arguments, but CALL does
    try:
        effect = dis.stack_effect(instruction.opcode, instruction.arg, jump=jump)
    except ValueError:
        raise _Unknown from None
    if name == "CALL" and sys.version_info < (3, 12):
        effect -= instruction.arg or 0
    return effect


def _analyze(code: CodeType) -> _Depths:
    depths = _Depths(code)
    instructions = {instruction.offset: instruction for instruction in dis.get_instructions(code)}
    following = dict(zip(instructions, [*list(instructions)[1:], len(code.co_code)], strict=True))
    handlers = _handlers(code)
    pending = [(0, 0)]
    while pending:
        offset, depth = pending.pop()
        instruction = instructions.get(offset)
        if instruction is None or not 0 <= depth <= code.co_stacksize:
            raise _Unknown
        known = depths.before[offset // _UNIT]
        if known != _UNREACHED:
            if known != depth:
                raise _Unknown
            continue
        after = depth + _effect(instruction, False)
        if instruction.opname not in _ENDS:
            pending.append((following[offset], after))
        if instruction.opcode in _JUMPS:
            pending.append((instruction.argval, depth + _effect(instruction, True)))
        pending += [(target, level) for start, end, target, level in handlers if start <= offset < end]
        if instruction.opname == "PRECALL":
            after -= (instruction.arg or 0) + 1
        # The inline cache behind an instruction belongs to it.
        for unit in range(offset // _UNIT, following[offset] // _UNIT):
            depths.before[unit] = depth
            depths.after[unit] = after if instruction.opname in _CHECKS else _UNREACHED
            depths.generator_slot[unit] = _GENERATOR_SLOT.get(instruction.opname, 0)
    return depths


def _depths_of(code: CodeType) -> _Depths | None:
    if WHY_UNKNOWN is not None:
        return None
    found = _cache.get(id(code))
    if found is not None:
        return found[1]
    try:
        depths = _analyze(code)
    except _Unknown:
        depths = None
    if len(_cache) >= _CACHED:
        _cache.clear()
    _cache[id(code)] = (code, depths)
    return depths


def depth_of(frame: FrameType, *, on_top: bool) -> int | None:
    """How many slots of its value stack the frame uses; None if that is not known.

    Args:
        on_top: a pending call interrupted the frame. Otherwise it is in the middle of an
            instruction.
    """
    depths = _depths_of(frame.f_code)
    unit = frame.f_lasti // _UNIT
    if depths is None or not 0 <= unit < len(depths.before):
        return None
    depth = depths.after[unit] if on_top else depths.before[unit]
    return None if depth == _UNREACHED else depth


def stacks_of(frames: tuple[FrameType, ...]) -> tuple[int, ...]:
    """What the walk needs to know of the frames' value stacks: two numbers for each frame.

    The first is the depth, -1 if it is not known. The second is 0 if the slots are certainly good;
    n > 0 if they are good provided that the n-th slot from the top is the generator that the frame
    before this one belongs to; -1 if they may be out of date. Beneath a ``__del__`` the depth
    counts as not known.
    """
    result: list[int] = []
    callers = {id(frame.f_back) for frame in frames} if len(frames) > 1 else set()
    for index, frame in enumerate(frames):
        on_top = index == 0 and id(frame) not in callers
        depth = depth_of(frame, on_top=on_top)
        certain = CERTAIN if on_top else UNCERTAIN
        if depth is None or (index and frames[index - 1].f_code.co_name == "__del__"):
            depth = -1
        elif not on_top:
            depths = _depths_of(frame.f_code)
            if depths is not None:
                certain = depths.generator_slot[frame.f_lasti // _UNIT] or UNCERTAIN
        result += (depth, certain)
    return tuple(result)
