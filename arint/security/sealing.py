"""Sealed secrets: encrypted before they are written to etcd, opened only on a node.

AES-256-GCM; the secret's name is authenticated with it, so that one secret's bytes cannot be put in another's place.
The key ring holds a key a line, newest first: the first seals, any may open, so that keys can be rotated. A line
`digest KEY` holds that of the digests, which outlives them all; rings without one derive it from the oldest key.
A sealed value is: one byte of format, four of the key's id, twelve of nonce, then the ciphertext with its tag.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from arint.errors import DeniedError, NotFoundError, NotValidError
from arint.home import Home, write_private

_FORMAT = b"\x01"
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES + _NONCE_BYTES
_KEY_BYTES = 32
_DIGEST = b"digest "


class Sealer:
    """Seals and opens with the keys of one ring; make it with `Sealer.load` or `Sealer.ensure`."""

    def __init__(self, ring: Ring) -> None:
        self._keys = {_id(key): key for key in ring.keys}
        self._newest = ring.keys[0]
        self._digest_key = ring.digest_key

    @property
    def newest(self) -> str:
        """The id of the key that seals, in hexadecimal."""
        return _id(self._newest).hex()

    @classmethod
    def load(cls, home: Home) -> Sealer:
        """The node's ring. Raises NotFoundError if there is none, NotValidError if it is damaged."""
        return cls(_read(home))

    @classmethod
    def ensure(cls, home: Home) -> Sealer:
        """The node's ring, made if there is none."""
        if not ring_file(home).exists():
            key = os.urandom(_KEY_BYTES)
            _write(home, Ring([key], _derive(key, b"digest")))
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


def key_id(sealed: bytes) -> str:
    """The id of the key that this was sealed with, in hexadecimal."""
    return sealed[1:1 + _ID_BYTES].hex()


def rotate(home: Home) -> Sealer:
    """Put a new key on the ring, for what is sealed from now on; what was sealed before still opens."""
    with _alone(home):
        ring = _read(home)
        _write(home, Ring([os.urandom(_KEY_BYTES), *ring.keys], ring.digest_key))
    return Sealer.load(home)


def retire(home: Home, in_use: Collection[str]) -> int:
    """Destroy the keys that nothing needs: all but the newest and those with an id in `in_use`; returns how many."""
    with _alone(home):
        ring = _read(home)
        kept = [key for index, key in enumerate(ring.keys) if not index or _id(key).hex() in in_use]
        if len(kept) < len(ring.keys):
            _write(home, Ring(kept, ring.digest_key))
    return len(ring.keys) - len(kept)


class Ring(NamedTuple):
    """The keys, newest first, and that of the digests."""

    keys: list[bytes]
    digest_key: bytes


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Nobody else changes the ring meanwhile."""
    with ring_file(home).with_suffix(".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(home: Home, ring: Ring) -> None:
    lines = [base64.b64encode(key) for key in ring.keys]
    write_private(ring_file(home), b"\n".join([*lines, _DIGEST + base64.b64encode(ring.digest_key), b""]))


def _read(home: Home) -> Ring:
    file = ring_file(home)
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        raise NotFoundError("the key ring of the secrets is missing", where=str(file),
                            remedy="restore it from a backup, or set the secrets again on a new home") from None
    keys = [_key(line, file) for line in lines if not line.startswith(_DIGEST)]
    if not keys:
        raise _damaged(file)
    digests = [_key(line.removeprefix(_DIGEST), file) for line in lines if line.startswith(_DIGEST)]
    return Ring(keys, digests[0] if digests else _derive(keys[-1], b"digest"))


def _key(line: bytes, file: Path) -> bytes:
    try:
        key = base64.b64decode(line.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise _damaged(file) from None
    if len(key) != _KEY_BYTES:
        raise _damaged(file)
    return key


def _damaged(file: Path) -> NotValidError:
    return NotValidError("the key ring of the secrets is damaged", where=str(file), remedy="restore it from a backup")


def _id(key: bytes) -> bytes:
    return hashlib.sha256(b"arint key id" + key).digest()[:_ID_BYTES]


def _derive(key: bytes, purpose: bytes) -> bytes:
    """A key for each purpose (HKDF with one block, RFC 5869), so that no key is used twice."""
    extracted = hmac.new(b"arint", key, hashlib.sha256).digest()
    return hmac.new(extracted, purpose + b"\x01", hashlib.sha256).digest()
