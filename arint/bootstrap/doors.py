"""How a cluster is asked to take a node in: through this machine's own home, or over SSH through one of its servers."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

import msgspec

from arint.bootstrap.carrying import Machine, decoded
from arint.errors import NotValidError
from arint.operations.connect import Link
from arint.operations.membership import JoinDocument, JoinRequest, admit, forget
from arint.operations.nodes import DrainArguments, drain, list_nodes, uncordon

T = TypeVar("T")


class Known(msgspec.Struct, frozen=True):
    """A node that the cluster has recorded."""

    node: str
    host: str
    state: str
    drain: str = ""
    cordoned: bool = False


class Door(Protocol):
    """The cluster, as bootstrapping needs it. `servers`: address and ports of etcd and of the broker, of each."""

    cluster: str
    servers: tuple[tuple[str, int], ...]

    async def nodes(self) -> dict[str, Known]:
        """What is recorded, by name."""
        ...

    async def admit(self, request: JoinRequest) -> JoinDocument:
        """Sign for a node, and record it."""
        ...

    async def drain(self, node: str, timeout: float, *, force: bool = False) -> None:
        """Move everything off it; with `force`, stop what no other node takes."""
        ...

    async def uncordon(self, node: str) -> None:
        """Give it instances again."""
        ...

    async def forget(self, node: str) -> None:
        """Remove it from the records."""
        ...


class OwnHome:
    """The cluster of this machine's home, which is a server."""

    def __init__(self, link: Link) -> None:
        self._link = link
        config = link.config
        self.cluster = config.cluster
        self.servers = tuple(pair for one in config.servers
                             for pair in ((one.host, one.ports.etcd_client), (one.host, one.ports.nats)))
        if is_loopback(config.host):
            raise NotValidError(f"the cluster {config.cluster} listens on {config.host}, where no other machine "
                                "reaches it", where=str(link.home.path),
                                remedy="set it up with an address that others reach: arintctl up --host ADDRESS")

    async def nodes(self) -> dict[str, Known]:
        """What is recorded, by name."""
        return {one.node: Known(one.node, one.host, one.state, one.drain, one.cordoned)
                for one in await list_nodes(self._link)}

    async def admit(self, request: JoinRequest) -> JoinDocument:
        """Sign for a node, and record it."""
        return await admit(self._link, request)

    async def drain(self, node: str, timeout: float, *, force: bool = False) -> None:
        """Move everything off it."""
        await drain(self._link, DrainArguments(node=node, timeout=timeout, force=force))

    async def uncordon(self, node: str) -> None:
        """Give it instances again."""
        await uncordon(self._link, node)

    async def forget(self, node: str) -> None:
        """Remove it from the records."""
        await forget(self._link, node)


class OverSsh:
    """A cluster through the command line of one of its servers."""

    def __init__(self, server: Machine, pool: Executor) -> None:
        config = server.facts.node
        assert config is not None
        self._server = server
        self._pool = pool
        self.cluster = config.cluster
        self.servers = tuple(pair for one in config.servers
                             for pair in ((one.host, one.ports.etcd_client), (one.host, one.ports.nats)))

    async def nodes(self) -> dict[str, Known]:
        """What is recorded, by name."""
        found = await self._ask(self._server.ask, "node", "list", "-o", "json")
        return {one.node: one for one in decoded(found, list[Known], self._server.name)}

    async def admit(self, request: JoinRequest) -> JoinDocument:
        """Sign for a node, and record it."""
        return await self._ask(self._server.admit, request)

    async def drain(self, node: str, timeout: float, *, force: bool = False) -> None:
        """Move everything off it."""
        words = ["node", "drain", node, "--timeout", f"{timeout:g}s", *(["--force"] if force else [])]
        await self._ask(lambda: self._server.ask(*words, timeout=timeout + 30))

    async def uncordon(self, node: str) -> None:
        """Give it instances again."""
        await self._ask(self._server.ask, "node", "uncordon", node)

    async def forget(self, node: str) -> None:
        """Remove it from the records."""
        await self._ask(self._server.ask, "node", "forget", node, "--yes")

    def _ask(self, call: Callable[..., T], *arguments: object) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)


def is_loopback(host: str) -> bool:
    """Whether only the machine itself can reach this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
