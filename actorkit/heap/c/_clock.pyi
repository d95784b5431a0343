# Names and types are those of the portable clock; tests/heap/test_interfaces.py compares them.
from ..python.clock import *
