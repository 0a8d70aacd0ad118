"""Code and packages on this node that nothing names any more: removed now and then, never in a hurry.

What is named: by a service of any kept change set, by what is assigned, by the version that a rollout would go back to.
What was stored or wanted within the last hour may belong to an apply that is under way, and stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from arint.errors import ArintError
from arint.home import Home
from arint.resources.canonical import from_canonical
from arint.resources.kinds import Service
from arint.resources.requirements import packages_of, set_digest
from arint.store.changesets import ChangeSets
from arint.store.connection import Etcd
from arint.store.keys import Keys
from nodeagent.views import Views

log = logging.getLogger(__name__)

INTERVAL = 600.0
GRACE = 3600.0
"""Seconds for which what nobody names may still be about to be named."""


class Named(msgspec.Struct, frozen=True):
    """Digests that must stay: of code, of sets of packages, of wheels."""

    artifacts: frozenset[str] = frozenset()
    requirements: frozenset[str] = frozenset()
    wheels: frozenset[str] = frozenset()


def named_by(services: Iterable[Service]) -> Named:
    """What these services need on a node. Pure."""
    known = list(services)
    with_packages = [one.locked for one in known if one.locked.packages]
    return Named(frozenset(one.code for one in known), frozenset(map(set_digest, with_packages)),
                 frozenset(package.sha256 for locked in with_packages for package in packages_of(locked)))


class Sweeper:
    """Sweeps the home's folders, until cancelled."""

    def __init__(self, home: Home, etcd: Etcd, cluster: str, views: Views) -> None:
        self.home = home
        self._etcd = etcd
        self._keys = Keys(cluster)
        self._sets = ChangeSets(etcd, cluster)
        self._views = views
        self._known: dict[tuple[str, str], Service] = {}

    async def run(self, interval: float = INTERVAL, grace: float = GRACE) -> None:
        """Every `interval` seconds; what fails is tried again at the next time."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.sweep(grace)
            except (ArintError, OSError) as error:
                log.warning("code that nobody needs was not removed: %s", error)

    async def sweep(self, grace: float = GRACE) -> int:
        """Once; how many folders were removed."""
        folders = {"artifacts": self.home.artifacts, "requirements": self.home.requirements,
                   "wheels": self.home.wheels}
        old = {kind: await asyncio.to_thread(older, folder, time.time() - grace) for kind, folder in folders.items()}
        if not any(old.values()):
            return 0
        named = msgspec.structs.asdict(await self.named())
        gone = [folders[kind] / name for kind, names in old.items() for name in unnamed(names, named[kind])]
        for folder in gone:
            await asyncio.to_thread(remove, folder)
        if gone:
            log.info("removed %d folders of code and packages that nothing names any more", len(gone))
        return len(gone)

    async def named(self) -> Named:
        """What must stay. Raises ArintError where that cannot be told."""
        return named_by(await self._services())

    async def _services(self) -> list[Service]:
        """Every version of every service that may be run, or gone back to."""
        pairs = {pair for one in await self._sets.history() for pair in one.resources.items()}
        pairs |= {(f"Service/{one.service}", one.revision) for one in self._views.assignments.snapshot.values()}
        pairs |= {(f"Service/{name}", one.revision) for name, one in self._views.rollouts.snapshot.items()}
        wanted = {pair for pair in pairs if pair[0].startswith("Service/") and pair[1]}
        known: dict[tuple[str, str], Service] = {}
        for key, revision in wanted:
            service = self._known.get((key, revision)) or await self._read(key, revision)
            if service is not None:
                known[key, revision] = service
        self._known = known
        return list(known.values())

    async def _read(self, key: str, revision: str) -> Service | None:
        found = await self._etcd.get(self._keys.resource(key, revision))
        service = from_canonical(found.value) if found is not None else None
        return service if isinstance(service, Service) else None


def unnamed(names: Iterable[str], named: Collection[str]) -> list[str]:
    """Those to be removed: what an interrupted move left (it begins with a dot) among them. Pure."""
    return sorted(name for name in names if name not in named)


def older(folder: Path, than: float) -> list[str]:
    """The folders in there that were neither made nor wanted since."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in folder.iterdir():
            with contextlib.suppress(OSError):
                if entry.is_dir() and entry.stat().st_mtime < than:
                    found.append(entry.name)
    return found


def remove(folder: Path) -> None:
    """Out of sight in one move, so that nobody meets half of it; then for good."""
    leaving = folder.with_name(f".leaving-{folder.name.lstrip('.')}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(leaving)
    shutil.rmtree(leaving, ignore_errors=True)
