"""The other nodes: who serves what there, written down for the callers here; and how far they are.

The way is measured by a TCP connection, which takes one round trip, made or refused: no port of our own, no program to
answer, no privilege. A few nodes a round, so that a cluster of any size costs the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Mapping

import msgspec

from arint.errors import ArintError
from arint.home import Home
from arint.registry import directory
from arint.registry.directory import Directory, directory_of
from arint.registry.records import Near, NodeRecord
from arint.store.connection import Etcd
from arint.store.failures import LeaseLostError
from arint.store.keys import Keys
from arint.store.lease import Lease
from nodeagent.bell import Bell
from nodeagent.views import Views

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds from one round to the next."""
EACH_ROUND = 16
"""Nodes measured in a round."""
WITHIN = 1.0
"""Seconds after which a node counts as not reached."""
_KNOCKS = 3
_CHANGED = 0.2
_CHANGED_AT_LEAST = 0.0002
"""A way is told anew when it differs by this share, and by so many seconds."""


class Neighbours:
    """Knows the way to the nodes that were measured; `near` in seconds for a round trip."""

    def __init__(self, home: Home, node: str, etcd: Etcd, keys: Keys, views: Views, bell: Bell) -> None:
        self.near: dict[str, float] = {}
        self._home = home
        self._node = node
        self._etcd = etcd
        self._keys = keys
        self._views = views
        self._bell = bell
        self._turn = itertools.count()

    async def write_down(self) -> None:
        """Keep the directory as the registry is, until cancelled. A full disk is waited out."""
        written: Directory | None = None
        while True:
            rings = self._bell.rings
            views = self._views
            current = directory_of([*views.instances.snapshot.values()],
                                   [one.node for one in views.alive.snapshot.values()], self._node, self.near)
            if current != written:
                try:
                    directory.write(self._home, current)
                    written = current
                except OSError as error:
                    log.warning("the directory of other nodes cannot be written: %s", error.strerror)
            await self._bell.wait(rings, INTERVAL)

    async def measure(self, lease: Lease) -> None:
        """Measure round by round, and tell the cluster under this lease, until cancelled. Raises LeaseLostError."""
        told: dict[str, float] | None = None
        while True:
            await self._round()
            if told is None or told != self.near:
                near = Near(node=self._node, seconds=self.near)
                try:
                    lease.check()
                    await self._etcd.put(self._keys.near(self._node), msgspec.json.encode(near), lease.id)
                    told = self.near
                    self._bell.ring()
                except LeaseLostError:
                    raise
                except ArintError as error:
                    log.warning("the ways to other nodes cannot be told: %s", error)
            await asyncio.sleep(INTERVAL)

    async def _round(self) -> None:
        alive = {one.node for one in self._views.alive.snapshot.values()} - {self._node}
        records = {name: one for name, one in self._views.nodes.snapshot.items() if name in alive}
        chosen = _some(sorted(records), next(self._turn))
        measured = dict(zip(chosen, await asyncio.gather(*(_way_to(records[name]) for name in chosen)), strict=True))
        self.near = merged({name: way for name, way in self.near.items() if name in records}, measured)


def merged(before: Mapping[str, float], measured: Mapping[str, float | None]) -> dict[str, float]:
    """What is known after a round: small differences are none, and who was not reached is left out. Pure."""
    found = dict(before)
    for name, way in measured.items():
        if way is None:
            found.pop(name, None)
        elif abs(way - found.get(name, float("inf"))) > max(_CHANGED * way, _CHANGED_AT_LEAST):
            found[name] = round(way, 6)
    return found


def _some(names: list[str], turn: int) -> list[str]:
    """So many names as are measured in a round, others each turn."""
    rounds = max(1, -(-len(names) // EACH_ROUND))
    return names[turn % rounds::rounds]


async def _way_to(record: NodeRecord) -> float | None:
    """The quickest of a few connections: what is slower was held up on the way."""
    port = record.ports.nats if "server" in record.roles else record.ports.http
    found = [await _knock(record.host, port) for _ in range(_KNOCKS)]
    reached = [way for way in found if way is not None]
    return min(reached) if reached else None


async def _knock(host: str, port: int) -> float | None:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(WITHIN):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return time.perf_counter() - began
    except (OSError, TimeoutError):
        return None
    took = time.perf_counter() - began
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return took
