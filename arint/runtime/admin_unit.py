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

    async def apply(self, orders: Orders) -> None:
        """Begin to listen. Raises ArintError where an engine does not answer yet."""
        if self._link is not None:
            return
        from arint.administration.relay import Relay
        from arint.operations.connect import Link

        home = Home(orders.home)
        link, service = Link(home), None
        try:
            relay = Relay(await link.bus(), link.agent, link.config.node)
            if _is_server(home):
                from arint.administration.service import Service

                service = Service(link, replicas=orders.bus.replicas)
                await service.start()
            await relay.start()
        except BaseException:
            await link.__aexit__()
            raise
        self._link, self._service, self._relay = link, service, relay

    async def stop(self, grace: float) -> None:
        """Take no more calls, and let those that have begun end."""
        if self._link is None:
            return
        for one in (self._service, self._relay):
            if one is not None:
                await one.stop(grace)
        await self._link.__aexit__()

    @property
    def in_flight(self) -> int:
        """Calls that are worked at."""
        return sum(one.in_flight for one in (self._service, self._relay) if one is not None)

    @property
    def circuits(self) -> dict[str, float]:
        """None: it delivers nothing."""
        return {}
