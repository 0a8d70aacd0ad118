"""The agent's local read API: one question a connection, over the socket in the home that only its user may open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from arint.errors import ArintError, TimedOutError, UnreachableError
from arint.flows.contracts import Contract
from arint.home import Home

Answer = TypeVar("Answer")
LONGEST_LINE = 16 * 2**20


class EngineStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One engine. `memory` in bytes, `started` in seconds since the epoch."""

    name: str
    pid: int = 0
    version: str = ""
    ready: bool = False
    restarts: int = 0
    started: float = 0.0
    memory: int = 0
    error: str = ""


class InstanceStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One worker process. Counters grow while it lives; `circuits` are the open ones, with since when."""

    instance: str
    service: str = ""
    role: str = ""
    node: str = ""
    state: str = "starting"
    version: str = ""
    change_set: int = 0
    pid: int = 0
    restarts: int = 0
    started: float = 0.0
    memory: int = 0
    processed: int = 0
    failed: int = 0
    dead: int = 0
    accepted: int = 0
    in_flight: int = 0
    circuits: dict[str, float] = {}
    error: str = ""
    last_end: str = ""
    """Why its process last ended without being asked to; kept when it is ready again."""
    ended: float = 0.0
    """When that was, in seconds since the epoch."""


class AgentStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the agent knows of its node, at one moment. `metrics`: where it serves its metrics."""

    node: str = ""
    cluster: str = ""
    pid: int = 0
    version: str = ""
    ready: bool = False
    change_set: int = 0
    started: float = 0.0
    memory: int = 0
    engines: tuple[EngineStatus, ...] = ()
    instances: tuple[InstanceStatus, ...] = ()
    metrics: str = ""
    limits: str = ""
    """How instances are held to their limits: `cgroup` or `rlimits`."""
    limits_why: str = ""
    error: str = ""
    nodes: int = 1
    """Nodes that run instances, where the whole cluster was asked for."""


class Contracts(msgspec.Struct, frozen=True):
    """What the services on the node take and return, by name."""

    services: dict[str, Contract]


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line that a process printed."""

    instance: str = ""
    line: str = ""


class Agent:
    """Asks the agent of a home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def answers(self) -> bool:
        """Whether an agent listens at all."""
        try:
            async with self._connected():
                return True
        except ArintError:
            return False

    async def status(self, *, within: float = 5.0) -> AgentStatus:
        """Where the node stands. Raises UnreachableError, or TimedOutError after `within` seconds."""
        return await self._answer({"type": "query", "what": "status"}, AgentStatus, within)

    async def cluster(self, *, within: float = 5.0) -> AgentStatus:
        """As `status`, with the instances of all nodes: of others what they have registered. Raises as that does."""
        return await self._answer({"type": "query", "what": "cluster"}, AgentStatus, within)

    async def _answer(self, question: dict[str, Any], kind: type[Answer], within: float) -> Answer:
        try:
            async with asyncio.timeout(within):
                async for answer in self._ask(question, kind):
                    return answer
        except TimeoutError:
            raise TimedOutError(f"the agent did not answer within {within:g} s", where=str(self._home.socket),
                                remedy="look into its log: " + str(self._home.log_file("agent"))) from None
        raise UnreachableError("the agent closed the connection without an answer", where=str(self._home.socket))

    async def contracts(self, *, within: float = 5.0) -> dict[str, Contract]:
        """What services take and return, as their workers told it. Raises as `status`."""
        return (await self._answer({"type": "query", "what": "contracts"}, Contracts, within)).services

    async def follow(self) -> AsyncIterator[AgentStatus]:
        """Where the node stands, once a second."""
        async for status in self._ask({"type": "follow"}, AgentStatus):
            yield status

    async def logs(self, instance: str, *, follow: bool, lines: int = 100) -> AsyncIterator[LogLine]:
        """What a process printed: its last `lines`, and with `follow` whatever comes."""
        question = {"type": "logs", "instance": instance, "follow": follow, "lines": lines}
        async for line in self._ask(question, LogLine):
            yield line

    async def _ask(self, question: dict[str, Any], kind: type[Answer]) -> AsyncIterator[Answer]:
        async with self._connected() as (reader, writer):
            writer.write(msgspec.json.encode(question) + b"\n")
            await writer.drain()
            decoder = msgspec.json.Decoder(kind)
            while line := await reader.readline():
                yield decoder.decode(line)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._home.socket, limit=LONGEST_LINE)
        except OSError:
            self._home.load()  # says so where no node was set up at all
            raise UnreachableError("no agent answers", where=str(self._home.path),
                                   remedy="run: arintctl up") from None
        try:
            yield reader, writer
        finally:
            writer.close()
