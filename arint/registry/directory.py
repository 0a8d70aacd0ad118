"""Who serves what on other nodes, and how far they are: what the agent writes down for the callers on its node.

    HOME/run/directory

It works on while the agent or etcd is away. What it says may be a moment old: who is asked may have left, and then
another is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from arint.home import Home, write_private
from arint.registry.records import Registration

NEAR = 2.0
NEAR_AT_LEAST = 0.001
"""Within so many times the way to the nearest, or so many seconds more, a node counts as near too."""


class Server(msgspec.Struct, frozen=True, array_like=True):
    """A live instance on another node. One that leaves (`ready` is false) still answers what it has begun."""

    instance: str
    node: str
    pid: int
    ready: bool


class Directory(msgspec.Struct, frozen=True):
    """Servers by service, and seconds for a round trip by node."""

    servers: dict[str, tuple[Server, ...]] = {}
    near: dict[str, float] = {}


def directory_of(registrations: Sequence[Registration], alive: Sequence[str], node: str,
                 near: Mapping[str, float]) -> Directory:
    """The directory for callers on `node`. Pure."""
    servers: dict[str, list[Server]] = {}
    for one in sorted(registrations, key=lambda one: (one.service, one.node, one.instance)):
        if one.node != node and one.node in alive and one.state in ("ready", "draining"):
            servers.setdefault(one.service, []).append(Server(one.instance, one.node, one.pid, one.state == "ready"))
    return Directory({service: tuple(found) for service, found in servers.items()}, dict(near))


def nearest(servers: Sequence[Server], near: Mapping[str, float], busy: Mapping[str, int],
            pick: Callable[[int], int]) -> Server | None:
    """Of two among the near ones the less busy; None where there is none.

    Two choices keep callers who know nothing of each other from all running to the same one (Mitzenmacher, The power
    of two choices in randomized load balancing, 2001). `pick(n)` gives a number below n; `busy` counts calls under way
    by instance. Nodes that were not measured are the farthest. Pure.
    """
    far = [one for one in servers if one.ready]
    if not far:
        return None
    way = {one.node: near.get(one.node, float("inf")) for one in far}
    shortest = min(way.values())
    within = max(shortest * NEAR, shortest + NEAR_AT_LEAST)
    close = [one for one in far if way[one.node] <= within]
    first = close.pop(pick(len(close)))
    if not close:
        return first
    second = close[pick(len(close))]
    return second if busy.get(second.instance, 0) < busy.get(first.instance, 0) else first


class Reader:
    """Reads the directory anew when it has changed: one system call to see that it has not."""

    def __init__(self, home: Home) -> None:
        self._file = home.directory_file
        self._stamp: tuple[int, int] = (0, 0)
        self._directory = Directory()

    def read(self) -> Directory:
        """The newest; what was known where it cannot be read, nothing where there is none."""
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._directory = msgspec.json.decode(self._file.read_bytes(), type=Directory)
                self._stamp = stamp
        except (OSError, msgspec.MsgspecError):  # there is none yet, or this process may not look
            pass
        return self._directory


def write(home: Home, directory: Directory) -> None:
    """At once or not at all. Raises OSError."""
    write_private(home.directory_file, msgspec.json.encode(directory))
