"""`python -m bench soak --minutes M --seed S`: a node under random abuse, its invariants checked
throughout.

Some 2,000 actors crash, hang, swallow cancellation, are killed, exited, stopped, flooded, linked
and monitored. Memory bombs go off against budgets, and hoarders press on the governor of a node
with a memory limit, inside a real limit of the kernel where one can be made. A hundred peers in
this process come, talk, misbehave and go. Each round of abuse is followed by a pause, in which
everything must come to rest, the books must balance (calls = answered + failed + abandoned; casts =
handled + dead letters; monitors = Downs + armed; starts - ends = actors), and what the process
holds is noted. At the end the series of these notes must be flat: see `bench/soak/flatness.py` for
the rule.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import trio

from bench.harness import ROOT
from bench.soak.flatness import TOLERANCES, not_flat
from bench.soak.peers import Peers
from bench.survival.limit import make_limit

LIMIT = 192 * 2**20
KERNEL_LIMIT = 256 * 2**20
"""The governor's limit is the lower one: it has to hold by itself, and the kernel's limit shows if
it does not.
"""


class Ended(Exception):
    """The node's process has ended."""


async def lines(process: trio.Process) -> Any:
    assert process.stdout is not None
    tail = b""
    async for chunk in process.stdout:
        *whole, tail = (tail + chunk).split(b"\n")
        for line in whole:
            yield json.loads(line)


async def soak(minutes: float, seed: int, round_seconds: float) -> dict[str, Any]:
    """Everything that was seen."""
    limit, where = make_limit(KERNEL_LIMIT)
    samples: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    peers: Peers | None = None
    started = time.monotonic()
    with limit:
        arguments = [str(seed), str(round_seconds), str(LIMIT)]
        command = [sys.executable, "-X", "faulthandler", "-m", "bench.soak.world", *arguments]
        if limit.shared:
            command = limit.command(command)
        process = await trio.lowlevel.open_process(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            async with trio.open_nursery() as nursery:
                crowd: trio.CancelScope | None = None
                over = False

                async def run_peers(scope: trio.CancelScope) -> None:
                    assert peers is not None
                    with scope:
                        await peers.run()

                def come() -> trio.CancelScope:
                    scope = trio.CancelScope()
                    nursery.start_soon(run_peers, scope)
                    return scope

                with trio.move_on_after(minutes * 60 * 2 + 300) as overall:
                    async for told in lines(process):
                        event = told.pop("event")
                        if event == "ready":
                            peers = Peers(told["port"], seed)
                            crowd = come()
                            result["actors"] = told["actors"]
                        elif event == "resting":
                            assert crowd is not None
                            assert process.stdin is not None
                            crowd.cancel()
                            over = time.monotonic() - started > minutes * 60
                            await process.stdin.send_all(b"end" if over else b"go")
                        elif event == "sample":
                            samples.append(told)
                            print(progress(time.monotonic() - started, told), file=sys.stderr, flush=True)
                            if not over:
                                crowd = come()
                        else:
                            result.update(told)
                if overall.cancelled_caught:
                    result["hung"] = True
                nursery.cancel_scope.cancel()
            status = await process.wait()
        finally:
            if process.poll() is None:
                process.kill()
        oom = limit.oom_kills()
    return {
        "minutes": round((time.monotonic() - started) / 60, 2),
        "seed": seed,
        "limit": LIMIT,
        "kernel_limit": f"{KERNEL_LIMIT} ({where})",
        "status": status,
        "oom_kills": oom,
        "samples": samples,
        "peers": {} if peers is None else dict(peers.counts),
        "peer_violations": [] if peers is None else peers.violations,
        **result,
    }


def progress(seconds: float, sample: dict[str, Any]) -> str:
    mib = sample["rss"] / 2**20
    return (
        f"soak: {seconds:5.0f} s, RSS {mib:6.1f} MiB, {sample['objects']:,} objects, {sample['actors']} actors, "
        f"{sample['violations']} violations"
    )


def verdict(seen: dict[str, Any]) -> list[str]:
    """What is wrong; empty if nothing is."""
    wrong = list(seen.get("violations", [])) + list(seen["peer_violations"])
    if seen["status"] != 0 or "counts" not in seen:
        wrong.append(f"the node's process ended with {seen['status']} and without a result")
    if seen.get("hung"):
        wrong.append("the node's process did not come to an end")
    if seen["oom_kills"]:
        wrong.append(f"the kernel killed {seen['oom_kills']} processes for want of memory")
    for name in TOLERANCES:
        values = [sample[name] for sample in seen["samples"]]
        if None not in values:
            found = not_flat(name, values)
            if found is not None:
                wrong.append(found)
    return wrong


def summary(seen: dict[str, Any], wrong: list[str]) -> str:
    counts, samples = seen.get("counts", {}), seen["samples"]
    get = counts.get
    text = [f"soak: seed {seen['seed']}, {seen['minutes']} minutes, {seen.get('actors')} actors, {len(samples)} rests"]
    if counts:
        text += [
            f"  calls        {get('calls', 0):,}: {get('calls answered', 0):,} answered, {get('calls failed', 0):,} "
            f"failed, {get('calls abandoned', 0):,} abandoned with their callers; lost 0"
            if get("calls", 0) == sum(get(f"calls {how}", 0) for how in ("answered", "failed", "abandoned"))
            else f"  calls        {get('calls', 0):,}, and some are LOST",
            f"  casts        {get('notes cast', 0):,} counted, {get('notes handled', 0):,} handled; "
            f"{seen['messages']:,} messages in all, {seen['dead_letters']:,} dead letters",
            f"  lives        {seen['started']:,} started, {seen['exited']:,} ended ("
            + ", ".join(f"{name} {n:,}" for name, n in sorted(seen["deaths"].items()))
            + f"); {seen['restarts']:,} restarts",
            f"  faults       {', '.join(f'{name} {n:,}' for name, n in sorted(seen['faults'].items()))}; "
            f"{get('did: bomb', 0):,} bombs, {get('hoarders', 0):,} hoarders",
            f"  memory       levels {', '.join(seen['levels'])}; {seen['governor_kills']:,} killed by the governor; "
            f"OOM kills {seen['oom_kills']}",
            f"  peers        {', '.join(f'{name} {n:,}' for name, n in sorted(seen['peers'].items()))}",
            f"  monitors     {get('monitors', 0):,}, {get('downs', 0):,} Downs; {get('looks', 0):,} looks at all",
        ]
    for name in ("rss", "objects", "tasks", "descriptors"):
        values = [sample[name] for sample in samples]
        if values:
            text.append(f"  {name:12} first {values[0]:,}, middle {values[len(values) // 2]:,}, last {values[-1]:,}")
    text += [f"  WRONG: {what}" for what in wrong]
    text.append(f"soak: {'clean' if not wrong else f'{len(wrong)} things wrong'}")
    return "\n".join(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=(__doc__ or "").partition(":")[2])
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--round", type=float, default=10.0, metavar="SECONDS", help="of abuse between two rests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was seen")
    args = parser.parse_args(argv)
    seen = trio.run(soak, args.minutes, args.seed, args.round)
    wrong = verdict(seen)
    print(summary(seen, wrong))
    if args.json is not None:
        args.json.write_text(json.dumps({**seen, "wrong": wrong}, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
