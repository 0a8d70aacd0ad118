"""What the agent of a node is asked: over the socket in its home that only its user may open, or from another node."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from arint.errors import ArintError, NobodyError, TimedOutError, UnreachableError
from arint.flows.contracts import Contract
from arint.home import Home

if TYPE_CHECKING:
    from arint.bus.connection import Bus

Answer = TypeVar("Answer")
LONGEST_LINE = 16 * 2**20
_LOGS_WITHIN = 10.0
_LOOK_AGAIN = 0.3


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
    node: str = ""
    """Where it runs, where the whole cluster was asked for."""


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
    members: dict[str, bool] = {}
    """All nodes, and which of them live, where the whole cluster was asked for."""


class Contracts(msgspec.Struct, frozen=True):
    """What the services on the node take and return, by name."""

    services: dict[str, Contract]


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line that a process printed."""

    instance: str = ""
    line: str = ""


class LogPiece(msgspec.Struct, frozen=True, array_like=True):
    """Lines of a process's log, the place behind them, and whether there are no more yet."""

    lines: tuple[str, ...]
    behind: int
    is_all: bool


class Printed(msgspec.Struct, frozen=True):
    """What processes printed, by their names. Who is missing did not fit into the answer."""

    pieces: dict[str, LogPiece]


class Agent(ABC):
    """An agent that answers questions."""

    @abstractmethod
    async def ask(self, question: bytes, within: float) -> bytes:
        """The answer to an encoded question. Raises UnreachableError, or TimedOutError after `within` seconds."""

    async def status(self, *, within: float = 5.0) -> AgentStatus:
        """Where the node stands. Raises UnreachableError, or TimedOutError after `within` seconds."""
        return await self._answer({"type": "query", "what": "status"}, AgentStatus, within)

    async def cluster(self, *, within: float = 5.0) -> AgentStatus:
        """As `status`, with the instances of all nodes: of others what they have registered. Raises as that does."""
        return await self._answer({"type": "query", "what": "cluster"}, AgentStatus, within)

    async def contracts(self, *, within: float = 5.0) -> dict[str, Contract]:
        """What services take and return, as their workers told it. Raises as `status`."""
        return (await self._answer({"type": "query", "what": "contracts"}, Contracts, within)).services

    async def logs(self, names: Iterable[str], *, follow: bool, lines: int = 100) -> AsyncIterator[LogLine]:
        """What processes printed: of each its last `lines`, and with `follow` whatever comes. Raises as `status`."""
        places: dict[str, int | None] = dict.fromkeys(names)
        while places:
            question = {"type": "logs", "places": places, "lines": lines, "whole": follow}
            found = (await self._answer(question, Printed, _LOGS_WITHIN)).pieces
            for name, piece in found.items():
                for line in piece.lines:
                    yield LogLine(name, line)
                places[name] = piece.behind
            if follow and all(piece.is_all for piece in found.values()):
                await asyncio.sleep(_LOOK_AGAIN)
            elif not follow:
                ended = {name for name, piece in found.items() if piece.is_all}
                places = {name: place for name, place in places.items() if name not in ended} if found else {}

    async def _answer(self, question: dict[str, Any], kind: type[Answer], within: float) -> Answer:
        return msgspec.json.decode(await self.ask(msgspec.json.encode(question), within), type=kind)


class LocalAgent(Agent):
    """The agent of a home. A connection holds one question."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def answers(self) -> bool:
        """Whether an agent listens at all."""
        try:
            async with self._connected():
                return True
        except ArintError:
            return False

    async def ask(self, question: bytes, within: float) -> bytes:
        """As `Agent.ask`."""
        try:
            async with asyncio.timeout(within):
                async for answer in self._answers_to(question):
                    return answer
        except TimeoutError:
            raise TimedOutError(f"the agent did not answer within {within:g} s", where=str(self._home.socket),
                                remedy="look into its log: " + str(self._home.log_file("agent"))) from None
        raise UnreachableError("the agent closed the connection without an answer", where=str(self._home.socket))

    async def follow(self) -> AsyncIterator[AgentStatus]:
        """Where the node stands, once a second. Raises UnreachableError."""
        async for answer in self._answers_to(b'{"type":"follow"}'):
            yield msgspec.json.decode(answer, type=AgentStatus)

    async def _answers_to(self, question: bytes) -> AsyncIterator[bytes]:
        async with self._connected() as (reader, writer):
            writer.write(question + b"\n")
            await writer.drain()
            while line := await reader.readline():
                yield line

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


class AgentElsewhere(Agent):
    """The agent of another node, asked over the bus."""

    def __init__(self, bus: Bus, node: str) -> None:
        self._bus, self._node = bus, node

    async def ask(self, question: bytes, within: float) -> bytes:
        """As `Agent.ask`."""
        from arint.bus.subjects import agent_of
        from arint.failures import Told, error_of

        try:
            reply = await self._bus.request(agent_of(self._node), question, within)
        except NobodyError:
            raise UnreachableError("nobody answers for its agent", where=f"node {self._node}",
                                   remedy=f"on that machine: arintctl status; here: arintctl node show {self._node}"
                                   ) from None
        except TimedOutError:
            raise TimedOutError(f"its agent did not answer within {within:g} s", where=f"node {self._node}",
                                remedy="on that machine: arintctl status") from None
        if reply.header:
            raise error_of(msgspec.json.decode(reply.body, type=Told))
        return reply.body
