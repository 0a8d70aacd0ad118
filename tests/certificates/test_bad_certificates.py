"""Certificates that must be refused, and in words: of another CA, expired, not yet valid, of another node or key."""

from __future__ import annotations

import asyncio
import datetime
import shutil
from pathlib import Path

import pytest

from arint.bus.connection import Bus
from arint.errors import ArintError, DeniedError, NotValidError, UnreachableError
from arint.home import Home, Pem
from arint.runtime.control import BusSettings
from arint.security import ca
from arint.security.ca import ensure_pki
from arint.security.leaves import look, trouble
from arint.security.requests import make_requests, read_cas, sign_requests, take_certificates
from arint.store import access
from arint.store.connection import Etcd, Tls
from tests.servers import EtcdServer, NatsServer, node_config

DAY = datetime.timedelta(days=1)
BAD = {
    "another CA signed it": "other",
    "it expired on": "expired",
    "it is not valid before": "early",
    "it names {name}@n9, and this is {name}@n1": "named",
    "it is for another key": "key",
}


@pytest.fixture
def other(tmp_path: Path) -> Home:
    """A home of another cluster."""
    home = Home(tmp_path / "other")
    home.make_folders()
    ensure_pki(home)
    return home


def spoil(home: Home, other: Home, name: str, how: str, patch: pytest.MonkeyPatch) -> Pem:
    """Put a bad certificate in the place of the identity's."""
    authority, pem = Path(home.identity(name).ca).stem, home.identity(name)
    if how == "other":
        ca.issue(other.pki, authority, f"{name}@n1", home.pki, name)
    elif how == "named":
        ca.issue(home.pki, authority, f"{name}@n9", home.pki, name)
    elif how == "key":
        shutil.copy(other.identity(name).key, pem.key)
    with patch.context() as patched:
        if how == "expired":
            patched.setattr(ca, "SKEW", 3 * DAY)
            ca.issue(home.pki, authority, f"{name}@n1", home.pki, name, days=-1)
        elif how == "early":
            patched.setattr(ca, "SKEW", -DAY)
            ca.issue(home.pki, authority, f"{name}@n1", home.pki, name, days=9)
    return pem


@pytest.fixture
def home(tmp_path: Path, pki: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make_folders()
    home.save(node_config("n1"))
    shutil.copytree(pki, home.pki, dirs_exist_ok=True)
    return home


@pytest.mark.parametrize("told", BAD)
def test_a_node_tells_what_is_wrong_with_its_own(home: Home, other: Home, told: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    assert not trouble(look(home, "n1"))
    spoil(home, other, "worker", BAD[told], monkeypatch)
    assert f"worker: {told.format(name='worker')}" in trouble(look(home, "n1"))
    assert ensure_pki(home) == ["worker"]  # who holds the CA's key mends it
    assert not trouble(look(home, "n1"))


@pytest.mark.parametrize("told", BAD)
def test_a_node_does_not_take_a_bad_one(home: Home, other: Home, tmp_path: Path, told: str,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    joining = Home(tmp_path / "joining")
    joining.make_folders()
    certificates = sign_requests(home, make_requests(joining), "n1")
    how = BAD[told]
    if how == "key":
        shutil.copy(other.identity("worker").key, joining.identity("worker").key)
    else:
        bad = spoil(home, other, "worker", how, monkeypatch)
        certificates["worker"] = Path(bad.certificate).read_text()
        shutil.copy(bad.key, joining.identity("worker").key)
    with pytest.raises(NotValidError, match=told.format(name="worker")):
        take_certificates(joining, "n1", read_cas(home), certificates)
    assert not list(joining.pki.glob("*.pem"))


BROKER_SAYS = {"other": "another CA signed it|not of the CA|does not answer", "expired": "expired, or is not valid yet",
               "early": "expired, or is not valid yet", "named": "does not let this certificate in"}


@pytest.mark.parametrize("how", BROKER_SAYS)
async def test_etcd_refuses_it(etcd_tls_server: EtcdServer, other: Home, how: str,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    home = etcd_tls_server.home
    async with Etcd([etcd_tls_server.endpoint], Tls(*home.identity("etcd-admin"))) as admin:
        await access.permit(admin, "test", "n1")
    pem = spoil(home, other, "etcd-agent", how, monkeypatch)
    async with Etcd([etcd_tls_server.endpoint], Tls(*pem), timeout=1.5) as etcd:
        with pytest.raises(DeniedError if how == "named" else UnreachableError):
            await etcd.get("/arint/test/z/head")


@pytest.mark.parametrize("how", BROKER_SAYS)
async def test_the_broker_refuses_it(nats_tls_server: NatsServer, other: Home, how: str,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    pem = spoil(nats_tls_server.home, other, "worker", how, monkeypatch)
    with pytest.raises(ArintError, match=BROKER_SAYS[how]):
        await Bus.connect(BusSettings((nats_tls_server.server,), *pem), name="test", timeout=2.0)


async def test_a_broker_of_another_cluster_is_not_spoken_to(nats_tls_server: NatsServer, other: Home) -> None:
    with pytest.raises(UnreachableError, match="not of the CA that is trusted here"):
        await Bus.connect(BusSettings((nats_tls_server.server,), *other.identity("worker")), name="test", timeout=2.0)


async def test_a_connection_dials_again_with_what_lies_there_now(nats_tls_server: NatsServer) -> None:
    """New certificates need no new process: the old ones were good for the connection that broke."""
    server = nats_tls_server
    async with await Bus.connect(BusSettings((server.server,), *server.home.identity("worker")), name="test") as bus:
        ca.issue(server.home.pki, "cluster-ca", "admin@n1", server.home.pki, "worker")
        back = asyncio.Event()
        bus.on_up.add(back.set)
        server.restart()
        await asyncio.wait_for(back.wait(), 20.0)
        heard = asyncio.Event()
        bus.wire.listen("admin.>", "", lambda *_: heard.set())  # which a worker may not
        bus.publish("admin.ann.x", b"")
        await asyncio.wait_for(heard.wait(), 5.0)


async def test_etcd_is_asked_with_what_lies_there_now(etcd_tls_server: EtcdServer) -> None:
    home = etcd_tls_server.home
    async with Etcd([etcd_tls_server.endpoint], Tls(*home.identity("etcd-admin"))) as admin:
        await access.permit(admin, "test", "n1")
        async with Etcd([etcd_tls_server.endpoint], Tls(*home.identity("etcd-agent"))) as etcd:
            with pytest.raises(DeniedError):
                await etcd.put("/arint/test/z/head", b"1")
            ca.issue(home.pki, "etcd-ca", "etcd-admin@n1", home.pki, "etcd-agent")
            async with asyncio.timeout(10):
                while not await _may(etcd):
                    await asyncio.sleep(0.1)


async def _may(etcd: Etcd) -> bool:
    try:
        await etcd.put("/arint/test/z/head", b"1")
    except DeniedError:
        return False
    return True
