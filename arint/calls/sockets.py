"""The folder of the sockets on which this node's instances answer calls: who is there now is who has a socket in it.

    HOME/run/calls/service.price-1      an instance of the service `price`
    HOME/run/calls/runner.runner-1      a runner: it answers for flows

An instance makes its socket when it is ready and removes it when it begins to leave. Sockets are reached by way of
/proc/self/fd, since a socket's path may have 107 bytes, and a home may lie deeper.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from arint.home import Home

_UNSETTLED = 50_000_000
"""Nanoseconds: a folder changed so recently may have changed once more with the same time stamp."""


class Sockets:
    """The folder; made when first used, private to this user."""

    def __init__(self, home: Home) -> None:
        self.path: Path = home.run / "calls"
        self._descriptor = -1
        self._stamp = -1

    def address(self, name: str) -> str:
        """Where to connect."""
        return f"/proc/self/fd/{self._opened()}/{name}"

    def bind(self, name: str) -> socket.socket:
        """A socket of this name, 0600 from its first moment; what an earlier instance left is replaced."""
        self.remove(name)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(self.address(name))
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        return listening

    def remove(self, name: str) -> None:
        """Take the name away; who is connected stays so. A process that became another user cannot: its agent will."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink(missing_ok=True)

    def changed(self) -> bool:
        """May anything have come or gone since this was last asked? One system call."""
        try:
            stamp = self.path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp == self._stamp:
            return False
        self._stamp = stamp if time.time_ns() - stamp > _UNSETTLED else -1
        return True

    def present(self) -> dict[str, int]:
        """Who is there: the name, and when the socket was made (inode numbers come again)."""
        try:
            with os.scandir(self.path) as entries:
                return {entry.name: entry.stat(follow_symlinks=False).st_mtime_ns for entry in entries}
        except OSError:  # there is none yet, or this process has become a user who may not look
            return {}

    def close(self) -> None:
        """Let go of the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _opened(self) -> int:
        if self._descriptor < 0:
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._descriptor


def name_of(role: str, instance: str) -> str:
    """The socket's name; `role` is service or runner."""
    return f"{role}.{instance}"


def group_of(target: str) -> str:
    """Whose sockets answer for a flow token: `service=price` is `service.price`, a flow is the runners' matter."""
    kind, separator, name = target.partition("=")
    return f"service.{name}" if separator and kind == "service" else "runner.runner"


def forget(home: Home, instance: str) -> None:
    """Remove what an instance left behind that was killed."""
    for role in ("service", "runner"):
        (home.run / "calls" / name_of(role, instance)).unlink(missing_ok=True)
