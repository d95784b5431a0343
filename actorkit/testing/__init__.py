"""What tests of actors need. It is shipped, so that programs built on actorkit can use it, too.

``Probe``
    An actor that collects what it is sent: ``await probe.receive(ak.Down)``.
``ScriptedMemory``
    A node's memory as the test wants it, in the place of the real one.
``Trace``, ``Recorded``, ``Diverged``
    What a supervisor's or governor's machine was told and what it answered: save it, load it, and
    replay it without trio.
``FaultPlan``, ``Injected``, ``faults``
    Actors that crash, hang, refuse to start or eat memory, as the test wants it.

These names are public and stay; the modules that they come from are not.

Timeouts in tests cost no time with trio's ``autojump_clock``: the runtime reads no other clock for
its timers and deadlines.
"""

from . import faults as faults
from .fault_plan import FaultPlan as FaultPlan
from .fault_plan import Injected as Injected
from .probe import Probe as Probe
from .scripted_memory import ScriptedMemory as ScriptedMemory
from .trace import Diverged as Diverged
from .trace import Recorded as Recorded
from .trace import Trace as Trace
