"""Certificates of users: the key is made where the user is, and only a request for a certificate travels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from arint.errors import NotValidError
from arint.security import ca
from arint.security.permissions import common_name_of

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


class Certificate(NamedTuple):
    """An issued certificate; `serial` in hexadecimal, `expires` in seconds since the epoch, `ca` a fingerprint."""

    pem: str
    serial: str
    expires: float
    ca: str


def make_request(name: str) -> tuple[str, str]:
    """A private key and the request for a user's certificate, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = ca.new_key()
    wish = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name_of(name))])
    request = x509.CertificateSigningRequestBuilder().subject_name(wish).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), request.public_bytes(pem).decode()


def sign(authority: tuple[x509.Certificate, EllipticCurvePrivateKey], name: str, request: str,
         days: int) -> Certificate:
    """A certificate by the CA `authority` for the user `name`, whatever name the request asks for.

    Raises NotValidError.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        asked = x509.load_pem_x509_csr(request.encode())
    except ValueError as error:
        raise NotValidError(f"the request for a certificate cannot be read: {error}") from None
    key = asked.public_key()
    if not asked.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotValidError("the request is not signed by its own key, or that is no elliptic curve key")
    certificate = ca.sign_with(*authority, common_name_of(name), key, days=days)
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Certificate(pem, f"{certificate.serial_number:x}", certificate.not_valid_after_utc.timestamp(),
                       ca.fingerprint(authority[0]))
