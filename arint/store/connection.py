"""The connection to etcd: reads, writes, transactions; each with a deadline, on whichever member answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import grpc
import msgspec
from aetcd import rpc

from arint.errors import ArintError, NotFoundError
from arint.store.endpoints import REQUIRE_LEADER, Endpoint, Endpoints, Tls
from arint.store.failures import failure, permissions_changed, transient
from arint.store.transactions import (
    Compare,
    KeyValue,
    Operation,
    TxnResult,
    prefix_end,
    read_key_value,
    read_result,
)

__all__ = ["Etcd", "Status", "Tls"]

TIMEOUT = 5.0
_PAGE = 256  # keys a page; with resources at their largest that is 64 MiB
_PAGE_KEYS_ONLY = 10_000
_PAUSE = 0.05


class Status(msgspec.Struct, frozen=True):
    """What a member says of itself. `leader` and `member` are ids; `leader` is 0 without one.

    Of `database_bytes` on its disk `in_use_bytes` hold something.
    """

    address: str
    version: str
    database_bytes: int
    leader: int
    member: int
    revision: int
    in_use_bytes: int = 0


class Etcd:
    """A connection to all members of a cluster; use `async with`.

    Reads are tried again, on the next member too, until the deadline. A write is sent once: if its answer does not
    come InDoubtError is raised (a TimedOutError), since it may have been made; guard it with a transaction. Every call
    may raise UnreachableError (nothing was changed), TimedOutError and DeniedError.
    """

    def __init__(self, endpoints: Sequence[str], tls: Tls | None = None, *, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self._addresses = tuple(endpoints)
        self._tls = tls
        self._endpoints: Endpoints | None = None

    async def __aenter__(self) -> Self:
        self._endpoints = Endpoints(self._addresses, self._tls)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all channels, and with them every stream. Does no harm twice."""
        if self._endpoints is not None:
            endpoints, self._endpoints = self._endpoints, None
            await endpoints.close()

    @property
    def endpoints(self) -> Endpoints:
        """For watches and leases, which keep a stream open."""
        if self._endpoints is None:
            raise ArintError("the connection to etcd is not open", remedy="use it inside `async with`")
        return self._endpoints

    def alone(self, address: str, *, timeout: float = TIMEOUT) -> Etcd:
        """A connection, as who this one is, to the one member at `address` (host:port); use `async with`."""
        return Etcd([address], self._tls, timeout=timeout)

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key, or None; as of `revision` if given."""
        reply = await self._read(rpc.RangeRequest(key=key.encode(), revision=revision))
        return read_key_value(reply.kvs[0]) if reply.kvs else None

    async def range(self, prefix: str, revision: int | None = None, *,
                    keys_only: bool = False) -> tuple[list[KeyValue], int]:
        """All keys that begin with `prefix`, sorted, and the one revision at which all were read, page by page.

        Raises CompactedError if that revision goes while it reads.
        """
        found: list[KeyValue] = []
        start, at, more = prefix.encode(), revision or 0, True
        while more:
            reply = await self._read(rpc.RangeRequest(
                key=start, range_end=prefix_end(prefix), revision=at, keys_only=keys_only,
                limit=_PAGE_KEYS_ONLY if keys_only else _PAGE))
            found += [read_key_value(kv) for kv in reply.kvs]
            at, more = at or reply.header.revision, reply.more
            start = reply.kvs[-1].key + b"\0" if reply.kvs else start
        return found, at

    async def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Set a key, whatever it holds; the revision. Raises NotFoundError for a lease that has ended."""
        request = rpc.PutRequest(key=key.encode(), value=value, lease=lease)
        reply = await self.call(lambda one, timeout: one.kv.Put(request, timeout=timeout), write=True)
        return int(reply.header.revision)

    async def delete(self, key: str) -> int:
        """Delete a key; 1 if it was there, else 0."""
        return await self._delete(rpc.DeleteRangeRequest(key=key.encode()))

    async def delete_prefix(self, prefix: str) -> int:
        """Delete all keys that begin with `prefix`; how many there were."""
        return await self._delete(rpc.DeleteRangeRequest(key=prefix.encode(), range_end=prefix_end(prefix)))

    async def txn(self, compares: Sequence[Compare], then: Sequence[Operation],
                  otherwise: Sequence[Operation] = ()) -> TxnResult:
        """Do `then` if all `compares` are true, else `otherwise`, all at one revision.

        Not more than MAX_OPERATIONS each (arint.store.transactions).
        """
        request = rpc.TxnRequest(compare=list(compares), success=list(then), failure=list(otherwise))
        return read_result(await self.call(lambda one, timeout: one.kv.Txn(request, timeout=timeout), write=True))

    async def read_all(self, keys: Sequence[Operation]) -> TxnResult:
        """Several gets at one revision; tried again as reads are."""
        request = rpc.TxnRequest(success=list(keys))
        return read_result(await self.call(lambda one, timeout: one.kv.Txn(request, timeout=timeout), write=False))

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        request = rpc.CompactionRequest(revision=revision, physical=True)
        await self.call(lambda one, timeout: one.kv.Compact(request, timeout=timeout), write=True)

    async def revoke_lease(self, lease: int) -> None:
        """End a lease, and delete what hangs on it; nothing happens if it has ended."""
        request = rpc.LeaseRevokeRequest(ID=lease)
        try:
            await self.call(lambda one, timeout: one.lease.LeaseRevoke(request, timeout=timeout), write=True)
        except NotFoundError:
            return

    async def status(self) -> Status:
        """Of the member in use."""
        async def ask(endpoint: Endpoint, timeout: float) -> Status:
            reply = await endpoint.maintenance.Status(rpc.StatusRequest(), timeout=timeout)
            return Status(endpoint.address, reply.version, reply.dbSize, reply.leader, reply.header.member_id,
                          reply.header.revision, reply.dbSizeInUse)

        result: Status = await self.call(ask, write=False)
        return result

    async def call(self, ask: Callable[[Endpoint, float], Awaitable[Any]], *, write: bool,
                   timeout: float | None = None) -> Any:
        """`ask` a connected member, with the seconds it may take; reads are tried again until the deadline."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + (timeout or self.timeout)
        while True:
            endpoint = await self.endpoints.ready(deadline - clock())
            left = max(deadline - clock(), 0.001)
            try:
                return await ask(endpoint, left if write else self._share(left))
            except grpc.aio.AioRpcError as error:
                refused = permissions_changed(error)
                if transient(error.code()) and not refused:
                    self.endpoints.failed(endpoint)
                if refused and clock() + _PAUSE < deadline:
                    pass
                elif write or not transient(error.code()) or clock() + _PAUSE >= deadline:
                    raise failure(error, f"etcd {endpoint.address}", write=write) from error
            await asyncio.sleep(_PAUSE)

    def _share(self, left: float) -> float:
        """How long one member may take for a read: a silent one must leave time for the others."""
        members = len(self.endpoints)
        return min(left, max(1.0, left / members)) if members > 1 else left

    async def _read(self, request: Any) -> Any:
        return await self.call(
            lambda one, timeout: one.kv.Range(request, timeout=timeout, metadata=REQUIRE_LEADER), write=False)

    async def _delete(self, request: Any) -> int:
        reply = await self.call(lambda one, timeout: one.kv.DeleteRange(request, timeout=timeout), write=True)
        return int(reply.deleted)
