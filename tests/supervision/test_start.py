"""Live static supervisors: starting, and what may go wrong there (SUP-01 to 21, ESUP)."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actorkit as ak
from tests.conformance.marks import conforms

from .kit import NOT_STARTED, Lab, Quiet, S, Worker, counts, settled, states, top, tree, under


@conforms("SUP-01")
async def test_an_empty_supervisor_starts_and_stops():
    """SUP-01: a supervisor starts without children, and ends with Shutdown when it is told to."""
    async with ak.open_node(under()) as node:
        assert await counts() == (0, 0, 0, 0)
        ref = node.whereis("top")
        top().stop(ak.SHUTDOWN)
        assert await node.stopped(ref) == ak.SHUTDOWN


@conforms("SUP-28")
async def test_children_start_in_order_and_stop_in_reverse():
    """SUP-28: children start one after the other, each after the init of the one before."""
    lab = Lab()
    gate = trio.Event()
    lab.inits["a"] = [gate]
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            async with ak.open_node(tree(*lab.specs("cab"))):
                lab.log.append("body")

        nursery.start_soon(run)
        await settled()
        assert lab.take() == ["start c", f"{gate} a"]
        gate.set()
    assert lab.take() == ["start b", "body", "stop b shutdown", "stop a shutdown", "stop c shutdown"]


@conforms("SUP-08", "SUP-09", "SUP-10", "SUP-21")
@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("raise", ak.Crash("ValueError", "no luck")),
        ("stop", NOT_STARTED),
        ("nonsense", ak.BadReturn("Worker.init, which must return None, ak.IGNORE or ak.Stop(reason)", "42")),
        ("hang", ak.InitTimeout(5.0)),
    ],
)
async def test_a_tree_that_cannot_start_stops_what_it_started(autojump_clock, plan, reason):
    """SUP-08, SUP-09, SUP-10, SUP-21: StartFailed comes out of open_node, nested down to the
    reason; the other children are stopped in reverse. A failed init is not followed by terminate.
    """
    lab = Lab()
    lab.inits["c"] = [plan]
    inner = ak.supervisor(lab.spec("b"), lab.spec("c"), lab.spec("d")).with_(id="inner")
    with pytest.raises(ak.StartFailed) as caught:
        async with ak.open_node(tree(lab.spec("a"), inner)):
            raise AssertionError("the body runs")
    assert caught.value.reason == ak.Shutdown(ak.FailedToStart("inner", ak.Shutdown(ak.FailedToStart("c", reason))))
    assert [line for line in lab.log if line.startswith("st")] == [
        "start a", "start b", *(["stop c"] if plan == "stop" else []),
        "stop b shutdown", "stop a shutdown",
    ]  # fmt: skip
    assert not any(ref.alive for ref in lab.refs.values())


async def test_inits_of_supervisors_have_no_deadline_of_their_own(autojump_clock):
    """A supervisor may take as long to start as its children together: each child has its own
    init_timeout.
    """

    class Sleepy(ak.Actor):
        async def init(self) -> None:
            await trio.sleep(4)

    inner = ak.supervisor(*[ak.child(Sleepy).with_(id=n) for n in range(3)])
    async with ak.open_node(tree(inner)):
        assert trio.current_time() == pytest.approx(12)


async def test_init_timeout_is_the_specs(autojump_clock):
    """A hanging init is killed after the spec's init_timeout, without terminate."""
    lab = Lab()
    lab.inits["a"] = ["hang"]
    with pytest.raises(ak.StartFailed):
        async with ak.open_node(tree(lab.spec("a", init_timeout=0.5))):
            pass
    assert trio.current_time() == pytest.approx(0.5)
    assert lab.log == ["hang a"]


