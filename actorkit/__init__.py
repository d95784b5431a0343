"""actorkit: an Erlang-style actor runtime on trio. Let it crash, but never the node."""

from .behaviours.actor import Actor as Actor
from .behaviours.actor import child as child
from .behaviours.dynamic_supervisor import DynamicSupervisor as DynamicSupervisor
from .behaviours.dynamic_supervisor import dynamic_supervisor as dynamic_supervisor
from .behaviours.supervisor import Supervisor as Supervisor
from .behaviours.supervisor import supervisor as supervisor
from .errors import *  # noqa: F403
from .net.listener import Listener as Listener
from .net.listener import tcp_listener as tcp_listener
from .net.listener import tls_listener as tls_listener
from .net.listener import unix_listener as unix_listener
from .net.stream_actor import StreamActor as StreamActor
from .policy.backoff import Backoff as Backoff
from .policy.child_spec import ChildSpec as ChildSpec
from .policy.supervision_events import ChildCounts as ChildCounts
from .policy.supervision_events import ChildInfo as ChildInfo
from .reasons import *  # noqa: F403
from .runtime.calls import Later as Later
from .runtime.context import Context as Context
from .runtime.dispatch import call as call
from .runtime.dispatch import cast as cast
from .runtime.events import ActorCrashed as ActorCrashed
from .runtime.events import ActorExited as ActorExited
from .runtime.events import ActorStarted as ActorStarted
from .runtime.events import ChildRestarted as ChildRestarted
from .runtime.events import DeadLetter as DeadLetter
from .runtime.events import EventStream as EventStream
from .runtime.events import SupervisorReport as SupervisorReport
from .runtime.events import SystemEvent as SystemEvent
from .runtime.events import Unkillable as Unkillable
from .runtime.introspection import NodeStatistics as NodeStatistics
from .runtime.introspection import ProcessInfo as ProcessInfo
from .runtime.introspection import TreeEntry as TreeEntry
from .runtime.lifecycle import IGNORE as IGNORE
from .runtime.lifecycle import Stop as Stop
from .runtime.messages import Down as Down
from .runtime.messages import Exit as Exit
from .runtime.messages import IdleTimeout as IdleTimeout
from .runtime.messages import MonitorId as MonitorId
from .runtime.messages import Pid as Pid
from .runtime.names import named as named
from .runtime.node import Node as Node
from .runtime.node import open_node as open_node
from .runtime.process import Process as Process
from .runtime.process import ProcessContext as ProcessContext
from .runtime import system as sys  # noqa: F401
from .runtime.ref import Ref as Ref
