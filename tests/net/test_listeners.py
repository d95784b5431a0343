"""Listeners: addresses, refusals, stopping, Unix sockets and TLS."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import resource
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
import trustme

import actorkit as ak
from bench.load import raise_descriptor_limit

from .helpers import Client, Echo, RawEcho, Server, living, serving, settled

ROOT = pathlib.Path(__file__).parents[2]


def listener(cls: Any = Echo, *args: Any, **options: Any) -> ak.ChildSpec[ak.Listener]:
    return ak.tcp_listener(cls, *args, **{"port": 0, "max_line": 1_000, **options})


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# --- addresses ------------------------------------------------------------------------------------


async def test_port_zero_takes_a_free_one() -> None:
    """Port 0 takes a free port, and ``addresses`` tells which."""
    async with serving(listener()) as server:
        host, port = await server.address()
        assert host == "127.0.0.1"
        assert port > 0


async def test_a_host_name() -> None:
    """A name is resolved when the listener starts; "localhost" is reached over IPv4."""
    async with serving(listener(host="localhost")) as server, server.client() as client:
        assert (await server.address())[0] == "127.0.0.1"
        assert await client.ask(b"hi") == b"hi"


@pytest.mark.parametrize("host", ["::1", "::"])
async def test_ipv6(host: str) -> None:
    """IPv6 addresses work; "::" serves IPv4 too."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    async with serving(listener(host=host)) as server:
        _, port = await server.address()
        for where in ("::1", "127.0.0.1")[: 1 + (host == "::")]:
            async with await trio.open_tcp_stream(where, port) as stream:
                assert await Client(stream).ask(b"hi") == b"hi"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_in_use_is_named(host: str) -> None:
    """StartFailed names the address and the cause; nothing is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ak.StartFailed, match=f"cannot listen on {host}:{port}: Address already in use"):
            async with ak.open_node(ak.supervisor(listener(host=host, port=port))):
                pytest.fail("it started")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    """An address of another machine, or a name that cannot be resolved, is named in the
    error too.
    """
    with pytest.raises(ak.StartFailed, match=f"cannot listen on {host}:0: "):
        async with ak.open_node(ak.supervisor(listener(host=host))):
            pytest.fail("it started")


def longest_backlog() -> int:
    most = pathlib.Path("/proc/sys/net/core/somaxconn")
    return int(most.read_text()) if most.exists() else 128


async def test_a_crowd_at_the_door() -> None:
    """Peers that come while the node is busy wait in the kernel's backlog. Fault: the backlog is
    1,024 long, and the kernel drops the packets of the next peer. That peer gets in only when
    another is accepted, and none is accepted while this test does not wait.
    """
    crowd = min(1_200, longest_backlog(), (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2)
    raise_descriptor_limit(2 * crowd + 200)
    async with serving(listener()) as server:
        address = await server.address()
        with contextlib.ExitStack() as peers:
            for _ in range(crowd):
                # how long a failure takes: a peer that is not let in now never is
                peers.enter_context(socket.create_connection(address, timeout=60))
        await settled()


# --- refusing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("talks", [False, True])
async def test_beyond_max_children_a_peer_is_told(talks: bool) -> None:
    """The refusal arrives, even at a peer that has already sent much; refused peers are counted,
    and peers that are served go on.
    """
    async with serving(listener(max_children=1)) as server, server.client() as served:
        assert await served.ask(b"hi") == b"hi"
        for _ in range(5):
            async with server.client() as refused:
                if talks:
                    await refused.send(b"hello\n" * 10_000)
                assert await refused.rest() == b"the server is full; try again later\n"
        assert await server.counts() == (1, 5)
        assert await served.ask(b"still") == b"still"


async def test_after_refusals_there_is_room_again() -> None:
    """When one connection has ended, the next peer is served."""
    async with serving(listener(max_children=1, refusal=b"no\n")) as server:
        for _ in range(3):
            async with server.client() as client:
                assert await client.ask(b"hi") == b"hi"
                async with server.client() as refused:
                    assert await refused.rest() == b"no\n"
            await server.ended()
        assert await server.counts() == (0, 3)


async def test_many_refused_at_once() -> None:
    """Only a bounded number of peers is seen off politely; those beyond it are refused all the
    same.
    """
    async with serving(listener(max_children=1)) as server, server.client() as served:
        await served.ask(b"hi")
        where = await server.address()
        streams = [await trio.open_tcp_stream(*where) for _ in range(150)]
        for stream in streams:
            assert await Client(stream).rest() == b"the server is full; try again later\n"
            await stream.aclose()
        assert await server.counts() == (1, 150)


async def test_a_refused_peer_does_not_outstay_its_listener() -> None:
    """A refused peer that does not close holds up neither the listener's end nor the node's."""
    async with serving(listener(max_children=1)) as server, server.client() as served:
        await served.ask(b"hi")
        async with server.client() as refused:
            assert await refused.line()
            server.listener.kill()
            assert await refused.rest() == b""
            while not any("Listener" in str(ref) and ref.alive for ref in server.node.processes()):
                await trio.lowlevel.checkpoint()
            await settled()


async def test_out_of_descriptors() -> None:
    """Newcomers are told, established connections live, and newcomers are served again when there
    are descriptors again.
    """
    result = await trio.run_process(
        [sys.executable, "-W", "error", str(ROOT / "tests/net/emfile.py")],
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    seen = json.loads(result.stdout)
    assert 3 <= seen["served"] < 20
    assert seen["refused"] == seen["counted"] == 20 - seen["served"]
    assert seen["alive"] == seen["served"]
    assert seen["later"] == 4


async def test_a_constructor_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody asked for that connection, so the error goes to the log; the socket is closed."""

    class Broken(Echo):
        def __init__(self) -> None:
            raise ValueError("no constructor today")

    async with serving(listener(Broken)) as server, server.client() as client:
        assert await client.gone()
        assert await server.counts() == (0, 0)
    assert "a connection did not start" in caplog.text
    assert "no constructor today" in caplog.text


