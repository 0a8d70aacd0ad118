"""Certificates for nodes that hold no CA key, signed by a server when they ask over the bus.

Who asks is who the subject says: the broker lets each node ask on its own alone (`arint.security.permissions`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from arint.bus.connection import Bus, Request, Subscription
from arint.errors import ArintError, DeniedError

if TYPE_CHECKING:
    from arint.operations.connect import Link

log = logging.getLogger(__name__)
_SUBJECTS = "renew.*"
_QUEUE = "renew"


class Signed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The certificates (PEM) by identity; or why there are none."""

    certificates: dict[str, str] = {}
    error: str = ""


class Signing:
    """One a server node."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def listen(self, bus: Bus) -> Subscription:
        """Answer from now on."""
        return await bus.subscribe(_SUBJECTS, _QUEUE, self._answer)

    async def _answer(self, request: Request) -> None:
        node = request.subject.partition(".")[2]
        try:
            signed = Signed(await self._sign(node, request.body))
            log.info("certificates of node %s are renewed", node)
        except (ArintError, OSError, msgspec.MsgspecError) as error:
            log.warning("certificates of node %s are not renewed: %s", node, error)
            signed = Signed(error=str(error))
        request.respond(msgspec.json.encode(signed))

    async def _sign(self, node: str, body: bytes) -> dict[str, str]:
        from arint.security.requests import sign_requests
        from arint.store.keys import Keys

        keys = Keys(self._link.config.cluster)
        if await (await self._link.etcd()).get(keys.node(node)) is None:
            raise DeniedError(f"there is no node {node}, or no longer", where=f"node {self._link.config.node}",
                              remedy="let it join again: arintctl node request")
        return sign_requests(self._link.home, msgspec.json.decode(body, type=dict[str, str]), node)
