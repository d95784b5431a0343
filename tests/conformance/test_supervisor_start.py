"""supervisor_SUITE, start: how the start of a supervisor or a child may end (SUP-01 to SUP-21)."""

from __future__ import annotations

import logging
import math

import pytest

import actorkit as ak
from actorkit.policy.supervision.supervisor_flags import SupervisorFlags
from actorkit.testing import Probe
from tests.conformance.marks import conforms, differs
from tests.supervision.kit import (
    DIED,
    NOT_STARTED,
    D,
    Lab,
    Reasons,
    S,
    Worker,
    counts,
    dyn,
    settled,
    states,
    top,
    tree,
    under,
)


class Special(ak.Supervisor):
    """A supervisor whose init does what it is told, in place of OTP's callback."""

    def __init__(self, plan, children=()):
        super().__init__(SupervisorFlags(), tuple(children))
        self.plan = plan

    def init(self):
        if self.plan == "raise":
            raise ValueError("no luck")
        return {"ignore": ak.IGNORE, "nonsense": 42}[self.plan]


def special(plan, *children):
    return ak.ChildSpec(Special, args=(plan, children), kind="supervisor", id="special")


class Parent(ak.Actor):
    """Starts others, linked, and keeps the exits that it receives from them."""

    trap_exit = True

    def __init__(self):
        self.heard = []

    @ak.call
    def start(self, spec):
        return self.ctx.spawn_link(spec)

    @ak.call
    def all(self):
        return self.heard

    def handle_info(self, message):
        self.heard.append(message)


async def exit_of(node, spec):
    """The Exit that a trapping parent gets from the start of ``spec``."""
    parent = node.spawn(Parent)
    ref = await parent.call(Parent.start, spec)
    await settled()
    (message,) = await parent.call(Parent.all)
    assert message.source is ref
    assert not ref.alive
    return message.reason


@conforms("SUP-01")
async def test_an_empty_supervisor():
    """An empty supervisor starts, ends with Shutdown when its parent says so, and ignores the same
    exit from a stranger.
    """
    async with ak.open_node(under(restart="permanent")) as node:
        ref = node.whereis("top")
        assert await states() == {}
        assert await counts() == (0, 0, 0, 0)
        ref.exit(ak.SHUTDOWN)
        await settled()
        assert ref.alive
        with Reasons(node) as reasons:
            await ak.named(S, "root").call(S.terminate_child, "top")
            assert reasons[ref] == ak.SHUTDOWN
            assert await ak.named(S, "root").call(S.which_child, "top")


@conforms("SUP-02")
async def test_a_supervisor_that_is_not_needed():
    """When init returns IGNORE, start gives None, a trapping parent gets an Exit with Normal, and
    no child is started.
    """
    lab = Lab()
    async with ak.open_node(tree()) as node:
        spec = special("ignore", lab.spec("a"))
        assert await node.start(spec) is None
        assert await exit_of(node, spec) == ak.NORMAL
        assert await top().call(S.start_child, spec) is None
        assert await states() == {"special": "undefined"}
        assert lab.log == []


@conforms("SUP-08", "DYN-05")
async def test_an_init_that_returns_nonsense():
    """The start fails with a BadReturn, and a linked parent gets the same reason."""
    async with ak.open_node() as node:
        spec = special("nonsense")
        with pytest.raises(ak.StartFailed) as caught:
            await node.start(spec)
        assert caught.value.reason == ak.BadReturn(
            "Special.init, which must return None, ak.IGNORE or ak.Stop(reason)", "42"
        )
        assert await exit_of(node, spec) == caught.value.reason


@conforms("SUP-09")
async def test_an_init_that_raises():
    """The reason of the failed start has the exception and its stack."""
    async with ak.open_node() as node:
        with pytest.raises(ak.StartFailed) as caught:
            await node.start(special("raise"))
        reason = caught.value.reason
        assert reason == ak.Crash("ValueError", "no luck")
        assert 'raise ValueError("no luck")' in reason.traceback
        assert "in init" in reason.traceback


@conforms("SUP-03")
@differs("SUP-03")
async def test_a_permanent_child_that_ignores():
    """start_child gives None, and the spec is kept as undefined; the listing is in start order, not
    the newest first.
    """
    lab = Lab()
    lab.inits["b"] = ["ignore"]
    async with ak.open_node(tree(lab.spec("a"))):
        assert await top().call(S.start_child, lab.spec("b")) is None
        infos = await top().call(S.which_children)
        assert [(info.id, info.ref, info.state) for info in infos] == [
            ("a", lab.refs["a"], "running"),
            ("b", None, "undefined"),
        ]
        assert await counts() == (2, 1, 0, 2)


