"""What services require, installed on this node: a folder for each set, made where it is missing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from arint.errors import ArintError
from arint.home import Home
from arint.resources.kinds import Locked, Service
from arint.resources.requirements import set_digest
from nodeagent import helper
from nodeagent.bell import Bell

log = logging.getLogger(__name__)

_TRY_AGAIN = 10.0


class Packages:
    """Installs in a process of its own; whoever waits for a set is told by the bell."""

    def __init__(self, home: Home, bell: Bell) -> None:
        self._home = home
        self._bell = bell
        self._installing: dict[str, asyncio.Task[None]] = {}

    def folder(self, service: Service) -> Path | None:
        """The folder of the service's packages; None while they are being installed.

        Raises ArintError where they could not be; that is tried again later.
        """
        digest = set_digest(service.locked)
        folder = self._home.requirement_set(digest)
        if folder.is_dir():
            self._installing.pop(digest, None)
            return folder
        task = self._installing.get(digest)
        if task is None:
            task = asyncio.create_task(self._install(service.locked), name=f"packages {digest[:12]}")
            self._installing[digest] = task
            task.add_done_callback(lambda _: self._bell.ring())
        if not task.done():
            return None
        self._forget_later(digest)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ArintError):
            raise error
        raise ArintError(f"what the service requires could not be installed: {error}", where=f"service/{service.name}")

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = [task for task in self._installing.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _install(self, locked: Locked) -> None:
        log.info("installing %d packages", len(locked.packages))
        await helper.run("nodeagent.installing", str(self._home.path), data=msgspec.json.encode(locked))

    def _forget_later(self, digest: str) -> None:
        def forget() -> None:
            if self._installing.pop(digest, None) is not None:
                self._bell.ring()

        asyncio.get_running_loop().call_later(_TRY_AGAIN, forget)