async def test_an_init_that_ignores_or_fails_closes_the_socket() -> None:
    """``init`` of a connection may decline it, and the socket is closed."""

    class Declined(Echo):
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        async def init(self) -> Any:
            await trio.lowlevel.checkpoint()
            return self.answer

    for answer in (ak.IGNORE, ak.Stop(ak.Failure("not today"))):
        async with serving(listener(Declined, answer)) as server, server.client() as client:
            assert await client.gone()
            await settled()
            assert await server.counts() == (0, 0)


async def test_a_stop_in_the_constructor_closes_the_socket() -> None:
    """``ctx.stop()`` before there is a connection closes the socket."""

    class Stopped(Echo):
        def __init__(self) -> None:
            self.ctx.stop()

    async with serving(listener(Stopped)) as server, server.client() as client:
        assert await client.gone()
        assert await server.counts() == (0, 0)


async def test_other_children_are_refused() -> None:
    """A listener starts its connections itself: ``start_child`` is refused with an error that says
    so, and nothing breaks.
    """
    async with serving(listener()) as server, server.client() as client:
        with pytest.raises(ak.InvalidChildSpec, match="a listener starts its connections itself"):
            await server.listener.call(ak.Listener.start_child, ak.child(Echo))
        assert await client.ask(b"hi") == b"hi"


# --- stopping -------------------------------------------------------------------------------------


class Draining(Echo):
    """Traps exits, and says a last word."""

    trap_exit = True

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    async def terminate(self, reason: ak.ExitReason) -> None:
        await trio.sleep(self.seconds)
        self.write(b"bye\n")


async def test_listeners_close_before_anything_ends() -> None:
    """While the tree stops, however long that takes, no newcomer gets in."""
    refused: list[bool] = []

    class Last(ak.Actor):
        trap_exit = True

        def __init__(self, port: int) -> None:
            self.port = port

        async def terminate(self, reason: ak.ExitReason) -> None:
            try:
                await trio.open_tcp_stream("127.0.0.1", self.port)
            except OSError:
                refused.append(True)

    port = free_port()
    async with ak.open_node(ak.supervisor(listener(port=port), ak.child(Last, port))):
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    assert refused == [True]


async def test_last_words_arrive() -> None:
    """A connection that traps exits runs ``terminate`` at the stop, and what it writes there goes
    out.
    """
    async with ak.open_node(ak.supervisor(listener(Draining).with_(name="l"))):
        [(host, port)] = await ak.named(ak.Listener, "l").call(ak.Listener.addresses)
        clients = [Client(await trio.open_tcp_stream(host, port)) for _ in range(10)]
        for client in clients:
            await client.ask(b"hi")
    for client in clients:
        assert await client.rest() == b"bye\n"
        await client.stream.aclose()


