"""The governor's machine: samples in, actions out.

A sample moves the ladder. Then everything that the level asks for is looked at, in the order of
``_work``, cheapest for the actors first: alarm, refusal and gate (``SWITCHES``: set once, cleared
once), asking actors, the reserve, shedding, collecting, trimming, killing, and at last stopping.
Most of it is *paced*: an action that was not worth it waits longer (``outcomes``). Refusing comes
before collecting, since what is let in meanwhile is lost ground. Actors that are asked to free
something have a moment for it before anybody is killed.

Killing takes a census, and the shell is asked for one only if there is something to kill for. So a
round is TakeCensus, CensusTaken, KillVictims, ActionDone, and a later sample that judges it
(``kill_rounds``). What collecting and shedding gave back since the last sample is taken off what a
round must free.

``used`` may stand at the limit because of pages that Python has freed and can use again. Then the
level is EXHAUSTED, and yet nobody is killed and nothing is stopped: kills and stops go by
``needed``, against the fraction at which their level is left.

At EXHAUSTED the reserve is released at once, and kills go on. Then come the phases of ``PHASES``:
if memory is still needed after ``stop_all_after``, or if kills do not help or find nobody, all but
critical actors are stopped, once. If it is still needed ``stop_node_after`` later, the node stops.
That is the last decision.

In a dry run everything is decided and marked, and nothing is assumed to have been done. So no round
is judged, and the breaker does not open.
"""

from __future__ import annotations

import enum
import itertools
import math
from typing import Final, Literal

import attrs

from ..transition import Transition, allows
from . import governor_events as ev
from .candidates import Census
from .fill_rate import FillRate, gauge
from .governor_settings import GovernorSettings, LevelAction
from .kill_rounds import KillRounds
from .ladder import Ladder, LadderSettings, Move
from .memory_sample import MemoryLevel, MemorySample
from .outcomes import GC_PREDICTS, ActionKind, ActionOutcome, OutcomeBook
from .victims import KillCaps, select

__all__ = ["PHASES", "SWITCHES", "GovernorMachine", "Phase"]

NORMAL, CONSERVE, SHED, KILL, EXHAUSTED = MemoryLevel


class Phase(enum.Enum):
    """How near the node is to its end."""

    GOVERNING = "governing"
    ALL_STOPPED = "all but critical actors are stopped"
    NODE_STOPPED = "the node is stopped"


PHASES: Final = (
    Transition(
        Phase.GOVERNING,
        Phase.ALL_STOPPED,
        "EXHAUSTED with memory needed, for `stop_all_after` s or if kills do not help or find nobody",
    ),
    Transition(Phase.ALL_STOPPED, Phase.NODE_STOPPED, "memory is still needed `stop_node_after` s later"),
    Transition(Phase.ALL_STOPPED, Phase.GOVERNING, "EXHAUSTED is left"),
    Transition(Phase.NODE_STOPPED, Phase.GOVERNING, "EXHAUSTED is left, and the stop was a dry run's or was dropped"),
)
"""What happens when nothing else helps."""

Switch = ev.SetAlarm | ev.ClearAlarm | ev.RefuseAdmission | ev.AllowAdmission | ev.CloseGate | ev.OpenGate
SWITCHES: Final[tuple[tuple[LevelAction, type[Switch], type[Switch]], ...]] = (
    ("alarm", ev.SetAlarm, ev.ClearAlarm),
    ("refuse", ev.RefuseAdmission, ev.AllowAdmission),
    ("close_gate", ev.CloseGate, ev.OpenGate),
)
"""Actions that last as long as the level: what sets them and what clears them."""

WORTH_TRIMMING: Final = 0.01
"""Part of the limit that must be retained before the allocator is asked to give pages back."""

MORE_TO_TRIM: Final = 0.02
"""Part of the limit by which what is retained must have grown for a former outcome not to count."""


@attrs.frozen
class _Asked:
    """An action whose outcome is awaited."""

    kind: ActionKind
    predicted: int
    #: The last look before it.
    before: MemorySample


