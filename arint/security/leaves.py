"""Certificates looked at: what each says, and why it would be refused."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING

from arint.home import Home
from arint.registry.certificates import Leaf, Report
from arint.security.ca import CAS, IDENTITIES, due, fingerprint
from arint.security.permissions import identity_on

if TYPE_CHECKING:
    from cryptography import x509


def look(home: Home, node: str) -> Report:
    """What this home has."""
    from cryptography.hazmat.primitives import serialization

    leaves: list[Leaf] = []
    dues: list[float] = []
    for identity in IDENTITIES:
        pem = home.identity(identity.name)
        if not Path(pem.certificate).exists():
            continue
        common = identity_on(identity.name, node)
        try:
            data = Path(pem.certificate).read_bytes()
            key = serialization.load_pem_private_key(Path(pem.key).read_bytes(), password=None)
            certificate, trusted = _one(data), _read_all(Path(pem.ca))
        except (OSError, ValueError, TypeError) as error:
            leaves.append(Leaf(identity.name, common, "", 0.0, 0.0, problem=f"it cannot be read: {error}"))
            continue
        issuer = _issuer(certificate, trusted)
        leaves.append(Leaf(identity.name, common_name(certificate), f"{certificate.serial_number:x}",
                           certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp(),
                           fingerprint(issuer) if issuer is not None else "",
                           why_not(data, Path(pem.ca).read_bytes(), key, common)))
        dues.append(due(certificate).timestamp())
    trusts = {name: tuple(map(fingerprint, _read_all(home.pki / f"{name}.pem"))) for name in CAS}
    return Report(leaves=tuple(leaves), trusts=trusts, due=min(dues, default=0.0))


def why_not(pem: bytes, trusted: bytes, key: object, common: str) -> str:
    """Why this certificate is not good as `common` for who trusts these CAs and holds this private key; else empty."""
    from cryptography import x509

    try:
        certificate, cas = _one(pem), x509.load_pem_x509_certificates(trusted)
    except ValueError:
        return "it cannot be read"
    if _issuer(certificate, cas) is None:
        return "another CA signed it, not the cluster's"
    if certificate.public_key() != key.public_key():  # type: ignore[attr-defined] # every private key has it
        return "it is for another key than the one beside it"
    if common_name(certificate) != common:
        return f"it names {common_name(certificate)}, and this is {common}"
    return _out_of_time(certificate, datetime.datetime.now(datetime.UTC))


def _out_of_time(certificate: x509.Certificate, now: datetime.datetime) -> str:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    clock = f"this machine's clock says {_told(now)}"
    if now < begin:
        return f"it is not valid before {_told(begin)}; {clock}"
    return f"it expired on {_told(end)}; {clock}" if now >= end else ""


def trouble(report: Report) -> str:
    """What is wrong with a node's certificates, in one line; empty where all are good."""
    bad = [f"{one.identity}: {one.problem}" for one in report.leaves if one.problem]
    return f"certificates of this node are refused: {'; '.join(bad)}" if bad else ""


def is_due(report: Report, signers: dict[str, str]) -> bool:
    """Whether certificates are to be renewed: in time, or since others sign now (CA -> fingerprint)."""
    if time.time() >= report.due or any(one.problem for one in report.leaves):
        return True
    return any(one.ca != signers.get(_ca_of(one.identity), one.ca) for one in report.leaves)


def common_name(certificate: x509.Certificate) -> str:
    """Whom it names."""
    from cryptography import x509

    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _ca_of(identity: str) -> str:
    return "etcd-ca" if identity.startswith("etcd-") else "cluster-ca"


def _one(pem: bytes) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem)


def _read_all(file: Path) -> list[x509.Certificate]:
    from cryptography import x509

    return x509.load_pem_x509_certificates(file.read_bytes()) if file.exists() else []


def _issuer(certificate: x509.Certificate, cas: list[x509.Certificate]) -> x509.Certificate | None:
    from cryptography.exceptions import InvalidSignature

    for ca in cas:
        try:
            certificate.verify_directly_issued_by(ca)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return ca
    return None


def _told(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
