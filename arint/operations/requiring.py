"""Which packages a service's requirements are: those that are locked, for as long as they fit; else resolved now."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from arint.errors import NotFoundError
from arint.home import Home
from arint.operations.progress import Progress, Step, silent
from arint.resources.kinds import Locked, Resource, Service, key_of
from arint.resources.requirements import packages_of, required_by, set_digest

WHEELHOUSE = "wheelhouse"
"""The folder beside a manifest that holds all wheels of its services, where there is one."""


class Requiring:
    """Decides service by service; the same requirements are resolved once.

    `upgrade` resolves anew what is locked; `wheelhouse` stands for every service's own.
    """

    def __init__(self, existing: Mapping[str, Resource], *, wheelhouse: Path | None = None, upgrade: bool = False,
                 progress: Progress = silent) -> None:
        self._existing = existing
        self._wheelhouse = wheelhouse
        self._upgrade = upgrade
        self._progress = progress
        self._resolved: dict[tuple[tuple[str, ...], Path | None], Locked] = {}
        self.sets: list[tuple[Locked, Path | None]] = []
        """What must be installed before a change set may name it, and the wheelhouse it comes from."""

    def locked(self, service: Service, folder: Path) -> Locked:
        """The packages of a service whose manifest is in `folder`. Raises as `arint.artifacts.resolving.resolve`."""
        requirements = required_by(service)
        if not requirements:
            return Locked()
        wheelhouse = self._place(folder)
        found = self._known(service, requirements) or self._resolved.get((requirements, wheelhouse))
        if found is None:
            from arint.artifacts.resolving import resolve

            self._progress(Step(f"resolving what service/{service.name} requires"))
            found = resolve(requirements, wheelhouse)
        self._resolved[requirements, wheelhouse] = found
        self.sets.append((found, wheelhouse))
        return found

    def _known(self, service: Service, requirements: tuple[str, ...]) -> Locked | None:
        """What the manifest itself says (an export does), or what this or another service got for the same words."""
        from arint.artifacts.resolving import usable

        if self._upgrade:
            return None
        before = self._existing.get(key_of(service))
        services = [one for one in (before, *self._existing.values()) if isinstance(one, Service)]
        candidates = [one.locked for one in services if required_by(one) == requirements]
        rewritten = isinstance(before, Service) and before.locked == service.locked and not candidates
        if service.locked.packages and not rewritten:
            candidates.insert(0, service.locked)
        return next((one for one in candidates if usable(one, requirements)), None)

    def _place(self, folder: Path) -> Path | None:
        """The wheelhouse: what the command says, else the environment, else what stands beside the manifest."""
        named = self._wheelhouse or os.environ.get("ARINT_WHEELHOUSE")
        if named:
            place = Path(named).expanduser().absolute()
            if not place.is_dir():
                raise NotFoundError("there is no such folder of wheels", where=str(place),
                                    remedy="make it: pip wheel --wheel-dir FOLDER REQUIREMENTS")
            return place
        beside = folder / WHEELHOUSE
        return beside if beside.is_dir() else None


def installed_for(home: Home, service: Service, existing: Iterable[Resource]) -> Path | None:
    """The folder of what a service requires, where these words were resolved and installed before."""
    requirements = required_by(service)
    candidates = [service.locked, *(one.locked for one in existing
                                    if isinstance(one, Service) and required_by(one) == requirements)]
    folders = (home.requirement_set(set_digest(locked)) for locked in candidates if locked.packages)
    return next((folder for folder in folders if folder.is_dir()), None) if requirements else None


def provide(home: Home, sets: Iterable[tuple[Locked, Path | None]], progress: Progress = silent) -> None:
    """Fetch and install what is not here yet: afterwards a change set may name these packages.

    Raises as `arint.artifacts.resolving.fetch` and `arint.artifacts.installing.install`.
    """
    from arint.artifacts.installing import install, keep, missing
    from arint.artifacts.resolving import fetch

    for locked, wheelhouse in sets:
        packages = packages_of(locked)
        if not packages:
            continue
        lacking = missing(home, packages)
        if lacking:
            progress(Step(f"fetching {', '.join(package.spoken for package in lacking)}"))
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home.path) as folder:
                keep(home, fetch(lacking, Path(folder), wheelhouse))
        began = time.monotonic()
        progress(Step(f"installing {len(packages)} packages"))
        install(home, locked)
        if time.monotonic() - began > 1.0 or lacking:
            progress(Step(f"{', '.join(package.spoken for package in packages)}: installed", done=True))
