"""Connections over real sockets: what an actor sees, what its peer sees, and how each of
them ends.
"""

from __future__ import annotations

import logging
import math
import random
import socket
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

import actorkit as ak
from actorkit.net.connection import CHUNK, SMALL_CHUNK
from actorkit.net.framing import BadFrame, Frames, Lines
from actorkit.net.stream_actor import BATCH

from .helpers import Client, Echo, RawEcho, Server, living, serving, settled


class Order(ak.StreamActor):
    """Notes what it handles; waits in ``received`` for lines that say so."""

    def __init__(self, log: list[Any], gate: trio.Event | None = None) -> None:
        self.log = log
        self.gate = gate

    async def connected(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("connected")

    async def received(self, line: bytes) -> None:
        self.log.append(("begin", line))
        if line == b"wait":
            assert self.gate is not None
            await self.gate.wait()
        self.log.append(("end", line))
        self.write(b"done " + line + b"\n")

    @ak.cast
    def deliver(self, what: object) -> None:
        self.log.append(("cast", what))

    @ak.call
    def ask(self) -> int:
        self.log.append("call")
        return len(self.log)

    def handle_info(self, message: object) -> None:
        self.log.append(("info", message))
        self.write(b"info\n")


def echo(cls: type[ak.StreamActor] = Echo, *args: Any, **options: Any) -> ak.ChildSpec[ak.Listener]:
    options = {"port": 0, **options}
    if "max_line" not in options and "max_frame" not in options and cls is not RawEcho:
        options["max_line"] = 1_000
    return ak.tcp_listener(cls, *args, **options)


# --- reading --------------------------------------------------------------------------------------


async def test_lines() -> None:
    """Each line is one message, without its line end, however the bytes come."""
    async with serving(echo()) as server, server.client() as client:
        assert await client.ask(b"hello") == b"hello"
        await client.send(b"one\r\ntw")
        assert await client.line() == b"one"
        await client.send(b"o\n")
        assert await client.line() == b"two"


async def test_frames() -> None:
    """Each frame is one message, without its length prefix."""
    async with serving(echo(max_frame=100)) as server, server.client() as client:
        await client.send(Frames.encode(b"a\nb") + Frames.encode(b"c")[:3])
        assert await client.exactly(4) == b"a\nb\n"
        await client.send(Frames.encode(b"c")[3:])
        assert await client.line() == b"c"


class Digits:
    """A framing of the test's own: each digit is a message, and nothing else is allowed."""

    pending = 0

    def feed(self, data: bytes) -> list[bytes]:
        digits = [data[at : at + 1] for at in range(len(data))]
        for at, digit in enumerate(digits):
            if not digit.isdigit():
                raise BadFrame(f"letter {digit.decode()}", digits[:at])
        return digits


async def test_malformed_bytes_end_the_connection_in_order() -> None:
    """Malformed bytes end the connection after the messages before them, whose answers the peer
    gets; the peer is at fault, so nothing crashes.
    """
    spec = echo(max_line=10)
    child, address, _, limits = spec.args
    async with serving(spec.with_(args=(child, address, Digits, limits))) as server, server.client() as client:
        await client.send(b"1")
        assert await client.line() == b"1"
        await client.send(b"23x4")
        assert await client.rest() == b"2\n3\n"
        reason = await server.ended()
        assert isinstance(reason, ak.Shutdown)
        assert str(reason.detail).endswith("sent a letter x")


async def test_ten_megabytes_raw_are_exact() -> None:
    """The echo is what was sent, byte by byte."""
    data = random.Random(1).randbytes(10_000_000)
    async with serving(echo(RawEcho, max_unsent=1 << 24)) as server, server.client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, data)
            assert await client.exactly(len(data)) == data


