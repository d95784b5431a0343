"""Elixir's dynamic_supervisor_test (DYN-01 to DYN-41). What its tests and ours assert alike of
restarts and stops is in tests/supervision and tests/policy.
"""

from __future__ import annotations

import math

import pytest
import trio

import actorkit as ak
from actorkit.policy.supervision.supervisor_flags import DynamicFlags
from tests.conformance.marks import conforms, differs
from tests.supervision.kit import DIED, D, Lab, Own, Quiet, Reasons, S, Slow, Worker, counts, dyn, settled, top, tree


def root(**flags):
    return ak.supervisor(ak.dynamic_supervisor(**flags).with_(name="dyn", restart="temporary")).with_(name="top")


def start(lab, name, cls=None, /, **fields):
    return dyn().call(D.start_child, lab.spec(name, cls, **fields))


async def end_of(node):
    """Stop the supervisor with Shutdown and return the reasons of all ends, by ref."""
    ref = node.whereis("dyn")
    with Reasons(node) as reasons:
        ref.stop(ak.SHUTDOWN)
        await node.stopped(ref)
        assert reasons[ref] == ak.SHUTDOWN
        return reasons.seen


# --- As a child and by itself ---------------------------------------------------------------------


@conforms("DYN-01", "DYN-02")
async def test_as_children_of_a_supervisor():
    """Dynamic supervisors with names have different ids; a second one without a name is refused as
    already started.
    """
    async with ak.open_node(tree(*(ak.dynamic_supervisor().with_(name=name) for name in ("one", "two")))):
        for name in ("one", "two"):
            assert (await top().call(S.which_child, name)).kind == "supervisor"
            assert await ak.named(D, name).call(D.which_children) == ()
        plain = ak.dynamic_supervisor()
        await top().call(S.start_child, plain)
        with pytest.raises(ak.ChildAlreadyStarted):
            await top().call(S.start_child, plain)


@differs("DYN-03", "DYN-08")
async def test_its_spec():
    """Id, type and restart are as in Elixir, changed by with_ instead of options of `use`. Listings
    and the tree show it as a supervisor by its kind; its label is its class.
    """
    spec = ak.dynamic_supervisor()
    assert (spec.id, spec.kind, spec.restart, spec.shutdown) == (
        "DynamicSupervisor",
        "supervisor",
        "permanent",
        math.inf,
    )
    changed = spec.with_(id="x", restart="temporary", shutdown="brutal_kill", start=Quiet)
    assert (changed.id, changed.restart, changed.shutdown, changed.start) == ("x", "temporary", "brutal_kill", Quiet)
    async with ak.open_node(root()) as node:
        entry = node.tree()
        assert [entry.kind, entry.children[0].kind] == ["supervisor", "supervisor"]
        assert node.process_info(node.whereis("dyn")).kind == "DynamicSupervisor"


@conforms("DYN-04")
def test_default_flags():
    """The defaults are 3 restarts in 5 seconds, any number of children, and no extra arguments."""
    flags, extra_arguments = ak.dynamic_supervisor().args
    assert flags == DynamicFlags(max_restarts=3, max_seconds=5.0, max_children=math.inf)
    assert extra_arguments == ()


@conforms("DYN-05")
@differs("DYN-05")
@pytest.mark.parametrize(
    ("field", "value"),
    [("max_restarts", -1), ("max_seconds", 0), ("max_children", -1), ("extra_arguments", "ab"), ("extra_arguments", 7)],
)
def test_bad_flags(field, value):
    """Each bad flag has its own error. Flags that it does not have, strategy and auto_shutdown, are
    Python's TypeError.
    """
    with pytest.raises(ak.InvalidSupervisorFlag) as caught:
        ak.dynamic_supervisor(**{field: value})
    assert caught.value.field == field
    for unknown in ({"strategy": "one_for_all"}, {"auto_shutdown": "any_significant"}):
        with pytest.raises(TypeError):
            ak.dynamic_supervisor(**unknown)


