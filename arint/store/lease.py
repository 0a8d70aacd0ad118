"""A lease: keys that go when their owner does, and an owner that knows when they may have gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Self

import grpc
from aetcd import rpc

from arint.errors import ArintError
from arint.store.connection import Etcd
from arint.store.endpoints import REQUIRE_LEADER, Endpoint
from arint.store.failures import LeaseLostError

TTL = 3
"""Seconds. Shorter, and a pause of 1.5 s would kill; etcd grants no less than 1.5 election timeouts."""
INTERVAL = 0.5
_ANSWER = 1.0  # seconds for one keepalive to be answered, then another member is asked


def boot_time() -> float:
    """Seconds that go on while the machine sleeps, which a lease's do too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """A lease that is kept alive as long as `async with` lasts.

    `lost` is set once, for ever, when etcd says that the lease ended, or when the TTL has passed since the last
    keepalive that was *sent* and then answered: from then on another may hold what this one held. `deadline` is that
    moment (`boot_time`), for who must stop by it alone. Then grant a new lease and register anew.

    `resume` is the id of a lease of an earlier run: taken over if it still lives, else a new one is granted.
    """

    def __init__(self, etcd: Etcd, ttl: int = TTL, *, resume: int = 0, interval: float = INTERVAL,
                 revoke: bool = True) -> None:
        self.id = 0
        self.ttl = float(ttl)
        self.resumed = False
        self.deadline = 0.0
        self.lost = asyncio.Event()
        self.revoke = revoke
        """Whether leaving ends the lease at once; without, its keys stay for whoever resumes it, or until the TTL."""
        self._etcd = etcd
        self._resume = resume
        self._interval = interval
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._resume:
            await self._take_over(self._resume)
        if not self.resumed:
            await self._grant()
        self._keeper = asyncio.create_task(self._keep(), name=f"lease-{self.id:x}")
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is certain to be held, 0 once it is lost."""
        return 0.0 if self.lost.is_set() else max(self.deadline - boot_time(), 0.0)

    @property
    def held(self) -> bool:
        """Whether the lease is certain to be held now, also right after this process slept."""
        return self.remaining > 0

    def check(self) -> None:
        """Raises LeaseLostError unless the lease is certain to be held."""
        if not self.held:
            raise LeaseLostError("the lease has ended", where=f"lease {self.id:x}",
                                 remedy="grant a new one and register anew")

    async def close(self) -> None:
        """Stop keeping it, and end it in etcd if `revoke`; where etcd is away the TTL does that."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        keeper.cancel()
        await asyncio.wait([keeper])
        self.lost.set()
        if self.revoke:
            request = rpc.LeaseRevokeRequest(ID=self.id)
            with contextlib.suppress(ArintError):
                await self._etcd.call(lambda one, timeout: one.lease.LeaseRevoke(request, timeout=timeout), write=True,
                                      timeout=_ANSWER)

    async def _grant(self) -> None:
        sent = boot_time()
        request = rpc.LeaseGrantRequest(TTL=int(self.ttl))
        reply = await self._etcd.call(lambda one, timeout: one.lease.LeaseGrant(request, timeout=timeout), write=True)
        self.id = reply.ID
        self._good(sent, reply.TTL)

    async def _take_over(self, lease: int) -> None:
        """By a keepalive. It does no harm twice, so it is tried again as a read is."""
        async def ask(endpoint: Endpoint, timeout: float) -> tuple[float, int]:
            async with _Stream(endpoint, lease) as stream:
                return await stream.round(timeout)

        sent, ttl = await self._etcd.call(ask, write=False)
        if ttl > 0:
            self.id, self.resumed = lease, True
            self._good(sent, ttl)

    def _good(self, sent: float, ttl: float) -> None:
        self.ttl = float(ttl)
        self.deadline = sent + self.ttl

    async def _keep(self) -> None:
        """Until it is lost. Errors of etcd are waited out: time alone decides."""
        try:
            while True:
                left = self.deadline - boot_time()
                if left <= 0:
                    return
                with contextlib.suppress(TimeoutError, ArintError):
                    async with asyncio.timeout(left):
                        if await self._keep_on_one():
                            return
        finally:
            self.lost.set()

    async def _keep_on_one(self) -> bool:
        """Keepalives over one stream until it breaks; True if etcd says that the lease has ended."""
        endpoint = await self._etcd.endpoints.ready(self.ttl)
        try:
            async with _Stream(endpoint, self.id) as stream:
                while True:
                    sent, ttl = await stream.round(_ANSWER)
                    if ttl <= 0 or boot_time() > self.deadline:
                        return True  # after the deadline the owner has stopped already: it stays lost
                    self._good(sent, ttl)
                    await asyncio.sleep(self._interval)
        except grpc.aio.AioRpcError:
            self._etcd.endpoints.failed(endpoint)
            await asyncio.sleep(0.05)
        return False


class _Stream:
    """One keepalive stream on one member. Written and read by hand: both raise InvalidStateError after a break."""

    def __init__(self, endpoint: Endpoint, lease: int) -> None:
        self._call: Any = endpoint.lease.LeaseKeepAlive(metadata=REQUIRE_LEADER)
        self._request = rpc.LeaseKeepAliveRequest(ID=lease)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._call.cancel()

    async def round(self, timeout: float) -> tuple[float, int]:
        """When the keepalive was sent, and the TTL that etcd gave (0: the lease has ended)."""
        try:
            async with asyncio.timeout(timeout):
                sent = boot_time()
                await self._call.write(self._request)
                reply = await self._call.read()
        except TimeoutError:
            raise _broken(grpc.StatusCode.DEADLINE_EXCEEDED, "a keepalive was not answered") from None
        except asyncio.InvalidStateError as error:
            raise _broken(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        if reply is grpc.aio.EOF:
            raise _broken(grpc.StatusCode.UNAVAILABLE, "the stream has ended")
        return sent, int(reply.TTL)


def _broken(code: grpc.StatusCode, detail: str) -> Exception:
    """As gRPC would have said it, so that there is one kind of failure to handle."""
    error: Exception = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=detail)
    return error
