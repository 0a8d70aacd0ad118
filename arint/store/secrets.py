"""Sealed values in the store: bytes that only the key ring of the nodes opens (`arint.security.sealing`)."""

from __future__ import annotations

from arint.errors import NotFoundError
from arint.store.connection import Etcd
from arint.store.keys import Keys
from arint.store.transactions import absent, put


class SealedSecrets:
    """The sealed values of the cluster's secrets, each named by a keyed digest of what is inside."""

    def __init__(self, etcd: Etcd, cluster: str) -> None:
        self._etcd = etcd
        self._keys = Keys(cluster)

    async def put(self, name: str, digest: str, sealed: bytes) -> None:
        """Keep a sealed value; the same digest again changes nothing."""
        key = self._keys.secret(name, digest)
        await self._etcd.txn([absent(key)], [put(key, sealed)])

    async def get(self, name: str, digest: str) -> bytes:
        """A sealed value. Raises NotFoundError."""
        kv = await self._etcd.get(self._keys.secret(name, digest))
        if kv is None:
            raise NotFoundError("the secret has no such value", where=f"secret/{name}",
                                remedy="apply the manifest that declares it again")
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
