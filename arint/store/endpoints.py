"""The members of etcd, one channel each: the one in use, and on to the next when it fails.

A channel with several addresses fails TLS verification, so there is one for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import msgspec
from aetcd import rpc

from arint.errors import NotFoundError, NotValidError
from arint.store.failures import unreachable

REQUIRE_LEADER = (("hasleader", "true"),)
"""Metadata without which a member that has lost the others keeps a watch open, and silent, for ever."""

OPTIONS = (
    # A silent link is seen within 2 s. The server allows a ping every 500 ms (--grpc-keepalive-min-time).
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 1000),  # without it a stopped server, whose kernel still answers, is waited for 60 s
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 1000),  # also the longest that one attempt to connect may take
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # one client's back-off is not another's
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment is never meant for the cluster's own store
)
_PATIENCE = 1.2  # seconds for one member to be reached while others wait to be tried
_PAUSE = 0.05  # seconds between rounds through all members
_POLL = 0.005
_LOOK = 2.0  # seconds between looks at the files of certificates
_KEPT = 2  # channels with older certificates that are kept for the streams on them


class Tls(msgspec.Struct, frozen=True):
    """Paths of PEM files: the CA that signed the server's certificate, and who we are."""

    ca: str
    certificate: str
    key: str


class Endpoint:
    """One member: its channel and the services on it. Made inside a running event loop."""

    def __init__(self, address: str, credentials: Any | None) -> None:
        self.address = address
        self.channel: Any = (grpc.aio.insecure_channel(address, options=OPTIONS) if credentials is None else
                             grpc.aio.secure_channel(address, credentials, options=OPTIONS))
        self.kv: Any = rpc.KVStub(self.channel)
        self.lease: Any = rpc.LeaseStub(self.channel)
        self.watch: Any = rpc.WatchStub(self.channel)
        self.maintenance: Any = rpc.MaintenanceStub(self.channel)
        self.cluster: Any = rpc.ClusterStub(self.channel)
        self.auth: Any = rpc.AuthStub(self.channel)

    async def connected(self, timeout: float) -> bool:
        """Whether it is connected within `timeout` seconds; False at once where it is refused.

        Polled: cancelling gRPC's own wait for a change of state is not safe, and this is only how it begins.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while (state := self.channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            refused = state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)
            if refused or clock() >= deadline:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def reason(self) -> str:
        """Why there is no connection, in gRPC's words."""
        try:
            await self.maintenance.Status(rpc.StatusRequest(), timeout=0.2)
        except grpc.aio.AioRpcError as error:
            return str(error.details() or error.code().name).rpartition("last error: ")[2]
        except grpc.aio.UsageError:  # by who opened it, while this call waited
            return "the connection was closed"
        return "it answers again"


class Endpoints:
    """All members; `ready` gives one that is connected."""

    def __init__(self, addresses: Sequence[str], tls: Tls | None) -> None:
        if not addresses:
            raise NotValidError("no address of etcd was given", remedy="give host:port")
        self._addresses, self._tls = addresses, tls
        self._seen: tuple[float, ...] = ()
        self._looked = 0.0
        self._before: list[Endpoint] = []
        credentials = None
        if tls is not None:
            credentials, self._seen = _credentials(tls), _stamp(tls)
        self._all = [Endpoint(address, credentials) for address in addresses]
        self._current = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def where(self) -> str:
        """The addresses, for errors."""
        return "etcd " + ", ".join(one.address for one in self._all)

    async def ready(self, timeout: float) -> Endpoint:
        """A connected member, the one in use first. Raises UnreachableError after `timeout` seconds without one.

        That calls are sent on connected channels only makes it certain, where this raises, that nothing was sent.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            self._read_again(clock())
            for _ in self._all:
                current = self._all[self._current]
                if await current.connected(min(_PATIENCE, deadline - clock())):
                    return current
                self.failed(current)
            if clock() + _PAUSE >= deadline:
                raise unreachable(await self._all[self._current].reason(), self.where)
            await asyncio.sleep(_PAUSE)

    def _read_again(self, now: float) -> None:
        """Channels with the certificates as they lie on disk now; a stream goes on over the old one until it breaks."""
        if self._tls is None or now < self._looked + _LOOK:
            return
        self._looked = now
        try:
            if (stamp := _stamp(self._tls)) == self._seen:
                return
            credentials = _credentials(self._tls)
        except (OSError, NotFoundError):  # they are being changed
            return
        self._seen = stamp
        self._before = [*self._before, *self._all][-_KEPT * len(self._all):]
        self._all = [Endpoint(address, credentials) for address in self._addresses]

    def failed(self, endpoint: Endpoint) -> None:
        """Go on to the next, unless somebody did already."""
        if self._all[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._all)

    async def close(self) -> None:
        """Close all channels, and with them every stream."""
        for one in (*self._before, *self._all):
            await one.channel.close()


def _stamp(tls: Tls) -> tuple[float, ...]:
    return tuple(Path(path).stat().st_mtime for path in (tls.ca, tls.certificate, tls.key))


def _credentials(tls: Tls) -> Any:
    try:
        ca, key, certificate = (Path(path).read_bytes() for path in (tls.ca, tls.key, tls.certificate))
    except OSError as error:
        raise NotFoundError(f"a certificate cannot be read: {error.strerror}", where=str(error.filename),
                            remedy="use the home folder of this cluster, as its owner") from error
    return grpc.ssl_channel_credentials(ca, key, certificate)