class GovernorMachine:
    """The governor of one memory limit: a node's, or a subtree's (see ``SUBTREE_ACTIONS``).

    Example::

        governor = GovernorMachine()
        sample = MemorySample(0.0, limit=1000, used=750, source="test", resident=750)
        actions = governor.handle(Sampled(sample))
        # LevelChanged(CONSERVE), SetAlarm, TellActors, …; look again at governor.look_at
    """

    def __init__(self, settings: GovernorSettings | None = None) -> None:
        self.settings = settings or GovernorSettings()
        #: When the next sample is wanted.
        self.look_at = -math.inf
        #: The node has been told to stop: nothing is decided any more.
        self.over = False
        #: How near the node is to its end, and since when.
        self.phase = Phase.GOVERNING
        self._phase_since = -math.inf
        self._rate = FillRate(self.settings.looks)
        self._ladder = Ladder(self.settings.ladder)
        self._rounds = KillRounds(self.settings.kills)
        self._book = OutcomeBook(self.settings.paces)
        self._numbers = itertools.count(1)
        #: What is to be done for the event at hand.
        self._out: list[ev.GovernorAction] = []
        #: The last look; None before the first.
        self._sample: MemorySample | None = None
        #: The actions whose outcome is awaited, by number: at most one of each kind.
        self._asked: dict[int, _Asked] = {}
        #: Actions that are done, but not known to have freed anything: the next sample judges them.
        #: With when they were done, and their durations.
        self._unjudged: list[tuple[_Asked, float, float]] = []
        #: The SWITCHES that are set.
        self._switched: set[LevelAction] = set()
        #: Bytes that collecting and shedding gave back since the last sample.
        self._freed = 0
        #: When actors were last asked to free something.
        self._told_at = -math.inf
        #: What was retained when trimming was last due, or less.
        self._left_by_trim = 0
        #: The reserve is released.
        self._reserve_out = False
        #: The number of the TakeCensus that is not answered yet; 0: there is none.
        self._census = 0
        #: That census has a row for everybody.
        self._everybody = False
        #: No census is asked for before this.
        self._census_not_before = -math.inf
        #: The last census found nobody who may be killed, and memory has been short since.
        self._nobody_left = False
        #: The breaker has opened, and no round has been tried since.
        self._were_stopped = False

    @property
    def level(self) -> MemoryLevel:
        """How short of memory the node is."""
        return self._ladder.level

    @property
    def outcomes(self) -> tuple[ActionOutcome, ...]:
        """What the last actions gave, the oldest first."""
        return tuple(self._book.outcomes)

    def handle(self, event: ev.Event) -> list[ev.GovernorAction]:
        """Take note of ``event``; returns what is to be done now, in that order."""
        self._out = []
        if not self.over:
            match event:
                case ev.Sampled(sample=sample):
                    self._sampled(sample)
                case ev.ActionDone():
                    self._done(event)
                case _:
                    self._kill(event)
        return self._out

    def validate(self) -> None:
        """Check what must hold between two events."""
        for part in (self._rate, self._ladder, self._rounds, self._book):
            part.validate()
        kinds = [asked.kind for asked in self._asked.values()]
        assert len(kinds) == len(set(kinds)), f"two outcomes of one kind are awaited: {kinds}"
        assert self._switched == {action for action, *_ in SWITCHES if self._does(action)}, self.level
        assert self.settings.reserve or not self._reserve_out
        assert self.phase is Phase.GOVERNING or self.level == EXHAUSTED
        assert self.phase is Phase.NODE_STOPPED or not self.over
        assert self._freed >= 0

    # --- Samples ----------------------------------------------------------------------------------

    def _sampled(self, sample: MemorySample) -> None:
        settings = self.settings
        self._sample, self._freed = sample, 0
        self._rate.note(sample)
        if settings.thresholds is not None:
            self._ladder.settings = settings.thresholds(sample)
        wait = self._wait()
        moved = self._ladder.step(sample, self._rate.time_to_limit(), wait + settings.looks.reaction)
        if moved is not None:
            self._emit(ev.LevelChanged(moved.level, moved.previous, because=moved.because), observed=True)
            wait = self._wait()
        self.look_at = sample.now + wait
        self._judge(sample)
        self._work(sample, moved)

    def _wait(self) -> float:
        """Seconds until the next look."""
        return self._rate.look_after(self.settings.alert_look if self.level >= SHED else math.inf)

    def _judge(self, sample: MemorySample) -> None:
        """Tell by this sample what earlier actions have freed."""
        for asked, at, duration in self._unjudged:
            returned = max(0, asked.before.resident - sample.resident)
            fell = returned if asked.kind == "trim" else max(0, gauge(asked.before) - gauge(sample))
            self._note(ActionOutcome(asked.kind, at, asked.predicted, fell, duration, returned))
        self._unjudged.clear()
        judgement = self._rounds.look(sample, self._rate.time_to_limit())
        if judgement is not None:
            self._book.note(judgement.outcome)
            kind: ev.ReportKind = "kills_futile" if judgement.stopped_for else "kill_judged"
            self._were_stopped = bool(judgement.stopped_for)
            self._report(kind, judgement.because)

    def _work(self, sample: MemorySample, moved: Move | None) -> None:
        """Everything that the level asks for, in this order."""
        ladder, level = self._ladder.settings, self.level
        at = f"{level.name}: {sample.needed:,} bytes needed of {sample.limit:,} ({sample.source})"
        self._switch(at)
        self._tell(sample, ladder, moved, at)
        self._reserve(sample, ladder, at)
        self._shed(sample, ladder, at)
        self._collect(sample, at)
        self._trim(sample, at)
        self._ask_for_census(sample, ladder, at)
        self._stop(sample, ladder)

    def _switch(self, at: str) -> None:
        for action, set_it, clear_it in SWITCHES:
            wanted = self._does(action)
            if wanted != (action in self._switched):
                self._switched.symmetric_difference_update((action,))
                self._emit((set_it if wanted else clear_it)(because=at))

    def _tell(self, sample: MemorySample, ladder: LadderSettings, moved: Move | None, at: str) -> None:
        rising = moved is None or moved.level > moved.previous
        please_free = math.ceil(max(0.0, sample.needed - ladder.conserve.leave * sample.limit)) if rising else 0
        if moved is not None:
            due = self._does("tell") or self.settings.does("tell", moved.previous)
        else:
            due = self._does("tell") and please_free > 0 and sample.now - self._told_at >= self.settings.tell_again
        if due:
            self._told_at = sample.now
            self._emit(ev.TellActors(self.level, please_free, because=at))

    def _reserve(self, sample: MemorySample, ladder: LadderSettings, at: str) -> None:
        if not self.settings.reserve:
            return
        if not self._reserve_out and self._does("release_reserve"):
            self._reserve_out = True
            self._emit(ev.ReleaseReserve(because=f"{at}: room for supervisors, reports and the governor"))
            return
        # By ``used``, since ballast takes new pages: it must not bring the node back to where it
        # was needed.
        fits = sample.used + self.settings.reserve < ladder.kill.leave * sample.limit
        if self._reserve_out and self.level == NORMAL and fits:
            self._reserve_out = False
            self._emit(ev.RebuildReserve(because=f"{at}: the reserve of {self.settings.reserve:,} bytes fits again"))

    # --- Shedding, collecting, trimming -----------------------------------------------------------

    def _shed(self, sample: MemorySample, ladder: LadderSettings, at: str) -> None:
        wanted = math.ceil(sample.needed - ladder.shed.leave * sample.limit)
        if wanted > 0 and self._is_due("shed", sample):
            self._ask("shed", wanted, sample, ev.ShedMailboxes(wanted, because=f"{at}: {wanted:,} bytes wanted back"))

    def _collect(self, sample: MemorySample, at: str) -> None:
        if self._is_due("gc", sample):
            predicted = math.ceil(GC_PREDICTS * gauge(sample))
            self._ask("gc", predicted, sample, ev.CollectGarbage(because=f"{at}: cycles may hold {predicted:,} bytes"))

    def _trim(self, sample: MemorySample, at: str) -> None:
        least = math.ceil(WORTH_TRIMMING * sample.limit)
        retained = least if sample.live is None else sample.retained
        self._left_by_trim = min(self._left_by_trim, retained)
        more = retained >= self._left_by_trim + math.ceil(MORE_TO_TRIM * sample.limit)
        if retained >= least and self._is_due("trim", sample, anew=more):
            self._left_by_trim = retained
            self._ask("trim", retained, sample, ev.TrimAllocator(because=f"{at}: {retained:,} bytes may go back"))

    def _is_due(self, kind: Literal["gc", "trim", "shed"], sample: MemorySample, *, anew: bool = False) -> bool:
        if not self._does(kind):
            return False
        # Once actors would be killed instead, a long pause is the lesser evil.
        return not self._book.paces[kind].why_not(sample.now, gauge(sample), any_pause=self.level >= KILL, anew=anew)

    def _ask(self, kind: ActionKind, predicted: int, sample: MemorySample, action: ev.GovernorAction) -> None:
        """Send an action whose outcome sets its pace."""
        self._book.paces[kind].begun(sample.now, gauge(sample))
        for number in [number for number, asked in self._asked.items() if asked.kind == kind]:
            del self._asked[number]  # nothing was heard of it
        sent = self._emit(action)
        if sent is not None and not sent.dry_run:
            self._asked[sent.number] = _Asked(kind, predicted, sample)

    def _done(self, done: ev.ActionDone) -> None:
        if done.failure:
            self._report("action_failed", f"action {done.number} was not done: {done.failure}")
        if self._rounds.ended(done.number, done.now, None if done.failure else done.realised):
            self.look_at = done.now
            return
        asked = self._asked.pop(done.number, None)
        if asked is None:
            return
        realised = 0 if done.failure else done.realised
        if realised is None:
            self._unjudged.append((asked, done.now, done.duration))
            return
        if asked.kind != "trim":
            self._freed += realised
        self._note(ActionOutcome(asked.kind, done.now, asked.predicted, realised, done.duration))

    def _note(self, outcome: ActionOutcome) -> None:
        if self._book.note(outcome):
            self._report(
                "action_backed_off",
                f"{outcome.action} was to free {outcome.predicted:,} bytes and freed {outcome.realised:,}: waits "
                f"{self._book.paces[outcome.action].interval:g} s",
            )

    # --- Killing ----------------------------------------------------------------------------------

    def _missing(self, sample: MemorySample, ladder: LadderSettings) -> int:
        """Bytes that a round would have to free."""
        return max(0, self._rounds.missing(sample, ladder.kill.leave) - self._freed)

    def _ask_for_census(self, sample: MemorySample, ladder: LadderSettings, at: str) -> None:
        now, missing = sample.now, self._missing(sample, ladder)
        if not missing:
            self._nobody_left = False
        if not missing or not self._does("kill") or self.phase is not Phase.GOVERNING:
            return
        if not self._rounds.may_begin(now) or now < self._census_not_before:
            return
        if self.level < EXHAUSTED and self._rate.time_to_limit() > 2 * self.settings.answer_within:
            answered = self._told_at + self.settings.answer_within
            if now < answered:
                self.look_at = min(self.look_at, answered)
                return
        if self._were_stopped:
            self._were_stopped = False
            self._report("kills_resumed", f"{at}: one more round, to see whether kills help now")
        # Until it is answered. If it never is, another one will be asked for.
        self._census_not_before = now + self.settings.kills.census_again
        caps = self.settings.kills.caps if self.settings.rank is None else None
        self._take_census(missing, caps, f"{at}: {missing:,} bytes to be freed")

    def _take_census(self, missing: int, caps: KillCaps | None, because: str) -> None:
        self._everybody = caps is None
        sent = self._emit(ev.TakeCensus(missing, caps, because=because), observed=True)
        self._census = sent.number if sent is not None else 0

    def _kill(self, census: ev.CensusTaken) -> None:
        sample, ladder = self._sample, self._ladder.settings
        if census.number != self._census or sample is None:
            return
        self._census, self._census_not_before = 0, -math.inf
        missing = self._missing(sample, ladder)
        if not missing or not self._does("kill") or not self._rounds.may_begin(census.now):
            return
        killed, candidates = self._rounds.already_killed(), census.candidates
        if not isinstance(candidates, Census):
            candidates = Census(candidates)
        counted = len(candidates)
        if killed:
            candidates = candidates.without(killed)
        settings = self.settings.kills
        chosen = select(candidates, missing, settings.caps, rank=self.settings.rank, radius_of=census.radius_of)
        at = (
            f"{self.level.name}: {sample.needed:,} bytes needed, KILL is left below {ladder.kill.leave:.0%} of "
            f"{sample.limit:,} ({sample.source}), with {settings.margin:.0%} to spare: {missing:,} bytes to be freed"
        )
        if candidates.partial and not self._everybody:
            unfit = chosen.passed_over + counted - len(candidates)
            if not chosen.victims or unfit > settings.caps.spare(len(candidates)):
                # Other actors of a class would have to go before those of the next one, and have no
                # row.
                self._census_not_before = census.now + settings.census_again
                self._take_census(missing, None, f"{at}; {unfit} of those who rank first may not be killed for it")
                return
        self._nobody_left = not chosen.victims
        if not chosen.victims:
            self._census_not_before = census.now + settings.census_again
            self._report("no_victims", f"{at}; nobody of {len(census.candidates):,} may be killed for it")
            return
        because = f"{at}; {len(chosen.victims)} victims, {chosen.deaths} deaths, {chosen.predicted:,} bytes predicted"
        sent = self._emit(ev.KillVictims(chosen.victims, chosen.predicted, chosen.table, because=because))
        if isinstance(sent, ev.KillVictims):
            dead = frozenset().union(*(victim.radius for victim in sent.victims))
            self._rounds.begin(
                sent.number, census.now, sample, self._rate.mean(), sent.predicted, dead, judged=not sent.dry_run
            )

    # --- Stopping ---------------------------------------------------------------------------------

    def _stop(self, sample: MemorySample, ladder: LadderSettings) -> None:
        now, since, settings = sample.now, self._ladder.since, self.settings
        if self.level < EXHAUSTED:
            if self.phase is not Phase.GOVERNING:
                self._enter(Phase.GOVERNING, now)
            return
        if sample.needed < ladder.exhausted.leave * sample.limit or now <= since:
            return
        at = f"EXHAUSTED for {now - since:.3g} s, {sample.needed:,} bytes needed of {sample.limit:,} ({sample.source})"
        waited = now - self._phase_since
        if self.phase is Phase.GOVERNING:
            why = self._why_stop_all(now, now - since)
            if why:
                self._enter(Phase.ALL_STOPPED, now)
                if self._does("stop_all"):
                    self._emit(ev.StopAllButCritical(because=f"{at}: {why}"))
        elif self.phase is Phase.ALL_STOPPED and waited >= settings.stop_node_after and self._does("stop_node"):
            self._enter(Phase.NODE_STOPPED, now)
            because = f"{at}: still, {waited:.3g} s after all but critical actors were stopped"
            sent = self._emit(ev.StopNode(settings.exit_status, because=because))
            self.over = sent is not None and not sent.dry_run

    def _why_stop_all(self, now: float, exhausted_for: float) -> str:
        """Why all but critical actors are to be stopped; "" if they are not."""
        if exhausted_for >= self.settings.stop_all_after:
            return f"more than {self.settings.stop_all_after:g} s"
        if self._rounds.stopped(now):
            return "kills do not help"
        return "nobody is left who may be killed" if self._nobody_left else ""

    def _enter(self, phase: Phase, now: float) -> None:
        assert allows(PHASES, self.phase, phase), f"no arrow leads from {self.phase} to {phase}"
        self.phase, self._phase_since = phase, now

    # --- Saying so --------------------------------------------------------------------------------

    def _does(self, action: LevelAction) -> bool:
        return self.settings.does(action, self.level)

    def _report(self, kind: ev.ReportKind, because: str) -> None:
        self._emit(ev.EmitReport(kind, self.level, because=because), observed=True)

    def _emit(self, action: ev.GovernorAction, *, observed: bool = False) -> ev.GovernorAction | None:
        """Number and mark it, let it be revised, and send it; None if it was dropped."""
        number = next(self._numbers)
        dry_run = self.settings.dry_run and not observed
        made: ev.GovernorAction | None = attrs.evolve(action, number=number, dry_run=dry_run)
        if self.settings.revise is not None and made is not None:
            made = self.settings.revise(made)
            if made is not None:
                made = attrs.evolve(made, number=number)
        if made is not None:
            self._out.append(made)
        return made