@pytest.mark.parametrize("size", [2, 13, 20_000])
async def test_short_lines_are_read_in_small_pieces_and_long_ones_in_large(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read is cut into messages in one go, and no other task has a turn meanwhile."""
    reads: list[int] = []
    feed = Lines.feed

    def recording(self: Lines, data: bytes) -> list[bytes]:
        reads.append(len(data))
        return feed(self, data)

    monkeypatch.setattr(Lines, "feed", recording)
    got: list[int] = []

    class Counting(ak.StreamActor):
        def received(self, line: bytes) -> None:
            got.append(len(line))

        def terminate(self, reason: ak.ExitReason) -> None:
            over.set()

    over = trio.Event()
    count = 200_000 // size
    async with serving(ak.tcp_listener(Counting, port=0, max_line=size)) as server:
        async with server.client() as client:
            await client.send((b"x" * (size - 1) + b"\n") * count)
        await over.wait()
    assert got == [size - 1] * count
    assert (max(reads) > SMALL_CHUNK) == (size > 100)


async def test_connected_comes_first_plain_or_async() -> None:
    """``connected`` ends before the first line, and may write; this holds for a plain and an async
    method.
    """

    class Plain(Echo):
        def connected(self) -> None:
            self.write(b"hello %d\n" % self.connection.peer[1])

    class Waiting(Echo):
        async def connected(self) -> None:
            await trio.lowlevel.checkpoint()
            self.write(b"hello %d\n" % self.connection.peer[1])

    for cls in (Plain, Waiting):
        async with serving(echo(cls)) as server, server.client() as client:
            await client.send(b"line\n")
            assert await client.line() == b"hello %d" % client.stream.socket.getsockname()[1]
            assert await client.line() == b"line"


async def test_one_thing_at_a_time_in_order() -> None:
    """While ``received`` waits, the next lines and other actors' messages wait too; then all come,
    the messages in order.
    """
    log: list[Any] = []
    gate = trio.Event()
    async with serving(echo(Order, log, gate)) as server, server.client() as client:
        await client.send(b"wait\nnext\n")
        while ("begin", b"wait") not in log:
            await trio.lowlevel.checkpoint()
        [ref] = server.connections()
        for number in range(3):
            ref.cast(Order.deliver, number)
        ref.send("info")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.call, Order.ask)
            await settled()
            assert log == ["connected", ("begin", b"wait")]
            gate.set()
        assert [await client.line() for _ in range(3)]
        assert log[2] == ("end", b"wait")
        others = [entry for entry in log if entry == "call" or entry[0] in ("cast", "info")]
        assert others == [("cast", 0), ("cast", 1), ("cast", 2), ("info", "info"), "call"]
        at = log.index(("begin", b"next"))
        assert log[at + 1] == ("end", b"next")


async def test_a_busy_actor_gets_lines_through_its_mailbox() -> None:
    """A line that comes while a cast waits in the pool is handled after that cast."""
    log: list[str] = []
    gate = trio.Event()

    class Busy(ak.StreamActor):
        def received(self, line: bytes) -> None:
            log.append(line.decode())
            self.write(line + b"\n")

        @ak.cast
        async def work(self) -> None:
            log.append("work")
            self.write(b"working\n")
            await gate.wait()
            log.append("worked")

    async with serving(echo(Busy)) as server, server.client() as client:
        await client.ask(b"a")
        server.connections()[0].cast(Busy.work)
        assert await client.line() == b"working"
        await client.send(b"b\nc\n")
        await settled()
        assert log == ["a", "work"]
        gate.set()
        assert [await client.line(), await client.line()] == [b"b", b"c"]
        assert log == ["a", "work", "worked", "b", "c"]


async def test_a_full_mailbox_that_drops_its_oldest_drops_no_line() -> None:
    """``overflow="drop_oldest"`` drops messages of actors, but neither what the peer sent nor
    ``connected``.
    """
    gate = trio.Event()

    class Busy(ak.StreamActor):
        greeted = False

        async def init(self) -> None:
            await gate.wait()

        def connected(self) -> None:
            self.write(b"hello\n")

        def received(self, line: bytes) -> None:
            self.write(line + b"\n")

        @ak.cast
        def noise(self) -> None: ...

    spec = ak.child(Busy).with_(mailbox=2, overflow="drop_oldest")
    async with serving(ak.tcp_listener(spec, port=0, max_line=100)) as server, server.client() as client:
        await client.send(b"line\n")
        await settled()
        [ref] = server.connections()
        for _ in range(10):
            ref.cast(Busy.noise)
        gate.set()
        assert [await client.line(), await client.line()] == [b"hello", b"line"]


async def test_calls_casts_and_infos_reach_a_reading_connection() -> None:
    """Other actors talk to a connection as they do to any actor."""
    log: list[Any] = []
    async with serving(echo(Order, log)) as server, server.client() as client:
        await client.ask(b"x")
        [ref] = server.connections()
        ref.cast(Order.deliver, "hi")
        ref.send("there")
        assert await client.line() == b"info"
        assert await ref.call(Order.ask) == 6
        assert log[3:] == [("cast", "hi"), ("info", "there"), "call"]


class Passes(trio.abc.Instrument):
    """Counts trio's passes."""

    count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.mark.parametrize("slice_seconds", [1e-9, 1_000.0])
async def test_a_pumping_peer_starves_nobody(slice_seconds: float) -> None:
    """A connection whose peer never stops sending handles a batch of lines in each of trio's
    passes, and another connection gets its answer within a few passes. This holds on a machine so
    slow that no slice is long enough, and on one so fast that no slice ends.
    """
    most = 10  # passes for one answer: its line is read in the first, the answer in the next
    handled = 0
    starved = False

    class Pump(ak.StreamActor):
        def received(self, line: bytes) -> None:
            nonlocal handled, starved
            handled += 1
            if line:
                self.write(line + b"\n")
            elif handled - at > most * BATCH:
                starved = True
                self.ctx.stop()

    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    at = 0
    spec = echo(Pump, max_line=10)
    async with (
        serving(spec, slice_seconds=slice_seconds) as server,
        server.client() as loud,
        server.client() as quiet,
        trio.open_nursery() as nursery,
    ):

        async def pump() -> None:
            while not starved:
                await loud.send(b"\n" * 60_000)

        nursery.start_soon(pump)
        while not handled:
            await trio.lowlevel.checkpoint()
        for _ in range(20):
            at, began = handled, passes.count
            assert await quiet.ask(b"ping") == b"ping"
            assert passes.count - began <= most
            assert not starved
        assert handled > 20, "the loud one is served too, be it by one line in a pass"
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(passes)


# --- writing --------------------------------------------------------------------------------------


async def test_writes_of_one_slice_arrive_in_order() -> None:
    """Many small writes in one slice arrive as one stream."""

    class Many(ak.StreamActor):
        def received(self, line: bytes) -> None:
            for number in range(500):
                assert self.write(b"%d\n" % number)

    async with serving(echo(Many)) as server, server.client() as client:
        await client.send(b"go\n")
        assert [await client.line() for _ in range(500)] == [b"%d" % n for n in range(500)]


class Writer(ak.StreamActor):
    def connected(self) -> None:
        self.ctx.register("writer")

    @ak.call
    def say(self, data: bytes) -> bool:
        return self.write(data)

    @ak.call
    async def say_later(self, data: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        return self.write(data)

    @ak.cast
    def later(self, seconds: float) -> None:
        self.ctx.send_after(seconds, self.ctx.ref, b"timer\n")

    def handle_info(self, message: bytes) -> None:
        self.write(message)

    @ak.call
    def state(self) -> tuple[int, int, int, int]:
        c = self.connection
        return c.bytes_in, c.bytes_out, c.unsent, c.dropped


writer = ak.named(Writer, "writer")


async def registered(server: Server) -> ak.Ref[Writer]:
    while server.node.whereis("writer") is None:
        await trio.lowlevel.checkpoint()
    found = server.node.whereis("writer")
    assert found is not None
    return found


async def test_a_write_in_an_inline_call_is_sent() -> None:
    """A synchronous call runs in its caller's task, here the host's; what the call writes goes out
    without any further step.
    """
    async with serving(echo(Writer)) as server, server.client() as client:
        ref = await registered(server)
        await settled()
        assert await ref.call(Writer.say, b"inline\n")
        assert await client.line() == b"inline"


async def test_writes_from_anywhere_are_sent() -> None:
    """A suspended handler, a timer's message and a task in the actor's own nursery may all
    write.
    """

    class Nursery(Writer):
        @ak.cast
        async def spread(self) -> None:
            async def kid(number: int) -> None:
                await trio.lowlevel.checkpoint()
                self.write(b"kid %d\n" % number)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(kid, 1)
                nursery.start_soon(kid, 1)

    async with serving(echo(Nursery)) as server, server.client() as client:
        ref = await registered(server)
        assert await ref.call(Writer.say_later, b"async\n")
        assert await client.line() == b"async"
        ref.cast(Writer.later, 0.0)
        assert await client.line() == b"timer"
        ref.cast(Nursery.spread)
        assert [await client.line(), await client.line()] == [b"kid 1", b"kid 1"]


async def test_a_write_in_the_constructor_is_a_clear_error(caplog: pytest.LogCaptureFixture) -> None:
    """There is no connection yet in the constructor: the error says so and is logged, and the
    listener lives.
    """
    attempts: list[int] = []

    class Early(Echo):
        def __init__(self) -> None:
            attempts.append(1)
            if len(attempts) == 1:
                self.write(b"too early")

    async with serving(echo(Early)) as server:
        async with server.client() as client:
            assert await client.gone()
        async with server.client() as client:
            assert await client.ask(b"hello") == b"hello"
    assert "wrote before it had a connection" in caplog.text


async def test_what_is_not_bytes_is_refused_in_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    """``write("text")`` raises TypeError where it is called; only that connection ends."""

    class Text(Echo):
        def received(self, line: Any) -> None:
            self.write(line.decode() if line == b"text" else bytearray(line) + b"\n")

    async with serving(echo(Text)) as server, server.client() as client, server.client() as other:
        await client.send(b"text\n")
        assert await client.gone()
        reason = await server.ended()
        assert isinstance(reason, ak.Crash)
        assert "write takes bytes, not str" in reason.message
        assert await other.ask(b"fine") == b"fine"


async def test_a_mutable_buffer_is_copied() -> None:
    """``write`` sends what the buffer held at the time; a view of a buffer works as well."""

    class Reuse(ak.StreamActor):
        def received(self, line: bytes) -> None:
            buffer = bytearray(b"abc")
            self.write(buffer)
            buffer[:] = b"xyz"
            self.write(memoryview(buffer)[1:])
            self.write(b"")
            self.write(b"\n")

    async with serving(echo(Reuse)) as server, server.client() as client:
        assert await client.ask(b"go") == b"abcyz"


async def test_a_write_larger_than_every_buffer_drains_in_order() -> None:
    """One write may exceed ``max_unsent`` when nothing else waits; what is written later comes
    after it.
    """
    big = random.Random(2).randbytes(9_000_000)

    class Big(ak.StreamActor):
        def received(self, line: bytes) -> None:
            self.write(big)
            self.ctx.send_after(0, self.ctx.ref, "more")

        def handle_info(self, message: object) -> None:
            if self.connection.unsent:
                self.ctx.send_after(0, self.ctx.ref, "more")
            else:
                self.write(b"the end\n")

    async with serving(echo(Big)) as server, server.client() as client:
        await client.send(b"go\n")
        assert await client.exactly(len(big)) == big
        assert await client.line() == b"the end"


async def flood(ref: ak.Ref[Writer], chunk: bytes) -> int:
    """Write until a write is refused; the number of writes that were accepted."""
    accepted = 0
    while await ref.call(Writer.say, chunk):
        accepted += 1
        await trio.lowlevel.checkpoint()
    return accepted


async def test_a_slow_reader_is_disconnected_with_the_numbers() -> None:
    """A peer that does not read may leave ``max_unsent`` bytes waiting, and no more."""
    async with serving(echo(Writer, max_unsent=20_000)) as server, server.client():
        ref = await registered(server)
        with pytest.raises(ak.CalleeDied):
            await flood(ref, b"x" * 3_000)
            await ref.call(Writer.state)
        reason = await server.ended()
        assert isinstance(reason, ak.Failure)
        assert "slow reader" in str(reason.detail)
        assert "3000 more exceed max_unsent=20000" in str(reason.detail)
        assert (await server.counts())[0] == 0


async def test_a_slow_reader_may_lose_data_instead() -> None:
    """``slow_reader="drop"``: write returns False, the drop is counted, and what was accepted
    arrives whole.
    """
    async with serving(echo(Writer, max_unsent=20_000, slow_reader="drop")) as server, server.client() as client:
        ref = await registered(server)
        line = b"y" * 2_999 + b"\n"
        accepted = await flood(ref, line)
        assert not await ref.call(Writer.say, line)
        _, sent, unsent, dropped = await ref.call(Writer.state)
        assert dropped == 2
        assert 20_000 - 3_000 < unsent <= 20_000
        assert await client.exactly(accepted * 3_000) == line * accepted
        await settled()
        assert await ref.call(Writer.say, b"again\n")
        assert await client.line() == b"again"


async def test_a_slow_reader_does_not_hold_up_others() -> None:
    """One member of a room that reads nothing costs the other members nothing."""
    async with serving(echo(RawEcho, max_unsent=1 << 25)) as server, server.client() as slow, server.client() as quick:
        await slow.send(b"z")
        await slow.exactly(1)
        [at_it] = [ref.obj.connection for ref in server.connections() if ref.obj.connection.bytes_in]
        while at_it.unsent < 1 << 20:  # the kernel takes no more: nobody reads
            await slow.send(b"z" * 65_536)
        for _ in range(20):
            await quick.send(b"ping\n")
            assert await quick.line() == b"ping"
        assert at_it.unsent >= 1 << 20


async def test_writes_after_the_end_are_refused() -> None:
    """``write`` of a stopping actor whose peer has gone returns and raises nothing."""
    results: list[bool] = []

    class Late(ak.StreamActor):
        trap_exit = True

        async def terminate(self, reason: ak.ExitReason) -> None:
            for _ in range(50):
                results.append(self.write(b"x" * 10_000))
                await trio.lowlevel.checkpoint()

    async with serving(echo(Late, max_unsent=1 << 20)) as server:
        async with server.client() as client:
            await settled()
            client.reset()
        assert isinstance(await server.ended(), ak.Shutdown)
        assert results


# --- peers ----------------------------------------------------------------------------------------


async def test_a_silent_peer_is_just_idle() -> None:
    """A peer that connects and says nothing costs one task; a stop ends that task."""
    async with serving(echo()) as server, server.client() as client:
        await settled()
        assert len(server.connections()) == 1
        await server.listener.call(ak.Listener.stop_accepting)
        server.node.shutdown()
        server.connections()[0].stop()
        assert await client.rest() == b""


async def test_half_a_line_then_close_is_no_message() -> None:
    """An incomplete message is not delivered; the actor ends with Normal."""
    log: list[Any] = []
    async with serving(echo(Order, log)) as server:
        async with server.client() as client:
            await client.send(b"whole\nhalf")
            assert await client.line() == b"done whole"
        assert await server.ended() == ak.NORMAL
    assert log == ["connected", ("begin", b"whole"), ("end", b"whole")]


async def test_half_a_line_then_reset_is_a_shutdown() -> None:
    """A reset ends the actor in an orderly way, with the cause in its reason."""
    async with serving(echo()) as server:
        async with server.client() as client:
            await client.ask(b"a")
            await client.send(b"half")
            await settled()
            client.reset()
        reason = await server.ended()
        assert isinstance(reason, ak.Shutdown)
        assert "reset" in str(reason.detail)


@pytest.mark.parametrize("kind", ["line", "frame"])
async def test_a_message_that_is_too_long_ends_the_connection(kind: str) -> None:
    """The messages before it are served, and their answers arrive although more input is unread."""
    limit: dict[str, Any] = {f"max_{kind}": 10}
    encode = Frames.encode if kind == "frame" else lambda text: text + b"\n"
    async with serving(echo(Echo, **limit)) as server, server.client() as client:
        await client.send(encode(b"one") + encode(b"two") + encode(b"x" * 11) + b"y" * 200_000)
        assert await client.rest() == b"one\ntwo\n"
        reason = await server.ended()
        assert isinstance(reason, ak.Shutdown)
        assert "longer than 10 bytes" in str(reason.detail)


async def test_the_peer_closes_while_we_write() -> None:
    """A write to a peer that has gone ends the actor in an orderly way."""
    async with serving(echo(Writer, max_unsent=1 << 20)) as server:
        async with server.client():
            ref = await registered(server)
            await ref.call(Writer.say, b"x" * 500_000)
        while server.node.whereis("writer") is not None:
            ref.cast(Writer.say, b"y" * 1_000)
            await trio.lowlevel.checkpoint()
        reason = await server.ended()
        assert reason == ak.NORMAL or "connection lost" in str(reason)


async def test_a_peer_that_half_closes_still_gets_its_answers() -> None:
    """The end of the input is not the end of the output: what is buffered still goes out, within
    ``linger``.
    """

    class Big(ak.StreamActor):
        async def received(self, line: bytes) -> None:
            await trio.lowlevel.checkpoint()
            self.write(line * 1_000_000)

    async with serving(echo(Big)) as server, server.client() as client:
        await client.send(b"abcdefgh\n")
        await client.stream.send_eof()
        assert await server.ended() == ak.NORMAL
        assert await client.rest() == b"abcdefgh" * 1_000_000


async def test_output_that_nobody_reads_does_not_linger_for_ever(mock_clock: trio.testing.MockClock) -> None:
    """After ``linger`` seconds the socket is closed, whatever still waits in the buffer."""

    class Big(ak.StreamActor):
        def received(self, line: bytes) -> None:
            self.write(line * 2_000_000)

    async with serving(echo(Big, linger=10)) as server, server.client() as client:
        await settled()
        before = living()
        await client.send(b"abcdefgh\n")
        await client.stream.send_eof()
        assert await server.ended() == ak.NORMAL
        mock_clock.jump(9.9)
        await settled()
        assert living() == before, "who sends the rest has the reader's place"
        mock_clock.jump(0.2)
        await settled()
        assert living() == before - 1
        assert 0 < len(await client.rest()) < 16_000_000


async def test_stop_after_a_reply_flushes_it() -> None:
    """``ctx.stop()`` after a write: the peer gets all of it, even if the peer goes on sending."""

    class Once(ak.StreamActor):
        def received(self, line: bytes) -> None:
            self.write(b"bye " + line + b"\n")
            self.ctx.stop()

    async with serving(echo(Once)) as server, server.client() as client:
        await client.send(b"1\n2\n3\n" + b"4\n" * 50_000)
        assert await client.rest() == b"bye 1\n"
        assert await server.ended() == ak.NORMAL


async def test_a_peer_that_sends_for_ever_is_not_read_for_ever(mock_clock: trio.testing.MockClock) -> None:
    """After an orderly end the peer's input is read and discarded, for at most ``linger``
    seconds.
    """

    class Once(ak.StreamActor):
        def received(self, line: bytes) -> None:
            self.write(b"bye\n")
            self.ctx.stop()

    async with serving(echo(Once, linger=10)) as server, server.client() as client:
        await client.send(b"x\n" * 2 * CHUNK)  # more than the first read takes: it is still sending
        assert await server.ended() == ak.NORMAL
        mock_clock.jump(9.9)
        for _ in range(1_000):  # 20 MB, more than the kernel holds: it is being read
            await client.send(b"x\n" * 10_000)
        mock_clock.jump(0.2)
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await client.send(b"x\n" * 10_000)


# --- ends -----------------------------------------------------------------------------------------


class Fragile(ak.StreamActor):
    """Fails where it is told to."""

    def __init__(self, where: str = "", gate: trio.Event | None = None) -> None:
        self.where = where
        self.gate = gate

    def connected(self) -> None:
        if self.where == "connected":
            raise ValueError("in connected")

    async def received(self, line: bytes) -> None:
        if line == b"crash":
            self.write(b"last words\n")
            raise ValueError("in received")
        if line == b"crash later":
            await trio.lowlevel.checkpoint()
            raise ValueError("in received")
        if line == b"wait":
            self.write(b"waiting\n")
            await trio.sleep_forever()
        self.write(line + b"\n")

    @ak.cast
    def deliver(self) -> None:
        raise ValueError("in deliver")

    @ak.cast
    async def wait(self) -> None:
        self.write(b"waiting\n")
        await trio.sleep_forever()


async def test_a_crash_in_connected_closes_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    """A crash ends that connection only, and is reported."""
    async with serving(echo(Fragile, "connected")) as server:
        for _ in range(3):
            async with server.client() as client:
                assert await client.rest() == b""
            assert isinstance(await server.ended(), ak.Crash)
        assert server.listener.alive
    assert "in connected" in caplog.text


@pytest.mark.parametrize("how", ["crash", "crash later", "deliver", "kill", "kill suspended", "kill in the pool"])
async def test_only_one_connection_ends(how: str) -> None:
    """After a crash or a kill, in the reader's task or in the pool, the actor's socket is closed,
    and the other connections and the listener live.
    """
    async with serving(echo(Fragile)) as server, server.client() as other, server.client() as client:
        assert await other.ask(b"hi") == b"hi"
        assert await client.ask(b"hi") == b"hi"
        ref = max(server.connections(), key=lambda ref: ref.number)
        if how.startswith("crash"):
            await client.send(how.encode() + b"\n")
        elif how == "deliver":
            ref.cast(Fragile.deliver)
        else:
            if how == "kill suspended":
                await client.send(b"wait\n")
            elif how == "kill in the pool":
                ref.cast(Fragile.wait)
            if how != "kill":
                assert await client.line() == b"waiting"
            ref.kill()
        assert await client.rest() == (b"last words\n" if how == "crash" else b"")
        reason = await server.ended()
        assert reason == ak.KILLED if how.startswith("kill") else isinstance(reason, ak.Crash)
        assert await other.ask(b"still") == b"still"
        async with server.client() as new:
            assert await new.ask(b"new") == b"new"
        assert server.listener.alive


async def test_a_kill_while_lines_wait_in_the_mailbox() -> None:
    """The reader waits for its turn while the pool is in a handler: the kill ends both."""
    async with serving(echo(Fragile)) as server, server.client() as client:
        await client.ask(b"hi")
        [ref] = server.connections()
        ref.cast(Fragile.wait)
        await client.line()
        await client.send(b"more\n")
        await settled()
        ref.kill()
        assert await client.gone()
        assert await server.ended() == ak.KILLED


class Untidy(ak.StreamActor):
    """Leaves things open in the task that it runs in."""

    left: list[Any] = []

    async def received(self, line: bytes) -> None:
        if line == b"scope":
            trio.CancelScope(deadline=-math.inf).__enter__()
        elif line == b"scope later":
            await trio.lowlevel.checkpoint()
            trio.move_on_after(0).__enter__()
        elif line == b"nursery":
            manager = trio.open_nursery()
            nursery = await manager.__aenter__()
            nursery.start_soon(trio.sleep_forever)
            self.left.append(manager)
        elif line == b"lock":
            lock = trio.Lock()
            await lock.acquire()
            self.left.append(lock)
        else:
            self.write(line + b"\n")


@pytest.mark.parametrize("what", ["scope", "scope later", "nursery", "lock"])
async def test_what_a_handler_leaves_open_is_contained(what: str) -> None:
    """A scope, nursery or lock left in the reader's task ends that actor and nothing else, at once,
    with a reason that says so.
    """
    try:
        async with serving(echo(Untidy)) as server, server.client() as other, server.client() as client:
            assert await client.ask(b"x") == b"x"
            before = living()
            await client.send(what.encode() + b"\n")
            assert await client.rest() == b""
            reason = await server.ended()
            assert isinstance(reason, ak.Crash)
            assert "open" in reason.message
            await settled()
            assert living() == before - 1
            assert await other.ask(b"fine") == b"fine"
    finally:
        Untidy.left.clear()


async def test_a_scope_left_open_without_private_names_is_contained() -> None:
    """In the degraded mode an open scope is found when the reader ends; the node lives."""
    from actorkit.runtime.base.trio_internals import Features

    class Scope(Echo):
        def received(self, line: bytes) -> None:
            if line == b"scope":
                trio.CancelScope().__enter__()
            super().received(line)

    async with serving(echo(Scope), features=Features.degraded()) as server, server.client() as other:
        async with server.client() as client:
            await client.ask(b"scope")
        await server.ended()
        await settled()
        assert await other.ask(b"fine") == b"fine"


async def test_contextvars_do_not_mix() -> None:
    """A context variable that one connection sets belongs to that connection and stays set
    there.
    """
    import contextvars

    name: contextvars.ContextVar[bytes] = contextvars.ContextVar("name", default=b"nobody")

    class Named(ak.StreamActor):
        def received(self, line: bytes) -> None:
            if line != b"who":
                name.set(line)
            self.write(name.get() + b"\n")

    async with serving(echo(Named)) as server, server.client() as one, server.client() as two:
        assert await one.ask(b"one") == b"one"
        assert await two.ask(b"who") == b"nobody"
        assert await one.ask(b"who") == b"one"


@pytest.mark.parametrize("suspended", [False, True])
async def test_keyboard_interrupt_leaves_the_node(suspended: bool) -> None:
    """Ctrl-C in ``received`` comes out of ``open_node`` as it is."""

    class Interrupted(ak.StreamActor):
        async def received(self, line: bytes) -> None:
            if suspended:
                await trio.lowlevel.checkpoint()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with serving(echo(Interrupted)) as server, server.client() as client:
            await client.send(b"x\n")
            await trio.sleep_forever()


async def test_terminate_may_have_the_last_word() -> None:
    """At the end of the input ``terminate`` runs and may still write."""

    class Polite(Echo):
        async def terminate(self, reason: ak.ExitReason) -> None:
            await trio.lowlevel.checkpoint()
            self.write(b"goodbye, %s\n" % type(reason).__name__.encode())

    async with serving(echo(Polite)) as server, server.client() as client:
        await client.send(b"hello\n")
        await client.stream.send_eof()
        assert await client.rest() == b"hello\ngoodbye, Normal\n"


async def test_idle_timeout_on_a_connection(mock_clock: trio.testing.MockClock) -> None:
    """``ctx.idle_timeout`` counts from the last line or message; this is the usual way to hang up
    on idle peers.
    """

    class Patient(Echo):
        def connected(self) -> None:
            self.ctx.idle_timeout = 15

        def handle_info(self, message: object) -> None:
            assert isinstance(message, ak.IdleTimeout)
            self.write(b"too slow\n")
            self.ctx.stop()

    async with serving(echo(Patient)) as server, server.client() as client:
        for _ in range(4):
            assert await client.ask(b"x") == b"x"
            mock_clock.jump(14.9)
            await settled()
        assert await client.ask(b"x") == b"x"
        mock_clock.jump(15.1)
        assert await client.rest() == b"too slow\n"


async def test_one_idle_task_a_connection() -> None:
    """200 idle connections are 200 tasks; when they have ended there are none."""
    async with serving(echo(max_children=200)) as server, trio.open_nursery() as nursery:
        await settled()
        before = living()
        clients: list[Client] = []
        where = await server.address()
        for _ in range(200):
            clients.append(Client(await trio.open_tcp_stream(*where)))
        for client in clients:
            assert await client.ask(b"x") == b"x"
        await settled()
        workers = server.node.statistics().workers
        assert living() - before <= 200 + workers
        assert len(server.connections()) == 200
        for client in clients:
            nursery.start_soon(client.stream.aclose)
        for _ in range(200):
            assert await server.ended() == ak.NORMAL
        await settled()
        assert living() <= before + server.node.statistics().workers
        assert await server.counts() == (0, 0)


async def test_input_waits_while_a_handler_does() -> None:
    """A peer that sends faster than its actor works is slowed down by TCP, not buffered without
    bound.
    """
    gate = trio.Event()

    class Slow(ak.StreamActor):
        async def received(self, data: bytes) -> None:
            await gate.wait()

    async with serving(echo(Slow, max_line=100)) as server, server.client() as client:
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        sent = blocked = 0
        while blocked < 3 and sent < 30_000_000:  # far more than the kernel holds
            try:
                sent += client.stream.socket._sock.send(b"12345678\n" * 1_000)
                blocked = 0
            except BlockingIOError:
                blocked += 1  # the reader gets its turn, and makes room
            await settled() if blocked else await trio.lowlevel.checkpoint()
        [ref] = server.connections()
        assert sent < 30_000_000
        assert 0 < ref.obj.connection.bytes_in <= CHUNK
        client.reset()
        gate.set()
        await server.ended()


async def test_reports_name_the_peer_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    """An orderly end that the peer caused is not reported as a crash."""
    with caplog.at_level(logging.WARNING):
        async with serving(echo(max_line=5)) as server, server.client() as client:
            await client.send(b"0123456789")
            assert await client.rest() == b""
    assert "crash" not in caplog.text.lower()
