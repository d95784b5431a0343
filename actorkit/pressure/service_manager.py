"""The service manager's word on memory pressure: ``$MEMORY_PRESSURE_WATCH``.

systemd names a file to watch, and ``$MEMORY_PRESSURE_WRITE`` says, in base64, what to write into it
first: as a rule a PSI file and its trigger. For debugging it may be a FIFO or a stream socket,
which call by becoming readable. ``/dev/null`` means that nobody is to watch memory pressure.

Source: systemd, "Resource Pressure Handling".
"""

from __future__ import annotations

import base64
import os
import socket
import stat
from collections.abc import Mapping

from .wakes import Wake

__all__ = ["OFF", "watch", "watched_path"]

OFF = "/dev/null"
"""This path means: do not watch."""


def watched_path(environ: Mapping[str, str]) -> str | None:
    """What the service manager wants to be watched; None if it said nothing."""
    return environ.get("MEMORY_PRESSURE_WATCH") or None


def watch(environ: Mapping[str, str]) -> Wake:
    """Open what is to be watched. Raises OSError or ValueError, which say why it cannot be."""
    path = watched_path(environ)
    if path is None or not os.path.isabs(path):
        raise ValueError(f"MEMORY_PRESSURE_WATCH={path!r} is not an absolute path")
    said = environ.get("MEMORY_PRESSURE_WRITE", "")
    try:
        first = base64.b64decode(said, validate=True)
    except ValueError as why:
        raise ValueError(f"MEMORY_PRESSURE_WRITE={said!r} is not base64: {why}") from None
    mode = os.stat(path).st_mode
    name = f"MEMORY_PRESSURE_WATCH {path}"
    if stat.S_ISSOCK(mode):
        return _socket(name, path, first)
    fifo = stat.S_ISFIFO(mode)
    if not fifo and not stat.S_ISREG(mode):
        raise ValueError(f"MEMORY_PRESSURE_WATCH={path}: neither a file nor a FIFO nor a socket")
    # A FIFO is opened for both, so that it does not end when its writers leave.
    flags = os.O_RDWR if fifo or first else os.O_RDONLY
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if first:
            os.write(fd, first)
    except OSError:
        os.close(fd)
        raise
    if not fifo:
        return Wake(name, fd, True, lambda: None, lambda: os.close(fd), forgets=True)
    return Wake(name, fd, False, lambda: _discard(fd), lambda: os.close(fd))


def _socket(name: str, path: str, first: bytes) -> Wake:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.setblocking(False)
        peer.connect(path)
        if first:
            peer.send(first)
    except OSError:
        peer.close()
        raise
    return Wake(name, peer.fileno(), False, lambda: _discard(peer.fileno()), peer.close)


def _discard(fd: int) -> None:
    """Read what was sent; only that something came matters. Raises OSError when the other side has
    left."""
    while True:
        try:
            if not os.read(fd, 4096):
                raise OSError("the other side has closed it")
        except BlockingIOError:
            return
