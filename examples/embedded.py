"""A supervision tree inside somebody else's trio program.

The program around it is an ordinary one: it has a nursery, tasks and a memory channel, and one
``async with`` is all that it knows of actors. It wants reports rendered. The code that renders them
cannot be trusted: it fails now and then, and on one report it always fails. So the rendering lives
in actors:

    top (rest_for_one)
    ├── queue        knows which jobs wait, which worker does what, and how often a job was tried
    └── workers (one_for_one)
        ├── worker-0     renders, one job at a time; has no error handling whatsoever
        ├── worker-1
        └── worker-2

When a worker crashes, its supervisor starts another one. The queue, which monitors the worker, gets
a ``Down``, and gives the job to another worker; a job that has cost three workers is given up.

    python -m examples.embedded
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from dataclasses import dataclass

import trio

import actorkit as ak

WORKERS = 3
REPORTS = 20
POISONED = 13  # the report on which every worker crashes
ATTEMPTS = 3


@dataclass(slots=True)
class Job:
    number: int
    reply_to: trio.MemorySendChannel[Result]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    number: int
    text: str | None  # None: it could not be done
    attempts: int


class Worker(ak.Actor):
    """Renders one report at a time. Other messages wait in its mailbox meanwhile."""

    @ak.cast
    async def render(self, number: int, attempt: int, queue: ak.Ref[Queue]) -> None:
        await trio.sleep(0.02)  # the hard work; others run meanwhile
        if number == POISONED:
            raise ValueError(f"report {number} is nonsense")
        if number % 5 == 0 and attempt == 1:
            raise RuntimeError(f"bad luck with report {number}")
        queue.cast(Queue.rendered, self.ctx.ref, f"report {number}, beautifully rendered")


@dataclass(frozen=True, slots=True)
class Recruit:
    """The queue's note to itself: the worker of this name should be back by now."""

    name: str


class Queue(ak.Actor):
    """Hands out jobs. Nobody else touches its state, so there are no locks."""

    def __init__(self, workers: list[str]) -> None:
        self.unknown = list(workers)  # names of the workers it has not met yet
        self.waiting: deque[Job] = deque()
        self.idle: list[ak.Ref[Worker]] = []
        self.names: dict[ak.Ref[Worker], str] = {}
        self.busy: dict[ak.Ref[Worker], Job] = {}

    @ak.cast
    def submit(self, number: int, reply_to: trio.MemorySendChannel[Result]) -> None:
        while self.unknown:
            self.recruit(self.unknown.pop())
        self.waiting.append(Job(number, reply_to))
        self.hand_out()

    @ak.call
    def backlog(self) -> int:
        return len(self.waiting) + len(self.busy)

    @ak.cast
    def rendered(self, worker: ak.Ref[Worker], text: str) -> None:
        job = self.busy.pop(worker)
        self.idle.append(worker)
        self.finish(job, text)
        self.hand_out()

    def handle_info(self, message: object) -> None:
        match message:
            case ak.Down(ref=worker):
                self.lost(worker)
            case Recruit(name):
                self.recruit(name)

    def lost(self, worker: ak.Ref[Worker]) -> None:
        """A worker crashed. Its name lives on: the supervisor starts another one under it."""
        self.ctx.send_after(0.02, self.ctx.ref, Recruit(self.names.pop(worker)))
        job = self.busy.pop(worker, None)
        if job is None:
            self.idle.remove(worker)
        elif job.attempts < ATTEMPTS:
            self.waiting.append(job)
        else:
            self.finish(job, None)
        self.hand_out()

    def recruit(self, name: str) -> None:
        worker: ak.Ref[Worker] | None = self.ctx.node.whereis(name)
        if worker is None:  # not yet restarted
            self.ctx.send_after(0.02, self.ctx.ref, Recruit(name))
            return
        self.ctx.monitor(worker)
        self.names[worker] = name
        self.idle.append(worker)
        self.hand_out()

    def hand_out(self) -> None:
        while self.waiting and self.idle:
            job, worker = self.waiting.popleft(), self.idle.pop()
            job.attempts += 1
            self.busy[worker] = job
            worker.cast(Worker.render, job.number, job.attempts, self.ctx.ref)

    def finish(self, job: Job, text: str | None) -> None:
        # The way out of the world of actors: a channel with room for every answer never blocks.
        job.reply_to.send_nowait(Result(job.number, text, job.attempts))


def tree() -> ak.ChildSpec[ak.Supervisor]:
    names = [f"worker-{number}" for number in range(WORKERS)]
    workers = ak.supervisor(
        *[ak.child(Worker).with_(id=name, name=name) for name in names],
        strategy="one_for_one",  # a worker's crash is no concern of the others
        max_restarts=20,
        max_seconds=5,
    )
    return ak.supervisor(
        ak.child(Queue, names).with_(id="queue", name="queue"),
        workers.with_(id="workers"),
        strategy="rest_for_one",  # a new queue could not know what old workers are doing
    )


# -- Somebody else's program. --


async def heartbeat(beats: Counter[str]) -> None:
    """The program's other tasks do not notice the crashes."""
    while True:
        beats["beats"] += 1
        await trio.sleep(0.05)


async def main() -> int:
    beats: Counter[str] = Counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heartbeat, beats)

        results: dict[int, Result] = {}
        async with ak.open_node(tree()) as node:  # actors live as long as this block
            queue = ak.named(Queue, "queue")
            send, receive = trio.open_memory_channel[Result](REPORTS)
            for number in range(REPORTS):
                queue.cast(Queue.submit, number, send)
            print(f"{await queue.call(Queue.backlog)} reports to render")
            with trio.fail_after(30):
                while len(results) < REPORTS:
                    result = await receive.receive()
                    results[result.number] = result
            crashes = node.statistics().crashes

        nursery.cancel_scope.cancel()

    done = [result for result in results.values() if result.text is not None]
    again = sorted(result.number for result in done if result.attempts > 1)
    given_up = sorted(result.number for result in results.values() if result.text is None)
    print(f"rendered {len(done)} of {REPORTS}; at the second attempt: {again}; given up: {given_up}")
    print(f"{crashes} workers crashed; meanwhile the program's heart beat {beats['beats']} times")
    return 0 if given_up == [POISONED] and again == [0, 5, 10, 15] else 1


if __name__ == "__main__":
    sys.exit(trio.run(main))
