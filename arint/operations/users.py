"""Users of the cluster: make one, list them, take one away."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import Role, administrative
from arint.administration.users import User, Users
from arint.errors import NotValidError

if TYPE_CHECKING:
    from arint.operations.connect import Link

LONGEST = 825
"""Days that a certificate is valid at most."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A user, and all that a context needs besides the private key, which never travels."""

    user: User
    cluster: str
    servers: tuple[str, ...]
    ca: str
    certificate: str


@administrative("administrator")
async def add_user(link: Link, name: str, role: Role, request: str, *, days: int = 90, renew: bool = False) -> Issued:
    """Make a user, or with `renew` give one another certificate, and this role. `request` is a PKCS#10 request, PEM.

    Raises ConflictError where there is one already, NotValidError.
    """
    from arint.administration.frames import user_name
    from arint.operations.configuration import whoami
    from arint.operations.shutting_out import refuse_revoked
    from arint.security.authorities import next_ca
    from arint.security.users import sign
    from arint.store.keys import Keys

    user_name(name)
    if not 1 <= days <= LONGEST:
        raise NotValidError(f"a certificate is valid for 1 to {LONGEST} days", where="--days")
    users = await _users(link)
    known = await users.get(name) if renew else None
    etcd, cluster = await link.etcd(), link.config.cluster
    await refuse_revoked(etcd, Keys(cluster), "user", name)
    certificate = sign(await next_ca(link.home, etcd, cluster, "cluster-ca"), name, request, days)
    user = User(name=name, role=role, created=known.created if known else time.time(), by=link.actor or whoami(),
                serial=certificate.serial, expires=certificate.expires, ca=certificate.ca)
    await users.put(user, anew=renew)
    return Issued(user=user, cluster=link.config.cluster, servers=servers_of(link), certificate=certificate.pem,
                  ca=await asyncio.to_thread(Path(link.home.identity("admin").ca).read_text, "ascii"))


@administrative("viewer")
async def list_users(link: Link) -> list[User]:
    """All users, by name."""
    return await (await _users(link)).all()


@administrative("viewer")
async def show_user(link: Link, name: str) -> User:
    """One user. Raises NotFoundError."""
    return await (await _users(link)).get(name)


@administrative("administrator")
async def remove_user(link: Link, name: str) -> User:
    """Take a user away: their next call is refused. Raises NotFoundError."""
    return await (await _users(link)).delete(name)


def servers_of(link: Link) -> tuple[str, ...]:
    """Where the cluster's brokers listen, as far as this node knows."""
    config = link.config
    return (f"tls://{config.host}:{config.ports.nats}",)


async def _users(link: Link) -> Users:
    return Users(await link.etcd(), link.config.cluster)
