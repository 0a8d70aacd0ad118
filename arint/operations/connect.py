"""What an operation works with: a home, and on first use the connections that its certificates open."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from arint.errors import DeniedError, UnreachableError
from arint.home import Home, NodeConfig, Pem
from arint.operations.agent import Agent, AgentElsewhere, LocalAgent

if TYPE_CHECKING:
    from arint.administration.registry import Remote
    from arint.bus.connection import Bus
    from arint.store.changesets import ChangeSets
    from arint.store.connection import Etcd
    from arint.store.secrets import SealedSecrets


class Link:
    """A cluster as its administrator reaches it. Connections are opened when first asked for, closed at the end."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.agent = LocalAgent(home)
        self.remote: Remote | None = None
        """Where operations travel to; None: they run here."""
        self.audited = False
        """Whether somebody else sees to the audit of what is done with this link."""
        self.actor = ""
        """Who acts, for the history; empty: the user of this process."""
        self._open = AsyncExitStack()
        self._dialling = asyncio.Lock()
        self._etcd: Etcd | None = None
        self._bus: Bus | None = None

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._open.aclose()
        self._etcd = self._bus = None

    @cached_property
    def config(self) -> NodeConfig:
        """Who the node is. Raises NotFoundError where none was set up."""
        return self.home.load()

    def reload(self) -> None:
        """Read the node's configuration again when it is next asked for."""
        self.__dict__.pop("config", None)

    async def etcd(self) -> Etcd:
        """The store. Raises UnreachableError at the first call that finds nobody."""
        if self._etcd is None:
            from arint.store.connection import Etcd, Tls

            await self._refuse_if_nothing_runs(self.config.ports.etcd_client)
            pem = self._identity("etcd-admin", "etcd-agent")
            self._etcd = await self._open.enter_async_context(
                Etcd(self.config.etcd_endpoints, Tls(pem.ca, pem.certificate, pem.key)))
        return self._etcd

    async def change_sets(self) -> ChangeSets:
        """The cluster's configuration."""
        from arint.store.changesets import ChangeSets

        return ChangeSets(await self.etcd(), self.config.cluster)

    async def secrets(self) -> SealedSecrets:
        """The sealed values of secrets."""
        from arint.store.secrets import SealedSecrets

        return SealedSecrets(await self.etcd(), self.config.cluster)

    async def bus(self) -> Bus:
        """The broker. Raises UnreachableError."""
        if self._bus is None:
            from arint.bus.connection import Bus
            from arint.runtime.control import BusSettings

            await self._refuse_if_nothing_runs(self.config.ports.nats)
            pem = self._identity("admin", "worker")
            self._bus = await Bus.connect(BusSettings(self.config.nats_servers, *pem), name="arintctl")
            self._open.push_async_callback(self._bus.close)
        return self._bus

    async def agent_on(self, node: str) -> Agent:
        """The agent of any node. Raises DeniedError where this home may not ask others, UnreachableError."""
        if node == self.config.node:
            return self.agent
        if not self.config.is_server:
            raise DeniedError("this home may not ask other nodes", where=f"node {self.config.node}",
                              remedy="ask on a server's home, or over a context")
        return AgentElsewhere(await self.bus(), node)

    def _identity(self, administrator: str, node: str) -> Pem:
        """The administrator's, which servers hold; on another node the node's own, which may do less."""
        return self.home.identity(administrator if self.config.is_server else node)

    async def _refuse_if_nothing_runs(self, port: int) -> None:
        """An engine that is down for a moment is waited for; where no agent will start it again, at once none is.

        Raises UnreachableError.
        """
        runs = await self.agent.answers() or (self.config.is_server and await _listens(self.config.host, port))
        if not runs:
            raise UnreachableError("the cluster of this home does not run", where=str(self.home.path),
                                   remedy="run: arintctl up")


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
