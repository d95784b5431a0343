"""A supervisor's children are those that its shell lists. No attribute of a user's object makes an
actor a child.
"""

from __future__ import annotations

from typing import Any

import pytest

import actorkit as ak
from actorkit.governor.radius import below, radius_of
from actorkit.governor.subtree_governor import govern_subtree
from actorkit.runtime.looking.heap_census import heap_census

from .kit import Lab, S, top


class Peer(ak.Actor):
    """An actor that others refer to."""

    def __init__(self, size: int = 1_000) -> None:
        self.held = bytes(size)


class Impostor(ak.Actor):
    """Has an attribute of every name under which a supervisor's shell keeps, or once kept, its
    children.
    """

    def __init__(self, *peers: Any) -> None:
        self.refs = dict.fromkeys(peers, 1)
        self.coming = dict(self.refs)
        self.machine = self.shell = self.door = self.family = self

    def children(self) -> list[Any]:
        return list(self.refs)

    def companions(self, _: Any) -> list[Any]:
        return list(self.refs)

    def child_infos(self) -> list[Any]:
        raise AssertionError("the user's own method was asked")


def spec(*peers: Any, kind: str = "worker") -> ak.ChildSpec[Any]:
    return ak.child(Impostor, *peers).with_(kind=kind, priority=ak.Priority.LOW)


@pytest.mark.parametrize("kind", ["worker", "supervisor"])
async def test_a_kill_takes_along_nobody_that_is_merely_referred_to(kind: str) -> None:
    async with ak.open_node() as node:
        peers = [node.spawn(Peer) for _ in range(3)]
        impostor: Any = node.spawn(spec(*peers, kind=kind))
        assert impostor.child_records() == ()
        assert radius_of(impostor) == [impostor]
        assert below(impostor) == []
        impostor.kill()
        await node.stopped(impostor)
        assert all(peer.alive for peer in peers)


async def test_the_tree_shows_the_children_of_the_shell_only() -> None:
    async with ak.open_node(ak.supervisor(spec(kind="supervisor").with_(id="impostor"))) as node:
        (entry,) = node.tree().children  # type: ignore[union-attr]
        assert (entry.id, entry.children) == ("impostor", ())


async def test_a_supervisor_of_the_users_own_class_has_its_children() -> None:
    """A subclass may keep what it likes in ``children``, ``family`` or ``peers``."""

    class Own(ak.Supervisor):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.children = self.family = self.peers = {"not": "a child"}

    lab = Lab()
    flags = ak.supervisor(*lab.specs("ab")).args
    async with ak.open_node(ak.child(Own, *flags).with_(kind="supervisor", name="top")) as node:
        assert node.root.child_records() == [lab.refs["a"], lab.refs["b"]]  # type: ignore[arg-type]
        assert [entry.id for entry in node.tree().children] == ["a", "b"]  # type: ignore[union-attr]
        await top().call(S.terminate_child, "a")
        assert node.root.child_records() == [lab.refs["b"]]  # type: ignore[arg-type]


async def test_a_subtree_is_what_the_shells_say() -> None:
    """The shells say which actors are governed, and what is measured as part of a subtree."""
    inner = ak.supervisor(ak.child(Peer, 50_000).with_(id="in")).with_(id="inner")
    async with ak.open_node(ak.supervisor(inner, spec(kind="supervisor"), strategy="one_for_one")) as node:
        strangers = [node.spawn(Peer, 1_000_000) for _ in range(3)]
        impostor: Any = next(one for one in node.engine.actors.values() if isinstance(one.obj, Impostor))
        impostor.obj.refs.update(dict.fromkeys(strangers, 1))
        root: Any = node.root
        kinds = [type(record.obj) for record in below(root)]
        assert kinds == [ak.Supervisor, Impostor, Peer]
        async with govern_subtree(root, 500_000) as governor:
            assert set(governor.everybody()) == set(below(root))
            assert 50_000 < governor.live_now() < 100_000
        assert all(stranger.alive for stranger in strangers)
        census = await heap_census(node.engine)
        assert dict(census.actors)[impostor] < 10_000


async def test_a_supervisor_that_has_ended_has_no_children() -> None:
    lab = Lab()
    async with ak.open_node() as node:
        supervisor: Any = node.spawn(ak.supervisor(*lab.specs("ab")))
        await supervisor.call(S.which_children)
        assert len(supervisor.child_records()) == 2
        supervisor.kill()
        await node.stopped(supervisor)
        assert not supervisor.child_records()
