"""Promises x doors x shapes: what is promised holds through every door and in every shape of data.

A *promise* is one sentence that a user may rely on (``promises``). A *door* is a way in which an
actor's code comes to run (``doors``). A *shape* is how the data is built that the code makes, and a
*way* is how deep in other code it makes it (``shapes``). A *cell* is one of each (``cells``): a
small program in a node of its own, whose outcome the promise judges (``world``).

- ``make test`` runs a selection in which each pair of two members of different kinds occurs
  (``cells.pairwise``), with the extension; ``make test-pure`` the same without it.
- ``make prove`` runs every cell, in both modes: ``python -m tests.promises``.
- A cell that does not apply has a reason, in words. One that has neither a test nor a reason cannot
  be: whatever ``why_not`` does not refuse is run.

To add a promise (a stop, containment, a kill, fairness, attribution, context variables): write a
``Promise`` in ``promises.py``. It says how much the actor's code shall make and keep (``Load``),
what must hold afterwards (``check``, with asserts), and where it does not apply (``why_not``, with
reasons). Nothing else has to know of it: all doors, shapes and ways are tried.

To add a door: a member of ``Door``, and a function in ``doors.py`` with ``@through(Door.…)`` that
has an actor with a budget run ``world.work`` there. To add a shape: a member of ``Shape``, and a
function with ``@grown(Shape.…)`` that adds one more piece. A member without a function fails a
test, and the tables in ``docs/semantics.md`` are made from these enums:
``python -m tests.architecture pages --write``.
"""
