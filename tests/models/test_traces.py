"""The same seed gives the same trace, and a saved trace is replayed without trio, to the same
actions.
"""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import actorkit as ak
import actorkit.supervision.static as supervisor_module
from actorkit.policy.memory import governor_events as gev
from actorkit.policy.memory.candidates import Candidate, Census, Radius
from actorkit.policy.memory.governor import GovernorMachine
from actorkit.policy.memory.governor_settings import GovernorSettings
from actorkit.policy.memory.memory_sample import MemorySample
from actorkit.policy.supervision import supervision_events as ev
from actorkit.policy.supervision.dynamic import DynamicSupervision
from actorkit.policy.supervision.static import Supervision
from actorkit.policy.supervision.supervisor_flags import DynamicFlags, SupervisorFlags
from actorkit.testing import Diverged, Recorded, Trace
from tests.effort import times
from tests.policy.driver import Driver, spec
from tests.policy.memory_node import LIMIT, Node, crowd
from tests.policy.reference import NAMES, REASONS, history
from tests.policy.test_governor_simulated import SETTINGS
from tests.schedules import run_shuffled


def a_supervisor(seed: int) -> Trace:
    pick = random.Random(seed)
    specs = [spec(name, backoff=ak.Backoff() if pick.random() < 0.5 else None) for name in NAMES[:4]]
    flags = SupervisorFlags(strategy="rest_for_one", max_restarts=5)
    trace = Trace(Supervision, flags, specs, fraction=pick.random)
    driver = Driver(machine=trace, strategy="rest_for_one").begin()
    for step in history(seed):
        if driver.outcome is not None:
            break
        driver.now += 0.3
        match step.kind:
            case "exit" if driver.states().get(step.name) == "running":
                driver.exit(step.name, REASONS[step.extra % len(REASONS)])
            case "fail":
                driver.failing = {step.name}
            case "mend":
                driver.failing = set()
            case "start_child" | "terminate" | "restart" | "delete" as deed:
                getattr(driver, deed)(step.name)
    return trace


def a_dynamic_supervisor(seed: int) -> Trace:
    pick = random.Random(seed)
    trace = Trace(DynamicSupervision, DynamicFlags(max_restarts=1000), fraction=pick.random)
    driver = Driver(machine=trace).begin()
    for name in "abcde":
        driver.start_child(spec(name, backoff=ak.Backoff()))
    for name in "abcab":
        driver.exit(name)
    driver.terminate(driver.refs["a"])
    driver.stop()
    return trace


def a_governor(seed: int) -> Trace:
    trace: Any = Trace(GovernorMachine, SETTINGS)
    made = Node(trace, crowd(seed, 40, liars=0.3, grows=500), base=0.8 * LIMIT, seed=seed)
    made.run(3)
    assert made.killed
    return trace  # type: ignore[no-any-return]


def test_a_census_is_told_as_it_is() -> None:
    """A census is recorded with its counts, and with those that have no row. Fault: a governor that
    is traced decides differently.
    """
    rows = [Candidate(n, 1, True, None, 60) for n in range(30)]
    census = Census()
    census.add(1, True, False, rows[:3], 30, 1_800, rows[0])
    told = []
    for machine in (
        GovernorMachine(GovernorSettings(answer_within=0)),
        Trace(GovernorMachine, GovernorSettings(answer_within=0)),
    ):
        [*_, asked] = machine.handle(gev.Sampled(MemorySample(0.0, 1_000, 950, "test", 950)))
        told.append(
            machine.handle(gev.CensusTaken(0.1, asked.number, census, lambda key: Radius(frozenset(), 0, True)))
        )
    assert told[0] == told[1]
    assert [type(action) for action in told[0]] == [gev.TakeCensus]
    assert machine.replay() == 2  # type: ignore[union-attr]


MAKERS = [a_supervisor, a_dynamic_supervisor, a_governor]


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_seed_is_the_same_trace(make: Any, tmp_path: Path) -> None:
    for seed in range(times(5)):
        traces = make(seed), make(seed)
        for number, trace in enumerate(traces):
            trace.save(tmp_path / str(number))
        assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text()
        assert Trace.load(tmp_path / "0").replay() == len(traces[0].lines) - 1 > 5


@pytest.mark.parametrize("make", MAKERS)
def test_a_replay_that_comes_out_otherwise_is_told(make: Any, tmp_path: Path) -> None:
    trace = make(1)
    trace.save(tmp_path / "trace")
    lines = (tmp_path / "trace").read_text().splitlines()
    changed = next(n for n in range(len(lines) - 1, 0, -1) if len(json.loads(lines[n])["actions"]) > 0)
    step = json.loads(lines[changed])
    step["actions"].pop()
    lines[changed] = json.dumps(step)
    (tmp_path / "trace").write_text("\n".join(lines))
    with pytest.raises(Diverged, match=f"event {changed - 1}"):
        Trace.load(tmp_path / "trace").replay()


