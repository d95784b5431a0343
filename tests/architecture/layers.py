"""The layers, from the lowest to the highest, as one table.

A row is a layer, a name in it a module or a folder of ``actorkit``. A module may import from its
own row and from the rows above it in this table, which are the lower layers. The longest name that
fits a module is its place. Within a folder, and between the names of one row, anything goes that
makes no circle.
"""

from __future__ import annotations

LAYERS: tuple[tuple[str, ...], ...] = (
    ("reasons", "log", "old_names"),
    ("errors",),
    ("policy.exit_signals", "policy.key_table", "policy.seconds"),
    ("policy", "policy.memory", "policy.supervision"),
    ("heap.interpreter",),
    ("heap", "heap.c", "heap.python"),
    ("pressure",),
    ("runtime", "runtime.base"),
    ("runtime.actor",),
    ("runtime.budgets",),
    ("runtime.life",),
    ("runtime.looking",),
    ("runtime.node", "runtime.thread_doors"),
    ("behaviours",),
    ("supervision",),
    ("otp",),
    ("governor", "net", "testing"),
    ("doctor",),
    ("cli", "__main__"),
)

LEVELS = {name: level for level, row in enumerate(LAYERS) for name in row}


def place_of(module: str) -> str | None:
    """The name in the table that the module belongs to."""
    while module and module not in LEVELS:
        module = module.rpartition(".")[0]
    return module or None


def goes_up(module: str, imported: str) -> bool:
    """Whether this import goes to a higher layer. Both have a place."""
    here, there = place_of(module), place_of(imported)
    assert here is not None, f"{module} has no place: give it one in tests/architecture/layers.py"
    assert there is not None, f"{imported} has no place: give it one in tests/architecture/layers.py"
    return LEVELS[there] > LEVELS[here]