async def test_drain_is_a_deadline(mock_clock: trio.testing.MockClock) -> None:
    """A connection that does not end in time is killed; its socket is closed."""

    async def pass_the_time() -> None:
        await settled()
        mock_clock.jump(2.9)
        await settled()
        assert ref.alive
        mock_clock.jump(0.2)
        await settled()
        assert not ref.alive

    async with trio.open_nursery() as nursery:
        async with ak.open_node(ak.supervisor(listener(Draining, math.inf, drain=3).with_(name="l"))) as node:
            [(host, port)] = await ak.named(ak.Listener, "l").call(ak.Listener.addresses)
            client = Client(await trio.open_tcp_stream(host, port))
            await client.ask(b"hi")
            [ref] = [ref for ref in node.processes() if issubclass(ref.kind.cls, ak.StreamActor)]
            nursery.start_soon(pass_the_time)
    assert await client.rest() == b""
    await client.stream.aclose()


async def test_what_is_buffered_goes_out_at_the_stop() -> None:
    """Connections that do not trap exits end at once, but what they have written still goes out."""

    class Big(ak.StreamActor):
        def received(self, line: bytes) -> None:
            self.write(line * 1_000_000 + b"\n")

    got: list[bytes] = []

    async def read(client: Client) -> None:
        got.append(await client.rest())

    async with trio.open_nursery() as nursery, ak.open_node(ak.supervisor(listener(Big).with_(name="l"))):
        [(host, port)] = await ak.named(ak.Listener, "l").call(ak.Listener.addresses)
        client = Client(await trio.open_tcp_stream(host, port))
        await client.send(b"abcdef\n")
        await trio.lowlevel.wait_readable(client.stream.socket.fileno())
        nursery.start_soon(read, client)
    assert got == [b"abcdef" * 1_000_000 + b"\n"]
    await client.stream.aclose()


async def test_a_killed_listener_takes_its_connections_along_and_comes_back() -> None:
    """The listener's supervisor restarts it on the same port; no socket of the old listener stays
    open.
    """
    async with serving(listener(port=free_port())) as server, server.client() as client:
        where = await server.address()
        await client.ask(b"hi")
        server.listener.kill()
        assert await client.gone()
        while True:
            try:
                async with await trio.open_tcp_stream(*where) as stream:
                    assert await Client(stream).ask(b"back") == b"back"
                break
            except OSError:
                await trio.lowlevel.checkpoint()


async def test_connections_that_outlive_a_killed_listener_are_closed(mock_clock: trio.testing.MockClock) -> None:
    """Connections in a handler, or that trap exits, end later than their listener: their ends are
    noticed, and their sockets are closed.
    """

    class Slow(Draining):
        async def received(self, line: bytes) -> None:
            self.write(b"waiting\n")
            await trio.sleep(1)

    async with serving(listener(Slow, 1)) as server, server.client() as busy, server.client() as idle:
        await busy.ask(b"x")
        await settled()
        old = server.connections()
        server.listener.kill()
        await settled()
        assert not server.listener.alive
        assert [ref.alive for ref in old] == [True, True]
        mock_clock.jump(1)  # the busy one's handler ends, and the idle one's terminate
        await settled()
        mock_clock.jump(1)
        assert await busy.rest() == b"bye\n"
        assert await idle.rest() == b"bye\n"


async def test_stop_accepting() -> None:
    """The connections go on; newcomers are not served; a second stop_accepting does nothing."""
    async with serving(listener()) as server, server.client() as client:
        where = await server.address()
        await client.ask(b"hi")
        for _ in range(2):
            await server.listener.call(ak.Listener.stop_accepting)
        assert await server.listener.call(ak.Listener.addresses) == []
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(*where)
        assert await client.ask(b"still") == b"still"


async def test_a_peer_that_comes_as_the_door_closes(caplog: pytest.LogCaptureFixture) -> None:
    """The listener is closed in the very pass in which the newcomer was seen: nothing fails, and
    nothing is logged.
    """
    async with ak.open_node() as node:
        for _ in range(12):
            ref = node.spawn(listener())
            [where] = await ref.call(ak.Listener.addresses)
            await settled()
            with socket.create_connection(where):
                await trio.lowlevel.checkpoint()
                await ref.call(ak.Listener.stop_accepting)
                await settled()
            ref.stop()
            await node.stopped(ref)
    assert "failed" not in caplog.text


