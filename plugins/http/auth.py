"""Who is calling: the check of a request's credentials, in a time that tells nothing of the secret."""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Protocol

from arint.errors import NotValidError
from arint.resources.kinds import SecretReference
from plugins.http.specs import Basic, ChannelAuth


class Authenticator(Protocol):
    """Checks one channel's callers."""

    challenge: bytes
    roles: Mapping[str, frozenset[str]]
    """The roles of each caller that has some."""
    header: bytes
    """The header that holds the credentials, in lower case; it goes no further than here."""

    def caller(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The caller's name, or None if the credentials are missing or wrong."""
        ...


class Everybody:
    """A channel without `auth`."""

    roles: Mapping[str, frozenset[str]] = {}
    challenge = b""
    header = b"authorization"

    def caller(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Everybody is the same anonymous caller."""
        return ""


class KeyAuthenticator:
    """One key, in a header."""

    roles: Mapping[str, frozenset[str]] = {}

    def __init__(self, header: str, key: bytes) -> None:
        self.header = header.lower().encode()
        self.challenge = f'ApiKey header="{header}"'.encode()
        self._digest = _digest(key)

    def caller(self, headers: Mapping[bytes, bytes]) -> str | None:
        """`api-key`, if the key is right."""
        right = hmac.compare_digest(_digest(headers.get(self.header, b"")), self._digest)
        return "api-key" if right else None


class KeysAuthenticator:
    """A key for each caller, in a header."""

    def __init__(self, header: str, keys: Mapping[str, bytes], roles: Mapping[str, frozenset[str]]) -> None:
        self.header = header.lower().encode()
        self.challenge = f'ApiKey header="{header}"'.encode()
        self.roles = roles
        self._digests = {name: _digest(key) for name, key in keys.items()}

    def caller(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The name of the key. All are compared, whichever it is."""
        given = _digest(headers.get(self.header, b""))
        right = [name for name, digest in self._digests.items() if hmac.compare_digest(given, digest)]
        return right[0] if right else None


class BasicAuthenticator:
    """One user with a password (RFC 7617)."""

    roles: Mapping[str, frozenset[str]] = {}
    challenge = b'Basic realm="arint", charset="UTF-8"'
    header = b"authorization"

    def __init__(self, user: str, password: bytes) -> None:
        self._user = user
        self._digest = _digest(user.encode() + b":" + password)

    def caller(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The user's name, if user and password are right."""
        scheme, _, credentials = headers.get(self.header, b"").partition(b" ")
        try:
            given = b64decode(credentials.strip(), validate=True) if scheme.lower() == b"basic" else b""
        except NotBase64:
            given = b""
        return self._user if hmac.compare_digest(_digest(given), self._digest) else None


def _digest(value: bytes) -> bytes:
    # compare_digest tells lengths apart by time; digests all have one length
    return sha256(value).digest()


def authenticator(auth: ChannelAuth | None, secret: Callable[[str], bytes]) -> Authenticator:
    """The check that `auth` asks for. Raises NotFoundError or NotValidError for a secret that is missing or empty."""
    if auth is None:
        return Everybody()
    if auth.api_key is not None:
        return KeyAuthenticator(auth.header, _value(auth.api_key, secret))
    if auth.keys is not None:
        return KeysAuthenticator(auth.header, {one.name: _value(one.key, secret) for one in auth.keys},
                                 {one.name: frozenset(one.roles) for one in auth.keys})
    if not isinstance(auth.basic, Basic):
        raise TypeError("ChannelAuth holds none of api_key, keys, basic")
    return BasicAuthenticator(auth.basic.user, _value(auth.basic.password, secret))


def _value(reference: SecretReference, secret: Callable[[str], bytes]) -> bytes:
    # A secret read from a file usually ends with a line break that nobody meant
    value = secret(reference.secret).rstrip(b"\r\n")
    if not value:
        raise NotValidError("the secret is empty, so it would let everybody in", where=f"Secret/{reference.secret}",
                            remedy="give it a value and apply again")
    return value