@conforms("SUP-04")
async def test_a_temporary_child_in_the_list_that_ignores():
    """The spec of a temporary child that ignores is not kept."""
    lab = Lab()
    lab.inits["a"] = ["ignore"]
    async with ak.open_node(tree(lab.spec("a", restart="temporary"), lab.spec("b", restart="temporary"))):
        assert await states() == {"b": "running"}
        assert await counts() == (1, 1, 0, 1)


@conforms("SUP-05")
async def test_a_temporary_child_by_hand_that_ignores():
    """start_child gives None, the child is not listed, and its id is free at once."""
    lab = Lab()
    lab.inits["b"] = ["ignore", "ok"]
    async with ak.open_node(tree(lab.spec("a", restart="temporary"))):
        assert await top().call(S.start_child, lab.spec("b", restart="temporary")) is None
        assert await states() == {"a": "running"}
        assert await counts() == (1, 1, 0, 1)
        assert await top().call(S.start_child, lab.spec("b", restart="temporary")) is lab.refs["b"]


@conforms("SUP-06", "SUP-07")
@pytest.mark.parametrize("restart", ["temporary", "permanent"])
async def test_a_dynamic_child_that_ignores(restart):
    """A dynamic child that ignores is not kept, whatever its restart type; the supervisor ends with
    Shutdown afterwards.
    """
    lab = Lab()
    lab.inits["b"] = ["ignore"]
    async with ak.open_node(ak.supervisor(ak.dynamic_supervisor().with_(name="dyn", restart="temporary"))) as node:
        one = await dyn().call(D.start_child, lab.spec("a", restart=restart))
        assert await dyn().call(D.start_child, lab.spec("b", restart=restart)) is None
        assert [info.ref for info in await dyn().call(D.which_children)] == [one]
        assert await counts(dyn()) == (1, 1, 0, 1)
        with Reasons(node) as reasons:
            ref = node.whereis("dyn")
            ref.stop(ak.SHUTDOWN)
            await node.stopped(ref)
            assert (reasons[ref], reasons[one]) == (ak.SHUTDOWN, ak.SHUTDOWN)


@conforms("SUP-10", "SUP-12")
@differs("SUP-10")
@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_a_start_that_returns_an_error(kind):
    """Stop(reason) gives StartFailed with that reason, and nothing is listed afterwards; any other
    value is a BadReturn that shows the value, and is not taken for a reason.
    """
    lab = Lab()
    lab.inits["a"] = ["stop", "nonsense"]
    root = tree() if kind == "static" else ak.dynamic_supervisor().with_(name="top")
    method = S.start_child if kind == "static" else D.start_child
    async with ak.open_node(root):
        for reason in (
            NOT_STARTED,
            ak.BadReturn("Worker.init, which must return None, ak.IGNORE or ak.Stop(reason)", "42"),
        ):
            with pytest.raises(ak.StartFailed) as caught:
                await top().call(method, lab.spec("a"))
            assert caught.value.reason == reason
            assert await top().call(S.which_children) == ()
            assert await counts() == (0, 0, 0, 0)


