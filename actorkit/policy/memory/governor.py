"""The governor's machine: samples in, actions out.

A sample moves the ladder, and then everything that the level asks for is looked at, cheapest for the actors first:
alarm, refusal and gate (set once, cleared once), asking actors, the reserve, shedding, collecting, trimming, killing,
and at last stopping. Most of it is *paced*: what was not worth it waits longer (``outcomes``). Refusing comes before
collecting: what is let in meanwhile is lost ground. Who is asked to free something has a moment to do so before anybody
is killed.

Killing takes a census, for which the shell is asked only when there is something to kill for; so a round is
TakeCensus, CensusTaken, Kill, ActionDone, and a later sample that judges it (``kill_rounds``). What collecting and
shedding gave back since the last sample is taken off what a round must free.

``used`` may stand at the limit by pages that Python has freed and can use again. Then the level is EXHAUSTED, and yet
nobody is killed and nothing stopped: kills and stops go by ``needed``, against the fraction at which their level is
left.

EXHAUSTED: the reserve is released at once, and kills go on. If memory is still needed after ``stop_all_after``, or if
kills are stopped or find nobody, all but critical actors are stopped, once; if it is still needed ``stop_node_after``
later, the node stops. That is the last decision.

In a dry run everything is decided, marked, and nothing is assumed done; so a round is not judged, and the breaker does
not open.
"""

from __future__ import annotations

import itertools
import math
from typing import Final, Literal

import attrs

from actorkit.policy.memory import governor_events as ev
from actorkit.policy.memory.fill_rate import FillRate, gauge
from actorkit.policy.memory.governor_settings import GovernorSettings, LevelAction
from actorkit.policy.memory.kill_rounds import KillRounds
from actorkit.policy.memory.ladder import Ladder, LadderSettings, Transition
from actorkit.policy.memory.memory_sample import MemoryLevel, MemorySample
from actorkit.policy.memory.outcomes import GC_PREDICTS, ActionKind, Outcome, OutcomeBook
from actorkit.policy.memory.victims import Census, KillCaps, select

__all__ = ["GovernorMachine"]

NORMAL, CONSERVE, SHED, KILL, EXHAUSTED = MemoryLevel

Switch = ev.SetAlarm | ev.ClearAlarm | ev.RefuseAdmission | ev.AllowAdmission | ev.CloseGate | ev.OpenGate
SWITCHES: Final[tuple[tuple[LevelAction, type[Switch], type[Switch]], ...]] = (
    ("alarm", ev.SetAlarm, ev.ClearAlarm),
    ("refuse", ev.RefuseAdmission, ev.AllowAdmission),
    ("close_gate", ev.CloseGate, ev.OpenGate),
)

WORTH_TRIMMING: Final = 0.01
"""Part of the limit that must be retained before the allocator is asked to give pages back."""

MORE_TO_TRIM: Final = 0.02
"""Part of the limit by which what is retained must have grown for a former outcome not to count."""


@attrs.frozen
class _Asked:
    """An action of which an outcome is awaited."""

    kind: ActionKind
    predicted: int
    before: MemorySample