async def test_a_listener_stopped_before_it_accepted() -> None:
    """A listener that is started and stopped in one breath leaves nothing behind: no descriptor, no
    task.
    """
    await settled()
    before = living()
    async with ak.open_node() as node:
        ref = node.spawn(listener())
        ref.stop()
        await node.stopped(ref)
        ref = node.spawn(listener())
        ref.kill()
        await settled()
    assert living() == before


# --- Unix sockets ---------------------------------------------------------------------------------


def unix(path: Any, **options: Any) -> ak.ChildSpec[ak.Listener]:
    return ak.unix_listener(Echo, path=path, **{"max_line": 100, **options})


async def test_unix_sockets(tmp_path: pathlib.Path) -> None:
    """The path exists, with its mode, while it is served, and is gone afterwards."""
    path = tmp_path / "socket"
    async with serving(unix(path, mode=0o640)) as server, server.client() as client:
        assert await server.address() == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert await client.ask(b"hi") == b"hi"
    assert not path.exists()


async def test_a_stale_socket_is_replaced(tmp_path: pathlib.Path) -> None:
    """A path that a killed server left behind is replaced."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    async with serving(unix(path)) as server, server.client() as client:
        assert await client.ask(b"hi") == b"hi"


async def test_a_live_socket_or_a_file_is_not_replaced(tmp_path: pathlib.Path) -> None:
    """If the path is served, or is not a socket, StartFailed names it and it stays."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        with pytest.raises(ak.StartFailed, match=f"cannot listen on {path}: "):
            async with ak.open_node(ak.supervisor(unix(path))):
                pytest.fail("it started")
        assert path.exists()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(ak.StartFailed, match="cannot listen"):
        async with ak.open_node(ak.supervisor(unix(path))):
            pytest.fail("it started")
    assert path.read_text() == "precious"


async def test_a_path_that_another_server_took_over_is_left_alone(tmp_path: pathlib.Path) -> None:
    """A listener removes only its own socket."""
    path = tmp_path / "socket"
    async with serving(unix(path)):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()


async def test_a_unix_refusal(tmp_path: pathlib.Path) -> None:
    """A Unix listener refuses peers as a TCP listener does."""
    async with serving(unix(tmp_path / "socket", max_children=1)) as server, server.client() as client:
        await client.ask(b"hi")
        async with server.client() as refused:
            assert b"full" in await refused.rest()


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def tls(contexts: Contexts, cls: Any = Echo, *args: Any, **options: Any) -> ak.ChildSpec[ak.Listener]:
    if cls is not RawEcho:
        options = {"max_line": 1_000, **options}
    return ak.tls_listener(cls, *args, tls=contexts[0], port=0, **options)


@asynccontextmanager
async def secure(server: Server, contexts: Contexts) -> AsyncIterator[Client]:
    """A client that takes a missing goodbye for an error."""
    where = await server.address()
    stream = await trio.open_tcp_stream(*where)
    async with trio.SSLStream(stream, contexts[1], server_hostname=where[0]) as encrypted:
        yield Client(encrypted)


async def test_tls_echo(contexts: Contexts) -> None:
    """Lines go over TLS; the server's end is a proper goodbye, not a cut."""

    class Bye(Echo):
        def connected(self) -> None:
            self.write(b"hello\n")

        def received(self, line: bytes) -> None:
            super().received(line)
            if line == b"bye":
                self.ctx.stop()

    async with serving(tls(contexts, Bye)) as server, secure(server, contexts) as client:
        assert await client.line() == b"hello"
        assert await client.ask(b"hi") == b"hi"
        await client.send(b"bye\n")
        assert await client.rest() == b"bye\n"
        assert await server.ended() == ak.NORMAL


async def test_a_line_that_comes_in_one_piece_with_the_handshake(contexts: Contexts) -> None:
    """A line that comes in one piece with the handshake is handled at once. Fault: it was decrypted
    only when the peer sent more.
    """
    async with serving(tls(contexts)) as server, server.client() as client:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = contexts[1].wrap_bio(incoming, outgoing, server_hostname=(await server.address())[0])
        while True:
            try:
                peer.do_handshake()
            except ssl.SSLWantReadError:
                await client.send(outgoing.read())
                incoming.write(await client.stream.receive_some())
            else:
                break
        peer.write(b"at once\n")
        await client.send(outgoing.read())
        echoed = b""
        while not echoed:
            incoming.write(await client.stream.receive_some())
            with contextlib.suppress(ssl.SSLWantReadError):
                echoed = peer.read()
        assert echoed == b"at once\n"


