"""Sealed values in the store: bytes that only the key ring of the nodes opens (`arint.security.sealing`)."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from arint.errors import ConflictError, NotFoundError
from arint.store.batches import chunks
from arint.store.connection import Etcd
from arint.store.keys import Keys
from arint.store.transactions import delete, mod_revision_is, put


class Sealed(msgspec.Struct, frozen=True):
    """One sealed value, as it is stored."""

    name: str
    digest: str
    value: bytes
    mod_revision: int


class SealedSecrets:
    """The sealed values of the cluster's secrets, each named by a keyed digest of what is inside.

    The store says which key seals now, so that nobody who read the ring before a rotation stores anything after it: the
    key may be destroyed by then.
    """

    def __init__(self, etcd: Etcd, cluster: str) -> None:
        self._etcd = etcd
        self._keys = Keys(cluster)

    async def put(self, name: str, digest: str, sealed: bytes, *, key: str = "") -> None:
        """Keep a sealed value; it was sealed with the key of this id. Raises ConflictError if that seals no more.

        Written even if it may exist: that renews its mod revision, which keeps the sweep off it.
        """
        ring = await self._etcd.get(self._keys.ring)
        if ring is not None and key and ring.value != key.encode():
            raise _rotated()
        compares = [mod_revision_is(self._keys.ring, ring.mod_revision if ring else 0)]
        result = await self._etcd.txn(compares, [put(self._keys.secret(name, digest), sealed)])
        if not result.succeeded:
            raise _rotated()

    async def announce(self, key: str) -> None:
        """From now on the key of this id seals."""
        await self._etcd.txn([], [put(self._keys.ring, key.encode())])

    async def replace(self, one: Sealed, sealed: bytes, *, key: str) -> bool:
        """Put the same value there, sealed anew; False if it changed meanwhile. Raises ConflictError as `put`."""
        ring = await self._etcd.get(self._keys.ring)
        if ring is None or ring.value != key.encode():
            raise _rotated()
        place = self._keys.secret(one.name, one.digest)
        result = await self._etcd.txn([mod_revision_is(self._keys.ring, ring.mod_revision),
                                       mod_revision_is(place, one.mod_revision)], [put(place, sealed)])
        return result.succeeded

    async def all(self) -> list[Sealed]:
        """Every sealed value that is kept."""
        prefix = self._keys.secrets_prefix
        kvs, _ = await self._etcd.range(prefix)
        parts = [(kv.key.removeprefix(prefix).partition("/"), kv) for kv in kvs]
        return [Sealed(name, digest, kv.value, kv.mod_revision) for (name, _, digest), kv in parts]

    async def get(self, name: str, digest: str) -> bytes:
        """A sealed value. Raises NotFoundError."""
        kv = await self._etcd.get(self._keys.secret(name, digest))
        if kv is None:
            raise NotFoundError("the secret has no such value", where=f"secret/{name}",
                                remedy="apply the manifest that declares it again, or: arintctl secret set")
        return kv.value

    async def digests(self, name: str) -> list[str]:
        """The digests of all values kept for the secret."""
        prefix = self._keys.secret_prefix(name)
        kvs, _ = await self._etcd.range(prefix, keys_only=True)
        return [kv.key.removeprefix(prefix) for kv in kvs]

    async def delete(self, name: str, digest: str | None = None) -> int:
        """Forget one value of the secret, or all; how many there were."""
        if digest is not None:
            return int(await self._etcd.delete(self._keys.secret(name, digest)))
        return await self._etcd.delete_prefix(self._keys.secret_prefix(name))

    async def collect(self, named: Collection[tuple[str, str]], *, before: int) -> int:
        """Forget the values that are not `named` (name and digest) by any kept change set; returns how many.

        `before`: the mod revision of the head by which that was found out. What was written later belongs to a commit
        that is under way.
        """
        unnamed = [one for one in await self.all()
                   if (one.name, one.digest) not in named and one.mod_revision < before]
        gone = 0
        for some in chunks(unnamed):
            places = [(self._keys.secret(one.name, one.digest), one.mod_revision) for one in some]
            result = await self._etcd.txn([mod_revision_is(*place) for place in places],
                                          [delete(place) for place, _ in places])
            gone += len(some) if result.succeeded else 0
        return gone


def _rotated() -> ConflictError:
    return ConflictError("the key ring of the secrets was rotated meanwhile", remedy="do it again")