@conforms("DYN-05")
async def test_an_init_that_ignores():
    """When init ignores, the start returns None."""

    class Ignores(ak.DynamicSupervisor):
        def init(self):
            return ak.IGNORE

    async with ak.open_node() as node:
        assert await node.start(ak.ChildSpec(Ignores, args=(DynamicFlags(),), kind="supervisor")) is None


@conforms("DYN-06")
@differs("DYN-06")
async def test_it_is_registered_and_belongs_to_its_parent():
    """It is registered by its name, shows its parent, and can be stopped. Its parent holds it
    without a link in the list of links.
    """
    async with ak.open_node(root()) as node:
        ref = node.whereis("dyn")
        info = node.process_info(ref)
        assert (info.name, info.parent, info.links) == ("dyn", node.whereis("top").pid, ())
        ref.stop()
        assert await node.stopped(ref) == ak.NORMAL
        assert node.whereis("dyn") is None


@conforms("DYN-07")
async def test_its_priority_is_handed_through():
    """scheduling="high" applies to the supervisor itself."""
    async with ak.open_node(ak.dynamic_supervisor().with_(name="dyn", scheduling="high")) as node:
        assert node.process_info(node.whereis("dyn")).scheduling == "high"


# --- start_child ----------------------------------------------------------------------------------


@conforms("DYN-12")
@differs("DYN-13")
async def test_forms_of_specs():
    """start_child takes a ChildSpec with its fields, or ak.child(Class, argument) in place of
    {Module, argument}, and nothing else.
    """
    lab = Lab()
    async with ak.open_node(root()):
        for spec in (ak.ChildSpec(Worker, args=(lab, "a"), id="a"), ak.child(Worker, lab, "b")):
            assert await dyn().call(D.start_child, spec) is lab.refs[spec.args[1]]
        for bad in (Worker, (Worker, lab), {"start": Worker}):
            with pytest.raises(ak.InvalidChildSpec):
                await dyn().call(D.start_child, bad)


@conforms("DYN-15")
@differs("DYN-15")
async def test_specs_are_invalid_before_the_supervisor_is_asked():
    """A bad spec is refused where it is made, so the supervisor need not exist. A significant child
    is refused by the supervisor, since the same spec is valid for a static one.
    """
    nowhere = ak.named(D, "nowhere")
    async with ak.open_node(root()):
        for make in (
            lambda: ak.child(None),
            lambda: ak.ChildSpec(start="Worker"),
            lambda: ak.ChildSpec(Worker, args="ab"),
            lambda: ak.child(Worker).with_(shutdown=-1),
            lambda: ak.child(Worker).with_(significant=True),
        ):
            with pytest.raises(ak.InvalidChildSpec):
                await nowhere.call(D.start_child, make())
        with pytest.raises(ak.InvalidChildSpec) as caught:
            await dyn().call(D.start_child, ak.child(Worker).with_(restart="transient", significant=True))
        assert caught.value.field == "significant"


@conforms("DYN-16")
@differs("DYN-16")
async def test_what_a_start_may_return():
    """A start gives a ref, None for IGNORE, or StartFailed with the reason; an unknown value is a
    BadReturn that shows it. Nothing can be returned in addition to a ref.
    """
    lab = Lab()
    async with ak.open_node(root()):
        assert await start(lab, "ok") is lab.refs["ok"]
        lab.inits.update({"ignore": ["ignore"], "stop": ["stop"], "nonsense": ["nonsense"]})
        assert await start(lab, "ignore") is None
        for plan, reason in (
            ("stop", ak.Failure("not started")),
            ("nonsense", ak.BadReturn("Worker.init, which must return None, ak.IGNORE or ak.Stop(reason)", "42")),
        ):
            with pytest.raises(ak.StartFailed) as caught:
                await start(lab, plan)
            assert caught.value.reason == reason
        assert await counts(dyn()) == (1, 1, 0, 1)


