"""A program: actors' own heaps against a model.

    python -m tests.heap.fuzz_slabs [--minutes M] [--seed N]

Blocks are allocated, resized and freed in both domains through the interpreter's own functions, by
threads, in accounts that come, get and lose heaps of their own, and die while others hold their
blocks. The model knows each block's length and content; the content is checked whenever a block is
touched, and blocks must not overlap. Every few hundred steps the live bytes, of each heap and in
all, are compared with those of the model, and cold pages are purged, which must belong to nobody.
At the end everything is freed, and hardly a page may be left: the interpreter keeps some objects
that it made in the meantime.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from actorkit.heap import clock, own_heaps


class Domain:
    """The functions of one allocator domain. ``pythonapi`` keeps the GIL."""

    def __init__(self, prefix: str) -> None:
        def function(name: str, *arguments: Any, returns: Any = ctypes.c_void_p) -> Any:
            found = getattr(ctypes.pythonapi, prefix + name)
            found.argtypes, found.restype = arguments, returns
            return found

        self.malloc = function("Malloc", ctypes.c_size_t)
        self.calloc = function("Calloc", ctypes.c_size_t, ctypes.c_size_t)
        self.realloc = function("Realloc", ctypes.c_void_p, ctypes.c_size_t)
        self.free = function("Free", ctypes.c_void_p, returns=None)


DOMAINS = (Domain("PyMem_"), Domain("PyObject_"))

Block = tuple[Domain, int, bytes]
"""The domain of a block, its address and its content."""


def nobody(account: clock.Account, activation: int) -> None:
    account.reset()


def rounded(length: int) -> int:
    return max(1, (length + 15) // 16) * 16


class Model:
    """What there is. One thread at a time makes the steps, whichever it is."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.accounts: list[clock.Account] = []
        self.blocks: list[Block] = []
        self.steps = 0
        self.favourite = 64

    def length(self) -> int:
        rng = self.random
        if rng.random() < 0.02:
            self.favourite = rng.choice((0, 16, 32, 64, 96, 176, 352, 512))
        kind = rng.random()
        if kind < 0.5:
            return max(0, self.favourite - rng.randrange(16))
        if kind < 0.9:
            return rng.randrange(513)
        return rng.choice((511, 512, 513, 520, 700, 5_000, 70_000))

    def fill(self, domain: Domain, address: int, length: int) -> None:
        assert address % 16 == 0
        content = self.random.randbytes(min(length, 64)).ljust(length, b"\xa5")
        ctypes.memmove(address, content, length)
        self.blocks.append((domain, address, content))

    def taken(self) -> Block:
        """A block that is removed from the model; its content must be unchanged."""
        blocks = self.blocks
        index = self.random.randrange(len(blocks))
        if self.random.random() < 0.5:
            index = len(blocks) - 1 - index // 8  # young blocks die sooner
        blocks[index], blocks[-1] = blocks[-1], blocks[index]
        domain, address, content = blocks.pop()
        assert ctypes.string_at(address, len(content)) == content, f"step {self.steps}: a block has changed"
        return domain, address, content

    def allocate(self) -> None:
        domain, length = self.random.choice(DOMAINS), self.length()
        if self.random.random() < 0.2:
            address = domain.calloc(1, length)
            assert ctypes.string_at(address, length) == bytes(length), f"step {self.steps}: calloc"
        elif self.random.random() < 0.1:
            address = domain.realloc(None, length)
        else:
            address = domain.malloc(length)
        self.fill(domain, address, length)

    def resize(self) -> None:
        if self.blocks:
            domain, address, content = self.taken()
            length = self.length()
            moved = domain.realloc(address, length)
            kept = min(length, len(content))
            assert ctypes.string_at(moved, kept) == content[:kept], f"step {self.steps}: realloc"
            self.fill(domain, moved, length)

    def free(self) -> None:
        if self.blocks:
            domain, address, _ = self.taken()
            domain.free(address)

    def burst(self) -> None:
        """A handler: many blocks, most of which are freed at once."""
        before = len(self.blocks)
        for _ in range(self.random.randrange(400)):
            self.allocate()
        for _ in range(len(self.blocks) - before - self.random.randrange(20)):
            self.free()

    def death(self) -> None:
        """An account dies with some, many or none of its blocks."""
        accounts = self.accounts
        if accounts:
            del accounts[self.random.randrange(len(accounts))]
        if self.random.random() < 0.3:
            for _ in range(int(len(self.blocks) * self.random.random())):
                self.free()

    def step(self) -> None:
        """One step, in some account or in none."""
        rng = self.random
        self.steps += 1
        if len(self.accounts) < 12 and rng.random() < 0.05:
            account = clock.Account()
            account.settle(0)
            self.accounts.append(account)
        account = rng.choice(self.accounts) if self.accounts and rng.random() < 0.9 else None
        if account is not None and rng.random() < 0.1:
            if rng.random() < 0.5:
                account.own_heap = rng.random() < 0.7
            else:
                account.settle(rng.choice((0, 5_000, 100_000)))
        actions: list[Callable[[], None]] = [self.allocate, self.resize, self.free, self.burst, self.death]
        (action,) = rng.choices(actions, (40, 20, 36, 1, 0.2))
        clock.enter(account)
        try:
            action()
        finally:
            clock.enter(None)
        if len(self.blocks) > 20_000:
            for _ in range(15_000):
                self.free()
        if self.steps % 300 == 0:
            self.check()

    def check(self) -> None:
        rng = self.random
        told = own_heaps.statistics()
        assert told.live <= told.pages, told
        assert told.adopted <= told.pages, told
        assert told.pages + told.cold <= told.mapped, told
        # Objects outside the model: the interpreter's own, made in a step.
        assert told.live <= sum(rounded(len(content)) for *_, content in self.blocks) + 2_000_000, told
        spans = sorted((address, address + len(content)) for _, address, content in self.blocks)
        assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False)), "blocks overlap"
        if rng.random() < 0.3:
            cold = told.cold
            given = own_heaps.purge(rng.choice((0.0, 0.0001, 1.0)))
            after = own_heaps.statistics()
            assert given <= cold + told.pages
            assert after.given_back == told.given_back + given
            assert after.live <= after.pages
        for _ in range(20):
            if self.blocks:
                _, address, content = rng.choice(self.blocks)
                assert ctypes.string_at(address, len(content)) == content, "a block has changed"

    def end(self) -> None:
        while self.blocks:
            self.free()
        self.accounts.clear()
        gc.collect()  # what freelists hold, too
        own_heaps.purge(10.0)
        told = own_heaps.statistics()
        assert told.live < 20_000, told
        assert told.pages < 500_000, told
        assert told.cold == 0, told


def run(seed: int, *, seconds: float | None = None, steps: int = 0, threads: int = 3) -> int:
    """Run threads that take turns at one model. Return the number of steps made."""
    model = Model(seed)
    turn = threading.Lock()
    failed: list[BaseException] = []
    until = None if seconds is None else time.monotonic() + seconds

    def work() -> None:
        try:
            while not failed and (model.steps < steps if until is None else time.monotonic() < until):
                with turn:
                    for _ in range(50):
                        model.step()
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        raise failed[0]
    made = model.steps
    model.end()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description="actors' own heaps against a model")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    boundary: Any = None
    clock.install(nobody, boundary)
    if (why := own_heaps.why_not()) is not None:
        print(f"nothing to test: {why}")
        return 1
    until = time.monotonic() + options.minutes * 60
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    steps = 0
    while time.monotonic() < until:
        print(f"seed {seed}: ", end="", flush=True)
        made = run(seed, seconds=min(60.0, max(1.0, until - time.monotonic())))
        steps += made
        print(f"{made} steps; {own_heaps.statistics()}", flush=True)
        seed += 1
    print(f"{steps} steps on {sys.version.split()[0]}, no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