def test_fewer_random_numbers_are_told() -> None:
    trace = a_dynamic_supervisor(1)
    trace.lines[-1]["draws"].append(0.5)
    with pytest.raises(Diverged, match="drew 1 random numbers less"):
        trace.replay()


class Crasher(ak.Actor):
    @ak.cast
    def crash(self) -> None:
        raise ValueError("on purpose")


def test_a_running_supervisor_is_recorded_and_replayed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Refs and calls of the running supervisor are placeholders in the replay, and no event loop
    runs.
    """
    caplog.set_level(logging.CRITICAL, "actorkit")
    traces: list[Trace] = []

    def recorded(*args: Any) -> Trace:
        flags, children, fraction = args
        traces.append(Trace(Supervision, flags, children, fraction=fraction))
        return traces[-1]

    monkeypatch.setattr(supervisor_module, "Supervision", recorded)

    async def program() -> None:
        child = ak.child(Crasher).with_(id="one", name="one", backoff=ak.Backoff(first=0.1))
        async with ak.open_node(ak.supervisor(child).with_(name="top")) as node:
            ak.named(Crasher, "one").cast(Crasher.crash)
            top = ak.named(ak.Supervisor, "top")
            while node.whereis("one") is not None:
                await trio.lowlevel.checkpoint()
            with pytest.raises(ak.ChildRestarting):
                await top.call(ak.Supervisor.restart_child, "one")
            await top.call(ak.Supervisor.terminate_child, "one")
            await top.call(ak.Supervisor.restart_child, "one")

    run_shuffled(1, program)
    traces[0].save(tmp_path / "trace")
    kinds = {json.loads(line)["event"]["class"] for line in (tmp_path / "trace").read_text().splitlines()[1:]}
    assert {f"supervision.{k.__name__}" for k in (ev.Begin, ev.ChildExited, ev.StopRequested)} <= kinds
    program_text = (
        "import sys, trio; trio.run = None; from actorkit.testing import Trace; print(Trace.load(sys.argv[1]).replay())"
    )
    replayed = subprocess.run(
        [sys.executable, "-c", program_text, str(tmp_path / "trace")], capture_output=True, text=True, check=True
    )
    assert int(replayed.stdout) == len(traces[0].lines) - 1


SAVED = sorted((Path(__file__).parent / "traces").glob("*.jsonl"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_traces_of_earlier_versions_are_replayed(path: Path) -> None:
    """A saved trace replays to the same actions, though classes have moved and have other names.
    Fault: a trace from the field is of no use after an update.
    """
    lines = path.read_text().splitlines()
    assert Trace.load(path).replay() == len(lines) - 1


def without(value: Any, field: str) -> Any:
    """A trace's line as it was before its classes had ``field``."""
    match value:
        case list():
            return [without(each, field) for each in value]
        case dict():
            return {key: without(each, field) for key, each in value.items() if key != field}
    return value


@pytest.mark.parametrize("field", ["memory_quota", "options"])
def test_a_trace_of_a_class_that_has_got_a_field_since_is_replayed(field: str) -> None:
    """A field that was not recorded gets its default. Fault: a new option of child specs makes
    every saved trace diverge.
    """
    trace = a_supervisor(1)
    older = without(json.loads(json.dumps(trace.lines)), field)
    assert older != trace.lines
    assert Recorded(older).replay() == len(older) - 1


def test_a_field_that_was_not_recorded_is_compared_at_its_default() -> None:
    """A field that was not recorded is still compared: a value other than the default is another
    action.
    """
    lines = json.loads(json.dumps(a_supervisor(1).lines))
    starts = [action for step in lines[1:] for action in step["actions"] if "spec" in action["fields"]]
    action = next(each for each in starts if each["fields"]["spec"]["fields"]["backoff"] is not None)
    del action["fields"]["spec"]["fields"]["backoff"]
    with pytest.raises(Diverged):
        Recorded(lines).replay()


def test_a_newer_trace_is_told(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text('{"version": 1000, "machine": "supervision.Supervision"}\n')
    with pytest.raises(ValueError, match="a trace of version 1000"):
        Trace.load(tmp_path / "trace")


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_what_is_no_trace_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace").write_text(text)
    with pytest.raises(ValueError, match="is no trace"):
        Trace.load(tmp_path / "trace")


@pytest.mark.parametrize(
    "value", [{"class": "subprocess:Popen", "fields": {"args": "true"}}, {"enum": "builtins:print", "value": "read"}]
)
def test_a_trace_calls_nothing_but_classes_of_data(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace calls nothing else, whatever its file says. Fault: a trace from a stranger runs a
    program.
    """
    lines = [{"version": 2, "machine": "supervision.Supervision", "arguments": [value, []], "draws": False}]
    with pytest.raises(LookupError, match="no such class is here"):
        Recorded(lines).replay()
    assert capsys.readouterr().out == ""