@conforms("SUP-02", "SUP-03", "SUP-04", "SUP-05")
async def test_an_ignored_child_keeps_its_spec_unless_temporary():
    """SUP-02, SUP-03, SUP-04, SUP-05: a child that ignores keeps its spec unless it is temporary,
    in the list and by start_child; the answer is None.
    """
    lab = Lab()
    for name in "atxu":
        lab.inits[name] = ["ignore"]
    async with ak.open_node(tree(lab.spec("a"), lab.spec("t", restart="temporary"), lab.spec("b"))):
        assert await states() == {"a": "undefined", "b": "running"}
        assert await top().call(S.start_child, lab.spec("x")) is None
        assert await top().call(S.start_child, lab.spec("u", restart="temporary")) is None
        assert await states() == {"a": "undefined", "b": "running", "x": "undefined"}
        assert await counts() == (3, 1, 0, 3)
        assert not lab.refs["a"].alive
        assert await top().call(S.restart_child, "a") is None
        lab.inits["a"] = ["ok"]
        assert await top().call(S.restart_child, "a") is lab.refs["a"]


@conforms("SUP-02")
async def test_a_supervisor_that_ignores_itself_is_ignored():
    """SUP-02: a root factory that returns an actor whose init says IGNORE leaves a node that runs
    on.
    """

    class Unneeded(ak.Actor):
        def init(self) -> object:
            return ak.IGNORE

    async with ak.open_node(ak.child(Unneeded)) as node:
        await settled()
        assert node.statistics().actors == 0


@conforms("SUP-10", "SUP-20")
@pytest.mark.parametrize("start", ["constructor", "factory raises", "factory returns", "no actor", "name taken"])
async def test_start_functions_that_fail(start):
    """SUP-10, SUP-20: constructors and factories raise, and factories return nonsense; the
    supervisor goes on.
    """

    class Broken(ak.Actor):
        def __init__(self) -> None:
            raise ValueError("no luck")

    def broken() -> Worker:
        raise ValueError("no luck")

    def nonsense() -> object:
        return 42

    lab = Lab()
    specs = {
        "constructor": ak.child(Broken),
        "factory raises": ak.child(broken),
        "factory returns": ak.child(nonsense),
        "no actor": ak.ChildSpec(dict),
        "name taken": lab.spec("x", name="top"),
    }
    expected = {"factory returns": "BadReturn", "no actor": "TypeError", "name taken": "AlreadyRegistered"}.get(
        start, "ValueError"
    )
    async with ak.open_node(tree(lab.spec("a"))):
        with pytest.raises(ak.StartFailed) as caught:
            await top().call(S.start_child, specs[start])
        reason = caught.value.reason
        assert expected == (reason.type if isinstance(reason, ak.Crash) else type(reason).__name__)
        assert await states() == {"a": "running"}


@conforms("SUP-10", "SUP-11")
async def test_a_failed_start_is_told_and_forgotten():
    """SUP-10, SUP-11: start_child drops the spec of a failed start, restart_child keeps it
    undefined.
    """
    lab = Lab()
    async with ak.open_node(tree()):
        lab.inits["a"] = ["stop"]
        with pytest.raises(ak.StartFailed) as caught:
            await top().call(S.start_child, lab.spec("a"))
        assert caught.value.reason == NOT_STARTED
        assert str(top().pid) in str(caught.value)
        assert await states() == {}
        lab.inits["a"] = ["ok"]
        await top().call(S.start_child, lab.spec("a"))
        await top().call(S.terminate_child, "a")
        lab.inits["a"] = ["raise"]
        with pytest.raises(ak.StartFailed):
            await top().call(S.restart_child, "a")
        assert await states() == {"a": "undefined"}


@conforms("SUP-62")
@pytest.mark.parametrize("plan", ["raise", "stop", "ignore", "hang"])
async def test_names_are_free_after_failed_starts(autojump_clock, plan):
    """SUP-62: a child that did not start holds no name, even when its constructor raised."""

    class Broken(ak.Actor):
        def __init__(self) -> None:
            raise ValueError("no luck")

    lab = Lab()
    lab.inits["a"] = [plan, "ok"]
    async with ak.open_node(tree()) as node:
        for spec in (lab.spec("a", name="n", restart="temporary"), ak.child(Broken).with_(name="n")):
            try:
                assert await top().call(S.start_child, spec) is None
            except ak.StartFailed:
                pass
            assert node.whereis("n") is None
        assert await top().call(S.start_child, lab.spec("a", name="n")) is node.whereis("n")


