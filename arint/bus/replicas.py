"""In how many copies streams are kept: as many as the brokers allow (`arint.availability.quorum.replicas`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from arint.bus import api, streams
from arint.bus.connection import Bus
from arint.errors import ArintError, NotFoundError, TimedOutError

_PAUSE = 0.1
_CHANGE = 30.0


class Copies(msgspec.Struct, frozen=True):
    """How a stream is kept: in `wanted` copies, of which the brokers named `current` are up to date."""

    stream: str
    wanted: int
    current: tuple[str, ...]
    behind: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every copy is up to date."""
        return not self.behind and len(self.current) >= self.wanted


async def copies(bus: Bus, stream: str) -> Copies:
    """Of one stream. Raises NotFoundError."""
    return _read(await api.call(bus, f"STREAM.INFO.{stream}"))


async def keep_in(bus: Bus, wanted: int, *, timeout: float = 120.0) -> Sequence[str]:
    """Keep every stream (and so its consumers) in `wanted` copies; the names of those that changed.

    One after the other, each whole before the next is begun. Raises TimedOutError where one does not get whole.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    changed = []
    for name in sorted(await streams.names(bus)):
        try:
            if await _change(bus, name, wanted):
                changed.append(name)
            await _until_whole(bus, name, deadline)
        except NotFoundError:  # deleted meanwhile
            continue
    return changed


async def remove_peer(system: Bus, broker: str, *, timeout: float = 10.0) -> None:
    """Strike a broker that is gone from those that JetStream counts, so that a majority is one of the living.

    `system` must be connected as a user of the system account. Nothing happens if it is not counted.
    Raises ConflictError for one that is still connected, where the broker refuses that.
    """
    try:
        await api.call(system, "SERVER.REMOVE", {"peer": broker}, timeout)
    except api.BusError as error:
        if error.code != _NO_SUCH_PEER:
            raise ArintError(f"the broker was not removed: {error.what}", where=broker,
                             remedy="see that the others answer: arintctl status") from error


_NO_SUCH_PEER = 10044


async def _change(bus: Bus, name: str, wanted: int) -> bool:
    info = await api.call(bus, f"STREAM.INFO.{name}")
    if info["config"].get("num_replicas", 1) == wanted:
        return False
    await api.call(bus, f"STREAM.UPDATE.{name}", info["config"] | {"num_replicas": wanted}, _CHANGE)
    return True


async def _until_whole(bus: Bus, name: str, deadline: float) -> None:
    while not (found := await copies(bus, name)).whole:
        if asyncio.get_running_loop().time() >= deadline:
            raise TimedOutError(f"{len(found.current)} of {found.wanted} copies are up to date", where=name,
                                remedy="see that every broker runs: arintctl status; it is tried again")
        await asyncio.sleep(_PAUSE)


def _read(info: dict[str, Any]) -> Copies:
    cluster = info.get("cluster") or {}
    replicas = cluster.get("replicas") or []
    leader = cluster.get("leader", "")
    current = [one["name"] for one in replicas if one.get("current")]
    behind = [one["name"] for one in replicas if not one.get("current")]
    if leader or not cluster:
        current.insert(0, leader)
    return Copies(info["config"]["name"], info["config"].get("num_replicas", 1), tuple(current), tuple(behind))
