"""The load generator: thousands of clients in plain trio, which check every reply.

A client is one task, and that task only reads (``clients``). It costs as little as possible,
because it shares a small machine with what it measures.

Clients take turns. A turn is an ECHO and, every tenth time, a SAY after the reply: a hundred lines
for one, so that nine of ten lines come from others. A fixed number of turns is in progress
(``Load.window``): the load follows what the service is able to do, and nothing piles up on a slow
machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import time
from collections import deque
from collections.abc import Iterable

import trio

from . import protocol
from .chain_reaction import ChainReaction
from .clients import Client, Latencies, Room
from .pipes import STATUS_INTERVAL, commands, emit, raise_descriptor_limit

CONNECTING_AT_ONCE = 200


class Load:
    """All clients, whose turn it is, and what came of it."""

    def __init__(self, addresses: list[tuple[str, int]], clients: int, rounds: int) -> None:
        self.addresses = addresses
        self.rounds = rounds
        self.rooms = [Room(protocol.room_name(number)) for number in range(protocol.rooms_for(clients))]
        self.clients: list[Client] = []
        for number in range(clients):
            room = self.rooms[number % len(self.rooms)]
            room.clients.append(client := Client(self, number, room))
            self.clients.append(client)
        self.connecting = trio.CapacityLimiter(CONNECTING_AT_ONCE)
        self.all_online = trio.Event()
        self.all_idle = trio.Event()
        self.all_called = trio.Event()

        self.window = max(4, clients // 40)
        self.turns_in_progress = 0
        self.turns_done = 0
        self.had_a_turn = 0
        self.turns_planned = rounds * clients
        self.queue: deque[Client] = deque()
        self.saying: dict[Client, None] = {}
        self.finishing = False
        self.reaction = ChainReaction(self)

        self.online = 0
        self.peak = 0
        self.failed_attempts = 0
        self.crashes_wanted = 0
        self.crashed = 0
        self.reconnected = 0
        self.lost = 0
        self.refused = 0
        self.echoes_asked = self.echoes_right = 0
        self.says_asked = self.says_heard = self.said_again = 0
        self.heard_from_others = 0
        self.roll_calls_heard = 0
        self.lines_in = self.lines_out = 0
        self.wrong_lines = 0
        self.first_wrong = ""

        self.echo_latency = Latencies()
        self.say_latency = Latencies()
        self.slowest_repeated = 0.0
        self.smoothed = 0.5  # as TCP estimates its retransmission timeout (RFC 6298)
        self.deviation = 0.25

    def address_for(self, client: Client) -> tuple[str, int]:
        return self.addresses[client.number % len(self.addresses)]

    # -- what clients report --

    def went_online(self, client: Client) -> None:
        client.online = True
        self.online += 1
        self.peak = max(self.peak, self.online)
        if client.connections > 1 and not client.greedy:
            self.reconnected += 1
        if self.online == len(self.clients):
            self.all_online.set()
        if client.expected:  # its last connection took the answer with it
            client.send_request()
        if client.greedy:  # last: it may get a turn, and with it a request, at once
            self.reaction.came_back(client)

    def went_offline(self, client: Client) -> None:
        client.online = False
        self.online -= 1
        if self.all_online.is_set():
            self.all_online = trio.Event()
        if client.crashing:
            client.crashing = False
            self.crashed += 1
        elif client.greedy:
            self.reaction.was_ended(client)
        else:
            self.lost += 1

    def wrong(self, client: Client, line: bytes) -> None:
        self.wrong_lines += 1
        if not self.first_wrong:
            self.first_wrong = f"client {client.number} got {line[:80]!r}, expected {client.expected[:80]!r}"

    def say_heard_after(self, seconds: float) -> None:
        self.say_latency.values.append(seconds)
        error = seconds - self.smoothed
        self.smoothed += error / 8
        self.deviation += (abs(error) - self.deviation) / 4

    def patience(self) -> float:
        """Seconds to wait for one's own SAID before saying it again."""
        return min(8.0, max(1.0, self.smoothed + 4 * self.deviation))

    # -- turns --

    def start_turns(self) -> None:
        # Neighbours in the queue share a room: conversations come in bursts.
        for room in random.sample(self.rooms, len(self.rooms)):
            self.queue.extend(room.clients)
        for _ in range(self.window):
            self.next_turn()

    def next_turn(self) -> None:
        if self.queue and not self.finishing:
            self.turns_in_progress += 1
            self.queue.popleft().ask(speaking=False)
        elif self.finishing and self.turns_in_progress == 0:
            self.all_idle.set()

    def more_turns(self, clients: Iterable[Client]) -> None:
        """More clients want turns, and fewer may be in progress than there could be."""
        self.queue.extend(clients)
        while self.queue and self.turns_in_progress < self.window and not self.finishing:
            self.next_turn()

    def turn_is_over(self, client: Client) -> None:
        self.turns_in_progress -= 1
        self.turns_done += 1
        client.turns += 1
        if not self.reaction.takes(client) and (client.turns < self.rounds or self.reaction.is_on):
            self.queue.append(client)
        if client.turns == 1:
            self.had_a_turn += 1
            if self.had_a_turn == len(self.clients):
                emit("first round")
        if self.turns_done == self.turns_planned:
            emit("rounds")
        self.next_turn()

    async def repeat_lost_says(self) -> None:
        """Say again what was lost with a room that crashed."""
        while True:
            await trio.sleep(0.25)
            now = time.perf_counter()
            for client in [client for client in self.saying if client.online and client.say_again_at <= now]:
                client.send_request()

    # -- the phases, as the watching process calls them --

    async def crash_some(self, share: float) -> None:
        """Some clients ask for the crash of their connection, and must come back."""
        for client in random.sample(self.clients, max(1, round(len(self.clients) * share))):
            if client.online:
                self.crashes_wanted += 1
                client.crashing = True
                client.send(protocol.CRASH)
        while self.crashed < self.crashes_wanted or self.online < len(self.clients):
            self.all_online = trio.Event()
            await self.all_online.wait()
        emit("reconnected", crashed=self.crashed)

    async def finish(self) -> None:
        """Let the turns in progress end, then call the roll: is every client in its room?"""
        self.finishing = True
        if self.turns_in_progress:
            await self.all_idle.wait()
        emit("calling")
        for room in self.rooms:
            text = b"roll call of " + room.name.encode()
            speaker = room.clients[0]
            room.roll_call = protocol.said(speaker.number, speaker.seq, text)[:-1]
            speaker.request = protocol.say(speaker.seq, text)
        while waiting := [room for room in self.rooms if len(room.heard_roll_call) < len(room.clients)]:
            for room in waiting:
                if (speaker := room.clients[0]).online:
                    speaker.send(speaker.request)
            with trio.move_on_after(self.patience()):  # a client that is just rejoining needs it once more
                await self.all_called.wait()
        emit("done", **self.status(), **self.report())

    def heard_roll_call(self, client: Client) -> None:
        heard = client.room.heard_roll_call
        if client not in heard:
            heard.add(client)
            self.roll_calls_heard += 1
            if self.roll_calls_heard == len(self.clients):
                self.all_called.set()

    # -- what the watching process gets to see --

    def status(self) -> dict[str, object]:
        return {
            "at": time.monotonic(),
            "online": self.online,
            "peak": self.peak,
            "crashed": self.crashed,
            "crashes_wanted": self.crashes_wanted,
            "reconnected": self.reconnected,
            "lost": self.lost,
            "failed_attempts": self.failed_attempts,
            "refused": self.refused,
            **self.reaction.status(),
            "turns_done": self.turns_done,
            "turns_planned": max(self.turns_planned, self.turns_done),  # the reaction makes it longer
            "echoes_asked": self.echoes_asked,
            "echoes_right": self.echoes_right,
            "says_asked": self.says_asked,
            "says_heard": self.says_heard,
            "said_again": self.said_again,
            "heard_from_others": self.heard_from_others,
            "roll_calls_heard": self.roll_calls_heard,
            "lines_in": self.lines_in,
            "lines_out": self.lines_out,
            "wrong_lines": self.wrong_lines,
            "first_wrong": self.first_wrong,
        }

    def report(self) -> dict[str, object]:
        return {
            "kept": sum(client.connections == 1 and client.online for client in self.clients),
            "echo_latency": self.echo_latency.summary(),
            "say_latency": self.say_latency.summary(),
            "slowest_repeated": self.slowest_repeated,
            "spoke": len({client.number for room in self.rooms for client in room.said.values()}),
        }

    async def send_status(self) -> None:
        while True:
            emit("status", **self.status())
            await trio.sleep(STATUS_INTERVAL)

    async def run(self, crash_share: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.send_status)
            for client in self.clients:
                nursery.start_soon(client.run)
            await self.all_online.wait()
            emit("connected")
            gc.collect()
            gc.freeze()  # ten thousand tasks need not be looked through again and again
            nursery.start_soon(self.repeat_lost_says)
            async for command in commands():
                match command.split():
                    case ["traffic"]:
                        self.start_turns()
                    case ["crash"]:
                        nursery.start_soon(self.crash_some, crash_share)
                    case ["hoard", clients, rate, window, seconds]:
                        nursery.start_soon(self.reaction.run, int(clients), int(rate), int(window), float(seconds))
                    case ["finish"]:
                        nursery.start_soon(self.finish)
                    case _:
                        break
            os._exit(0)  # the kernel closes thousands of sockets sooner than thousands of tasks are cancelled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True, help="turns for each client, at most")
    parser.add_argument("--crash-share", type=float, default=0.01)
    parser.add_argument("addresses", nargs="+", metavar="host:port")
    options = parser.parse_args()
    raise_descriptor_limit()
    gc.set_threshold(50_000, 20, 100)  # there is next to no cyclic garbage here
    addresses = [(host, int(port)) for host, port in (text.rsplit(":", 1) for text in options.addresses)]
    trio.run(Load(addresses, options.clients, options.rounds).run, options.crash_share)


if __name__ == "__main__":
    main()
