"""The parts of `python -m bench passes`, by counts and not by times. The benchmark itself runs from
the command line.
"""

from __future__ import annotations

import os
import socket
from array import array

import pytest
import trio

from bench import passes, passes_side
from bench.harness import Options
from bench.passes_clients import LINE, Clients
from bench.passes_side import Meter, measure


def test_each_side_and_each_number_is_measured_once_in_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The side that each kind is compared with is measured once for all kinds."""
    asked: list[tuple[str, int]] = []

    def side(name: str, count: int, passes: int) -> dict[str, object]:
        asked.append((name, count))
        milliseconds = 3_000_000 if name in ("tasks", "connections") else 500_000
        figures = {
            **{which: {"longest": milliseconds, "p99": 1, "median": 1} for which in ("cpu", "wall", "io")},
            "longest_wait": 1,
            "operations_per_cpu_second": 1.0,
        }
        return {"first": figures, "steady": figures, "complete": name != "callers"}

    monkeypatch.setattr(passes, "side", side)
    report = passes.run(Options(quick=True))
    assert sorted(asked) == sorted(
        (name, count) for name in (*passes.KINDS, "readers", "tasks") for count in (1, 10, 100, 1_000)
    )
    verdicts = {row.name: row.verdict("actorkit") for row in report.rows if row.goals}
    assert len(verdicts) == 16
    [(goal, figure, met)] = verdicts["longest pass: 100 processes"]
    assert (goal.limit, figure, met) == (pytest.approx(1 + 1.1 * 3), 0.5, True)
    [(goal, figure, met)] = verdicts["longest pass: 100 connections"]
    assert (goal.limit, figure, met) == (1, 3, False)
    assert "MISSED" in report.table()
    assert sum("callers: not everybody" in note for note in report.notes) == 4


def test_only_what_is_wanted_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and columns may be chosen; unknown ones are refused."""
    assert passes.subjects(("connections",), ["actorkit", "trio"]) == ["connections", "readers"]
    assert passes.subjects(("actors",), ["trio"]) == ["tasks"]
    with pytest.raises(ValueError, match="known are processes"):
        passes.run(Options(rows=("threads",)))


def test_a_wait_is_from_the_pass_of_one_turn_to_that_of_the_next() -> None:
    """Several operations of one actor in one pass are one turn."""
    meter = Meter(2)
    meter.operation(0)
    assert meter.operations == 0  # no pass has begun
    meter.on, meter.since = True, 50
    for began, number in [(100, 0), (100, 0), (100, 1), (300, 0), (350, 1), (400, 0)]:
        meter.began_cpu = began
        meter.operation(number)
    assert meter.operations == 6
    assert meter.longest_wait == 250
    assert meter.turns == [3, 2]
    assert meter.served[1:] == [2, 2]


def test_quantiles_of_passes() -> None:
    """The longest pass is the largest number itself."""
    assert passes_side.quantiles(array("q", range(101))) == {"median": 50, "p99": 99, "longest": 100}


@pytest.mark.parametrize("kind", ["processes", "callers", "actors", "connections", "tasks", "readers"])
def test_everybody_is_busy_and_is_counted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side runs in this process for a few passes, until everybody has had two turns."""
    told: list[dict[str, object]] = []
    answers: list[dict[str, object]] = []
    monkeypatch.setattr(passes_side, "say", lambda **what: told.append(what))

    async def asked(meter: Meter, begin: object, bare: bool = False) -> None:
        trio.lowlevel.add_instrument(meter)
        clients = None
        if "port" in told[0]:
            clients = await trio.to_thread.run_sync(Clients, told[0]["port"], meter.count)
            while meter.arrived < meter.count:
                await trio.lowlevel.checkpoint()
            assert clients.fill_all() > 0
        assert callable(begin)
        answers.append(await measure(meter, begin, 10, bare))
        if clients is not None:
            for sock in clients.by_fd.values():
                sock.close()
        trio.lowlevel.remove_instrument(meter)
        raise Done

    monkeypatch.setattr(passes_side, "asked", asked)
    monkeypatch.setattr(passes_side.gc, "disable", lambda: None)
    monkeypatch.setattr(passes_side.gc, "freeze", lambda: None)
    with pytest.RaisesGroup(Done, allow_unwrapped=True, flatten_subgroups=True):
        trio.run(passes_side.KINDS[kind], 3)
    assert told[0]["kind"] == kind
    [answer] = answers
    assert answer["complete"]
    steady = answer["steady"]
    assert isinstance(steady, dict)
    assert steady["passes"] >= 10
    assert steady["operations"] >= 2 * 3


class Done(Exception):
    """Enough was measured."""


def test_clients_keep_their_sockets_full_until_they_are_asked_to_stop() -> None:
    """A client's lines arrive whole, one after the other, wherever the kernel cut them."""
    listening = socket.create_server(("127.0.0.1", 0))
    clients = Clients(listening.getsockname()[1], 1)
    server, _ = listening.accept()
    received = server.recv(clients.fill_all())
    sent = len(received)
    again, stop = os.pipe()
    os.write(stop, b"\n")
    clients.keep_full(again)
    while sent < 100_000:
        sent += clients.fill_all()
        received += server.recv(65_536)
    assert received == (LINE * (len(received) // len(LINE) + 1))[: len(received)]
    for end in (again, stop):
        os.close(end)
    for sock in (server, listening, *clients.by_fd.values()):
        sock.close()
