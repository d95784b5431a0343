"""A server that runs out of descriptors, run by a test. Prints what its clients saw, as JSON."""

from __future__ import annotations

import json
import resource
import socket

import trio

import actorkit as ak


class Echo(ak.StreamActor):
    def received(self, line: bytes) -> None:
        self.write(line + b"\n")


def talk(sock: socket.socket, line: bytes) -> bytes:
    sock.settimeout(60)  # how long a failure takes to show
    try:
        sock.sendall(line)
        return sock.recv(100)
    except OSError as error:
        return repr(error).encode()


async def main() -> None:
    seen: dict[str, object] = {}
    async with ak.open_node(ak.supervisor(ak.tcp_listener(Echo, port=0, max_line=100, name="l")), call_timeout=60):
        listener = ak.named(ak.Listener, "l")
        [(host, port)] = await listener.call(ak.Listener.addresses)
        # The clients' sockets are made first, since they live in this process too.
        sockets = [socket.socket() for _ in range(40)]
        taken = sockets[-1].fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 11, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        def connect() -> list[bytes]:
            answers = []
            for sock in sockets[:20]:
                sock.connect((host, port))
                answers.append(talk(sock, b"hello\n"))
            return answers

        answers = await trio.to_thread.run_sync(connect)
        good = [sock for sock, answer in zip(sockets, answers, strict=False) if answer == b"hello\n"]
        seen["served"] = len(good)
        seen["refused"] = sum(b"full" in answer for answer in answers)
        seen["counted"] = (await listener.call(ak.Listener.counts))[1]
        again = await trio.to_thread.run_sync(lambda: [talk(sock, b"again\n") for sock in good])
        seen["alive"] = sum(answer == b"again\n" for answer in again)
        for sock in good[:5]:
            sock.close()
        while (await listener.call(ak.Listener.counts))[0] > len(good) - 5:
            await trio.sleep(0.01)

        def once_more() -> list[bytes]:
            answers = []
            for sock in sockets[20:24]:
                sock.connect((host, port))
                answers.append(talk(sock, b"new\n"))
            return answers

        seen["later"] = sum(answer == b"new\n" for answer in await trio.to_thread.run_sync(once_more))
        for sock in sockets:
            sock.close()
    print(json.dumps(seen))


trio.run(main)
