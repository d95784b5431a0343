"""The insides of CPython: all that a port to another version has to look at.

Everything else of the package is the same for each version of Python that it supports. Here is what
depends on how one version of the interpreter is built: what its internal headers say, at which
offsets its objects keep what, what its bytecode does to the value stack, how its frames and the
lists of its collector hang together. No C file outside of this folder includes ``Python.h`` or an
internal header, or asks which version it is; no module in Python outside of it asks for
``sys.version_info`` or looks at opcodes (``tests/architecture/test_interpreter.py``).

For the extensions:

- ``_python.h`` includes ``Python.h`` and the internal headers, and refuses unknown versions;
- ``_layout.h`` and ``_dicts.h`` say how objects lie in memory;
- ``_frames.h`` reads running frames;
- ``_collector.h`` reads and reorders the collector's lists.

For the twins in Python, and for both:

- ``versions.py`` lists the versions, and says what an interpreter lacks;
- ``memory.py`` reads the same from memory as ``_layout.h`` and ``_dicts.h``;
- ``stack_depth.py`` finds from the bytecode how deep the value stack of a frame is;
- ``instructions.py`` asks the bytecode what comes after a call.

The page docs/extending.md says step by step how to port to a new version, and how to prove it.
"""
