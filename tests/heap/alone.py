"""Gives a program the heap package without the rest of actorkit, whose import would take most of
the time.
"""

from __future__ import annotations

import actorkit

ALONE = f"""
import sys, types
actorkit = sys.modules["actorkit"] = types.ModuleType("actorkit")
actorkit.__path__ = {list(actorkit.__path__)!r}
"""
"""Source for the beginning of a program: afterwards ``actorkit.heap`` can be imported, and nothing
else of actorkit has been.
"""
