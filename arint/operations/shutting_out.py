"""Shutting somebody out for good: forgotten everywhere at once, and not let in again by an old name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from arint.errors import ConflictError, NotFoundError
from arint.registry.certificates import Report, Revoked

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.store.connection import Etcd
    from arint.store.keys import Keys


async def node(link: Link, etcd: Etcd, keys: Keys, name: str) -> Revoked:
    """Forget a node that may well live, with all that hangs on its lease. Raises NotFoundError."""
    from arint.security.ca import LEAF_DAYS
    from arint.store.access import dismiss_node
    from arint.store.transactions import delete

    before = await _known(etcd, keys, "node", name)
    if await etcd.get(keys.node(name)) is None and before is None:
        raise NotFoundError(f"there is no node {name!r}", remedy="arintctl node list")
    found = await etcd.get(keys.certificates(name))
    report = msgspec.json.decode(found.value, type=Report) if found is not None else Report()
    until = max((one.expires for one in report.leaves), default=time.time() + LEAF_DAYS * 86400)
    revoked = before or _revoked(link, f"node/{name}", [one.serial for one in report.leaves], until)
    await etcd.put(keys.revoked("node", name), msgspec.json.encode(revoked))
    await dismiss_node(etcd, name)  # from here on it writes nothing any more
    alive = await etcd.get(keys.alive(name))
    await etcd.txn([], [delete(keys.node(name)), delete(keys.certificates(name))])
    if alive is not None:  # its connection may keep the lease: any certificate of etcd's CA may
        await etcd.revoke_lease(alive.lease)
    return revoked


async def user(link: Link, etcd: Etcd, keys: Keys, name: str) -> Revoked:
    """Forget a user. Raises NotFoundError."""
    from arint.administration.users import Users
    from arint.store.transactions import put

    users = Users(etcd, link.config.cluster)
    one = await users.get(name)
    revoked = _revoked(link, f"user/{name}", [one.serial] if one.serial else [], one.expires)
    await etcd.txn([], [put(keys.revoked("user", name), msgspec.json.encode(revoked))])
    await users.delete(name)
    return revoked


async def refuse_revoked(etcd: Etcd, keys: Keys, kind: str, name: str) -> None:
    """Raises ConflictError for a name that certificates which were revoked still bear; afterwards it is free again."""
    found = await _known(etcd, keys, kind, name)
    if found is None:
        return
    if found.until > time.time():
        until = time.strftime("%Y-%m-%d", time.gmtime(found.until))
        raise ConflictError(f"{kind} {name} was revoked, and a certificate of that name lasts until {until}",
                            where=name, remedy=("choose another name; or change the CAs: "
                                                "arintctl cluster certs rotate --ca"))
    await etcd.delete(keys.revoked(kind, name))


async def _known(etcd: Etcd, keys: Keys, kind: str, name: str) -> Revoked | None:
    found = await etcd.get(keys.revoked(kind, name))
    return msgspec.json.decode(found.value, type=Revoked) if found is not None else None


def _revoked(link: Link, name: str, serials: list[str], until: float) -> Revoked:
    from arint.operations.configuration import whoami

    return Revoked(name=name, serials=tuple(serials), until=until, at=time.time(), by=link.actor or whoami())
