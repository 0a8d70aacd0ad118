"""This node's place in the cluster: its lease, and what hangs on it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from arint.errors import ArintError, NotFoundError
from arint.home import write_private
from arint.registry.publisher import Publisher
from arint.registry.records import Alive, NodeRecord, Registration
from arint.store.connection import Etcd
from arint.store.failures import LeaseLostError
from arint.store.keys import Keys
from arint.store.lease import Lease
from arint.store.transactions import absent, mod_revision_is, put
from nodeagent.bell import Bell
from nodeagent.views import Views

log = logging.getLogger(__name__)

STOP_SINGLETONS = 0.5
"""Seconds before the lease may have ended at which what may run only once is stopped."""
_PAUSE = 0.5


class Membership:
    """`lease` is the one that is held now, or None. `revoke` says whether leaving ends it at once."""

    def __init__(self, etcd: Etcd, keys: Keys, record: NodeRecord, lease_file: Path, bell: Bell) -> None:
        self.lease: Lease | None = None
        self.revoke = False
        self._etcd = etcd
        self._keys = keys
        self._record = record
        self._lease_file = lease_file
        self._bell = bell
        self._publisher = Publisher()
        self._since = time.time()
        self._alive = Alive(node=record.name, pid=os.getpid(), since=self._since)

    @property
    def held(self) -> bool:
        """Whether singletons may run: the lease is certain to be held for a while yet."""
        return self.lease is not None and self.lease.remaining > STOP_SINGLETONS

    @asynccontextmanager
    async def leased(self) -> AsyncIterator[Lease]:
        """Hold a lease (an earlier agent's, if it still lives), with this node's keys on it.

        Raises UnreachableError or TimedOutError where etcd is away.
        """
        lease = Lease(self._etcd, resume=self._earlier(), revoke=False)
        async with lease:
            self._remember(lease.id)
            await self._introduce()
            self._alive = Alive(node=self._record.name, pid=os.getpid(), since=self._since)
            await self._tell_alive(self._alive, lease)
            log.info("lease %x %s", lease.id, "resumed" if lease.resumed else "granted")
            self.lease = lease
            self._bell.ring()
            try:
                yield lease
            finally:
                self.lease = None
                lease.revoke = self.revoke
                self._publisher.forget()
                self._bell.ring()

    async def publish(self, views: Views, current: Callable[[Mapping[str, Registration]], Mapping[str, Registration]],
                      standing: Callable[[], tuple[int, int]]) -> None:
        """Keep this node's instances registered under the lease, until cancelled. Raises LeaseLostError.

        `standing`: the change set that is served here, and the one for which this node, if it leads, has placed all.
        """
        lease = self.lease
        assert lease is not None
        known = views.local_instances(self._record.name)
        for registration in known.values():
            self._publisher.found(registration)
        rings = self._bell.rings
        while True:
            registrations = current(known)
            try:
                await self._write_due(registrations, lease)
                await self._tell_standing(standing(), lease)
            except LeaseLostError:
                raise
            except NotFoundError as error:
                raise LeaseLostError("the lease has ended", where=f"lease {lease.id:x}") from error
            except ArintError as error:
                log.warning("the instances could not be registered: %s", error)
                await asyncio.sleep(_PAUSE)
                continue
            due = self._publisher.next_due(registrations)
            rings = await self._bell.wait(rings, 5.0 if due is None else max(0.05, due - time.monotonic()))

    async def _write_due(self, registrations: Mapping[str, Registration], lease: Lease) -> None:
        write, gone = self._publisher.due(registrations, time.monotonic())
        for one in write:
            lease.check()
            await self._etcd.put(self._keys.instance(one.service, one.instance), msgspec.json.encode(one), lease.id)
            self._publisher.written(one, time.monotonic())
        for one in gone:
            await self._etcd.delete(self._keys.instance(one.service, one.instance))
            self._publisher.deleted(one.instance)

    async def _tell_standing(self, standing: tuple[int, int], lease: Lease) -> None:
        """After the instances: who sees the change set sees them as they are under it."""
        change_set, settled = standing
        alive = msgspec.structs.replace(self._alive, change_set=change_set, settled=settled)
        if alive != self._alive:
            lease.check()
            await self._tell_alive(alive, lease)

    async def _tell_alive(self, alive: Alive, lease: Lease) -> None:
        await self._etcd.put(self._keys.alive(self._record.name), msgspec.json.encode(alive), lease.id)
        self._alive = alive

    def _earlier(self) -> int:
        try:
            return int(self._lease_file.read_bytes())
        except (OSError, ValueError):
            return 0

    def _remember(self, lease: int) -> None:
        """For the next agent, which can do without: its instances are then away for a moment."""
        try:
            write_private(self._lease_file, str(lease).encode())
        except OSError as error:
            log.warning("the lease cannot be written down: %s", error.strerror)

    async def _introduce(self) -> None:
        """The node's permanent record; what an administrator set in it (labels, a cordon, a drain) stays."""
        key = self._keys.node(self._record.name)
        found = await self._etcd.get(key)
        record = self._record
        if found is not None:
            before = msgspec.json.decode(found.value, type=NodeRecord)
            record = msgspec.structs.replace(before, release=record.release, host=record.host,
                                             roles=record.roles, ports=record.ports, capacity=record.capacity)
            if record == before:
                return
        compare = mod_revision_is(key, found.mod_revision) if found is not None else absent(key)
        await self._etcd.txn([compare], [put(key, msgspec.json.encode(record))])


async def keep_membership(membership: Membership, work: Callable[[Lease], Awaitable[None]]) -> None:
    """Hold a lease and do `work` under it; after a loss begin anew, for ever."""
    while True:
        try:
            async with membership.leased() as lease:
                await work(lease)
        except* ArintError as errors:
            log.warning("the lease: %s", _first(errors))
        await asyncio.sleep(_PAUSE)


def _first(errors: BaseExceptionGroup[ArintError]) -> BaseException:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