async def test_tls_megabytes_both_ways_at_once(contexts: Contexts) -> None:
    """Receiving and sending overlap, and every byte arrives."""
    data = os.urandom(3_000_000)
    async with serving(tls(contexts, RawEcho, max_unsent=1 << 24)) as server, secure(server, contexts) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, data)
            assert await client.exactly(len(data)) == data


async def test_tls_writes_from_others_while_it_reads(contexts: Contexts) -> None:
    """Casts are written while the peer's lines come in; nothing is mixed up."""

    class Chatty(Echo):
        @ak.cast
        def deliver(self, line: bytes) -> None:
            self.write(line + b"\n")

    async with serving(tls(contexts, Chatty)) as server, secure(server, contexts) as client:
        await client.ask(b"hi")
        [ref] = server.connections()
        async with trio.open_nursery() as nursery:

            async def cast() -> None:
                for number in range(300):
                    ref.cast(Chatty.deliver, b"cast %d" % number)
                    await trio.lowlevel.checkpoint()

            async def send() -> None:
                for number in range(300):
                    await client.send(b"line %d\n" % number)

            nursery.start_soon(cast)
            nursery.start_soon(send)
            lines = [await client.line() for _ in range(600)]
        for kind in (b"cast", b"line"):
            assert [line for line in lines if line.startswith(kind)] == [b"%s %d" % (kind, n) for n in range(300)]


async def test_many_writes_of_one_slice_are_no_slow_reader(contexts: Contexts) -> None:
    """Bytes that wait only for the end of the slice do not count against a TLS peer."""

    class Many(ak.StreamActor):
        def received(self, line: bytes) -> None:
            for _ in range(40):
                self.write(b"x" * 1_000)

    async with serving(tls(contexts, Many, max_unsent=10_000)) as server, secure(server, contexts) as client:
        await client.send(b"go\n")
        assert await client.exactly(40_000) == b"x" * 40_000


async def test_a_slow_tls_reader_is_disconnected(contexts: Contexts) -> None:
    """The bound holds for TLS, and its numbers are in the reason."""

    class Writer(ak.StreamActor):
        @ak.call
        def say(self, size: int) -> bool:
            return self.write(b"x" * size)

        def received(self, line: bytes) -> None:
            self.write(b"ok\n")

    async with serving(tls(contexts, Writer, max_unsent=50_000)) as server:
        where = await server.address()
        async with await trio.open_tcp_stream(*where) as stream:
            client = Client(trio.SSLStream(stream, contexts[1], server_hostname=where[0]))
            await client.ask(b"hi")
            [ref] = server.connections()
            with pytest.raises(ak.CalleeDied):
                while True:
                    await ref.call(Writer.say, 20_000)
                    await trio.lowlevel.checkpoint()
            reason = await server.ended()
            assert "slow reader" in str(reason)
            assert "max_unsent=50000" in str(reason)


async def test_nothing_is_sent_in_clear(contexts: Contexts) -> None:
    """What a cast writes before the handshake is done waits for the handshake."""

    class Early(Echo):
        @ak.cast
        def deliver(self) -> None:
            self.write(b"secret\n")

    async with serving(tls(contexts, Early)) as server:
        where = await server.address()
        stream = await trio.open_tcp_stream(*where)
        await settled()
        server.connections()[0].cast(Early.deliver)
        await settled()
        # Anything sent in clear would break the handshake now.
        async with trio.SSLStream(stream, contexts[1], server_hostname=where[0]) as encrypted:
            assert await Client(encrypted).line() == b"secret"


async def test_handshake_garbage(contexts: Contexts) -> None:
    """Bytes that are not TLS end that connection in an orderly way; no callback runs."""
    async with serving(tls(contexts)) as server, server.client() as client, secure(server, contexts) as other:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert await client.gone()
        assert isinstance(await server.ended(), ak.Shutdown)
        assert await other.ask(b"fine") == b"fine"


