"""Services that run in the listener itself: `colocate: true`. A version that cannot be loaded never takes a call."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from types import ModuleType

from arint.home import Home
from arint.resources.kinds import Service
from arint.runtime.control import Orders
from arint.runtime.desk import Desk
from arint.runtime.service_unit import Host

log = logging.getLogger(__name__)


class Colocated:
    """`hosts` are the loaded services, by flow token (`service=NAME`)."""

    def __init__(self, desk: Desk) -> None:
        self.hosts: dict[str, Host] = {}
        self._desk = desk
        self._loaded: dict[str, tuple[str, str]] = {}

    async def update(self, orders: Orders) -> None:
        """Load what is new or changed; where that fails the version before goes on, or the service's own workers."""
        wanted = {f"service={service.name}": service for service in orders.services if service.colocate}
        for target in [target for target in self.hosts if target not in wanted]:
            del self.hosts[target]  # not closed: calls that it has end with it, and its threads after them
            del self._loaded[target]
        for target, service in wanted.items():
            version = (service.code, service.source)
            if self._loaded.get(target) != version and (loaded := await self._load(service, orders)) is not None:
                self.hosts[target], self._loaded[target] = loaded, version
            if target in self.hosts:
                self.hosts[target].configure(service, orders)

    async def _load(self, service: Service, orders: Orders) -> Host | None:
        folder = Home(orders.home).artifact(service.code)
        if not service.code or not folder.is_dir():
            log.error("the code of service/%s is not on this node: it runs in its own workers only", service.name)
            return None
        paths, modules = _set_aside(folder.parent)
        try:
            return await asyncio.to_thread(Host.load, service, orders, self._desk)
        except Exception:  # whatever the user's module raises
            log.exception("service/%s does not run in the listener: it cannot be loaded", service.name)
            sys.modules.update(modules)
            return None
        finally:  # behind the new one's: what the others import while they work
            sys.path += [path for path in paths if path not in sys.path]

    async def close(self) -> None:
        """Let their threads go."""
        for host in self.hosts.values():
            await host.close(0.0)


def _set_aside(artifacts: Path) -> tuple[list[str], dict[str, ModuleType]]:
    """Forget the neighbours of shipped code, which are imported by plain names: the next version brings its own."""
    prefix = f"{artifacts}/"
    paths = [entry for entry in sys.path if entry.startswith(prefix)]
    sys.path[:] = [entry for entry in sys.path if entry not in paths]
    modules = {name: module for name, module in list(sys.modules.items())
               if str(getattr(module, "__file__", None) or "").startswith(prefix)
               and not name.startswith("arint_code_")}
    for name in modules:
        del sys.modules[name]
    return paths, modules
