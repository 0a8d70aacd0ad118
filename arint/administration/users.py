"""The cluster's users: who may call operations over the bus, in which role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from arint.administration.frames import user_name
from arint.administration.registry import Role
from arint.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from arint.store.connection import Etcd


class User(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One user. Times are in seconds since the epoch; `serial` is that of the newest certificate, in hexadecimal."""

    name: str
    role: Role
    created: float = 0.0
    by: str = ""
    serial: str = ""
    expires: float = 0.0
    ca: str = ""
    """The fingerprint of the CA that signed it."""


class Users:
    """The records of users; their names stand where agents may read them too, for the broker's configuration."""

    def __init__(self, etcd: Etcd, cluster: str) -> None:
        from arint.store.keys import Keys

        self._etcd, self._keys = etcd, Keys(cluster)

    async def find(self, name: str) -> User | None:
        """The user of this name."""
        found = await self._etcd.get(self._keys.user(user_name(name)))
        return msgspec.json.decode(found.value, type=User) if found is not None else None

    async def get(self, name: str) -> User:
        """The user of this name. Raises NotFoundError."""
        found = await self.find(name)
        if found is None:
            raise NotFoundError(f"there is no user {name!r}", remedy="arintctl user list shows them")
        return found

    async def all(self) -> list[User]:
        """All users, by name."""
        found, _ = await self._etcd.range(self._keys.users_prefix)
        return [msgspec.json.decode(one.value, type=User) for one in found]

    async def put(self, user: User, *, anew: bool) -> None:
        """Keep a user. Raises ConflictError where there is one of the name already, unless `anew`."""
        from arint.store.transactions import absent, put

        key = self._keys.user(user_name(user.name))
        done = await self._etcd.txn([] if anew else [absent(key)], [
            put(key, msgspec.json.encode(user)), put(self._keys.known_user(user.name), b"")])
        if not done.succeeded:
            raise ConflictError(f"there is a user {user.name!r} already", remedy=(
                "--renew gives them another certificate, and the role that you name"))

    async def delete(self, name: str) -> User:
        """Forget a user: from now on they may do nothing. Raises NotFoundError."""
        from arint.store.transactions import delete

        user = await self.get(name)
        await self._etcd.txn([], [delete(self._keys.user(name)), delete(self._keys.known_user(name))])
        return user
