"""The configuration in force as the agent follows it, with the secrets and the older services that its tasks need."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from arint.availability.configuration import Configuration
from arint.availability.desired import SYSTEM
from arint.errors import NotFoundError
from arint.home import Home
from arint.registry.records import Assignment
from arint.resources.canonical import from_canonical
from arint.resources.kinds import Service
from arint.resources.versions import version_of
from arint.store.changesets import ChangeSets
from arint.store.connection import Etcd
from arint.store.keys import Keys
from arint.store.secrets import SealedSecrets
from nodeagent import helper
from nodeagent.orders import Task, needed_secrets

log = logging.getLogger(__name__)


class Source:
    """`configuration` is the last one loaded. Values of secrets are kept in memory only, opened once each."""

    def __init__(self, home: Home, etcd: Etcd, cluster: str) -> None:
        self.configuration = Configuration()
        self._home = home
        self._etcd = etcd
        self._keys = Keys(cluster)
        self._sets = ChangeSets(etcd, cluster)
        self._sealed = SealedSecrets(etcd, cluster)
        self._opened: dict[tuple[str, str], bytes] = {}
        self._older: dict[str, Service] = {}

    async def load(self, number: int) -> Configuration:
        """The change set `number`. Raises as `ChangeSets.load`, NotValidError where this release cannot read it."""
        if number != self.configuration.number:
            found, content = await self._sets.load(number)
            self.configuration = self.configuration.following(found.number, found.resources, content,
                                                               hasty=found.hasty)
            log.info("change set %d by %s: %s", found.number, found.author, found.message or "(no message)")
        return self.configuration

    async def task(self, assignment: Assignment) -> Task:
        """What is to be run. A version that is no longer declared comes from its revision; raises NotFoundError."""
        if assignment.service.startswith(SYSTEM):
            return Task(assignment.instance, assignment.service)
        declared = self.configuration.services.get(assignment.service)
        if declared is None or version_of(declared) != assignment.version:
            declared = await self._older_service(assignment)
        return Task(assignment.instance, assignment.service, declared)

    async def secrets(self, task: Task) -> dict[str, bytes]:
        """The values that the task needs; raises NotFoundError or DeniedError for one that cannot be opened."""
        return {name: await self._secret(name) for name in sorted(needed_secrets(task, self.configuration))}

    def forget(self, in_use: Iterable[Assignment]) -> None:
        """Keep of older services only those in use, and of secrets only those declared."""
        revisions = {one.revision for one in in_use}
        self._older = {key: one for key, one in self._older.items() if key in revisions}
        declared = {(one.name, one.digest) for one in self.configuration.secrets.values()}
        self._opened = {key: value for key, value in self._opened.items() if key in declared}

    async def _older_service(self, assignment: Assignment) -> Service:
        if assignment.revision not in self._older:
            key = f"Service/{assignment.service}"
            found = await self._etcd.get(self._keys.resource(key, assignment.revision))
            older = from_canonical(found.value) if found is not None else None
            if not isinstance(older, Service):
                raise NotFoundError(f"revision {assignment.revision} is not kept any more", where=key,
                                    remedy="apply the service again")
            self._older[assignment.revision] = older
        return self._older[assignment.revision]

    async def _secret(self, name: str) -> bytes:
        declared = self.configuration.secrets.get(name)
        if declared is None:
            raise NotFoundError("the secret is not declared", where=f"secret/{name}", remedy="apply it")
        key = (name, declared.digest)
        if key not in self._opened:
            sealed = await self._sealed.get(*key)
            self._opened[key] = await helper.run("nodeagent.unsealing", str(self._home.path), name, data=sealed)
        return self._opened[key]
