"""The fault "the nth large request for memory is refused", for this project's own tests.

It stands in front of the interpreter's allocators, so it is not part of the package that users get
(docs/design/0036). The extension is built when a test first asks for it (``build``). Where it
cannot be built, or where the allocation clock is not available either, ``WHY_NOT`` gives the
reason, and tests that need it are skipped.
"""

from __future__ import annotations

from .refusal import REFUSABLE as REFUSABLE
from .refusal import WHY_NOT as WHY_NOT
from .refusal import Refusal as Refusal
from .refusal import refusing as refusing
from .refusal import requests_so_far as requests_so_far
from .refuse_allocation import RefuseAllocation as RefuseAllocation