async def test_start_child_waits_for_init():
    """The answer is the ref of a child that is initialized; until then the child is shown as
    starting, and calls are served.
    """
    lab = Lab()
    gate = trio.Event()
    lab.inits["a"] = [gate]
    async with ak.open_node(tree(lab.spec("b"))):
        async with trio.open_nursery() as nursery:
            got = []

            async def start() -> None:
                got.append(await top().call(S.start_child, lab.spec("a")))

            nursery.start_soon(start)
            await settled()
            assert await states() == {"b": "running", "a": "starting"}
            assert await counts() == (2, 1, 0, 2)
            gate.set()
        assert got == [lab.refs["a"]]


async def test_an_actor_may_look_at_the_tree_while_it_starts():
    """Queries are answered while the supervisor is at work, even to a child's constructor."""
    seen = []

    class Curious(ak.Actor):
        def __init__(self) -> None:
            tree = self.ctx.node.tree()
            assert tree is not None
            seen.append([(child.id, child.state) for child in tree.children])

    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"), ak.child(Curious).with_(id="c"))):
        assert seen == [[("a", "running"), ("c", "starting")]]


@conforms("SUP-59")
async def test_an_actor_may_have_its_supervisor_start_a_sibling():
    """SUP-59: a child's handler may call its supervisor; so may its init, for answers that do not
    depend on that init.
    """
    lab = Lab()

    class Boss(ak.Actor):
        async def init(self) -> None:
            assert (await top().call(S.count_children)).specs == 1

        @ak.call
        async def hire(self) -> ak.Ref[Worker] | None:
            return await top().call(S.start_child, lab.spec("hired"))

    async with ak.open_node(tree(ak.child(Boss).with_(name="boss"))):
        assert await ak.named(Boss, "boss").call(Boss.hire) is lab.refs["hired"]


async def test_processes_are_children():
    """An async function is a child like any other: it is started, restarted when it ends, and
    stopped.
    """
    runs = []

    async def work(ctx: ak.ProcessContext, name: str) -> None:
        runs.append(name)
        try:
            await ctx.receive()
        finally:
            runs.append("done")

    async with ak.open_node(tree(ak.child(work, "x").with_(name="w"))) as node:
        await settled()
        node.whereis("w").send("end")
        await settled()
        assert runs == ["x", "done", "x"]
        assert await states() == {"w": "running"}
    assert runs == ["x", "done", "x", "done"]


async def test_a_factory_makes_its_child_anew_at_each_start():
    """A function that returns an actor starts a child as well as a class does."""
    lab = Lab()

    def make(name: str) -> Worker:
        worker = Quiet.__new__(Quiet)
        worker.lab, worker.name = lab, name
        return worker

    async with ak.open_node(tree(ak.child(make, "a").with_(name="made"))) as node:
        first = node.whereis("made")
        first.kill()
        await settled()
        assert node.whereis("made") not in (None, first)
        assert lab.log == ["start a", "start a"]


@conforms("SUP-15", "SUP-16", "ESUP-14")
async def test_specs_are_validated_before_anything_starts():
    """SUP-15, SUP-16, ESUP-14: a duplicate id, a significant child without auto_shutdown, and what
    is not a spec are refused, by start_child too.
    """
    lab = Lab()
    with pytest.raises(ak.DuplicateChildId):
        tree(*lab.specs("aa"))
    async with ak.open_node(tree(lab.spec("a"))):
        with pytest.raises(ak.InvalidChildSpec):
            await top().call(S.start_child, lab.spec("b", restart="transient", significant=True))
        assert await states() == {"a": "running"}