@conforms("DYN-17")
@differs("DYN-17")
@pytest.mark.parametrize("where", ["constructor", "init", "factory"])
async def test_errors_and_exits_in_a_start(where):
    """An exception comes with its stack, an exit without one. Python has no throw."""

    class Fails(ak.Actor):
        def __init__(self, error):
            self.error = error
            if where == "constructor":
                self.fail()

        def init(self):
            self.fail()

        def fail(self):
            if self.error is None:
                self.ctx.exit_now(ak.Failure("oops"))
            raise self.error

    def factory(error):
        if error is None:
            return Fails(error)
        raise error

    begin = factory if where == "factory" else Fails
    async with ak.open_node(root()):
        with pytest.raises(ak.StartFailed) as caught:
            await dyn().call(D.start_child, ak.child(begin, RuntimeError("oops")))
        assert caught.value.reason == ak.Crash("RuntimeError", "oops")
        assert "raise" in caught.value.reason.traceback
        with pytest.raises(ak.StartFailed) as caught:
            await dyn().call(D.start_child, ak.child(begin, None))
        assert caught.value.reason == ak.Failure("oops")
        assert await counts(dyn()) == (0, 0, 0, 0)


# --- Restarts -------------------------------------------------------------------------------------


@conforms("DYN-19", "DYN-20", "DYN-21")
async def test_counts_after_each_end():
    """Temporary children are gone after an end; transient ones come back after a failure only;
    permanent ones always do.
    """
    lab = Lab()
    ends = [ak.SHUTDOWN, ak.Shutdown("signal"), DIED]
    for restart, expected in (("temporary", [0, 0, 0]), ("transient", [0, 0, 1]), ("permanent", [1, 2, 3])):
        async with ak.open_node(root()):
            for reason, number in zip(ends, expected, strict=True):
                ref = await start(lab, reason, restart=restart)
                ref.cast(Worker.end, reason)
                await settled()
                assert await counts(dyn()) == (number, number, 0, number)


@conforms("DYN-22")
async def test_restarts_that_go_otherwise(autojump_clock):
    """Of five children two come back, one ignores and is removed, and the two whose start fails
    stay as restarting: four workers, two active.
    """
    lab = Lab()
    async with ak.open_node(root(max_restarts=100_000)):
        for name, plan in (("ok2", "ok"), ("ok3", "ok"), ("ignore", "ignore"), ("error", "stop"), ("odd", "nonsense")):
            ref = await start(lab, name, backoff=ak.Backoff(first=1, factor=1, jitter=0))
            lab.inits[name] = [plan]
            ref.kill()
        await trio.sleep(1.5)
        assert await counts(dyn()) == (4, 2, 0, 4)
        assert [info.state for info in await dyn().call(D.which_children)] == ["running"] * 2 + ["restarting"] * 2


@conforms("DYN-23", "DYN-24")
async def test_restarting_and_restarted_children_count_to_max_children():
    """With one place, a child that waits for its restart takes it, and so does one that has come
    back.
    """
    lab = Lab()
    async with ak.open_node(root(max_children=1, max_restarts=100_000)):
        first = await start(lab, "a", backoff=ak.Backoff(first=60, limit=60))
        first.kill()
        await settled()
        assert await counts(dyn()) == (1, 0, 0, 1)
        with pytest.raises(ak.MaxChildrenReached):
            await start(lab, "b")
        await dyn().call(D.terminate_child, first)
        again = await start(lab, "c")
        again.kill()
        await settled()
        assert await counts(dyn()) == (1, 1, 0, 1)
        with pytest.raises(ak.MaxChildrenReached):
            await start(lab, "d")


