"""The administration service as a worker's unit. It alone among workers holds an administrator's certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arint.home import Home
from arint.runtime.control import Orders

if TYPE_CHECKING:
    from arint.administration.service import Service
    from arint.flows.contracts import Contract
    from arint.operations.connect import Link
    from arint.runtime.unit import Kept


def _is_server(home: Home) -> bool:
    """Whether the home holds an administrator's certificate; on a node that does not, the service stands idle."""
    return Path(home.identity("etcd-admin").key).exists()


class AdminUnit:
    """Serves operations from the first orders on; later ones change nothing for it."""

    contract: Contract | None = None
    program: Kept | None = None
    trouble = ""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._service: Service | None = None

    async def apply(self, orders: Orders) -> None:
        """Begin to listen. Raises ArintError where an engine does not answer yet."""
        if self._service is not None or not _is_server(Home(orders.home)):
            return
        from arint.administration.service import Service
        from arint.operations.connect import Link

        link = Link(Home(orders.home))
        service = Service(link, replicas=orders.bus.replicas)
        try:
            await service.start()
        except BaseException:
            await link.__aexit__()
            raise
        self._link, self._service = link, service

    async def stop(self, grace: float) -> None:
        """Take no more calls, and let those that have begun end."""
        if self._service is not None and self._link is not None:
            await self._service.stop(grace)
            await self._link.__aexit__()

    @property
    def in_flight(self) -> int:
        """Calls that are worked at."""
        return self._service.in_flight if self._service is not None else 0

    @property
    def circuits(self) -> dict[str, float]:
        """None: it delivers nothing."""
        return {}
