"""Partition supervisors, against what Elixir's suite asserts (PART)."""

from __future__ import annotations

import os

import pytest

import actorkit as ak
from tests.conformance.marks import conforms

from .actors import Idle, settled

P = ak.PartitionSupervisor


class Cell(ak.Actor):
    """Knows its arguments."""

    def __init__(self, *args):
        self.args = args

    @ak.call
    def arguments(self):
        return self.args

    @ak.cast
    def crash(self):
        raise RuntimeError("told to")


def cells(partitions=3, **options):
    return ak.partition_supervisor(ak.child(Cell, "x"), name="cells", partitions=partitions, **options)


def at(key):
    return ak.partitioned(Cell, "cells", key)


@conforms("PART")
async def test_partitions_have_the_ids_from_zero():
    """PART: the n children have the ids 0 to n - 1, in order; which_children, count_children and
    partitions show them.
    """
    async with ak.open_node(cells()):
        supervisor = ak.named(P, "cells")
        assert [info.id for info in await supervisor.call(P.which_children)] == [0, 1, 2]
        assert await supervisor.call(P.count_children) == ak.ChildCounts(3, 3, 0, 3)
        assert await supervisor.call(P.partitions) == 3


@conforms("PART")
async def test_one_partition_for_each_processor_by_default():
    """PART: by default there is one partition for each processor."""
    async with ak.open_node(ak.partition_supervisor(ak.child(Cell), name="cells")):
        assert await ak.named(P, "cells").call(P.partitions) == os.cpu_count()


@conforms("PART")
async def test_with_arguments_makes_each_partitions_own():
    """PART: with_arguments is called with the spec's arguments and the partition's number."""
    async with ak.open_node(cells(with_arguments=lambda args, number: (*args, number))):
        assert [await at(n).call(Cell.arguments) for n in range(3)] == [("x", 0), ("x", 1), ("x", 2)]


@conforms("PART")
async def test_keys_are_routed_by_number_or_hash():
    """PART: an int is routed by abs(key) % n, anything else by a hash that does not change."""
    async with ak.open_node(cells()):
        infos = await ak.named(P, "cells").call(P.which_children)
        pids = [info.ref.pid for info in infos]
        for key in (0, 1, 2, 3, 7, -1, -5, 10**30, True):
            assert at(key).pid == pids[abs(key) % 3]
        for key in ("ada", b"x", (1, "y"), 2.5, None):
            assert at(key).pid == at(key).pid == pids[hash(key) % 3]
        assert {at(f"user-{n}").pid for n in range(100)} == set(pids)


@conforms("PART")
async def test_a_ref_follows_its_partition_through_restarts():
    """PART: while a partition is down, its ref reaches nobody; the other partitions are
    untouched.
    """
    async with ak.open_node(cells()):
        before = [at(n).pid for n in range(3)]
        at(1).cast(Cell.crash)
        await settled()
        after = [at(n).pid for n in range(3)]
        assert after[1] != before[1]
        assert (after[0], after[2]) == (before[0], before[2])
        await ak.named(P, "cells").call(P.terminate_child, 2)
        assert not at(2).alive
        with pytest.raises(ak.CalleeDied) as caught:
            await at(2).call(Cell.arguments)
        assert caught.value.reason == ak.NOPROC
        await ak.named(P, "cells").call(P.restart_child, 2)
        assert await at(2).call(Cell.arguments) == ("x",)


@conforms("PART")
async def test_no_partition_supervisor():
    """PART: a ref by a name that nobody holds, or that another kind of actor holds, reaches
    nobody.
    """
    async with ak.open_node(ak.child(Idle).with_(name="cells")):
        assert not at(1).alive
        assert not ak.partitioned(Cell, "nowhere", 1).alive


@conforms("PART")
async def test_partitions_may_be_supervisors():
    """PART: dynamic supervisors as partitions spread the work of starting children."""
    D = ak.DynamicSupervisor
    tree = ak.partition_supervisor(ak.dynamic_supervisor(), name="sessions", partitions=2)
    async with ak.open_node(tree) as node:
        for user in range(4):
            spec = ak.child(Cell, user).with_(restart="temporary")
            await ak.partitioned(D, "sessions", user).call(D.start_child, spec)
        for half in range(2):
            infos = await ak.partitioned(D, "sessions", half).call(D.which_children)
            assert [await info.ref.call(Cell.arguments) for info in infos] == [(half,), (half + 2,)]
        assert await ak.named(P, "sessions").call(P.count_children) == ak.ChildCounts(2, 2, 2, 0)
        assert node.tree() is not None


@conforms("PART")
async def test_strategy_and_intensity_are_passed_on():
    """PART: the strategy is passed on: one_for_all restarts every partition."""
    async with ak.open_node(cells(strategy="one_for_all")):
        before = {at(n).pid for n in range(3)}
        at(0).cast(Cell.crash)
        await settled()
        assert before.isdisjoint({at(n).pid for n in range(3)})


@conforms("PART")
@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_a_bad_number_of_partitions_is_refused(number):
    """PART: the number of partitions is an int of 1 or more."""
    with pytest.raises(ak.InvalidSupervisorFlag):
        cells(number)


@conforms("PART")
def test_bad_specs_are_refused():
    """PART: anything that is not a spec, or has a name, cannot be partitioned; the partition
    supervisor itself must have a name.
    """
    for spec in (Cell, ak.child(Cell).with_(name="cell")):
        with pytest.raises(ak.InvalidChildSpec):
            ak.partition_supervisor(spec, name="cells")
    with pytest.raises(TypeError):
        ak.partition_supervisor(ak.child(Cell))


def test_equal_refs_lead_to_the_same_place():
    """Two refs are equal if supervisor and hash are; an unhashable key is refused at once."""
    assert at(4) == at(-4)
    assert hash(at("x")) == hash(at("x"))
    assert at(1) != at(2)
    assert at(1) != ak.named(Cell, "cells[1]")
    with pytest.raises(TypeError):
        at([])
