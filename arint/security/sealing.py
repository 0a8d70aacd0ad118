"""Sealed secrets: encrypted before they are written to etcd, opened only on a node.

AES-256-GCM; the secret's name is authenticated with it, so that one secret's bytes cannot be put in another's place.
The key ring holds a key a line, newest first: the first seals, any may open, so that keys can be rotated.
A sealed value is: one byte of format, four of the key's id, twelve of nonce, then the ciphertext with its tag.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from pathlib import Path

from arint.errors import DeniedError, NotFoundError, NotValidError
from arint.home import Home, write_private

_FORMAT = b"\x01"
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES + _NONCE_BYTES
_KEY_BYTES = 32


class Sealer:
    """Seals and opens with the keys of one ring; make it with `Sealer.load` or `Sealer.ensure`."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = {_id(key): key for key in keys}
        self._newest = keys[0]
        self._digest_key = _derive(keys[-1], b"digest")  # the oldest: digests must outlive a rotation

    @classmethod
    def load(cls, home: Home) -> Sealer:
        """The node's ring. Raises NotFoundError if there is none, NotValidError if it is damaged."""
        file = ring_file(home)
        try:
            lines = file.read_text().split()
        except FileNotFoundError:
            raise NotFoundError("the key ring of the secrets is missing", where=str(file),
                                remedy="restore it from a backup, or set the secrets again on a new home") from None
        return cls(_decode(lines, file))

    @classmethod
    def ensure(cls, home: Home) -> Sealer:
        """The node's ring, made if there is none."""
        if not ring_file(home).exists():
            _write(home, [os.urandom(_KEY_BYTES)])
        return cls.load(home)

    def seal(self, name: str, value: bytes) -> bytes:
        """`value` encrypted as the secret `name`; another ciphertext each time."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(_derive(self._newest, b"seal")).encrypt(nonce, value, name.encode())
        return _FORMAT + _id(self._newest) + nonce + cipher

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """What `seal` was given. Raises DeniedError if it was sealed by another ring, for another name, or altered."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._keys.get(sealed[1:1 + _ID_BYTES])
        if sealed[:1] != _FORMAT or key is None:
            raise DeniedError("the secret was sealed with a key that this node does not have", where=f"secret/{name}",
                              remedy="bring the cluster's pki/secrets.key to this node, or set the secret again")
        nonce = sealed[1 + _ID_BYTES:_HEAD_BYTES]
        try:
            return AESGCM(_derive(key, b"seal")).decrypt(nonce, sealed[_HEAD_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            raise DeniedError("the sealed secret was altered or belongs to another name", where=f"secret/{name}",
                              remedy="set the secret again") from None

    def keyed_digest(self, value: bytes) -> str:
        """A digest (32 hex digits) that tells equal values apart from changed ones, yet cannot be guessed at."""
        return hmac.new(self._digest_key, value, hashlib.sha256).hexdigest()[:32]


def ring_file(home: Home) -> Path:
    """Where the key ring lies."""
    return home.pki / "secrets.key"


def rotate(home: Home) -> Sealer:
    """Put a new key on the ring, for what is sealed from now on; what was sealed before still opens."""
    file = ring_file(home)
    _write(home, [os.urandom(_KEY_BYTES), *_decode(file.read_text().split(), file)])
    return Sealer.load(home)


def _write(home: Home, keys: list[bytes]) -> None:
    write_private(ring_file(home), b"".join(base64.b64encode(key) + b"\n" for key in keys))


def _decode(lines: list[str], file: Path) -> list[bytes]:
    try:
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except (binascii.Error, ValueError):
        keys = []
    if not keys or any(len(key) != _KEY_BYTES for key in keys):
        raise NotValidError("the key ring of the secrets is damaged", where=str(file),
                            remedy="restore it from a backup")
    return keys


def _id(key: bytes) -> bytes:
    return hashlib.sha256(b"arint key id" + key).digest()[:_ID_BYTES]


def _derive(key: bytes, purpose: bytes) -> bytes:
    """A key for each purpose (HKDF with one block, RFC 5869), so that no key is used twice."""
    extracted = hmac.new(b"arint", key, hashlib.sha256).digest()
    return hmac.new(extracted, purpose + b"\x01", hashlib.sha256).digest()
