"""The parts of the survival bench that decide what its table says: protocol, limit, plans, report
and picture.
"""

from __future__ import annotations

import copy
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bench.survival import __main__ as command
from bench.survival import cases, protocol, report
from bench.survival import limit as limits
from bench.survival.contenders import CONTENDERS
from bench.survival.latency import bucket, quantile
from bench.survival.limit import CgroupV1, CgroupV2, NoPermission, keyed, own_groups, v2_parents
from bench.survival.picture import marks_of, picture
from bench.survival.runner import shares
from bench.survival.terminal import ROWS, Screen, chart
from bench.survival.watch import verdict

MIB = 2**20


# --- protocol -------------------------------------------------------------------------------------


def test_a_request_and_its_reply_share_verb_and_number() -> None:
    request = protocol.parse(b"HOLD 7 4096")
    assert (request.verb, request.seq, request.arguments) == (b"HOLD", 7, (b"4096",))
    answer = protocol.reply(request, 8192)
    assert answer == b"HOLD 7 8192\n"
    due = protocol.expected(b"HOLD 7 4096")
    assert protocol.fits(answer.rstrip(), due)
    assert not protocol.fits(b"HOLD 8 8192", due)
    assert not protocol.fits(b"HOLD 70 8192", due)


def test_an_echo_must_be_equal() -> None:
    due = protocol.expected(b"ECHO 3 so he said")
    assert protocol.fits(b"ECHO 3 so he said", due)
    assert not protocol.fits(b"ECHO 3 so he said!", due)


def test_declining_names_the_request() -> None:
    due = protocol.expected(b"FEED 12 10 10")
    assert protocol.declined(b"BUSY 12", due)
    assert not protocol.declined(b"BUSY 13", due)