async def test_garbage_after_the_handshake(contexts: Contexts) -> None:
    """A broken stream ends in an orderly way with the cause, after the lines that were good."""
    async with serving(tls(contexts)) as server:
        where = await server.address()
        async with await trio.open_tcp_stream(*where) as stream:
            client = Client(trio.SSLStream(stream, contexts[1], server_hostname=where[0]))
            assert await client.ask(b"good") == b"good"
            await stream.send_all(b"this is not a TLS record, by far")
            reason = await server.ended()
            assert isinstance(reason, ak.Shutdown)
            assert "connection lost" in str(reason.detail)


async def test_a_peer_that_leaves_in_the_handshake(contexts: Contexts) -> None:
    """Closing instead of shaking hands is an orderly end too."""
    async with serving(tls(contexts)) as server:
        async with server.client():
            await settled()
        assert "handshake" in str(await server.ended())


async def test_handshake_timeout(contexts: Contexts, mock_clock: trio.testing.MockClock) -> None:
    """A peer that connects and says nothing has ``handshake`` seconds."""
    async with serving(tls(contexts, handshake=0.1)) as server, server.client() as client:
        await settled()
        mock_clock.jump(0.09)
        await settled()
        assert len(server.connections()) == 1
        mock_clock.jump(0.02)
        assert await client.gone()
        reason = await server.ended()
        assert isinstance(reason, ak.Shutdown)
        assert "did not finish its TLS handshake in 0.1 s" in str(reason.detail)


async def test_a_tls_peer_that_cuts_the_line(contexts: Contexts) -> None:
    """Many clients close without a goodbye: each is an end like any other."""
    async with serving(tls(contexts)) as server:
        where = await server.address()
        async with await trio.open_tcp_stream(*where) as stream:
            assert await Client(trio.SSLStream(stream, contexts[1], server_hostname=where[0])).ask(b"hi") == b"hi"
        assert await server.ended() == ak.NORMAL


async def test_many_tls_connections(contexts: Contexts) -> None:
    """Handshakes and echoes of many clients run at once."""
    async with serving(tls(contexts)) as server, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            async with secure(server, contexts) as client:
                for line in range(5):
                    assert await client.ask(b"%d %d" % (number, line)) == b"%d %d" % (number, line)

        for number in range(25):
            nursery.start_soon(one, number)


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("port", {"port": -1}),
        ("port", {"port": 65_536}),
        ("port", {"port": "80"}),
        ("port", {"port": True}),
        ("host", {"host": ""}),
        ("host", {"host": 5}),
        ("max_line", {"max_line": 0}),
        ("max_line", {"max_line": "4 KiB"}),
        ("max_frame", {"max_line": None, "max_frame": 0}),
        ("max_frame", {"max_line": 5, "max_frame": 5}),
        ("max_children", {"max_children": 0}),
        ("max_children", {"max_children": 1.5}),
        ("backlog", {"backlog": 0}),
        ("max_unsent", {"max_unsent": 0}),
        ("slow_reader", {"slow_reader": "wait"}),
        ("refusal", {"refusal": "text"}),
        ("linger", {"linger": -1}),
        ("linger", {"linger": math.nan}),
        ("shutdown", {"drain": -1}),
        ("name", {"name": ""}),
    ],
)
def test_what_cannot_be_is_refused_at_once(field: str, options: dict[str, Any]) -> None:
    """InvalidChildSpec names the bad argument, where the listener is specified."""
    with pytest.raises(ak.InvalidChildSpec) as caught:
        listener(**options)
    assert caught.value.field == field


def test_what_is_no_connection_is_refused(contexts: Contexts, tmp_path: pathlib.Path) -> None:
    """What is not a connection class is refused, and so are arguments given twice, one name for all
    connections, a bad TLS context, and a bad path or mode.
    """

    class NotAStream(ak.Actor): ...

    cases: list[tuple[str, Any]] = [
        ("start", lambda: listener(NotAStream)),
        ("args", lambda: listener(ak.child(Echo), 1)),
        ("name", lambda: listener(ak.child(Echo).with_(name="all"))),
        ("tls", lambda: ak.tls_listener(Echo, tls="certificate.pem", port=0)),  # type: ignore[arg-type]
        ("handshake", lambda: tls(contexts, handshake=-1.0)),
        ("path", lambda: unix("")),
        ("path", lambda: unix("x" * 108)),
        ("path", lambda: unix("a\0b")),
        ("path", lambda: unix(7)),
        ("mode", lambda: unix(tmp_path / "s", mode=0o1000)),
    ]
    for field, make in cases:
        with pytest.raises(ak.InvalidChildSpec) as caught:
            make()
        assert caught.value.field == field
