"""How much memory there is for this process, how much of it is used, and how much of that is needed.

There is no one truth: the process may have limits of its own, any control group above it may have one, the machine
has an end, and the user may have set one. ``sources`` composes them, the one with the least headroom wins; the other
modules know one truth each, or one way in which the kernel calls before it is asked. Nothing here decides anything.
"""
