"""What a KeyboardInterrupt or SystemExit that a handler raises does to its node, without
signals.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

import actorkit as ak

ENDS = (KeyboardInterrupt, SystemExit)
TIMES = 20
"""trio's order of tasks is random; the mistake showed in a third of the runs."""


class Keeper(ak.Actor):
    trap_exit = True

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.lowlevel.checkpoint()
        self.seen.append(f"saved: {reason}")


class Ends(ak.Actor):
    """Raises in a continuation: by then its own init, and so perhaps the tree's start, is over."""

    def __init__(self, seen: list[str], error: type[BaseException]) -> None:
        self.seen = seen
        self.error = error

    def init(self) -> None:
        self.seen.append("a life")
        self.ctx.continue_with(Ends.end)

    def end(self) -> None:
        raise self.error


async def ends(ctx: ak.ProcessContext, seen: list[str], error: type[BaseException]) -> None:
    seen.append("a life")
    await trio.lowlevel.checkpoint()
    raise error


@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("start", [Ends, ends])
def test_whoever_raises_it_gets_no_new_life_and_the_others_stop_in_order(
    start: type[Ends], error: type[BaseException]
) -> None:
    """The supervisor would restart the actor if the program were not ending; and one interrupt
    stays one, even if it meets the host just as the tree has started.
    """

    async def main() -> None:
        tree = ak.supervisor(ak.child(Keeper, seen), ak.child(start, seen, error))
        async with ak.open_node(tree) as node:
            await node.finished()

    for _ in range(TIMES):
        seen: list[str] = []
        with pytest.raises(error):
            trio.run(main, clock=trio.testing.MockClock())
        assert seen == ["a life", "saved: Shutdown(detail=None)"]


@pytest.mark.parametrize("error", ENDS)
def test_a_restart_that_waits_is_not_begun_any_more(error: type[BaseException]) -> None:
    """This holds even for a restart that was decided before and falls due in the same moment."""

    async def main() -> None:
        tree = ak.supervisor(ak.child(crashes).with_(backoff=ak.Backoff()), ak.child(after_it))
        async with ak.open_node(tree) as node:
            await node.finished()

    async def crashes(ctx: ak.ProcessContext) -> None:
        seen.append("a life")
        raise ValueError

    async def after_it(ctx: ak.ProcessContext) -> None:
        while not seen:
            await trio.lowlevel.checkpoint()
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        clock.jump(1)
        raise error

    for _ in range(TIMES):
        seen: list[str] = []
        clock = trio.testing.MockClock()
        with pytest.raises(error):
            trio.run(main, clock=clock)
        assert seen == ["a life"]
