"""A message: bytes, untouched, and what is known about them; and how it is written on the bus."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

import msgspec

ENVELOPE_HEADER = "Arint"
LARGEST_INLINE = 512 * 2**10
"""Bytes of a body that stands in a message's own record; a larger one is a claim check."""
LARGEST_BODY = 64 * 2**20
"""Bytes that any body may have."""


def new_id() -> str:
    """A new message id: a ULID, 26 characters, sortable by time (to the millisecond)."""
    try:
        drawn = _random.pop()  # atomic: threads make ids too
    except IndexError:  # many at once: the system call is half the cost of an id
        fresh = os.urandom(1000)
        _random.extend(fresh[start:start + 10] for start in range(10, 1000, 10))
        drawn = fresh[:10]
    return _base32(time.time_ns() // 1_000_000 << 80 | int.from_bytes(drawn, "big"))


_random: list[bytes] = []
os.register_at_fork(after_in_child=_random.clear)


def derived_id(*parts: object) -> str:
    """An id that is the same each time it is derived from the same parts (parent, stage, index).

    26 characters of Crockford's base 32 like a ULID, from SHA-256, so that doing a stage again derives the same ids.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:16]
    return _base32(int.from_bytes(digest, "big"))


_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _SIGNS for low in _SIGNS)


def _base32(n: int) -> str:
    """128 bits as a ULID writes them. Spelt out, since every message costs at least one: 1 µs against 6."""
    p = _PAIRS
    return "".join((
        p[n >> 120], p[n >> 110 & 1023], p[n >> 100 & 1023], p[n >> 90 & 1023], p[n >> 80 & 1023], p[n >> 70 & 1023],
        p[n >> 60 & 1023], p[n >> 50 & 1023], p[n >> 40 & 1023], p[n >> 30 & 1023], p[n >> 20 & 1023],
        p[n >> 10 & 1023], p[n & 1023]))


def time_of(identity: str) -> float:
    """When a new id was made (seconds since the epoch). Raises ValueError for what is none."""
    number = 0
    for sign in identity[:10]:
        number = number << 5 | _SIGNS.index(sign)
    return number / 1000


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a message failed: `kind` is the error's title or class, `where` the stage, `detail` a trimmed traceback."""

    kind: str
    message: str
    where: str = ""
    detail: str = ""
    died: float = 0.0
    """Of a dead letter that was edited: when it died, in seconds since the epoch; the store has the edit's time."""
    edited: float = 0.0
    """And when its body was edited last."""


class Claim(msgspec.Struct, frozen=True):
    """The claim check of a large body: where it lies (`<flow>.<message>.<key>`), its size and its SHA-256 (hex)."""

    name: str
    size: int
    sha256: str


class StoredBody(bytes):
    """A large body that lies in the store of bodies, and knows under which claim. Empty until it is fetched.

    Whoever passes it on passes the claim on, so nothing is stored again; whoever makes another body has plain bytes.
    """

    claim: Claim
    fetched: bool

    def __new__(cls, claim: Claim, content: bytes | bytearray | None = None) -> StoredBody:
        """With the whole content, or none for a body that is not fetched."""
        body = super().__new__(cls, b"" if content is None else content)
        body.claim = claim
        body.fetched = content is not None
        return body


def size_of(body: bytes) -> int:
    """The bytes of a body, fetched or not."""
    return body.claim.size if isinstance(body, StoredBody) else len(body)


def is_away(body: bytes) -> bool:
    """Is it a large body that is not fetched?"""
    return isinstance(body, StoredBody) and not body.fetched


class Message(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A message on its way.

    `body` is what came in, byte for byte. `headers` are the sender's (names in lower case); `variables` are set by
    the flow. `root` is the id of the message from outside that caused this one. `run` counts deliberate replays.
    `change_set` is the configuration it last met. `created` is in seconds since the epoch.
    """

    id: str = ""
    root: str = ""
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    variables: dict[str, Any] = {}
    correlation_id: str = ""
    cause: str = ""
    traceparent: str = ""
    channel: str = ""
    caller: str = ""
    run: int = 0
    attempt: int = 1
    change_set: int = 0
    created: float = 0.0
    failure: Failure | None = None

    @classmethod
    def new(cls, body: bytes, **known: Any) -> Message:
        """A message from outside: with a new id, which is its root too, unless `known` says otherwise."""
        identity = new_id()
        return cls(body=body, **{"id": identity, "root": identity, "created": time.time(), **known})

    def derive(self, stage: str, index: int, **changes: Any) -> Message:
        """A child of this message: its id is derived from this one, `stage` and `index`; it keeps the root."""
        child = msgspec.structs.replace(self, **changes)
        child.id = derived_id(self.id, self.run, stage, index)
        child.cause = self.id
        return child


class Envelope(msgspec.Struct, omit_defaults=True, rename={
    "content_type": "ct", "headers": "h", "variables": "v", "correlation_id": "co", "cause": "ca",
    "traceparent": "tp", "channel": "ch", "caller": "by", "change_set": "cs", "created": "at", "failure": "f",
    "claim": "cl",
}):
    """What a message's header on the bus holds: all but the body and what its subject says."""

    content_type: str = "application/json"
    headers: dict[str, str] = {}
    variables: dict[str, Any] = {}
    correlation_id: str = ""
    cause: str = ""
    traceparent: str = ""
    channel: str = ""
    caller: str = ""
    change_set: int = 0
    created: float = 0.0
    failure: Failure | None = None
    claim: Claim | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def encode_envelope(message: Message) -> bytes:
    """The message's header: one line of JSON (msgspec escapes line breaks)."""
    m = message
    claim = m.body.claim if isinstance(m.body, StoredBody) else None
    return _encoder.encode(Envelope(m.content_type, m.headers, m.variables, m.correlation_id, m.cause, m.traceparent,
                                    m.channel, m.caller, m.change_set, m.created, m.failure, claim))


def inline(message: Message) -> bytes:
    """The body as it stands in the message's record: nothing, where the envelope names a claim."""
    return b"" if isinstance(message.body, StoredBody) else message.body


def decode_message(body: bytes, envelope: bytes | str, *, root: str, identity: str, run: int) -> Message:
    """A message from the bus: its body, its header, and what its subject says of it.

    A large body is a `StoredBody` that is not fetched (`arint.bus.bodies`).
    """
    known = _decoder.decode(envelope)
    if known.claim is not None:
        body = StoredBody(known.claim)
    return Message(id=identity, root=root, run=run, body=body, content_type=known.content_type, headers=known.headers,
                   variables=known.variables, correlation_id=known.correlation_id, cause=known.cause,
                   traceparent=known.traceparent, channel=known.channel, caller=known.caller,
                   change_set=known.change_set, created=known.created, failure=known.failure)
