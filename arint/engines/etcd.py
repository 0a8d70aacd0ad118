"""etcd: the member of this node. Election and heartbeat suit leases of 3 s (DESIGN, section 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from arint.engines.engine import Engine, client_context
from arint.engines.find import Program, find_etcd
from arint.engines.machine import processors
from arint.engines.process import Process
from arint.home import Home, NodeConfig, Pem

HEARTBEAT_MS = 50
ELECTION_MS = 500
QUOTA_BYTES = 2 * 1024**3
MAX_REQUEST_BYTES = 4 * 1024**2
_TLS_1_3: tuple[int, int, int] = (3, 5, 8)
_FEATURE_GATES: tuple[int, int, int] = (3, 6, 0)


class Etcd(Engine):
    """The etcd member of `home`, as `config` says.

    `members` (name -> peer URL) are all of the cluster's, for a first start; this node alone if not given.
    `existing` is for a member that joins a cluster that already runs.
    """

    name = "etcd"

    def __init__(self, home: Home, config: NodeConfig, *, members: Mapping[str, str] | None = None,
                 existing: bool = False, program: Program | None = None) -> None:
        self.program = program or find_etcd(members=len(members or {"": ""}))
        self._home = home
        self._config = config
        argv = etcd_argv(self.program, home, config, members=members, existing=existing)
        self.process = Process(home, self.name, argv, cwd=home.etcd, env={"GOMAXPROCS": str(min(4, processors()))})

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"{self._config.host}:{self._config.ports.etcd_client}"

    async def ask(self) -> None:
        """Its own health, which includes a linearizable read: so a leader and a quorum."""
        pem = self._home.identity("etcd-agent")
        await ask_health(self._config.host, self._config.ports.etcd_client, pem)

    async def stop(self, grace: float = 10.0) -> bool:
        """SIGTERM: a leader hands over first."""
        return await self.process.stop(grace)


def etcd_argv(program: Program, home: Home, config: NodeConfig, *, members: Mapping[str, str] | None = None,
              existing: bool = False) -> list[str]:
    """The command line of the member."""
    ports, host = config.ports, config.host
    peer_url = f"https://{host}:{ports.etcd_peer}"
    client_url = f"https://{host}:{ports.etcd_client}"
    server, peer = home.identity("etcd-server"), home.identity("etcd-peer")
    cluster = ",".join(f"{name}={url}" for name, url in (members or {config.node: peer_url}).items())
    options = {
        "name": config.node,
        "data-dir": str(home.etcd / "data"),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": cluster,
        "initial-cluster-state": "existing" if existing else "new",
        "initial-cluster-token": f"arint-{config.cluster}",
        **_tls("", server),
        **_tls("peer-", peer),
        **_tls_versions(program),
        "heartbeat-interval": str(HEARTBEAT_MS),
        "election-timeout": str(ELECTION_MS),
        "grpc-keepalive-min-time": "500ms",
        "quota-backend-bytes": str(QUOTA_BYTES),
        "max-request-bytes": str(MAX_REQUEST_BYTES),
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": "10000",
        "snapshot-count": "10000",
        **_corruption_check(program),
        "log-level": "warn",
        "log-outputs": "stderr",
    }
    return [program.path, *(f"--{name}={value}" for name, value in options.items())]


def _tls(prefix: str, pem: Pem) -> dict[str, str]:
    return {f"{prefix}cert-file": pem.certificate, f"{prefix}key-file": pem.key,
            f"{prefix}trusted-ca-file": pem.ca, f"{prefix}client-cert-auth": "true"}


def _corruption_check(program: Program) -> dict[str, str]:
    """A member compares itself with its peers before it serves."""
    if program.version >= _FEATURE_GATES:
        return {"feature-gates": "InitialCorruptCheck=true"}
    return {"experimental-initial-corrupt-check": "true"}


def _tls_versions(program: Program) -> dict[str, str]:
    """TLS 1.3 alone where etcd has it; before, forward secrecy and authenticated encryption are the least."""
    if program.version >= _TLS_1_3:
        return {"tls-min-version": "TLS1.3"}
    return {"cipher-suites": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}


async def ask_health(host: str, port: int, pem: Pem | None) -> None:
    """Raises OSError, EOFError or ValueError unless the member at `host:port` says that it is healthy.

    Without `pem` it asks without TLS.
    """
    context = client_context(pem) if pem is not None else None
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0].decode(errors="replace")
        body = await reader.read(4096)
    finally:
        writer.close()
    try:
        healthy = msgspec.json.decode(body).get("health") == "true"
    except (msgspec.MsgspecError, AttributeError):
        healthy = False
    if not healthy:
        raise ValueError(f"{head} {body[:200].decode(errors='replace').strip()}")
