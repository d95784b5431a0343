"""What an exit signal does to the actor that receives it.

A signal comes over a LINK, when a linked actor has ended, or from an EXIT call, when somebody asks
for this actor's end. The table below is the whole truth about both. Two of its rows may surprise:

* KILL cannot be trapped as an EXIT request, and the receiver ends with KILLED. But an actor that
  *ended* with Kill is ordinary news over its links: the signal can be trapped, and a linked actor
  that does not trap ends with Kill too.
* An EXIT request with Normal is ignored when it comes from another actor, but ends the actor that
  sends it to itself.

It is not decided here whether the link is still active when its signal arrives. If it is not, the
caller drops the signal and does not ask.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from ..reasons import KILLED, ExitReason, Kill, Normal

__all__ = ["TABLE", "Die", "Ignore", "Message", "Source", "Verdict", "deliver"]


class Source(enum.Enum):
    """Where a signal comes from."""

    LINK = "link"
    """A linked actor has ended."""
    EXIT = "exit"
    """Somebody called ``exit`` on the receiver, which may be the receiver itself."""


@attrs.frozen
class Ignore:
    """Nothing happens."""


@attrs.frozen
class Message:
    """The signal goes to the receiver's mailbox as an exit message with ``reason``."""

    reason: ExitReason


@attrs.frozen
class Die:
    """The receiver ends with ``reason``."""

    reason: ExitReason


Verdict = Ignore | Message | Die


class Sort(enum.Enum):
    """The only three sorts of reason that the table tells apart."""

    NORMAL = "normal"
    KILL = "kill"
    OTHER = "other"


class Effect(enum.Enum):
    """A cell of the table."""

    DROP = "drop"
    TELL = "tell"
    DIE = "die"
    DIE_KILLED = "die killed"


_L, _E = Source.LINK, Source.EXIT
_N, _K, _O = Sort.NORMAL, Sort.KILL, Sort.OTHER
_OTHERS, _SELF = False, True

# (source, sent to itself, sort of reason) -> (effect if not trapping, effect if trapping).
# No actor is linked to itself, so LINK has no such rows.
TABLE: Mapping[tuple[Source, bool, Sort], tuple[Effect, Effect]] = MappingProxyType(
    {
        (_L, _OTHERS, _N): (Effect.DROP, Effect.TELL),
        (_L, _OTHERS, _K): (Effect.DIE, Effect.TELL),
        (_L, _OTHERS, _O): (Effect.DIE, Effect.TELL),
        (_E, _OTHERS, _N): (Effect.DROP, Effect.TELL),
        (_E, _OTHERS, _K): (Effect.DIE_KILLED, Effect.DIE_KILLED),
        (_E, _OTHERS, _O): (Effect.DIE, Effect.TELL),
        (_E, _SELF, _N): (Effect.DIE, Effect.TELL),
        (_E, _SELF, _K): (Effect.DIE_KILLED, Effect.DIE_KILLED),
        (_E, _SELF, _O): (Effect.DIE, Effect.TELL),
    }
)

_IGNORE = Ignore()
_DIE_KILLED = Die(KILLED)


def deliver(source: Source, reason: ExitReason, trapping: bool, to_self: bool) -> Verdict:
    """The effect of an exit signal on its receiver.

    ``trapping``: the receiver traps exits. ``to_self``: it sent the signal to itself; for a LINK
    this has no meaning, and is ignored.
    """
    if isinstance(reason, Normal):
        sort = Sort.NORMAL
    elif isinstance(reason, Kill):
        sort = Sort.KILL
    else:
        sort = Sort.OTHER
    effect = TABLE[source, to_self and source is Source.EXIT, sort][trapping]
    if effect is Effect.DROP:
        return _IGNORE
    if effect is Effect.TELL:
        return Message(reason)
    if effect is Effect.DIE:
        return Die(reason)
    return _DIE_KILLED