@conforms("SUP-13", "SUP-14")
async def test_get_childspec_shows_what_was_given():
    """SUP-13, SUP-14: the spec comes with the defaults filled in; unknown ids are not found."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"), ak.supervisor().with_(id="s"))):
        spec = await top().call(S.get_childspec, "a")
        assert (spec.restart, spec.shutdown_time, spec.kind) == ("permanent", 5.0, "worker")
        assert (await top().call(S.get_childspec, "s")).shutdown_time == float("inf")
        with pytest.raises(ak.ChildNotFound):
            await top().call(S.get_childspec, "x")


@conforms("SUP-15")
async def test_what_is_no_spec_is_the_callers_fault():
    """SUP-15: start_child refuses what is not a spec; the supervisor and its children live."""
    lab = Lab()
    async with ak.open_node(tree(lab.spec("a"), ak.dynamic_supervisor().with_(name="dyn"))) as node:
        for ref, method in (
            (top(), S.start_child),
            (ak.named(ak.DynamicSupervisor, "dyn"), ak.DynamicSupervisor.start_child),
        ):
            for bad in (Worker, None, 42):
                with pytest.raises(ak.InvalidChildSpec):
                    await ref.call(method, bad)
        assert node.statistics().restarts == 0
        assert lab.log == ["start a"]


@pytest.mark.parametrize("end", ["kill", "stop", "exit"])
async def test_a_constructor_may_end_its_supervisor(end):
    """A child may end its supervisor while it is being made: nothing is left behind, and the parent
    restarts the supervisor.
    """
    lab = Lab()

    class Assassin(ak.Actor):
        def __init__(self) -> None:
            lab.born("assassin", self.ctx.ref)
            if len(lab.lives["assassin"]) == 1:
                match end:
                    case "kill":
                        top().kill()
                    case "stop":
                        top().stop()
                    case "exit":
                        top().exit(ak.KILL)

    async with ak.open_node(under(lab.spec("a"), restart="permanent")) as node:
        first = node.whereis("top")
        try:
            await top().call(S.start_child, ak.child(Assassin))
        except (ak.CalleeDied, ak.SupervisorStopping):
            pass
        await settled()
        assert not first.alive
        assert not lab.refs["assassin"].alive
        assert await states() == {"a": "running"}
        assert node.statistics().actors == 3


class Late(Worker):
    """Its first start ends when the test lets it, in the way that is planned; the next starts
    succeed.
    """

    async def init(self) -> Any:
        if self.lab.next_init(self.name) == "ok":
            return None
        await self.lab.release.wait()
        match self.lab.next_init("then"):
            case "ignore":
                return ak.IGNORE
            case "stop":
                return ak.Stop(NOT_STARTED)
            case "raise":
                raise ValueError("no luck")
            case "later":
                later: ak.Later[Any] = ak.Later()
                self.ctx.node.engine.timers.after(1, later.set, ak.Stop(NOT_STARTED))
                return later
            case "refuse":
                refused: ak.Later[Any] = ak.Later()
                self.ctx.node.engine.timers.after(1, refused.fail, ValueError("no luck"))
                return refused
            case "kill":
                self.ctx.kill()
                await trio.sleep_forever()
            case "exit":
                self.ctx.exit_now(NOT_STARTED)
        return 42


@pytest.mark.parametrize("how", ["ignore", "stop", "raise", "nonsense", "later", "refuse", "kill", "exit"])
async def test_a_failed_start_is_told_when_it_is_over(autojump_clock: Any, how: str) -> None:
    """The caller is told when the child is dead and its name free: a new start at once gets the
    name. (gen_server, init_it: the name goes before the parent is notified.)
    """
    lab = Lab()
    lab.inits["a"] = ["ok", "wait", "ok"]
    lab.inits["then"] = [how]
    answers: list[Any] = []

    async def again() -> None:
        try:
            answers.append(await top().call(S.restart_child, "a"))
        except ak.StartFailed as error:
            answers.append(error.reason)

    async with ak.open_node(tree(lab.spec("a", Late, name="svc"))) as node:
        await top().call(S.terminate_child, "a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again)
            await settled()
            failing = lab.refs["a"]
            nursery.start_soon(again)
            await settled()
            lab.release.set()
        assert not failing.alive
        assert len(answers) == 2
        assert answers[0] is None or isinstance(answers[0], ak.ExitReason)
        assert answers[1] is node.whereis("svc") is lab.refs["a"]
