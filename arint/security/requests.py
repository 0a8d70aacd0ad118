"""Certificates for a node that holds no CA key: its keys are made on it and stay there; only requests travel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from arint.errors import NotValidError
from arint.home import Home, write_private
from arint.security.ca import CAS, new_key, sign
from arint.security.permissions import identity_on

WORKER_IDENTITIES = ("etcd-agent", "agent", "worker")
"""Who talks on a node without engines."""


def make_requests(home: Home) -> dict[str, str]:
    """A signing request (PEM) for each identity of a node without engines; keys that are there already are kept."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    found = {}
    for name in WORKER_IDENTITIES:
        file = Path(home.identity(name).key)
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


def take_certificates(home: Home, cas: Mapping[str, str], certificates: Mapping[str, str]) -> None:
    """Put them beside the keys that were made here.

    Raises NotValidError where one is not for its key, or not of its CA.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization

    for name, pem in certificates.items():
        identity = home.identity(name)
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(cas[Path(identity.ca).stem].encode()))
            key = serialization.load_pem_private_key(Path(identity.key).read_bytes(), password=None)
        except (OSError, ValueError, TypeError, KeyError, InvalidSignature):
            raise NotValidError("the certificate is not of the cluster's CA, or its key is not here", where=name,
                                remedy="begin again: arintctl node request") from None
        if certificate.public_key() != key.public_key():
            raise NotValidError("the certificate is for another key than this node's", where=name,
                                remedy="begin again: arintctl node request")
    for name, pem in cas.items():
        write_private(home.pki / f"{name}.pem", pem.encode())
    for name, pem in certificates.items():
        write_private(Path(home.identity(name).certificate), pem.encode())