@conforms("DYN-27", "DYN-28")
@differs("DYN-27", "DYN-28")
@pytest.mark.parametrize("trying", [False, True])
async def test_a_linked_parent_hears_of_the_intensity(trying):
    """A linked parent gets Shutdown, whose detail says why: after one exit too many, or one failed
    attempt too many.
    """
    lab = Lab()

    class Parent(ak.Actor):
        trap_exit = True

        def init(self):
            self.heard = []
            self.dyn = self.ctx.spawn_link(ak.dynamic_supervisor(max_restarts=10 if trying else 1))

        @ak.call
        def child(self):
            return self.dyn

        @ak.call
        def all(self):
            return self.heard

        def handle_info(self, message):
            self.heard.append(message)

    async with ak.open_node() as node:
        parent = node.spawn(Parent)
        ref = await parent.call(Parent.child)
        await ref.call(D.start_child, lab.spec("a"))
        if trying:
            lab.inits["a"] = ["stop"]
            lab.refs["a"].kill()
            await settled()
            assert len(lab.lives["a"]) == 11
        else:
            for _ in range(2):
                lab.refs["a"].kill()
                await settled()
        assert await parent.call(Parent.all) == [ak.Exit(ref, ak.Shutdown("reached_max_restart_intensity"))]


# --- Stops ----------------------------------------------------------------------------------------


@conforms("DYN-29", "DYN-30")
def test_shutdown_times():
    """Shutdown times of 0 and 1 are valid, -1 is not."""
    for valid in (0, 1):
        assert ak.child(Worker).with_(shutdown=valid).shutdown == valid
    with pytest.raises(ak.InvalidChildSpec):
        ak.child(Worker).with_(shutdown=-1)


@conforms("DYN-31", "DYN-32", "DYN-33", "DYN-34", "DYN-35", "DYN-36")
@pytest.mark.parametrize(
    ("shutdown", "cls", "reason"),
    [
        ("brutal_kill", Slow, ak.KILLED),
        (math.inf, Slow, ak.SHUTDOWN),
        (math.inf, Own, ak.Shutdown("own")),
        (10.0, Slow, ak.SHUTDOWN),
        (10.0, Own, ak.Shutdown("own")),
        (0.001, Slow, ak.KILLED),
        (0.001, Quiet, ak.SHUTDOWN),
        (0.001, Worker, ak.SHUTDOWN),
    ],
)
async def test_how_three_children_end(autojump_clock, shutdown, cls, reason):
    """How a child ends depends on the time it has and on what it does with that time."""
    lab = Lab()
    async with ak.open_node(root()) as node:
        refs = [await start(lab, n, cls, shutdown=shutdown) for n in range(3)]
        seen = await end_of(node)
        assert [seen[ref] for ref in refs] == [reason] * 3


@conforms("DYN-38")
async def test_infinity_and_brutal_kill_together(autojump_clock):
    lab = Lab()
    async with ak.open_node(root()) as node:
        slow, killed = await start(lab, "a", Slow, shutdown=math.inf), await start(lab, "b", shutdown="brutal_kill")
        seen = await end_of(node)
        assert (seen[slow], seen[killed]) == (ak.SHUTDOWN, ak.KILLED)


@conforms("DYN-39", "DYN-40")
@pytest.mark.parametrize(("shutdown", "reason"), [("brutal_kill", ak.KILLED), (1.0, ak.SHUTDOWN)])
async def test_terminate_child(shutdown, reason):
    """A terminated child ends with its reason; a second call does not find it, and it is no longer
    counted.
    """
    lab = Lab()
    async with ak.open_node(root()) as node:
        ref = await start(lab, "a", shutdown=shutdown)
        with Reasons(node) as reasons:
            await dyn().call(D.terminate_child, ref)
            assert reasons[ref] == reason
        with pytest.raises(ak.ChildNotFound):
            await dyn().call(D.terminate_child, ref)
        assert await counts(dyn()) == (0, 0, 0, 0)


@conforms("DYN-41")
async def test_terminate_a_restarting_child_by_its_old_ref():
    lab = Lab()
    async with ak.open_node(root(max_restarts=100_000)):
        ref = await start(lab, "a", backoff=ak.Backoff(first=60, limit=60))
        ref.kill()
        await settled()
        assert await counts(dyn()) == (1, 0, 0, 1)
        assert await dyn().call(D.terminate_child, ref) is None
        with pytest.raises(ak.ChildNotFound):
            await dyn().call(D.terminate_child, ref)
        assert await counts(dyn()) == (0, 0, 0, 0)
