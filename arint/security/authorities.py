"""The CAs of a home brought to what the cluster wants: whom it trusts, and on servers which one signs."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from arint.errors import NotFoundError, NotValidError
from arint.home import Home, NodeConfig
from arint.registry.certificates import Authority, Wanted
from arint.security.ca import CAS, fingerprint, load_ca, make_ca
from arint.security.requests import write_if_new

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from arint.store.connection import Etcd


def signers(wanted: Wanted) -> dict[str, str]:
    """Who shall sign, by CA."""
    return {name: one.signer for name, one in wanted.authorities.items()}


async def bring_authorities(home: Home, config: NodeConfig, wanted: Wanted) -> None:
    """Trust whom the cluster trusts, and on a server sign with the CA that it wants. Raises ArintError."""
    for name, authority in wanted.authorities.items():
        file = home.pki / f"{name}.pem"
        if config.is_server:
            own = load_ca(home.pki, name)[0]
            if fingerprint(own) != authority.signer:
                key = await _key_of(home, config, name, authority)
                write_if_new(file, "".join(authority.trusted).encode())
                write_if_new(home.pki / f"{name}.key", key)
        write_if_new(file, "".join(authority.trusted).encode())


def is_rotating(wanted: Wanted) -> bool:
    """Whether a change of the CAs has begun, and has not ended."""
    return any(len(one.trusted) > 1 for one in wanted.authorities.values())


def newest(wanted: Wanted) -> dict[str, str]:
    """The fingerprint of the one that takes over, by CA."""
    return {name: _fingerprint(one.trusted[-1]) for name, one in wanted.authorities.items()}


def is_signing_anew(wanted: Wanted) -> bool:
    """Whether those that take over sign already."""
    return signers(wanted) == newest(wanted)


def sign_anew(wanted: Wanted) -> Wanted:
    """From now on those that take over sign."""
    return _with(wanted, {name: Authority(wanted.authorities[name].trusted, signer)
                          for name, signer in newest(wanted).items()})


def drop_old(wanted: Wanted) -> Wanted:
    """From now on those that took over are the only ones that are trusted."""
    return _with(wanted, {name: Authority(one.trusted[-1:], one.signer) for name, one in wanted.authorities.items()})


def _with(wanted: Wanted, authorities: dict[str, Authority]) -> Wanted:
    return msgspec.structs.replace(wanted, authorities=authorities)


async def make_next(home: Home, etcd: Etcd, cluster: str) -> dict[str, Authority]:
    """New CAs beside those of this home, which go on to sign; their keys are kept for the servers."""
    from cryptography.hazmat.primitives.serialization import Encoding

    found = {}
    for name in CAS:
        own = load_ca(home.pki, name)[0]
        certificate, key = make_ca(f"{name}-{secrets.token_hex(4)}")
        await _keep_key(home, etcd, cluster, name, key)
        found[name] = Authority(tuple(one.public_bytes(Encoding.PEM).decode() for one in (own, certificate)),
                                fingerprint(own))
    return found


def trusted_here(home: Home) -> list[tuple[str, float, float, str, str]]:
    """Of each CA that this home trusts: name, begin and end (seconds since the epoch), serial, fingerprint."""
    from cryptography import x509

    return [(name, one.not_valid_before_utc.timestamp(), one.not_valid_after_utc.timestamp(),
             f"{one.serial_number:x}", fingerprint(one))
            for name in CAS for one in x509.load_pem_x509_certificates((home.pki / f"{name}.pem").read_bytes())]


def _fingerprint(pem: str) -> str:
    from cryptography import x509

    return fingerprint(x509.load_pem_x509_certificate(pem.encode()))


async def _keep_key(home: Home, etcd: Etcd, cluster: str, name: str, key: EllipticCurvePrivateKey) -> None:
    """Put the key of a CA that is to take over where the servers find it, sealed."""
    from cryptography.hazmat.primitives import serialization

    from arint.security.sealing import Sealer
    from arint.store.keys import Keys

    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                            serialization.NoEncryption())
    await etcd.put(Keys(cluster).ca_key(name), Sealer.load(home).seal(_sealed_as(name), pem))


async def next_ca(home: Home, etcd: Etcd, cluster: str, name: str) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """The CA that is to take over, else the one that signs: who is signed for by it is let in before and after.

    Raises NotFoundError, NotValidError, DeniedError.
    """
    from cryptography import x509

    try:
        key = _private(await _fetch(home, etcd, cluster, name), name)
    except NotFoundError:
        return load_ca(home.pki, name)
    for one in x509.load_pem_x509_certificates((home.pki / f"{name}.pem").read_bytes()):
        if one.public_key() == key.public_key():
            return one, key
    return load_ca(home.pki, name)  # this node does not trust it yet


async def _key_of(home: Home, config: NodeConfig, name: str, authority: Authority) -> bytes:
    """The key (PEM) of the CA that shall sign. Raises NotFoundError where it is not the one that is kept."""
    from cryptography import x509

    from arint.store.connection import Etcd, Tls

    async with Etcd(config.etcd_endpoints, Tls(*home.identity("etcd-admin"))) as etcd:
        pem = await _fetch(home, etcd, config.cluster, name)
    key = _private(pem, name)
    for certificate in x509.load_pem_x509_certificates("".join(authority.trusted).encode()):
        if fingerprint(certificate) == authority.signer and certificate.public_key() == key.public_key():
            return pem
    raise NotFoundError("the key of the CA that shall sign is not kept in etcd", where=name,
                        remedy="arintctl cluster certs rotate --ca, from the server that began it")


async def _fetch(home: Home, etcd: Etcd, cluster: str, name: str) -> bytes:
    from arint.security.sealing import Sealer
    from arint.store.keys import Keys

    found = await etcd.get(Keys(cluster).ca_key(name))
    if found is None:
        raise NotFoundError("no CA is taking over", where=name)
    return Sealer.load(home).unseal(_sealed_as(name), found.value)


def _private(pem: bytes, name: str) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NotValidError("the CA's private key is no elliptic curve key", where=name)
    return key


def _sealed_as(name: str) -> str:
    return f"ca/{name}"