@pytest.mark.parametrize("line", [b"", b"HOLD", b"HOLD x 3"])
def test_what_is_not_a_request(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a request"):
        protocol.parse(line)


def test_rows_are_objects_of_their_own() -> None:
    rows = protocol.rows(10 * protocol.ROW)
    assert len({id(row) for row in rows}) == 10
    assert {len(row) for row in rows} == {protocol.ROW}
    assert protocol.giant(1000 * protocol.ROW, b"loop") == protocol.giant(1000 * protocol.ROW, b"piece")


# --- limit ----------------------------------------------------------------------------------------

NESTED = "4:memory:/pods/7\n3:cpu:/\n0::/\n"
V1_MOUNT = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V2_MOUNT = "31 25 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"


def test_own_groups_on_a_hybrid_machine() -> None:
    v1, v2 = own_groups(NESTED, V1_MOUNT + V2_MOUNT)
    assert v1 == Path("/sys/fs/cgroup/memory/pods/7")
    assert v2 == Path("/sys/fs/cgroup/unified")


def test_a_container_sees_a_part_of_the_hierarchy() -> None:
    mount = "30 25 0:26 /pods /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert own_groups(NESTED, mount)[0] == Path("/sys/fs/cgroup/memory/7")
    elsewhere = mount.replace("/pods ", "/pod ")
    assert own_groups(NESTED, elsewhere) == (None, None)


def test_v2_only() -> None:
    mount = "31 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert own_groups("0::/user.slice/a\n", mount) == (None, Path("/sys/fs/cgroup/user.slice/a"))


def test_the_counter_of_kernel_kills_is_read_by_its_key(tmp_path: Path) -> None:
    file = tmp_path / "memory.oom_control"
    file.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\nstrange text\n")
    assert keyed(file) == {"oom_kill_disable": 0, "under_oom": 0, "oom_kill": 3}


def test_a_group_is_limited_before_anything_is_in_it(tmp_path: Path) -> None:
    for kind, file in ((CgroupV1, "memory.limit_in_bytes"), (CgroupV2, "memory.max")):
        group = kind(tmp_path, 64 * MIB)
        assert (group.path / file).read_text() == str(64 * MIB)
        assert str(group.path / "cgroup.procs") in group.command(["true"])
        assert group.command(["true"])[-1] == "true"


def test_no_permission_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(NoPermission, match="nowhere"):
        CgroupV1(tmp_path / "nowhere", MIB)


def test_a_v2_group_needs_a_parent_that_hands_out_memory(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory")
    assert list(v2_parents(own)) == [tmp_path]  # the group's own directory has no such file here


def test_without_permission_the_address_space_is_limited_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "pod" / "own"
    own.mkdir(parents=True)
    monkeypatch.setattr(limits, "_groups", lambda: (tmp_path / "nowhere", own))
    limit, where = limits.make_limit(64 * MIB)
    assert (limit.kind, limit.shared) == ("RLIMIT_AS", False)
    assert "cannot make a group below" in where
    assert "may hand out the memory controller of cgroup v2" in where
    assert limits.make_limit(64 * MIB, cgroups=False)[1].endswith("(as asked)")


def test_version_2_where_the_parent_hands_out_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "cgroup.subtree_control").write_text("memory")
    monkeypatch.setattr(limits, "_groups", lambda: (None, own))
    limit, where = limits.make_limit(64 * MIB)
    assert isinstance(limit, CgroupV2)
    assert where == f"cgroup v2 below {tmp_path}"
    assert (limit.path / "memory.max").read_text() == str(64 * MIB)
    assert (limit.path / "memory.swap.max").read_text() == "0"
    (limit.path / "memory.events").write_text("low 0\nmax 12\noom 2\noom_kill 1\n")
    (limit.path / "memory.current").write_text("9000")
    (limit.path / "memory.stat").write_text("anon 5000\ninactive_file 3000\n")
    assert limit.oom_kills() == 1
    assert (limit.usage(1).used, limit.usage(1).cached) == (6000, 3000)


# --- plans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.CASES)
@pytest.mark.parametrize("connections", [100, 1_000, 10_000])
def test_each_plan_offers_what_its_limit_on_connections_admits(case: str, connections: int) -> None:
    limit = cases.limit_for(connections)
    plan = cases.plan(case, connections, limit)
    assert sum(group.count for group in plan.groups) == connections == plan.connections
    assert any(group.good and group.echo for group in plan.groups)
    if plan.footprint:
        assert plan.footprint < plan.budget  # the crowd is not at fault
        assert 2 * limit <= plan.footprint * connections <= 4 * limit


def test_the_storm_offers_twice_what_fits() -> None:
    limit = cases.limit_for(1_000)
    plan = cases.plan("S4", 1_000, limit)
    used = limit // 4
    fill = cases.fill(plan, limit, used)
    stormers = next(group.count for group in plan.groups if group.storm)
    assert fill * stormers == pytest.approx(2 * (cases.LEAVE_SHED * limit - used), rel=0.01)


def test_the_processes_of_the_generator_share_all_clients_and_no_address() -> None:
    plan = cases.plan("S1", 10_000, cases.limit_for(10_000))
    cut = shares(plan, {"low": 1}, 900.0)
    assert len(cut) == 3
    assert sum(group["count"] for part in cut for group in part["groups"]) == 10_000
    numbers = [n for part in cut for n in range(part["first"], part["first"] + sum(g["count"] for g in part["groups"]))]
    assert sorted(numbers) == list(range(10_000))
    assert len({part["source"] for part in cut}) == 3
    assert sum(part["rate"] for part in cut) == pytest.approx(900)


def test_a_slower_pace_stretches_every_time_and_no_size() -> None:
    limit = cases.limit_for(300)
    usual, slow = cases.plan("S2", 300, limit), cases.paced(cases.plan("S2", 300, limit), 4)
    assert slow.press_seconds == 4 * usual.press_seconds
    assert slow.groups[0].spread == 4 * usual.groups[0].spread
    assert slow.groups[0].press[0].pause == pytest.approx(4 * usual.groups[0].press[0].pause)
    assert slow.groups[0].press[0].say == usual.groups[0].press[0].say


# --- latencies ------------------------------------------------------------------------------------


def test_quantiles_are_right_within_the_width_of_a_bucket() -> None:
    buckets: dict[int, int] = {}
    for milliseconds in range(1, 101):
        number = bucket(milliseconds / 1000)
        buckets[number] = buckets.get(number, 0) + 1
    assert quantile(buckets, 0.99) == pytest.approx(0.099, rel=0.06)
    assert quantile(buckets, 0.5) == pytest.approx(0.050, rel=0.06)
    assert quantile({}, 0.99) is None


# --- report and picture ---------------------------------------------------------------------------


def run(contender: str, number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "case": "S1",
        "contender": contender,
        "number": number,
        "limit": 100 * MIB,
        "alive": True,
        "killed_by_kernel": False,
        "oom_kills": 0,
        "good": 277,
        "kept": 277,
        "lost_by_class": {"low": 0, "normal": 0, "high": 0},
        "refused": 4,
        "counts": {"lost": 23},
        "kills_per_minute": 60.0,
        "restarts_per_minute": 0.0,
        "p99_ms": {"steady": 1.0, "press": 12.0, "after": None},
        "refusal_p99_ms": 7.0,
        "back_seconds": 0.5,
        "capacity": None,
        "times": {"began": -3.0, "press": 0.0, "relax": 5.0, "verify": 6.0},
        "timeline": [[-3.0, 20 * MIB, "NORMAL"], [0.0, 30 * MIB, "NORMAL"], [5.0, 85 * MIB, "SHED"]],
        "marks": [[1.0, "lost", 3], [2.0, "refused", 4], [2.0, "welcomed", 9]],
        "told": [[0.5, {"kills": 0}], [1.0, {"kills": 3}], [1.5, {"kills": 3}], [2.0, {"kills": 5, "restarts": 1}]],
        **changes,
    }


DEAD: dict[str, Any] = {
    "alive": False,
    "killed_by_kernel": True,
    "oom_kills": 1,
    "kept": 0,
    "lost_by_class": {"low": 93, "normal": 92, "high": 92},
    "back_seconds": None,
    "kills_per_minute": None,
}


def document(*runs: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {"cpu": "test", "cores": 2, "kernel": "6", "addition_ms": 30},
        "connections": 300,
        "limit": 100 * MIB,
        "pace": 1.0,
        "where": "cgroup v1 below /a",
        "cases": {"S1": "hog: 23 < 300"},
        "runs": list(runs),
    }


def row_of(table: str, name: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_dead_and_the_living_in_one_table() -> None:
    table = report.table(document(run("actorkit"), run("trio", **DEAD)))
    assert row_of(table, "actorkit") == [
        "actorkit", "1", "yes", "0", "277 of 277", "0/0/0", "4", "23", "60", "0", "12", "7", "0.5", "",
    ]  # fmt: skip
    assert row_of(table, "trio") == [
        "trio", "1", "NO", "1", "0 of 277", "93/92/92", "4", "23", "n/a", "0", "n/a", "7", "never", "",
    ]  # fmt: skip


def test_the_worst_of_several_runs_is_not_hidden_by_their_median() -> None:
    runs = [run("actorkit", number) for number in range(3)]
    runs[1] |= DEAD
    cells = row_of(report.table(document(*runs)), "actorkit")
    assert cells[1:5] == ["3", "2/3", "1", "277 of 277 (min 0)"]


def test_a_run_that_was_not_finished_counts_as_one_that_did_not_survive() -> None:
    unfinished = {"case": "S1", "contender": "actorkit", "number": 1, "problem": "it never answered"}
    table = report.table(document(run("actorkit"), unfinished))
    assert row_of(table, "actorkit")[2] == "1/2"
    assert "it never answered" in table


def test_what_could_not_start_is_not_available() -> None:
    absent = {"case": "S1", "contender": "beam", "number": 0, "n/a": "did not start under RLIMIT_AS"}
    table = report.table(document(absent))
    assert row_of(table, "beam")[2] == "n/a"
    assert "did not start under RLIMIT_AS" in table


def test_a_wrong_reply_is_shouted() -> None:
    assert "WRONG REPLIES: client 3" in report.table(document(run("trio", wrong=["client 3: b'ECHO 4'"])))


def test_marks_are_the_growth_of_what_the_server_counts() -> None:
    assert marks_of(run("actorkit")) == [
        (1.0, "kills", 3),
        (1.0, "lost", 3),
        (2.0, "kills", 2),
        (2.0, "refused", 4),
        (2.0, "restarts", 1),
    ]


def test_the_picture_is_well_formed_and_shows_who_was_killed() -> None:
    drawn = picture(document(run("actorkit"), run("trio", **DEAD)), "S1")
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("killed by the kernel") == 1
    assert "S1 hog: 23 < 300" in texts
    assert {"70%", "80%", "90%", "96%", "100 MiB"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2


def test_what_is_needed_is_drawn_where_the_server_tells_it() -> None:
    told = [
        [-2.0, {"live": 30 * MIB, "resident": 40 * MIB}],
        [4.9, {"live": 50 * MIB, "resident": 90 * MIB}],
        [9.0, {}],
    ]
    root = ElementTree.fromstring(picture(document(run("actorkit", told=told)), "S1", ["actorkit"]))
    used, needed = root.iter("{http://www.w3.org/2000/svg}polyline")
    assert len(needed.attrib["points"].split()) == 2
    lowest = min(float(point.split(",")[1]) for point in used.attrib["points"].split())
    assert min(float(point.split(",")[1]) for point in needed.attrib["points"].split()) > lowest


def test_usage_at_the_limit_is_drawn_on_its_line() -> None:
    full = run("actorkit", timeline=[[-3.0, 0, None], [5.0, 100 * MIB, None]])
    root = ElementTree.fromstring(picture(document(full), "S1", ["actorkit"]))
    polyline = next(root.iter("{http://www.w3.org/2000/svg}polyline"))
    (_, floor), (_, top) = [map(float, point.split(",")) for point in polyline.attrib["points"].split()]
    lines = [float(line.attrib["y1"]) for line in root.iter("{http://www.w3.org/2000/svg}line")]
    assert top in lines
    assert floor > max(lines[:4])


def test_the_picture_says_which_run_it_lacks() -> None:
    with pytest.raises(ValueError, match="--case S1 --only trio"):
        picture(document(run("actorkit")), "S1")


# --- watching -------------------------------------------------------------------------------------


def test_the_chart_has_a_bar_for_each_half_second_and_a_digit_where_something_was_counted() -> None:
    timeline = [(10.0, 50 * MIB, None), (10.5, 75 * MIB, None), (10.9, 100 * MIB, None)]
    told = [(10.0, {"kills": 0}), (10.6, {"kills": 3, "refused": 12})]
    lines = chart(timeline, told, 100 * MIB, width=40, colour=False)
    assert {len(line) for line in lines} == {40}
    bars = [line[18:] for line in lines[1 : 1 + ROWS]]
    assert [sum(row[column] == "█" for row in bars) for column in range(3)] == [ROWS // 2, ROWS, 0]
    assert [line.split() for line in lines[-3:]] == [
        ["kills", "3", "·3" + "·" * 20], ["refused", "12", "·+" + "·" * 20], ["restarts", "0", "·" * 22],
    ]  # fmt: skip
    for level in ("CONSERVE 70%", "SHED 80%", "KILL 90%", "EXHAUSTED 96%"):
        assert sum(level in line for line in lines) == 1


def test_the_chart_of_a_long_run_shows_its_end() -> None:
    timeline = [(at / 10, 100 * MIB * at // 1000, None) for at in range(1001)]
    lines = chart(timeline, [], 100 * MIB, width=40, colour=False)
    assert lines[1].endswith("█") or lines[1].endswith("▇")
    assert lines[ROWS].count("█") == 22


def test_without_a_terminal_there_is_a_line_a_second() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.show("actorkit", [], [], MIB, "starts")
    for tenth in range(25):
        screen.show("actorkit", [(0.0, MIB, None), (tenth / 10, MIB // 2, None)], [(0.0, {"kills": 1})], MIB, "steady")
    assert len(out.getvalue().splitlines()) == 3
    assert "50.0%" in out.getvalue()
    assert "kills 1" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_the_verdict_of_a_run_that_was_watched() -> None:
    assert "alive; 277 of 277" in verdict(run("actorkit", where="here"))
    assert "killed by the kernel" in verdict(run("trio", **DEAD, where="here"))
    assert verdict({"n/a": "no erl", "where": "here"}) == "no erl (here)"


# --- resuming -------------------------------------------------------------------------------------


def test_resume_refuses_figures_of_another_size(tmp_path: Path) -> None:
    file = tmp_path / "survival.json"
    saved = {"connections": 300, "limit": cases.limit_for(300), "quick": True, "pace": 1.0, "runs": []}
    command.save(file, saved)
    options = command.parsed(["--quick", "--resume", "--json", str(file)])
    assert command.resumed(options, cases.limit_for(300)) == saved
    with pytest.raises(SystemExit, match="'rlimit': True"):  # figures of another kind of limit
        command.resumed(command.parsed(["--quick", "--rlimit", "--resume", "--json", str(file)]), cases.limit_for(300))
    other = copy.copy(options)
    other.connections = 400
    with pytest.raises(SystemExit, match="asked for"):
        command.resumed(other, cases.limit_for(400))
    assert json.loads(file.read_text()) == saved


def test_resume_runs_what_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run_one(contender: Any, *_: Any) -> dict[str, Any]:
        ran.append(contender.name)
        return {"n/a": "a test", "where": "here"}

    monkeypatch.setattr(command, "run_one", run_one)
    file = tmp_path / "survival.json"
    options = command.parsed(
        ["--case", "S1", "--runs", "3", "--only", "actorkit", "--only", "trio", "--json", str(file)]
    )
    done = document(run("actorkit", 0), run("actorkit", 2))
    plans = {"S1": cases.plan("S1", 300, cases.limit_for(300))}
    command.run_all(options, done, plans, cases.limit_for(300), tmp_path)
    assert ran == ["actorkit", "trio"]
    assert [(one["contender"], one["number"]) for one in json.loads(file.read_text())["runs"]] == [
        ("actorkit", 0), ("actorkit", 2), ("actorkit", 1), ("trio", 0),
    ]  # fmt: skip
    command.run_all(options, done, plans, cases.limit_for(300), tmp_path)
    assert ran == ["actorkit", "trio"]


def test_each_contender_in_python_has_its_module() -> None:
    for contender in CONTENDERS.values():
        if not contender.beam:
            module = contender.command({"connections": 3}, Path())[2]
            assert (Path(cases.__file__).parents[2] / (module.replace(".", "/") + ".py")).exists()
