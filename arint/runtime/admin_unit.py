"""The administration service as a worker's unit. It alone among workers holds an administrator's certificates.

On every node it also passes on what the node's agent is asked from elsewhere; on a node that is no server, only that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arint.home import Home
from arint.runtime.control import Orders

if TYPE_CHECKING:
    from arint.administration.relay import Relay
    from arint.administration.service import Service
    from arint.bus.connection import Bus
    from arint.flows.contracts import Contract
    from arint.operations.connect import Link
    from arint.runtime.unit import Kept


def _is_server(home: Home) -> bool:
    """Whether the home holds an administrator's certificate."""
    return Path(home.identity("etcd-admin").key).exists()


class AdminUnit:
    """Serves operations from the first orders on; later ones change nothing for it."""

    contract: Contract | None = None
    program: Kept | None = None
    trouble = ""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._service: Service | None = None
        self._relay: Relay | None = None
        self._bus: Bus | None = None
        """The agent's own connection: nobody else may answer for it."""

    async def apply(self, orders: Orders) -> None:
        """Begin to listen. Raises ArintError where an engine does not answer yet."""
        if self._link is not None:
            return
        from arint.administration.relay import Relay
        from arint.bus.connection import Bus
        from arint.operations.connect import Link
        from arint.runtime.control import BusSettings

        home = Home(orders.home)
        self._link = link = Link(home)
        try:
            agent = BusSettings(link.config.nats_servers, *home.identity("agent"))
            self._bus = await Bus.connect(agent, name="agent")
            self._relay = Relay(self._bus, link.agent, link.config.node)
            if _is_server(home):
                from arint.administration.service import Service

                self._service = Service(link, replicas=orders.bus.replicas)
                await self._service.start()
            await self._relay.start()
        except BaseException:
            await self._close()
            raise

    async def stop(self, grace: float) -> None:
        """Take no more calls, and let those that have begun end."""
        for one in (self._service, self._relay):
            if one is not None:
                await one.stop(grace)
        await self._close()

    async def _close(self) -> None:
        link, bus = self._link, self._bus
        self._link = self._bus = self._service = self._relay = None
        if bus is not None:
            await bus.close()
        if link is not None:
            await link.__aexit__()

    @property
    def in_flight(self) -> int:
        """Calls that are worked at."""
        return sum(one.in_flight for one in (self._service, self._relay) if one is not None)

    @property
    def circuits(self) -> dict[str, float]:
        """None: it delivers nothing."""
        return {}
