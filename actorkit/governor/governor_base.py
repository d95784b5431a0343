"""The way of a memory sample, and the table of actions: what both governors have in common.

The way of one sample:

1. A look is due. A node's governor finds that between two steps of trio (``steps``), a subtree's in
   a task of its own. Both call ``look_now``, which never raises.
2. ``look`` takes a sample and hands it to ``tell`` as Sampled.
3. ``tell`` gives the event to the machine (``policy.memory.governor``), which answers with actions,
   and performs each of them by the function that ``ACTIONS`` has for its kind. An action that fails
   is logged, gets a receipt that says so, and is reported to the machine; the others are performed
   all the same.
4. A function returns the event that answers its action, if there is one: ActionDone, or
   CensusTaken. ``tell`` puts it into the queue, and goes on at 3 when the actions at hand are done.
   So a round of kills (TakeCensus, CensusTaken, KillVictims, ActionDone) is four turns of one loop,
   and no function calls back into another.
5. Victims that are busy end later. Then ``kills`` says so, and ActionDone goes to ``tell`` from
   there.

The machine decides everything, and nothing here does. Whatever fails here must not fail the node.

Where to put a new action:

* its class, with what is to be known of it: ``policy.memory.governor_events``;
* at which level, if levels decide: LevelAction and LEVEL_ACTIONS in
  ``policy.memory.governor_settings``;
* when it is due: ``policy.memory.governor`` (a row of SWITCHES, or a line in ``_work``; an action
  that may be repeated has a pace in ``policy.memory.outcomes``);
* how it is done: a method and a row of ACTIONS, below if it makes sense for a subtree too, else in
  ``node_governor``.

``tests/governor/test_actions.py`` finds it by itself then, and checks that its failure harms no
other action.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any, ClassVar, Final

import trio

from ..log import log
from ..policy.memory import governor_events as ev
from ..policy.memory.candidates import KEY, PRIVATE
from ..policy.memory.governor import GovernorMachine
from ..policy.memory.memory_pressure import MemoryPressure
from ..policy.memory.memory_sample import MemoryLevel, MemorySample
from ..reasons import text_of
from ..runtime.actor.events import MemoryLevelChanged, MemoryReport, SystemEvent
from ..runtime.actor.memory_data import MemoryData, Receipt, Receipts
from ..runtime.actor.record import Record, record_of
from ..runtime.budgets.findings import Looks
from .census import measured_radius, take_census
from .kills import Ending, Kills
from .restart_gate import MemoryGate
from .shed import shed_mailboxes

__all__ = ["Answer", "GovernorBase"]

KEPT_RECEIPTS: Final = 200

RETRY_SECONDS: Final = 1.0
"""Until the next look, after one that failed."""

Answer = ev.Event | None
"""What answers an action at once. None: nothing does, or the answer comes later."""


class GovernorBase(ABC):
    """See the module's docstring.

    Args:
        machine: what decides.
    """

    def __init__(self, machine: GovernorMachine) -> None:
        self.machine = machine
        self.kills = Kills(self.live_now, self._ended)
        #: The last look.
        self.sample: MemorySample = self.take_sample()
        #: The largest actor of the last census, and its bytes.
        self.worst: tuple[Record[Any], int] | None = None
        #: It governs no more: nothing is told to the machine.
        self.over = False
        self._receipts: Receipts = deque(maxlen=KEPT_RECEIPTS)
        #: Events that the machine has not been told yet.
        self._queue: deque[ev.Event] = deque()
        #: ``tell`` is running further up the stack; it will come to whatever is queued.
        self._busy = False

    # --- What one may ask -----------------------------------------------------------------------

    @property
    def level(self) -> MemoryLevel:
        """How short memory is."""
        return self.machine.level

    def data(self) -> MemoryData:
        """How it stood at the last look."""
        worst = self.worst
        return MemoryData.of(self.sample, self.level, worst if worst is not None and worst[0].alive else None)

    def receipts(self) -> tuple[Receipt, ...]:
        """The last actions and what came of them, the newest last."""
        return tuple(self._receipts)

    # --- What is governed: the subclasses know ----------------------------------------------------

    @abstractmethod
    def take_sample(self, *, fresh: bool = False) -> MemorySample:
        """Look at the memory. ``fresh``: nothing that was read a moment ago will do."""

    @abstractmethod
    def live_now(self) -> int | None:
        """Bytes that are held at this moment; None where that is not known."""

    @abstractmethod
    def everybody(self) -> Iterable[Record[Any]]:
        """Every actor that is governed."""

    @abstractmethod
    def looks(self) -> Sequence[Looks]:
        """What is known of how much they hold."""

    @abstractmethod
    def watchers(self) -> list[Record[Any]]:
        """The actors among them that want to be told of memory pressure."""

    @abstractmethod
    def gates_held(self) -> Iterable[MemoryGate]:
        """The gates at which their restarts wait."""

    @abstractmethod
    def emit(self, kind: Callable[..., SystemEvent], *fields: Any) -> None:
        """Give subscribers an event of this kind."""

    # --- Look, decide, act ------------------------------------------------------------------------

    def look_now(self) -> float:
        """Take a look, and return when the next one is due, on trio's clock. Never raises: a look
        that fails is logged, and there will be another."""
        try:
            self.look()
            return self.machine.look_at
        except BaseException:
            log.exception("governor: a look at the memory failed; the next one in %g s", RETRY_SECONDS)
            return trio.current_time() + RETRY_SECONDS

    def look(self, *, fresh: bool = False) -> None:
        """Take a sample and act on it, now."""
        self.sample = sample = self.take_sample(fresh=fresh)
        self.tell(ev.Sampled(sample))
        for gate in self.gates_held():
            gate.sampled(sample, self.level)

    def tell(self, event: ev.Event) -> None:
        """Give the machine an event, and do what it says."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                for action in self.machine.handle(self._queue.popleft()):
                    answer = self._perform(action)
                    if answer is not None:
                        self._queue.append(answer)
        finally:
            self._busy = False

    def _perform(self, action: ev.GovernorAction) -> Answer:
        if action.dry_run:
            log.warning("governor (dry run): would %s: %s", action.name, action.because)
            if not isinstance(action, ev.KillVictims):
                return None
        try:
            return self._function_for(action)(self, action)
        except BaseException as error:
            # Whatever it is: the actions after this one may be what saves the node.
            failure = f"{type(error).__qualname__}: {text_of(error)}".removesuffix(": ")
            log.exception("governor: %s failed", action.name)
            done = self._done(action, failure=failure)
            # The machine's answer to a failure is a report. It is not told of a report that failed,
            # or there would be no end to it.
            return None if isinstance(action, ev.EmitReport) else done

    def _function_for(self, action: ev.GovernorAction) -> Callable[[Any, Any], Answer]:
        try:
            return self.ACTIONS[type(action)]
        except KeyError:
            raise ValueError(f"{action.name} concerns the process as a whole: not for one subtree") from None

    def _done(
        self,
        action: ev.GovernorAction,
        *,
        predicted: int | None = None,
        realised: int | None = None,
        duration: float = 0.0,
        failure: str = "",
    ) -> ev.ActionDone:
        """Keep the receipt of an action that has been performed, and make the event that says
        so."""
        now = trio.current_time()
        self._keep_receipt(now, action, predicted, realised, duration, failure)
        return ev.ActionDone(now, action.number, realised, duration, failure)

    def _keep_receipt(
        self,
        now: float,
        action: ev.GovernorAction,
        predicted: int | None = None,
        realised: int | None = None,
        duration: float = 0.0,
        failure: str = "",
    ) -> None:
        self._receipts.append(
            Receipt(now, action.name, action.because, predicted, realised, duration, action.dry_run, failure)
        )

    # --- Actions ----------------------------------------------------------------------------------

    def _change_level(self, action: ev.LevelChanged) -> Answer:
        level = logging.WARNING if action.level > action.previous else logging.INFO
        log.say(level, "governor: memory %s, was %s: %s", action.level.name, action.previous.name, action.because)
        self.emit(MemoryLevelChanged, action.level, action.previous, action.because)
        return None

    def _tell_actors(self, action: ev.TellActors) -> Answer:
        message = MemoryPressure(action.level, action.please_free, action.because)
        for record in self.watchers():
            record.post_info(message)
        return None

    def _shed(self, action: ev.ShedMailboxes) -> Answer:
        began = perf_counter()
        given_up = shed_mailboxes(self.everybody(), action.wanted, f"memory is short ({action.because})")
        if given_up.messages:
            log.warning("governor: %d messages of about %d B were given up", given_up.messages, given_up.bytes)
        return self._done(action, predicted=action.wanted, realised=given_up.bytes, duration=perf_counter() - began)

    def _set_gate(self, action: ev.OpenGate | ev.CloseGate) -> Answer:
        for gate in self.gates_held():
            gate.set_open(isinstance(action, ev.OpenGate))
        return None

    def _take_census(self, action: ev.TakeCensus) -> Answer:
        began = perf_counter()
        census = take_census([self.everybody()], action.caps, action.wanted, self.looks())
        largest = census.largest
        if largest is not None:
            self.worst = (record_of(largest[KEY]), largest[PRIVATE])
        now = trio.current_time()
        self._keep_receipt(now, action, duration=perf_counter() - began)
        return ev.CensusTaken(now, action.number, census, measured_radius)

    def _kill(self, action: ev.KillVictims) -> Answer:
        self.kills.kill(action, self.level)
        return None

    def _ended(self, action: Ending, realised: int | None) -> None:
        """All actors of an action have ended: perhaps within it, perhaps long after."""
        if not self.over:
            predicted = action.predicted if isinstance(action, ev.KillVictims) else None
            self.tell(self._done(action, predicted=predicted, realised=realised))

    def _report(self, action: ev.EmitReport) -> Answer:
        log.warning("governor: %s", action.because)
        self.emit(MemoryReport, action.kind, action.level, action.because)
        return None

    #: How each kind of action is done: the one table, to which a node's governor adds what concerns
    #: the process as a whole. A function gets the governor and the action, and returns the event
    #: that answers it, or None.
    ACTIONS: ClassVar[Mapping[type[ev.GovernorAction], Callable[[Any, Any], Answer]]] = {
        ev.LevelChanged: _change_level,
        ev.TellActors: _tell_actors,
        ev.ShedMailboxes: _shed,
        ev.CloseGate: _set_gate,
        ev.OpenGate: _set_gate,
        ev.TakeCensus: _take_census,
        ev.KillVictims: _kill,
        ev.EmitReport: _report,
    }
