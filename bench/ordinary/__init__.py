"""Ordinary programs: what a message costs in memory where nothing is wrong.

Each class is a program: ``step`` is the work of one message, and what the object refers to is what
the actor holds from one message to the next. None of them ever holds its ``LIMIT``, so a budget of
that size must not end any of them, however much they allocate and drop.

Three groups: ``PLAIN`` makes no cycles, so reference counts tell all there is to know about it;
``CYCLIC`` does, as exceptions, trees with parents, callbacks and classes do; and ``ABROAD``
allocates what others hold on to.
"""

from .abroad import ABROAD
from .cyclic import CYCLIC
from .plain import PLAIN
from .program import Program, Runner

__all__ = ["ABROAD", "CYCLIC", "PLAIN", "Program", "Runner"]
