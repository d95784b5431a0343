"""How much memory there is for this process, how much is used, and how much of that is needed.

There is no one truth. The process may have limits of its own, each control group above it may have
one, the machine has an end, and the user may have set one. ``sources.NodeMemory`` asks them all and
reports the one with the least headroom. Nothing here decides what to do about it.

Each of the other modules knows one thing:

* a limit, and what is used of it: ``rlimits``, ``cgroup`` with ``group_limits``, ``system``. Each
  gives a ``reading.LimitSource``;
* what the process has: ``process_memory`` its pages, ``live_bytes`` how much of them is in use;
* how the kernel or the service manager calls before it is asked: ``psi``, ``kernel_events`` and
  ``service_manager`` make a ``wakes.Wake`` each, and ``wakes.WakeSet`` waits for all of them;
* ``kept_file``: a kernel file that is read again and again.

**To add a limit**, write one file with a subclass of ``LimitSource``: it needs a name and one
method, and may have wakes. Enter it in ``sources.LIMITS``. Logging, retries and the choice between
limits are done for it.

**To replace all of this**, for another operating system or for a test, write a class with the three
methods of ``sources.MemorySource`` and give an object of it to ``open_node(memory_source=…)``.
``actorkit.testing.ScriptedMemory`` is one.
"""
