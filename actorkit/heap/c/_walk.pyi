# Names and types are those of the walk in Python; tests/heap/test_interfaces.py compares them.
from typing import Any

from ..python.walk import *

_message_bound: Any
