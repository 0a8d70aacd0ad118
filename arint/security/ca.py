"""The cluster's certificates: two CAs, and an identity for each who talks.

A CA's file holds whom is trusted: while one CA takes over from another, both. The one whose key lies beside it signs.

etcd has a CA of its own, since any certificate of its CA may keep any lease alive (see DESIGN and ENGINES): a worker's
certificate, which user code can read, opens nothing in etcd. Common names are etcd's user names and NATS's subjects.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arint.errors import NotFoundError, NotValidError
from arint.home import Home, NodeConfig, write_private
from arint.security.permissions import identity_on

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

CA_DAYS = 3650
LEAF_DAYS = 30
RENEW_WITH = 1 / 3
"""The share of a certificate's life that is left when it is renewed."""
SKEW = datetime.timedelta(days=1)  # a machine whose clock is behind must still accept today's certificate

CAS = ("cluster-ca", "etcd-ca")
LOOPBACK = ("127.0.0.1", "localhost")


class Identity(NamedTuple):
    """A certificate to be issued: its file name, and whether it serves (all may dial)."""

    name: str
    serves: bool


IDENTITIES = (
    Identity("etcd-server", True),
    Identity("etcd-peer", True),
    Identity("etcd-agent", False),
    Identity("etcd-admin", False),
    Identity("nats-server", True),
    Identity("worker", False),
    Identity("agent", False),
    Identity("admin", False),
)


def hosts_of(config: NodeConfig) -> tuple[str, ...]:
    """The names and addresses that the node's engines answer to."""
    return tuple(dict.fromkeys((config.host, *LOOPBACK)))


def ensure_pki(home: Home, hosts: Sequence[str] = LOOPBACK, *, anew: bool = False) -> list[str]:
    """Make what is missing, renew what is due, of another CA or of another name than this node's; idempotent.

    `hosts` are the names and addresses that the servers answer to; `anew`: renew all. Returns the names of what was
    written, so that the caller knows whom to restart. Raises NotValidError if a CA has lost its key.
    """
    node = home.load().node if home.exists else ""
    home.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = [name for name in CAS if _ensure_ca(home.pki, name)]
    for identity in IDENTITIES:
        ca = Path(home.identity(identity.name).ca).stem
        if anew or ca in written or not _is_good(home.pki, identity, ca, hosts, node):
            issue(home.pki, ca, identity_on(identity.name, node), home.pki, identity.name,
                  hosts=hosts if identity.serves else ())
            written.append(identity.name)
    return written


def _ensure_ca(pki: Path, name: str) -> bool:
    certificate, key = pki / f"{name}.pem", pki / f"{name}.key"
    if certificate.exists():
        if not key.exists():
            raise NotValidError("the CA's private key is missing", where=str(key),
                                remedy="restore it from a backup; without it no certificate can be renewed")
        return False
    _write_pair(pki, name, *make_ca(name))
    return True


def make_ca(name: str) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """A CA of this common name, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key = new_key()
    builder = (
        _builder(name, CA_DAYS)
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


def issue(pki: Path, ca_name: str, common: str, folder: Path, file: str, *, days: int | None = None,
          hosts: Sequence[str] = ()) -> None:
    """A key and its certificate by the CA in `pki`, as `folder`/`file`.key and .pem; else as `sign`."""
    key = new_key()
    _write_pair(folder, file, sign(pki, ca_name, common, key.public_key(), days=days, hosts=hosts), key)


def sign(pki: Path, ca_name: str, common: str, public_key: EllipticCurvePublicKey, *, days: int | None = None,
         hosts: Sequence[str] = ()) -> x509.Certificate:
    """A certificate of the CA in `pki` for who holds the key to `public_key`; it serves where `hosts` are given.

    Raises NotFoundError where the CA's key is not here, NotValidError where it is no elliptic curve key.
    """
    return sign_with(*load_ca(pki, ca_name), common, public_key, days=days, hosts=hosts)


def sign_with(ca: x509.Certificate, ca_key: EllipticCurvePrivateKey, common: str, public_key: EllipticCurvePublicKey, *,
              days: int | None = None, hosts: Sequence[str] = ()) -> x509.Certificate:
    """`sign`, with a CA at hand."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
    builder = (
        _builder(common, days or LEAF_DAYS)
        .issuer_name(ca.subject)
        .public_key(public_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(_general_names(hosts)), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def load_ca(pki: Path, name: str) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """The CA that signs here: of the trusted ones that whose key is there. Raises as `sign`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        trusted = x509.load_pem_x509_certificates((pki / f"{name}.pem").read_bytes())
        key = serialization.load_pem_private_key((pki / f"{name}.key").read_bytes(), password=None)
    except FileNotFoundError as error:
        raise NotFoundError("the CA is not in this home", where=str(error.filename),
                            remedy="do it on a node with the role server") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NotValidError("the CA's private key is no elliptic curve key", where=str(pki / f"{name}.key"))
    for certificate in trusted:
        if certificate.public_key() == key.public_key():
            return certificate, key
    raise NotValidError("the CA's private key belongs to none of the trusted certificates",
                        where=str(pki / f"{name}.key"), remedy="restore both from a backup")


def _is_good(pki: Path, identity: Identity, ca_name: str, hosts: Sequence[str], node: str) -> bool:
    """Whether the certificate is there, is its CA's, its key's and this node's, names all hosts, and is not due."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization

    try:
        certificate = x509.load_pem_x509_certificate((pki / f"{identity.name}.pem").read_bytes())
        key = serialization.load_pem_private_key((pki / f"{identity.name}.key").read_bytes(), password=None)
        certificate.verify_directly_issued_by(load_ca(pki, ca_name)[0])
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    if certificate.public_key() != key.public_key():
        return False
    if not certificate.not_valid_before_utc <= _now() < due(certificate):
        return False
    if certificate.subject != _name(identity_on(identity.name, node)):
        return False
    if not identity.serves:
        return True
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return all(name in names for name in _general_names(hosts))


def due(certificate: x509.Certificate) -> datetime.datetime:
    """When it is to be renewed."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - (end - begin) * RENEW_WITH


def fingerprint(certificate: x509.Certificate) -> str:
    """What tells it from all others: the first 16 hexadecimal digits of its SHA-256."""
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex()[:16]


def _builder(name: str, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - SKEW)
        .not_valid_after(_now() + datetime.timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False)


def _general_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _name(common: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "ARINT"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
    ])


def new_key() -> EllipticCurvePrivateKey:
    """A private key as all identities have."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _write_pair(pki: Path, name: str, certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> None:
    """The key first: a certificate without its key is taken for a loss, a key without its certificate for nothing."""
    from cryptography.hazmat.primitives import serialization

    pem = serialization.Encoding.PEM
    write_private(pki / f"{name}.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                                         serialization.NoEncryption()))
    write_private(pki / f"{name}.pem", certificate.public_bytes(pem))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
