"""Where a listener listens: an address is checked when it is made, shown in texts, and bound."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from typing import Any, Final

import attrs
import trio

from ..errors import InvalidChildSpec

__all__ = ["Address", "TcpAddress", "UnixAddress", "file_of"]

UNIX_PATH_BYTES: Final = 107

Where = tuple[socket.AddressFamily, Any]
"""An address family, and an address of it as ``bind`` takes it."""


def _check_host(_: object, __: object, host: Any) -> None:
    if not isinstance(host, str) or not host:
        raise InvalidChildSpec(
            "host", host, "not a host", 'give a name or an address; "0.0.0.0" or "::" for all interfaces'
        )


def _check_port(_: object, __: object, port: Any) -> None:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65_535:
        raise InvalidChildSpec("port", port, "not a port", "give an int from 0 to 65535")


@attrs.frozen
class TcpAddress:
    """A host and a port. A name is looked up each time that a listener starts."""

    host: str = attrs.field(validator=_check_host)
    port: int = attrs.field(validator=_check_port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def needs_lookup(self) -> bool:
        """Is the host a name, so that looking it up takes time? Then use ``look_up_and_bind``."""
        return not (self.host.replace(".", "").isdigit() or ":" in self.host)

    def bind(self, backlog: int) -> socket.socket:
        """A listening socket. Raises OSError."""
        flags = socket.AI_PASSIVE | socket.AI_NUMERICHOST
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        return _bind_first(_in_order(found), backlog)

    async def look_up_and_bind(self, backlog: int) -> socket.socket:
        """A listening socket on the first address of the host that can be bound. Raises OSError."""
        found = await trio.socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _bind_first(_in_order(found), backlog)


def _path(value: Any) -> Any:
    try:
        path = os.fsdecode(value)
    except TypeError:
        path = ""
    if not 0 < len(os.fsencode(path)) <= UNIX_PATH_BYTES or "\0" in path:
        raise InvalidChildSpec("path", value, "not a socket's path", f"give one of 1 to {UNIX_PATH_BYTES} bytes")
    return path


def _check_mode(_: object, __: object, mode: Any) -> None:
    if not isinstance(mode, int) or isinstance(mode, bool) or not 0 <= mode <= 0o777:
        raise InvalidChildSpec("mode", mode, "not a file mode", "give one from 0 to 0o777")


@attrs.frozen
class UnixAddress:
    """The path of a Unix socket, and the mode that its file gets."""

    path: str = attrs.field(converter=_path)
    mode: int = attrs.field(default=0o600, validator=_check_mode)

    needs_lookup = False

    def __str__(self) -> str:
        return self.path

    def bind(self, backlog: int) -> socket.socket:
        """A listening socket. A file that nobody serves any more is replaced. Raises OSError."""
        _remove_stale(self.path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(self.path)
            os.chmod(self.path, self.mode)
            sock.listen(backlog)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock


Address = TcpAddress | UnixAddress


def file_of(sock: socket.socket) -> tuple[str, int, int] | None:
    """Which file a Unix socket is: path, device and inode.

    At the same path there may be another server's by now."""
    if sock.family != socket.AF_UNIX:
        return None
    path = sock.getsockname()
    try:
        found = os.stat(path)
    except OSError:
        return None
    return path, found.st_dev, found.st_ino


# --- inside ---------------------------------------------------------------------------------------


def _in_order(found: Any) -> list[Where]:
    """IPv4 first: that is how most clients reach what listens on the name of the loopback."""
    return [(family, where) for family, _, _, _, where in sorted(found, key=lambda entry: entry[0] != socket.AF_INET)]


def _bind_first(candidates: Iterable[Where], backlog: int) -> socket.socket:
    """Listen on the first of these addresses that can be bound. Raises the last OSError."""
    failure: OSError | None = None
    for family, address in candidates:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            failure = error
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address[0] == "::" else 1)
            sock.bind(address)
            sock.listen(backlog)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


def _remove_stale(path: str) -> None:
    """Remove the file of a socket on which nobody listens: a server that was killed leaves one
    behind."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(0.2)
        probe.connect(path)
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()
