"""The other side of `python -m bench heap`: what the walk predicts, and what is really freed.

    free SHAPE OBJECTS COLUMN    bytes predicted and freed

A hook in the interpreter's allocators counts the frees. It is the hook of the tests, built with the
available compiler. It cannot be taken out again, so this is a process of its own. Every third
object is also held from outside, so the prediction is more than a sum.
"""

import gc
import tempfile
from pathlib import Path

from actorkit.heap.python import walk as pure_walk
from bench.heap_graphs import SHAPES
from bench.worker import questions, say
from tests.heap import frees

try:
    from actorkit.heap.c import _walk as c_walk
except ImportError:
    c_walk = None  # type: ignore[assignment]

WALKS = {"C": c_walk, "pure": pure_walk}
KEPT = 2500
NUMBER = 32


def fill_freelists() -> None:
    """The interpreter keeps some freed objects for reuse, up to a number of each type. These lists
    are filled here, so the objects that are freed next are really freed.
    """
    junk: list[object] = [[[] for _ in range(200)], [{} for _ in range(200)], [n + 0.5 for n in range(200)]]
    junk += [[tuple([n] * size) for n in range(KEPT)] for size in range(1, 9)]
    junk.append(SHAPES["coroutines"](600))
    junk.append(SHAPES["mixed"](600))


def judge(shape: str, objects: int, column: str) -> dict[str, object]:
    walk = WALKS[column]
    if walk is None:
        return {"predicted": None}
    roots = [SHAPES[shape](objects)]
    held = roots[0][::3]
    predicted = walk.measure(roots, (), (), (), -1, False, 0, False)[0]
    fill_freelists()
    before = hook.live()
    roots[0] = None
    freed = before - hook.live()
    del held
    # The first reading is an object too, and it is alive when the second one is made.
    return {"predicted": predicted, "freed": freed + NUMBER}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        built = frees.build(Path(directory))
        hook = None if built is None else frees.load(built)
    gc.collect()
    gc.disable()
    if hook is not None:
        hook.start()
        for name in SHAPES:  # code paths warm up: caches, specialisation
            judge(name, 2000, "pure" if c_walk is None else "C")
    say(counts=hook is not None)
    for _, shape, objects, column in questions():
        say(**judge(shape, int(objects), column))
