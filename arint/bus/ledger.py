"""The ledger of idempotency keys: one claim a channel, caller and key, refused to a second by the broker itself."""

from __future__ import annotations

import hashlib

import msgspec

from arint.bus import lookup, subjects
from arint.bus.committer import Committer
from arint.bus.connection import Bus


class Claim(msgspec.Struct, frozen=True):
    """Who holds a key: the id of the message it was first used for, and the digest of that message's body.

    `own` tells that this call made the claim. For a claim that was there before, the message may still be missing,
    where the process that made it died before it stored the message: so store it again under `message_id` unless the
    action log knows it. The broker refuses a second copy.
    """

    message_id: str
    body_digest: str
    own: bool = False
    at: float = 0.0


class Ledger:
    """Claims idempotency keys, with group commit."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._committer = Committer(bus, subjects.LEDGER)

    async def claim(self, channel: str, caller: str, key: str, message_id: str, body_digest: str,
                    ttl: float) -> Claim:
        """Claim the key for `ttl` seconds (at least one), or tell who holds it.

        The caller compares `body_digest`: another one means that the key was used for something else. Raises
        FullError when the ledger cannot be written.
        """
        subject = subjects.claim(channel, caller, key)
        mine = Claim(message_id, body_digest, own=True)
        body = msgspec.json.encode([message_id, body_digest])
        headers = {"Nats-TTL": f"{max(int(ttl), 1)}s"}
        while True:
            stored = await self._committer.store(subject, body, headers)
            if not stored.duplicate:
                return mine
            found = await lookup.get_one(self._bus, subjects.LEDGER, subject)
            if found is None:
                continue  # it expired in between
            holder, digest = msgspec.json.decode(found.body, type=tuple[str, str])
            # Our own, where its answer was lost with a connection and it was sent again.
            return Claim(holder, digest, own=holder == message_id, at=found.at)

    async def close(self) -> None:
        """Finish what has begun."""
        await self._committer.close()


def digest(body: bytes) -> str:
    """The digest of a body, as `claim` keeps it."""
    return hashlib.sha256(body).hexdigest()[:32]
