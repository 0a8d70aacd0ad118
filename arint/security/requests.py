"""Certificates for a node that holds no CA key: its keys are made on it and stay there; only requests travel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from arint.errors import NotValidError
from arint.home import Home, write_private
from arint.security.ca import CAS, new_key, sign
from arint.security.leaves import why_not
from arint.security.permissions import identity_on

WORKER_IDENTITIES = ("etcd-agent", "agent", "worker")
"""Who talks on a node without engines."""


def make_requests(home: Home, keys: Path | None = None) -> dict[str, str]:
    """A signing request (PEM) for each identity of a node without engines; keys that are there already are kept.

    `keys` is the folder for the keys, if not where they are used.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    found = {}
    for name in WORKER_IDENTITIES:
        file = (keys or home.pki) / f"{name}.key"
        if not file.exists():
            write_private(file, new_key().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(
            key, hashes.SHA256())  # type: ignore[arg-type] # the keys of this home are those of new_key
        found[name] = request.public_bytes(serialization.Encoding.PEM).decode()
    return found


def sign_requests(home: Home, requests: Mapping[str, str], node: str) -> dict[str, str]:
    """The certificates (PEM) of `node` by the CAs of this home: the identities of one without engines, and no others.

    What a request says of itself is not taken over: only its key counts. Raises NotValidError for one that is not
    whole, or asks for another identity; NotFoundError where this home holds no CA key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    found = {}
    for name, pem in requests.items():
        if name not in WORKER_IDENTITIES:
            raise NotValidError(f"no node is given a certificate for {name!r}", where="the request of the node")
        try:
            request = x509.load_pem_x509_csr(pem.encode())
            whole = request.is_signature_valid
        except ValueError:
            whole = False
        key = request.public_key() if whole else None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise NotValidError("the request for a certificate is not whole", where=name,
                                remedy="make it again on the node")
        ca = Path(home.identity(name).ca).stem
        certificate = sign(home.pki, ca, identity_on(name, node), key)
        found[name] = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return found


def read_cas(home: Home) -> dict[str, str]:
    """The certificates of the CAs (PEM): whom a node trusts."""
    return {name: (home.pki / f"{name}.pem").read_text() for name in CAS}


def take_certificates(home: Home, node: str, cas: Mapping[str, str], certificates: Mapping[str, str],
                      keys: Path | None = None) -> None:
    """Put them where they are used, with their keys where those were made in the folder `keys`.

    Raises NotValidError where one is not for its key, not of its CA or this node, or not valid now.
    """
    from cryptography.hazmat.primitives import serialization

    folder = keys or home.pki
    for name, pem in certificates.items():
        try:
            key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
        except (OSError, ValueError, TypeError):
            raise _refused("its key is not here", name) from None
        trusted = cas.get(Path(home.identity(name).ca).stem, "")
        if why := why_not(pem.encode(), trusted.encode(), key, identity_on(name, node)):
            raise _refused(why, name)
    for name, pem in cas.items():
        write_if_new(home.pki / f"{name}.pem", pem.encode())
    for name, pem in certificates.items():
        write_if_new(home.pki / f"{name}.key", (folder / f"{name}.key").read_bytes())
        write_if_new(home.pki / f"{name}.pem", pem.encode())


def write_if_new(file: Path, data: bytes) -> bool:
    """Write a private file unless it holds just this; whether it did not."""
    if file.exists() and file.read_bytes() == data:
        return False
    write_private(file, data)
    return True


def _refused(why: str, name: str) -> NotValidError:
    return NotValidError(f"the certificate is not right: {why}", where=name,
                         remedy="begin again: arintctl node request")
