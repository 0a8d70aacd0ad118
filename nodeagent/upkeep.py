"""etcd looked after now and then, by one server of the cluster: only a server's home holds who may do that."""

from __future__ import annotations

import asyncio
import logging

from arint.errors import ArintError
from arint.home import Home, NodeConfig
from arint.store.connection import Etcd, Tls
from arint.store.upkeep import Upkeep

log = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between looks at etcd's members."""
IN_TROUBLE = 10.0


class Caretaker:
    """Looks after etcd's members with the certificates of `home`; `trouble` is what a person must see to, or empty."""

    def __init__(self, home: Home, config: NodeConfig) -> None:
        self._home, self._config = home, config
        self.trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                trouble = await self._once()
                if trouble and trouble != self.trouble:
                    log.warning("%s", trouble)
                self.trouble = trouble
                await asyncio.sleep(INTERVAL if not trouble else IN_TROUBLE)
        finally:
            self.trouble = ""

    async def _once(self) -> str:
        try:
            async with Etcd(self._config.etcd_endpoints, Tls(*self._home.identity("etcd-admin"))) as etcd:
                return await Upkeep(etcd).once()
        except ArintError as error:
            return f"etcd could not be looked after: {error}"