class GovernorMachine:
    """One memory limit's governor: a node's, or a subtree's (see ``SUBTREE_ACTIONS``).

    Example::

        governor = GovernorMachine()
        actions = governor.handle(Sampled(MemorySample(0.0, limit=1000, used=750, source="test", resident=750)))
        # LevelChanged(CONSERVE), SetAlarm, TellActors, CollectGarbage, …; look again at governor.look_at
    """

    def __init__(self, settings: GovernorSettings | None = None) -> None:
        self.settings = settings or GovernorSettings()
        self.look_at = -math.inf
        """When the next sample is wanted."""
        self.over = False
        """The node has been told to stop: nothing is decided any more."""
        self._rate = FillRate(self.settings.looks)
        self._ladder = Ladder(self.settings.ladder)
        self._rounds = KillRounds(self.settings.kills)
        self._book = OutcomeBook(self.settings.paces)
        self._numbers = itertools.count(1)
        self._out: list[ev.GovernorAction] = []
        self._sample: MemorySample | None = None
        self._asked: dict[int, _Asked] = {}
        self._unjudged: list[tuple[_Asked, float, float]] = []
        self._switched: set[LevelAction] = set()
        self._freed = 0
        self._told_at = -math.inf
        self._left_by_trim = 0
        self._reserve_out = False
        self._census = 0
        self._everybody = False
        self._census_not_before = -math.inf
        self._nobody_left = False
        self._were_stopped = False
        self._all_stopped_at: float | None = None
        self._node_stopped = False

    @property
    def level(self) -> MemoryLevel:
        """How short of memory the node is."""
        return self._ladder.level

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What the last actions gave, oldest first."""
        return tuple(self._book.outcomes)

    def handle(self, event: ev.Event) -> list[ev.GovernorAction]:
        """Take note of ``event`` and return what is to be done now, in that order."""
        self._out = []
        if not self.over:
            match event:
                case ev.Sampled(sample=sample):
                    self._sampled(sample)
                case ev.ActionDone():
                    self._done(event)
                case ev.CensusTaken():
                    self._kill(event)
        return self._out

    # --- Samples ------------------------------------------------------------------------------

    def _sampled(self, sample: MemorySample) -> None:
        settings = self.settings
        self._sample, self._freed = sample, 0
        self._rate.note(sample)
        if settings.thresholds is not None:
            self._ladder.settings = settings.thresholds(sample)
        wait = self._rate.look_after(settings.alert_look if self.level >= SHED else math.inf)
        moved = self._ladder.step(sample, self._rate.time_to_limit(), wait + settings.looks.reaction)
        if moved is not None:
            self._emit(ev.LevelChanged(moved.level, moved.previous, because=moved.because), observed=True)
            wait = self._rate.look_after(settings.alert_look if self.level >= SHED else math.inf)
        self.look_at = sample.now + wait
        self._judge(sample)
        self._work(sample, moved)

    def _judge(self, sample: MemorySample) -> None:
        for asked, at, duration in self._unjudged:
            returned = max(0, asked.before.resident - sample.resident)
            fell = returned if asked.kind == "trim" else max(0, gauge(asked.before) - gauge(sample))
            self._note(Outcome(asked.kind, at, asked.predicted, fell, duration, returned))
        self._unjudged.clear()
        judgement = self._rounds.look(sample, self._rate.time_to_limit())
        if judgement is not None:
            self._book.note(judgement.outcome)
            kind: ev.ReportKind = "kills_futile" if judgement.stopped_for else "kill_judged"
            self._were_stopped = bool(judgement.stopped_for)
            self._report(kind, judgement.because)

    def _work(self, sample: MemorySample, moved: Transition | None) -> None:
        ladder, level = self._ladder.settings, self.level
        at = f"{level.name}: {sample.needed:,} bytes needed of {sample.limit:,} ({sample.source})"
        for action, on, off in SWITCHES:
            wanted = self._does(action)
            if wanted != (action in self._switched):
                self._switched.symmetric_difference_update((action,))
                self._emit((on if wanted else off)(because=at))
        self._tell(sample, ladder, moved, at)
        self._reserve(sample, ladder, at)
        self._free(sample, ladder, at)
        self._ask_for_census(sample, ladder, at)
        self._stop(sample.now, sample, ladder)

    def _tell(self, sample: MemorySample, ladder: LadderSettings, moved: Transition | None, at: str) -> None:
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
        # By ``used``, since ballast takes new pages: it must not bring the node back to where it was needed.
        fits = sample.used + self.settings.reserve < ladder.kill.leave * sample.limit
        if self._reserve_out and self.level == NORMAL and fits:
            self._reserve_out = False
            self._emit(ev.RebuildReserve(because=f"{at}: the reserve of {self.settings.reserve:,} bytes fits again"))

    # --- Shedding, collecting, trimming -------------------------------------------------------

    def _free(self, sample: MemorySample, ladder: LadderSettings, at: str) -> None:
        wanted = math.ceil(sample.needed - ladder.shed.leave * sample.limit)
        if wanted > 0 and self._is_due("shed", sample):
            self._ask("shed", wanted, sample, ev.ShedMailboxes(wanted, because=f"{at}: {wanted:,} bytes wanted back"))
        live = gauge(sample)
        if self._is_due("gc", sample):
            predicted = math.ceil(GC_PREDICTS * live)
            self._ask("gc", predicted, sample, ev.CollectGarbage(because=f"{at}: cycles may hold {predicted:,} bytes"))
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
        self._note(Outcome(asked.kind, done.now, asked.predicted, realised, done.duration))

    def _note(self, outcome: Outcome) -> None:
        if self._book.note(outcome):
            self._report(
                "action_backed_off",
                f"{outcome.action} was to free {outcome.predicted:,} bytes and freed {outcome.realised:,}: waits "
                f"{self._book.paces[outcome.action].interval:g} s",
            )

    # --- Killing ------------------------------------------------------------------------------

    def _missing(self, sample: MemorySample, ladder: LadderSettings) -> int:
        return max(0, self._rounds.missing(sample, ladder.kill.leave) - self._freed)

    def _ask_for_census(self, sample: MemorySample, ladder: LadderSettings, at: str) -> None:
        now, missing = sample.now, self._missing(sample, ladder)
        if not missing:
            self._nobody_left = False
        if not missing or not self._does("kill") or self._all_stopped_at is not None:
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
        # Until it is answered; and if it never is, another will be asked for.
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
                # Others of a class would have to go before those of the next one, and have no row.
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

    # --- Stopping -----------------------------------------------------------------------------

    def _stop(self, now: float, sample: MemorySample, ladder: LadderSettings) -> None:
        if self.level < EXHAUSTED:
            self._all_stopped_at, self._node_stopped = None, False
            return
        since, settings = self._ladder.since, self.settings
        if sample.needed < ladder.exhausted.leave * sample.limit or now <= since:
            return
        at = f"EXHAUSTED for {now - since:.3g} s, {sample.needed:,} bytes needed of {sample.limit:,} ({sample.source})"
        if self._all_stopped_at is None:
            if now - since >= settings.stop_all_after:
                why = f"more than {settings.stop_all_after:g} s"
            elif self._rounds.stopped(now):
                why = "kills do not help"
            elif self._nobody_left:
                why = "nobody is left who may be killed"
            else:
                return
            self._all_stopped_at = now
            if self._does("stop_all"):
                self._emit(ev.StopAllButCritical(because=f"{at}: {why}"))
            return
        waited = now - self._all_stopped_at
        if waited >= settings.stop_node_after and not self._node_stopped and self._does("stop_node"):
            self._node_stopped = True
            because = f"{at}: still, {waited:.3g} s after all but critical actors were stopped"
            sent = self._emit(ev.StopNode(settings.exit_status, because=because))
            self.over = sent is not None and not sent.dry_run

    # --- Saying so ----------------------------------------------------------------------------

    def _does(self, action: LevelAction) -> bool:
        return self.settings.does(action, self.level)

    def _report(self, kind: ev.ReportKind, because: str) -> None:
        self._emit(ev.EmitReport(kind, self.level, because=because), observed=True)

    def _emit(self, action: ev.GovernorAction, *, observed: bool = False) -> ev.GovernorAction | None:
        """Number and mark it, let it be revised, and send it; None if it was dropped."""
        number = next(self._numbers)
        made: ev.GovernorAction | None = attrs.evolve(
            action, number=number, dry_run=self.settings.dry_run and not observed
        )
        if self.settings.revise is not None and made is not None:
            made = self.settings.revise(made)
            if made is not None:
                made = attrs.evolve(made, number=number)
        if made is not None:
            self._out.append(made)
        return made
