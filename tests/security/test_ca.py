"""Certificates: two CAs, tolerant of clocks, renewed in time, never a new CA by accident."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from arint.errors import NotValidError
from arint.home import Home, NodeConfig
from arint.ports import Ports
from arint.security import ca
from arint.security.ca import CAS, IDENTITIES, ensure_pki


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make_folders()
    return home


def load(path: str | Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def test_everything_is_made_once(home: Home) -> None:
    assert ensure_pki(home) == [*CAS, *(identity.name for identity in IDENTITIES)]
    before = {file: file.read_bytes() for file in home.pki.iterdir()}
    assert ensure_pki(home) == []
    assert {file: file.read_bytes() for file in home.pki.iterdir()} == before


def test_files_are_private(home: Home) -> None:
    old = os.umask(0)
    try:
        ensure_pki(home)
    finally:
        os.umask(old)
    assert {file.stat().st_mode & 0o777 for file in home.pki.iterdir()} == {0o600}
    assert home.pki.stat().st_mode & 0o777 == 0o700


def test_each_is_issued_by_its_own_ca_alone(home: Home) -> None:
    ensure_pki(home)
    cas = {name: load(home.pki / f"{name}.pem") for name in CAS}
    for identity in IDENTITIES:
        certificate = load(home.identity(identity.name).certificate)
        own = "etcd-ca" if identity.name.startswith("etcd-") else "cluster-ca"
        certificate.verify_directly_issued_by(cas[own])
        with pytest.raises((ValueError, InvalidSignature)):
            certificate.verify_directly_issued_by(cas["cluster-ca" if own == "etcd-ca" else "etcd-ca"])
        assert certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == identity.name


def test_a_clock_that_is_behind_accepts_it(home: Home) -> None:
    ensure_pki(home)
    hour_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=23)
    assert all(load(file).not_valid_before_utc < hour_ago for file in home.pki.glob("*.pem"))


def test_only_servers_serve(home: Home) -> None:
    ensure_pki(home)
    for identity in IDENTITIES:
        usage = load(home.identity(identity.name).certificate).extensions.get_extension_for_class(
            x509.ExtendedKeyUsage).value
        assert (x509.ExtendedKeyUsageOID.SERVER_AUTH in usage) == identity.serves  # type: ignore[attr-defined]


def test_what_expires_soon_is_renewed_by_the_same_ca(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca, "LEAF_DAYS", 1)
    monkeypatch.setattr(ca, "SKEW", datetime.timedelta(days=3))
    ensure_pki(home)
    authority = (home.pki / "etcd-ca.pem").read_bytes()
    monkeypatch.undo()
    assert ensure_pki(home) == [identity.name for identity in IDENTITIES]
    assert (home.pki / "etcd-ca.pem").read_bytes() == authority
    assert ensure_pki(home) == []


def test_a_new_host_renews_the_servers(home: Home) -> None:
    ensure_pki(home)
    hosts = ("127.0.0.1", "localhost", "10.1.2.3", "n1.example")
    assert ensure_pki(home, hosts) == [identity.name for identity in IDENTITIES if identity.serves]
    assert ensure_pki(home) == []


@pytest.mark.parametrize("damage", ["", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"])
def test_a_damaged_certificate_or_key_is_made_anew(home: Home, damage: str) -> None:
    ensure_pki(home)
    Path(home.identity("worker").certificate).write_text(damage)
    Path(home.identity("admin").key).write_text(damage)
    assert ensure_pki(home) == ["worker", "admin"]


def test_a_key_of_another_is_seen(home: Home) -> None:
    ensure_pki(home)
    Path(home.identity("worker").key).write_bytes(Path(home.identity("admin").key).read_bytes())
    assert ensure_pki(home) == ["worker"]


def test_a_lost_ca_key_is_an_error_not_a_new_ca(home: Home) -> None:
    ensure_pki(home)
    (home.pki / "cluster-ca.key").unlink()
    with pytest.raises(NotValidError, match="backup"):
        ensure_pki(home)


def test_killed_between_key_and_certificate(home: Home) -> None:
    ensure_pki(home)
    (home.pki / "cluster-ca.pem").unlink()
    written = ensure_pki(home)
    assert "cluster-ca" in written
    assert "worker" in written
    assert "etcd-agent" not in written


def test_names_say_which_node_it_is(home: Home) -> None:
    """A home of before, whose certificates bear no node, gets new ones."""
    ensure_pki(home)
    home.save(NodeConfig(version="test", cluster="test", node="n1", created=0.0, ports=Ports()))
    assert ensure_pki(home) == [identity.name for identity in IDENTITIES]
    assert ensure_pki(home) == []
    subject = load(home.identity("worker").certificate).subject
    assert subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == "worker@n1"