@conforms("SUP-11")
async def test_a_restart_by_hand_that_fails():
    """restart_child raises the reason; the spec stays, without a ref."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"))):
        await top().call(S.terminate_child, "a")
        lab.inits["a"] = ["stop"]
        with pytest.raises(ak.StartFailed) as caught:
            await top().call(S.restart_child, "a")
        assert caught.value.reason == NOT_STARTED
        (info,) = await top().call(S.which_children)
        assert (info.id, info.ref, info.state) == ("a", None, "undefined")


@differs("SUP-13")
async def test_a_childspec_has_its_defaults_filled_in():
    """The defaults are permanent, worker, and 5 s to shut down, or no limit for a supervisor; an
    unknown id is not found. There are no modules.
    """
    lab = Lab()
    inner = ak.supervisor().with_(id="s")
    async with ak.open_node(tree(ak.child(Worker, lab, "a").with_(id="a"), inner)):
        spec = await top().call(S.get_childspec, "a")
        assert (spec.id, spec.start, spec.args) == ("a", Worker, (lab, "a"))
        assert (spec.restart, spec.shutdown, spec.kind, spec.significant) == ("permanent", 5.0, "worker", False)
        assert not hasattr(spec, "modules")
        spec = await top().call(S.get_childspec, "s")
        assert (spec.restart, spec.shutdown, spec.kind) == ("permanent", math.inf, "supervisor")
        with pytest.raises(ak.ChildNotFound):
            await top().call(S.get_childspec, "x")


@differs("SUP-14")
async def test_a_dynamic_supervisor_keeps_no_spec_to_read():
    """A dynamic supervisor's children may all be different, as in Elixir, so it has no
    get_childspec; a static supervisor's get_childspec takes ids only.
    """
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"), ak.dynamic_supervisor().with_(name="dyn"))) as node:
        ref = await dyn().call(D.start_child, lab.spec("b"))
        with pytest.raises(ak.NotAMessage):
            await dyn().call(S.get_childspec, ref)
        for by in (ref, lab.refs["a"], node.spawn(Parent)):
            with pytest.raises(ak.ChildNotFound):
                await top().call(S.get_childspec, by)


@conforms("SUP-15")
@differs("SUP-15")
def test_faulty_specs():
    """A spec without an id or a start, and something that is no spec, have their own refusals. So
    has an unknown key.
    """
    with pytest.raises(ak.InvalidChildSpec) as caught:
        ak.ChildSpec(lambda: None, id=None).with_(start=type("Callable", (), {"__call__": print})())
    assert caught.value.field == "id"
    with pytest.raises(TypeError, match="start"):
        ak.ChildSpec()
    with pytest.raises(ak.InvalidChildSpec) as caught:
        ak.ChildSpec(None)
    assert caught.value.field == "start"
    for bad in (Worker, {"id": "a"}, ("a", Worker), None):
        with pytest.raises(ak.InvalidChildSpec) as caught:
            ak.supervisor(bad)
        assert caught.value.field == "spec"
    with pytest.raises(TypeError, match="colour"):
        ak.child(Worker).with_(colour="red")


BAD_FIELDS = [
    ("start", 7),
    ("args", "ab"),
    ("restart", "sometimes"),
    ("shutdown", -10),
    ("kind", "manager"),
    ("significant", "yes"),
    ("significant", True),
    ("id", []),
]
GOOD_FIELDS = [
    {},
    {"restart": "transient", "shutdown": 0},
    {"restart": "temporary", "shutdown": math.inf, "significant": True},
    {"kind": "supervisor"},
    {"shutdown": "brutal_kill", "init_timeout": math.inf},
]


@conforms("SUP-16")
@differs("SUP-16")
async def test_child_specs_are_checked_when_they_are_made():
    """Every bad field has its own error where the spec is made, so neither start_child nor a
    supervisor's start ever sees one. Both take five good forms, and refuse an id that comes twice.
    """
    for field, value in BAD_FIELDS:
        with pytest.raises(ak.InvalidChildSpec) as caught:
            ak.child(Worker, None, "a").with_(**{field: value})
        assert caught.value.field == field
    lab = Lab()
    goods = [lab.spec(n, **fields) for n, fields in enumerate(GOOD_FIELDS)]
    async with ak.open_node(tree(*goods, auto_shutdown="any_significant")):
        assert await counts() == (5, 5, 1, 4)
    async with ak.open_node(tree(auto_shutdown="any_significant")):
        for good in goods:
            assert await top().call(S.start_child, good) is lab.refs[good.id]
        with pytest.raises(ak.ChildAlreadyStarted):
            await top().call(S.start_child, goods[0])
    with pytest.raises(ak.DuplicateChildId):
        ak.supervisor(goods[0], goods[1], goods[0])
    with pytest.raises(ak.InvalidChildSpec):
        ak.supervisor("no spec")


@conforms("SUP-17")
@differs("SUP-17")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "none_for_one"),
        ("strategy", ("one_for_one", 1)),
        ("max_restarts", math.inf),
        ("max_restarts", -1),
        ("max_seconds", 0),
        ("max_seconds", math.inf),
        ("auto_shutdown", "sometimes"),
    ],
)
def test_bad_flags(field, value):
    """Each bad flag is refused with its own error; so is an unknown one, which OTP ignores."""
    with pytest.raises(ak.InvalidSupervisorFlag) as caught:
        ak.supervisor(**{field: value})
    assert caught.value.field == field
    with pytest.raises(TypeError, match="colour"):
        ak.supervisor(colour="red")
    with pytest.raises(ak.InvalidSupervisorFlag):
        ak.dynamic_supervisor(**{field: value}) if field not in ("strategy", "auto_shutdown") else ak.supervisor(
            **{field: value}
        )


@conforms("SUP-18")
@differs("SUP-18")
async def test_admin_calls_in_turn():
    """Calls on an unknown id raise ChildNotFound, on a running child ChildRunning, and the counts
    are right after each step; the same holds for a child that the supervisor has restarted. A start
    gives a ref and nothing else.
    """
    lab = Lab()
    async with ak.open_node(tree()):
        ref = await top().call(S.start_child, lab.spec("a"))
        assert ref is lab.refs["a"]
        for method in (S.terminate_child, S.delete_child, S.restart_child):
            with pytest.raises(ak.ChildNotFound):
                await top().call(method, "hej")
        for method in (S.delete_child, S.restart_child):
            with pytest.raises(ak.ChildRunning):
                await top().call(method, "a")
        assert await counts() == (1, 1, 0, 1)
        await top().call(S.terminate_child, "a")
        assert await counts() == (1, 0, 0, 1)
        assert await top().call(S.restart_child, "a") is lab.refs["a"]
        lab.refs["a"].cast(Worker.end, DIED)
        await settled()
        assert len(lab.lives["a"]) == 3
        assert await counts() == (1, 1, 0, 1)
        await top().call(S.terminate_child, "a")
        await top().call(S.delete_child, "a")
        assert await counts() == (0, 0, 0, 0)


@conforms("SUP-19")
async def test_progress_reports_of_starts_by_hand(caplog):
    """There is one progress report for each start that worked, by start_child or restart_child; it
    names the supervisor and the child. A start that failed or was ignored has none, a stop has
    none, and no start is reported as a restart.
    """
    lab = Lab()
    lab.inits.update({"fails": ["stop"], "ignores": ["ignore"]})
    async with ak.open_node(tree()) as node:
        with (
            caplog.at_level(logging.DEBUG, "actorkit"),
            node.subscribe(ak.ChildRestarted, ak.SupervisorReport) as events,
        ):
            await top().call(S.start_child, lab.spec("a"))
            with pytest.raises(ak.StartFailed):
                await top().call(S.start_child, lab.spec("fails"))
            await top().call(S.start_child, lab.spec("ignores"))
            await top().call(S.terminate_child, "a")
            await top().call(S.restart_child, "a")
            assert events.drain() == []
        progress = [record.getMessage() for record in caplog.records if "progress" in record.getMessage()]
        assert len(progress) == 2
        assert all("Supervisor 'top'" in line and "child 'a'" in line for line in progress)
        assert node.statistics().restarts == 0


@conforms("SUP-20")
async def test_somebody_elses_actor_is_no_child():
    """A start that finds its name taken fails and names the holder, which is not touched."""
    lab = Lab()
    async with ak.open_node(tree()) as node:
        stranger = node.spawn(lab.spec("stranger", name="svc"))
        for _ in range(2):
            with pytest.raises(ak.StartFailed) as caught:
                await top().call(S.start_child, lab.spec("a", name="svc"))
            reason = caught.value.reason
            assert reason.type == "AlreadyRegistered"
            assert str(stranger.pid) in reason.message
            assert await states() == {}
        assert node.whereis("svc") is stranger
        assert stranger.alive


@conforms("SUP-20")
@pytest.mark.parametrize("kind", ["static", "dynamic"])
async def test_a_factory_that_returns_a_living_actor(kind):
    """An object is one actor: a start that returns an object which has already been started fails,
    and leaves that actor alone.
    """
    lab = Lab()
    made = []

    def factory():
        if not made:
            made.append(Worker.__new__(Worker))
            made[0].lab, made[0].name = lab, "made"
        return made[0]

    root = tree() if kind == "static" else ak.dynamic_supervisor().with_(name="top")
    method = S.start_child if kind == "static" else D.start_child
    async with ak.open_node(root) as node:
        first = await top().call(method, ak.child(factory).with_(id="first"))
        with pytest.raises(ak.StartFailed) as caught:
            await top().call(method, ak.child(factory).with_(id="second"))
        assert "already" in str(caught.value)
        assert first.alive
        await top().call(
            S.terminate_child if kind == "static" else D.terminate_child, "first" if kind == "static" else first
        )
        with pytest.raises(ak.StartFailed) as caught:  # nor after it has ended
            await top().call(method, ak.child(factory).with_(id="second"))
        assert "already" in str(caught.value)
        probe = Probe(node)
        probe.ref.send("the node goes on")
        assert await probe.receive() == "the node goes on"


@conforms("SUP-21")
async def test_a_failing_child_deep_in_a_tree():
    """The error that open_node raises is nested: shutdown, failed to start, id, down to the reason
    with its stack.
    """
    lab = Lab()
    lab.inits["leaf"] = ["raise"]
    inner = ak.supervisor(ak.supervisor(lab.spec("leaf")).with_(id="inmost")).with_(id="inner")
    with pytest.raises(ak.StartFailed) as caught:
        async with ak.open_node(tree(inner)):
            raise AssertionError("the body runs")
    reason, path = caught.value.reason, []
    while isinstance(reason, ak.Shutdown):
        assert isinstance(reason.detail, ak.FailedToStart)
        path.append(reason.detail.child_id)
        reason = reason.detail.reason
    assert path == ["inner", "inmost", "leaf"]
    assert isinstance(reason, ak.Crash)
    assert reason == ak.Crash("ValueError", "no luck")
    assert "in init" in reason.traceback
