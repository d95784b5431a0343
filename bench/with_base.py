"""`python -m bench.with_base PATH MODULE ARGUMENTS`: one side of a benchmark, with the actorkit of
another working tree.

The benchmark is this tree's, so that both sides run the same program, also where the other tree has
no such row yet. That tree's extensions must have been built.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    tree, module, *arguments = sys.argv[1:]
    here = sys.path.copy()
    sys.path.insert(0, tree)
    import actorkit

    sys.path[:] = here
    if not Path(actorkit.__file__).is_relative_to(Path(tree).resolve()):
        sys.exit(f"{tree} has no actorkit of its own: {actorkit.__file__} was imported")
    sys.argv = [module, *arguments]
    runpy.run_module(f"bench.{module}", run_name="__main__", alter_sys=False)
