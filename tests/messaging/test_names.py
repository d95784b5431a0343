"""Names: each has one living holder, named refs outlive restarts, and nodes are separate."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import actorkit as ak
from actorkit.testing import Probe
from tests.conformance.marks import conforms

from .kit import Puppet, settle


async def test_register_and_whereis(node: ak.Node, clock: MockClock) -> None:
    """A name leads to its holder until it is unregistered; an actor without a name is found under
    none.
    """
    puppet = node.spawn(Puppet)
    await puppet.call(Puppet.do, lambda me: me.ctx.register("svc"))
    assert node.whereis("svc") is puppet
    assert "'svc'" in repr(puppet)
    assert node.process_info(puppet).name == "svc"  # type: ignore[union-attr]
    await puppet.call(Puppet.do, lambda me: me.ctx.unregister())
    assert node.whereis("svc") is None
    await puppet.call(Puppet.do, lambda me: me.ctx.unregister())
    await puppet.call(Puppet.do, lambda me: me.ctx.register("other"))
    assert node.engine.names.registered() == ["other"]


@conforms("SRV-01")
async def test_a_taken_name(node: ak.Node, clock: MockClock) -> None:
    """SRV-01: a second holder is refused, by register and by spec, and the error says who has the
    name; nothing is started.
    """
    first = node.spawn(ak.child(Puppet).with_(name="svc"))
    before = node.statistics()
    with pytest.raises(ak.AlreadyRegistered, match=r"<node\.1>"):
        node.spawn(ak.child(Puppet).with_(name="svc"))
    assert node.statistics().actors == before.actors
    second = node.spawn(Puppet)

    def take(me: Puppet) -> None:
        with pytest.raises(ak.AlreadyRegistered) as caught:
            me.ctx.register("svc")
        assert caught.value.name == "svc"

    await second.call(Puppet.do, take)
    assert node.whereis("svc") is first


@conforms("SIG-19")
async def test_one_name_each(node: ak.Node, clock: MockClock) -> None:
    """SIG-19: an actor has at most one name, from its spec or registered by itself."""
    named, puppet = node.spawn(ak.child(Puppet).with_(name="a")), node.spawn(Puppet)

    def more(me: Puppet) -> None:
        with pytest.raises(ak.AlreadyRegistered):
            me.ctx.register("b")

    await named.call(Puppet.do, more)
    await puppet.call(Puppet.do, lambda me: me.ctx.register("c"))
    await puppet.call(Puppet.do, more)
    assert node.whereis("b") is None


@conforms("SIG-19")
@pytest.mark.parametrize("bad", ["", None, 7, ("a",), ["a"]])
async def test_bad_names(node: ak.Node, clock: MockClock, bad: Any) -> None:
    """SIG-19: what cannot be a name is refused."""
    puppet = node.spawn(Puppet)

    def take(me: Puppet) -> None:
        with pytest.raises(TypeError, match="non-empty string"):
            me.ctx.register(bad)

    await puppet.call(Puppet.do, take)
    if bad is not None:
        with pytest.raises(ak.InvalidChildSpec):
            ak.child(Puppet).with_(name=bad)


@conforms("SIG-19")
async def test_short_lives_under_one_name(node: ak.Node, clock: MockClock) -> None:
    """SIG-19: an actor is spawned, registered and ended under one name a thousand times: nothing is
    left behind.
    """
    for n in range(1_000):
        ref = node.spawn(ak.child(Puppet).with_(name="brief"))
        if n % 2:
            ref.kill()
        else:
            ref.stop()
        assert node.whereis("brief") is None
    assert node.engine.names.registered() == []


@conforms("SRV-15")
async def test_the_name_of_a_failed_start_is_free(node: ak.Node, clock: MockClock) -> None:
    """SRV-15: when a start fails or is not needed, its name is free the moment the start
    returns."""

    class Broken(ak.Actor):
        def __init__(self, how: str) -> None:
            self.how = how
            if how == "constructor":
                raise ValueError

        async def init(self) -> Any:
            await trio.lowlevel.checkpoint()
            if self.how == "raise":
                raise ValueError
            return ak.IGNORE if self.how == "ignore" else ak.Stop(ak.Failure("no"))

    for how in ("constructor", "raise", "ignore", "stop"):
        spec = ak.child(Broken, how).with_(name="svc")
        if how == "ignore":
            assert await node.start(spec) is None
        else:
            with pytest.raises(ak.StartFailed):
                await node.start(spec)
        assert node.whereis("svc") is None


async def test_a_named_ref_outlives_restarts(node: ak.Node, clock: MockClock) -> None:
    """A named ref means whichever actor has the name at each send; it compares and hashes
    by name.
    """
    ref = ak.named(Puppet, "svc")
    assert ref == ak.named(Puppet, "svc") != ak.named(Puppet, "other")
    assert len({ref, ak.named(Puppet, "svc")}) == 1
    spec = ak.child(Puppet).with_(name="svc")
    for _ in range(3):
        holder = node.spawn(spec)
        assert ref.alive
        assert ref.pid == holder.pid
        assert ref.cast(Puppet.note, 1)
        assert ref.send(2)
        await ref.send_wait(3)
        await ref.cast_wait(Puppet.note, 4)
        assert await ref.call(Puppet.all_seen) == [1, 2, 3, 4]
        assert await ref.within(2).call(Puppet.all_seen_later) == [1, 2, 3, 4]
        ref.kill()
        assert not ref.alive
        assert not holder.alive
    stopped = node.spawn(spec)
    ref.stop(ak.SHUTDOWN)
    assert not stopped.alive
    exited = node.spawn(spec)
    ref.exit(ak.Failure("x"))
    assert not exited.alive


@conforms("SRV-09", "SRV-06")
async def test_a_name_that_nobody_has(node: ak.Node, clock: MockClock) -> None:
    """SRV-09, SRV-06: with nobody under the name, sends return False and are counted, calls and
    waits raise CalleeDied with NoProc, and control operations do nothing.
    """
    ref = ak.named(Puppet, "nobody")
    async with node.subscribe(ak.DeadLetter) as events:
        assert ref.cast(Puppet.note, 1) is False
        assert ref.send(2) is False
        letters: Any = events.drain()
    assert [(letter.message, letter.args, letter.who) for letter in letters] == [
        ("Puppet.note", (1,), "'nobody'"),
        ("send", (2,), "'nobody'"),
    ]
    for ask in (
        lambda: ref.call(Puppet.all_seen),
        lambda: ref.within(1).call(Puppet.all_seen),
        lambda: ref.send_wait(1),
        lambda: ref.cast_wait(Puppet.note, 1),
    ):
        with pytest.raises(ak.CalleeDied, match="no actor has this name") as caught:
            await ask()
        assert caught.value.reason == ak.NOPROC
    ref.kill()
    ref.stop()
    ref.exit(ak.KILLED)
    with pytest.raises(ak.ActorDead):
        _ = ref.pid


async def test_a_supervised_name(clock: Any) -> None:
    """A child with a name has it again after a restart; a call in between is NoProc or served,
    never lost.
    """
    tree = ak.supervisor(ak.child(Puppet).with_(name="svc"))
    async with ak.open_node(tree) as node:
        ref = ak.named(Puppet, "svc")
        first = ref.pid
        ref.kill()
        await settle()
        assert ref.pid != first
        assert await ref.call(Puppet.all_seen) == []
        assert node.statistics().restarts == 1


def test_a_named_ref_outside_of_any_node() -> None:
    """Outside of any node a named ref raises NotInsideActor and says where it works."""
    ref = ak.named(Puppet, "svc")
    with pytest.raises(ak.NotInsideActor, match="outside of any node"):
        ref.cast(Puppet.note, 1)
    with pytest.raises(ak.NotInsideActor):
        _ = ref.alive
    assert repr(ref) == "<named ref 'svc'>"


async def test_two_nodes_side_by_side(clock: Any) -> None:
    """A named ref means the node that it is used on: in an actor its own node, in the host the
    innermost open node.
    """
    ref = ak.named(Puppet, "svc")
    async with ak.open_node(name="one") as one:
        one.spawn(ak.child(Puppet).with_(name="svc"))
        user_of_one = one.spawn(Puppet)
        async with ak.open_node(name="two") as two:
            two.spawn(ak.child(Puppet).with_(name="svc"))
            user_of_two = two.spawn(Puppet)

            def where(me: Puppet) -> str:
                return ref.pid.node

            async def where_later(me: Puppet) -> str:
                await trio.lowlevel.checkpoint()
                found = []

                async def in_task() -> None:
                    found.append(ref.pid.node)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(in_task)
                return found[0]

            for user, expected in ((user_of_one, "one"), (user_of_two, "two")):
                assert await user.call(Puppet.do, where) == expected
                assert await user.call(Puppet.run, where_later) == expected
            assert ref.pid.node == "two"
            process_probe = Probe(one)

            async def process(ctx: ak.ProcessContext) -> None:
                process_probe.ref.send(ref.pid.node)

            one.spawn(process)
            assert await process_probe.receive(str) == "one"
        assert ref.pid.node == "one"
    with pytest.raises(ak.NotInsideActor):
        _ = ref.alive
