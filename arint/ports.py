"""Ports on the loopback: the usual ones where they are free, else others that stay free."""

from __future__ import annotations

import fcntl
import os
import random
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from arint.errors import ArintError

_LOWEST = 10_240
_EPHEMERAL_DEFAULT = 32_768


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of a node."""

    etcd_client: int = 2379
    etcd_peer: int = 2380
    nats: int = 4222
    nats_route: int = 6222
    http: int = 8080
    metrics: int = 9464


Claim = Callable[[int], bool]
"""Takes a port, unless somebody else has."""


def choose_ports(host: str = "127.0.0.1", preferred: Ports | None = None, *, avoid: Collection[int] = (),
                 claim: Claim | None = None) -> Ports:
    """`preferred` (default: the usual ones); every port that is taken, or to be avoided, is replaced by a free one.

    With `claim` each port is claimed as well (see `claims`).
    """
    wanted = msgspec.structs.asdict(preferred or Ports())
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        free = port not in {*avoid, *chosen.values()} and port_is_free(host, port) and (claim is None or claim(port))
        chosen[name] = port if free else _other_port(host, {*avoid, *wanted.values(), *chosen.values()}, claim)
    return Ports(**chosen)


@contextmanager
def claims(file: Path) -> Iterator[Claim]:
    """Claims that hold until the end of the block: between the choice of a port and its server's listening, another
    process of this machine must not choose the same one. Each is a lock on one byte of `file`, of the port's number.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def claim(port: int) -> bool:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        return True

    try:
        yield claim
    finally:
        os.close(descriptor)


def _other_port(host: str, avoid: set[int], claim: Claim | None) -> int:
    while True:
        port = free_port(host, avoid=avoid)
        if claim is None or claim(port):
            return port
        avoid.add(port)


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no owner
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1", *, avoid: Collection[int] = ()) -> int:
    """A free port below the system's ephemeral range.

    A port that the system itself hands out (bind to 0) may be taken by any outgoing connection while its server is
    down; a persisted port must not.
    """
    highest = _first_ephemeral() - 1
    for _ in range(1000):
        port = random.randint(_LOWEST, highest)  # noqa: S311 - spread, not secrecy
        if port not in avoid and port_is_free(host, port):
            return port
    raise ArintError("no free port was found", where=host, remedy="close some servers on this machine")


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_DEFAULT
    return first if first > _LOWEST + 1000 else _EPHEMERAL_DEFAULT
