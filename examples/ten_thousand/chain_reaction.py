"""The chain reaction: clients that want more than there is, and come back for it whenever they are
cut off.

A greedy client lets its connection keep more and more, a step at a time, up to what a connection
may hold by its own limit; then it lets go and begins again. None of them breaks a rule, and
together they want about twice what the service may use. A client whose connection is ended
reconnects at once, and if it is let in, another one must go: unless somebody refuses and chooses,
that never ends.

The pace is set for all of them together: so many bytes a second, and at most so many steps that
wait for their answer. The next step is taken by the client that has had its answer for the longest
time. So a service that stands still for a second does not find a second's greed in its sockets.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import trio

from . import protocol
from .pipes import emit

if TYPE_CHECKING:
    from .clients import Client
    from .load import Load

__all__ = ["AT_MOST", "STEP", "ChainReaction"]

STEP = 32 * 1024
AT_MOST = 6 * STEP
"""Three quarters of what a connection may hold."""

TICK = 0.05

PATIENCE = 40.0
"""Seconds, at most, until they have filled memory: a slow machine needs more of them."""


class ChainReaction:
    """The greedy among the clients, for as long as it lasts."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.is_on = False
        self.greedy: set[Client] = set()
        """All that ever were, also when it is over."""
        self.still_greedy = 0
        self.chosen: set[Client] = set()
        """Those that will be, when their turn is over."""
        self.ready: dict[Client, None] = {}
        """Those that may take the next step, in this order."""
        self.asked = 0
        """Steps without an answer yet."""
        self.ended = 0
        self.readmitted = 0
        self.hoarded = 0

    async def run(self, clients: int, rate: int, window: int, seconds: float) -> None:
        """Make so many clients greedy for so many seconds, from the first connection that is ended
        for it. Together they take ``rate`` bytes a second, ``window`` steps at a time."""
        load = self.load
        self.is_on = True
        self.chosen = set(random.sample(load.clients, clients))
        load.queue = type(load.queue)(client for client in load.queue if client not in self.chosen)
        idle = [client for client in load.clients if not client.expected]
        waiting = set(load.queue)
        for client in idle:
            self.takes(client)
        load.more_turns(client for client in idle if not client.greedy and client not in waiting)
        allowed = 0.0
        last = trio.current_time()
        until = last + PATIENCE
        first = True
        while last < until:
            await trio.sleep(TICK)
            now = trio.current_time()
            if first and self.ended:
                first, until = False, now + seconds
            allowed = min(allowed + rate * (now - last), window * STEP)
            last = now
            while allowed >= STEP and self.ready and self.asked < window:
                allowed -= STEP
                self.step(next(iter(self.ready)))
        self.is_on = False
        self.chosen.clear()
        emit("reaction over", at=time.monotonic())
        for client in list(self.ready):
            self.step(client)
        self.look_whether_calm()

    def takes(self, client: Client) -> bool:
        """If the client was chosen, its turns have ended and its greed begins."""
        if client not in self.chosen:
            return False
        self.chosen.discard(client)
        self.greedy.add(client)
        self.still_greedy += 1
        client.greedy = True
        client.keeps = 0
        if client.online:
            self.ready[client] = None
        return True

    def step(self, client: Client) -> None:
        """Ask for more; for nothing, if the client has all it can get, or if the reaction is
        over."""
        del self.ready[client]
        if not self.is_on and not client.keeps:
            self.behaves(client)
            return
        if not self.is_on or client.keeps >= AT_MOST:
            client.keeps = 0
            client.send(protocol.hoard(0))
        else:
            client.keeps += STEP
            self.hoarded += STEP
            client.send(protocol.hoard(STEP))
        self.load.lines_out += 1
        self.asked += 1

    def kept(self, client: Client) -> None:
        """The client's connection keeps what it was asked to keep."""
        self.asked -= 1
        self.is_ready(client)

    def is_ready(self, client: Client) -> None:
        self.ready[client] = None
        if not self.is_on:
            self.step(client)

    def was_ended(self, client: Client) -> None:
        self.ended += 1
        if client in self.ready:
            del self.ready[client]
        else:
            self.asked -= 1

    def came_back(self, client: Client) -> None:
        """The client is connected again, and its connection keeps nothing."""
        self.readmitted += 1
        client.keeps = 0
        self.is_ready(client)

    def behaves(self, client: Client) -> None:
        """From now on the client is like all the others."""
        client.greedy = False
        self.still_greedy -= 1
        if client.turns < self.load.rounds:
            self.load.more_turns([client])
        self.look_whether_calm()

    def look_whether_calm(self) -> None:
        if not self.is_on and not self.still_greedy:
            emit("calm", at=time.monotonic())

    def status(self) -> dict[str, object]:
        return {
            "greedy": len(self.greedy),
            "still_greedy": self.still_greedy,
            "ended_for_memory": self.ended,
            "readmitted": self.readmitted,
            "hoarded": self.hoarded,
        }
