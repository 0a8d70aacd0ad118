"""Proof that the bus takes, keeps and gives back a message: without it nothing is called ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arint.bus.subjects import LEDGER, claim
from arint.errors import ArintError
from arint.message import new_id

if TYPE_CHECKING:
    from arint.bus.connection import Bus

CHANNEL = "arint-probe"
KEPT = "10s"
"""The broker drops a probe by itself after this time."""


async def pass_a_message(bus: Bus) -> None:
    """Store a message as a channel would, and read it back. Raises ArintError where either fails."""
    from arint.bus.committer import Committer
    from arint.bus.lookup import get_one
    from arint.bus.streams import ensure_core

    await ensure_core(bus)
    identity = new_id()
    subject, body = claim(CHANNEL, "", identity), identity.encode()
    committer = Committer(bus, LEDGER)
    try:
        await committer.store(subject, body, {"Nats-TTL": KEPT})
    finally:
        await committer.close()
    found = await get_one(bus, LEDGER, subject)
    if found is None or found.body != body:
        raise ArintError("the bus said that it stored a message, and does not have it", where=subject,
                         remedy="arintctl doctor tells more")
