"""Fixtures that all tests share: real etcd and NATS on loopback ports of their own (see tests/servers.py)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from arint.engines.fetch import fetch_engine, newest_fetched
from arint.engines.find import Program
from arint.errors import ArintError
from arint.home import Home
from arint.security.ca import ensure_pki
from tests.databases import DatabaseServer, MariaServer, Missing, PostgresServer, started
from tests.lab.lab import Lab
from tests.lab.rootfs import rootfs
from tests.servers import EtcdServer, NatsServer, Server, etcd_members, node_config

S = TypeVar("S", bound=Server)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell: what tests start would ignore Ctrl-C for good, and never end by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A loaded machine makes an example slow, or the making of examples: that is no finding.
settings.register_profile("arint", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("arint")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two CAs and every identity of the node n1."""
    home = Home(tmp_path_factory.mktemp("pki-home"))
    home.make_folders()
    home.save(node_config("n1"))
    ensure_pki(home)
    return home.pki


def _started(server: S) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def etcd_server(tmp_path: Path) -> Iterator[EtcdServer]:
    """A running etcd without TLS, for one test."""
    yield from _started(EtcdServer(tmp_path / "etcd-home"))


@pytest.fixture
def etcd_tls_server(tmp_path: Path, pki: Path) -> Iterator[EtcdServer]:
    """A running etcd with mTLS, for one test."""
    yield from _started(EtcdServer(tmp_path / "etcd-home", tls=True, pki=pki))


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A running etcd without TLS for the whole session: use keys of your own, do not stop it."""
    yield from _started(EtcdServer(tmp_path_factory.mktemp("etcd") / "home"))


@pytest.fixture
def etcd_cluster(tmp_path: Path) -> Iterator[list[EtcdServer]]:
    """Three running members without TLS."""
    members = etcd_members(tmp_path / "etcd-cluster")
    try:
        for member in members[:-1]:
            member.start(wait=False)
        members[-1].start()  # it answers once there is a leader
        yield members
    finally:
        for member in members:
            member.close()


@pytest.fixture(scope="session")
def cluster_etcd() -> Program:
    """An etcd that may run in a cluster of several members: Debian's, fetched once into a cache of the tests.

    Name it to others with ARINT_ETCD. Skips where apt cannot fetch it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arint-tests"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.delenv("ARINT_ETCD", raising=False)
        try:
            fetch_engine("etcd")
        except ArintError as error:
            pytest.skip(str(error))
        found = newest_fetched()
    assert found is not None
    return found


@pytest.fixture
def nats_factory(tmp_path: Path, pki: Path) -> Iterator[Callable[..., NatsServer]]:
    """`nats_factory(tls=…, fsync=…, max_file_store=…, options={…})` starts a broker for one test."""
    servers: list[NatsServer] = []

    def start(**arguments: Any) -> NatsServer:
        server = NatsServer(tmp_path / f"nats-home-{len(servers)}", pki=pki, **arguments)
        servers.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.close()


@pytest.fixture
def nats_server(nats_factory: Callable[..., NatsServer]) -> NatsServer:
    """A running broker without TLS, for one test; every write is synced."""
    return nats_factory()


@pytest.fixture
def nats_tls_server(nats_factory: Callable[..., NatsServer]) -> NatsServer:
    """A running broker with mTLS, for one test; every write is synced."""
    return nats_factory(tls=True)


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A running broker without TLS for the whole session: use subjects of your own, do not stop it."""
    yield from _started(NatsServer(tmp_path_factory.mktemp("nats") / "home"))


def _database(kind: type[DatabaseServer]) -> Iterator[DatabaseServer]:
    try:
        server = started(kind)
    except Missing as error:
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[DatabaseServer]:
    """A running PostgreSQL for the whole session: use a `new_database`, do not stop it."""
    yield from _database(PostgresServer)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """A running MariaDB for the whole session: use a `new_database`, do not stop it."""
    yield from _database(MariaServer)


@pytest.fixture(scope="session")
def lab() -> Callable[..., Lab]:
    """`with lab(count=3) as machines:` starts machines (see tests/lab). Skips where there can be none."""
    try:
        rootfs()
    except ArintError as error:
        pytest.skip(str(error))
    return Lab
