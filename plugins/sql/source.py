"""The IN side of SQL: tables that are polled, one task a channel; one instance in the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from arint.plugins import ChannelBinding, Intake
from plugins.sql.polling import Poller, Table
from plugins.sql.sink import opened
from plugins.sql.specs import SqlChannel, SqlConnection

_CONNECTIONS = 2


class _Running(NamedTuple):
    binding: ChannelBinding
    secrets: Mapping[str, bytes]
    poller: Poller
    task: asyncio.Task[None]


class SqlSource:
    """Polls for every channel that has an `sql` key."""

    def __init__(self) -> None:
        self._intake: Intake
        self._running: dict[str, _Running] = {}

    async def start(self, intake: Intake, *, host: str, port: int) -> None:
        """Nothing is opened before there is a channel."""
        self._intake = intake

    async def update(self, channels: Sequence[ChannelBinding]) -> None:
        """Poll for these channels; those that are as they were are not disturbed."""
        wanted = {channel.name: channel for channel in channels}
        secrets = {name: self._secrets(channel) for name, channel in wanted.items()}
        for name, running in list(self._running.items()):
            if (running.binding, running.secrets) != (wanted.get(name), secrets.get(name)):
                await self._end(self._running.pop(name))
        for name, channel in wanted.items():
            if name not in self._running:
                self._running[name] = self._begun(channel, secrets[name])

    def _secrets(self, channel: ChannelBinding) -> Mapping[str, bytes]:
        needed = [spec.password.secret for spec in channel.connections.values() if spec.password is not None]
        return {name: self._intake.secret(name) for name in needed}

    def _begun(self, channel: ChannelBinding, secrets: Mapping[str, bytes]) -> _Running:
        spec: SqlChannel = channel.spec
        connection = spec.source.partition("/")[2]
        known: SqlConnection = channel.connections[connection]
        database, threads = opened(connection, msgspec.structs.replace(known, connections=_CONNECTIONS), secrets)
        poller = Poller(Table(channel.name, spec, database, threads, self._intake))
        return _Running(channel, secrets, poller, asyncio.create_task(poller.run(), name=f"poll {channel.name}"))

    async def stop(self, grace: float) -> None:
        """Take nothing new. What is being stored will be, and is known when it is read again."""
        await asyncio.gather(*(self._end(running) for running in self._running.values()))
        self._running.clear()

    async def _end(self, running: _Running) -> None:
        running.task.cancel()
        await asyncio.wait([running.task])
        await running.poller.close()

    @property
    def trouble(self) -> str:
        """What keeps rows from being taken."""
        return "; ".join(running.poller.trouble for running in self._running.values()
                         if running.poller.trouble and not running.poller.away_since)

    @property
    def circuits(self) -> dict[str, float]:
        """The connections that are away, with since when."""
        found: dict[str, float] = {}
        for running in self._running.values():
            if since := running.poller.away_since:
                name = running.binding.spec.source.partition("/")[2]
                found[name] = min(since, found.get(name, since))
        return found
