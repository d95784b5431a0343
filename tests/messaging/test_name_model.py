"""Names compared with a dictionary: who has which name, who is refused, and where a message to a
name goes.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest

import actorkit as ak
from tests.effort import times
from tests.schedules import run_shuffled

from .kit import Puppet, settle

NAMES = ["one", "two", "three"]


async def play(seed: int) -> None:
    pick = random.Random(seed)
    holders: dict[str, int] = {}
    fixed: set[int] = set()
    alive: list[int] = []
    expected: dict[int, list[Any]] = {}
    lost = 0
    async with ak.open_node() as node:
        made: list[Puppet] = []
        refs: list[ak.Ref[Puppet]] = []

        def make() -> Puppet:
            made.append(Puppet())
            return made[-1]

        for step in range(80):
            name = pick.choice(NAMES)
            match pick.choice(["spawn", "spawn", "spawn as", "register", "unregister", "end", "send", "send", "call"]):
                case "spawn" if len(alive) < 6:
                    alive.append(len(refs))
                    refs.append(node.spawn(ak.child(make)))
                case "spawn as":
                    try:
                        refs.append(node.spawn(ak.child(make).with_(name=name)))
                    except ak.AlreadyRegistered:
                        assert name in holders
                        made.pop()
                        continue
                    assert name not in holders
                    number = len(refs) - 1
                    alive.append(number)
                    fixed.add(number)
                    holders[name] = number
                case "register" if alive:
                    who = pick.choice(alive)
                    free = name not in holders and who not in holders.values()

                    def take(me: Puppet, name: str) -> bool:
                        try:
                            me.ctx.register(name)
                        except ak.AlreadyRegistered:
                            return False
                        return True

                    assert await refs[who].call(Puppet.do, take, name) == free
                    if free:
                        holders[name] = who
                case "unregister" if alive:
                    who = pick.choice(alive)
                    await refs[who].call(Puppet.do, lambda me: me.ctx.unregister())
                    if who not in fixed:
                        holders = {each: number for each, number in holders.items() if number != who}
                case "end" if alive:
                    who = alive.pop(pick.randrange(len(alive)))
                    refs[who].kill()
                    holders = {each: number for each, number in holders.items() if number != who}
                case "send":
                    way = pick.choice(["send", "cast"])
                    to = ak.named(Puppet, name)
                    accepted = to.send(step) if way == "send" else to.cast(Puppet.note, step)
                    assert accepted == (name in holders)
                    if accepted:
                        expected.setdefault(holders[name], []).append(step)
                        await settle()
                    else:
                        lost += 1
                case "call":
                    try:
                        await ak.named(Puppet, name).call(Puppet.do, lambda me: None)
                    except ak.CalleeDied as error:
                        assert error.reason == ak.NOPROC
                        assert name not in holders
                    else:
                        assert name in holders
            for each in NAMES:
                assert node.whereis(each) is (refs[holders[each]] if each in holders else None)
            assert node.engine.names.registered() == sorted(holders)
        for who in alive:
            assert [one for one in made[who].seen if isinstance(one, int)] == expected.get(who, [])
        assert node.statistics().dead_letters == lost


def test_names_are_as_the_model_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "actorkit")
    for seed in range(times(25)):
        try:
            run_shuffled(seed, play, seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
