"""What tests of actors need. Shipped, so that programs built on actorkit can use it too.

``Probe``           an actor that collects what it is sent; ``await probe.receive(ak.Down)``
``ScriptedMemory``  a node's memory as the test wants it, in place of the real one
``Trace``           what a supervisor's or governor's machine was told and answered: to save, and to replay without trio
``FaultPlan``       actors that crash, hang, refuse to start or eat memory as the test wants it; its ``faults``

Timeouts in tests cost no time with trio's ``autojump_clock``: the runtime reads no other clock for its timers and
deadlines.
"""

from . import faults as faults
from .fault_plan import FaultPlan as FaultPlan
from .fault_plan import Injected as Injected
from .probe import Probe as Probe
from .scripted_memory import ScriptedMemory as ScriptedMemory
from .trace import Diverged as Diverged
from .trace import Recorded as Recorded
from .trace import Trace as Trace
