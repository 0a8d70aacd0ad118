"""Forgetting old change sets, and the revisions of resources that no kept one names.

It may run beside commits of others. A revision that a commit in flight has written, but that no set names yet, must
survive: only what was last written *before the head that this sweep saw* is removed, each guarded by its mod revision.
A commit that began before that head fails, since the head moved; one that began after it wrote later.

What runs may be older than every kept set: the revisions that assignments and rollouts name stay too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from arint.store.batches import chunks
from arint.store.connection import Etcd
from arint.store.keys import Keys
from arint.store.transactions import KeyValue, delete, mod_revision_is


async def sweep(etcd: Etcd, keys: Keys, *, oldest: int,
                resources_of: Callable[[bytes], Iterable[tuple[str, str]]]) -> int:
    """Keep the sets from number `oldest` on; how many revisions were removed. Does nothing while all sets are kept."""
    numbers, _ = await etcd.range(keys.sets_prefix, keys_only=True)
    first_kept = keys.change_set(max(oldest, 0))
    old = [kv for kv in numbers if kv.key < first_kept]
    if not old:
        return 0
    await _delete(etcd, old)
    head = await etcd.get(keys.head)
    if head is None:
        return 0
    named = await _named(etcd, keys, resources_of) | await _in_use(etcd, keys)
    revisions, _ = await etcd.range(keys.resources_prefix, keys_only=True)
    unnamed = [kv for kv in revisions if kv.key not in named and kv.mod_revision < head.mod_revision]
    return await _delete(etcd, unnamed)


async def _named(etcd: Etcd, keys: Keys, resources_of: Callable[[bytes], Iterable[tuple[str, str]]]) -> set[str]:
    kvs, _ = await etcd.range(keys.sets_prefix)
    return {keys.resource(*pair) for kv in kvs for pair in resources_of(kv.value)}


class _Use(msgspec.Struct):
    """What an assignment or a rollout says of the revision that it is about."""

    revision: str = ""
    service: str = ""


async def _in_use(etcd: Etcd, keys: Keys) -> set[str]:
    """The revisions of services that run, or that would be gone back to."""
    assigned, _ = await etcd.range(keys.assignments_prefix())
    rollouts, _ = await etcd.range(keys.rollouts_prefix)
    uses = [msgspec.json.decode(kv.value, type=_Use) for kv in assigned]
    uses += [msgspec.structs.replace(msgspec.json.decode(kv.value, type=_Use),
                                     service=kv.key.removeprefix(keys.rollouts_prefix)) for kv in rollouts]
    return {keys.resource(f"Service/{use.service}", use.revision) for use in uses if use.revision}


async def _delete(etcd: Etcd, kvs: Iterable[KeyValue]) -> int:
    """Remove keys that nobody wrote since they were read; a batch with one that was is done key by key."""
    removed = 0
    for chunk in chunks(kvs):
        result = await etcd.txn([mod_revision_is(kv.key, kv.mod_revision) for kv in chunk],
                                [delete(kv.key) for kv in chunk])
        if result.succeeded:
            removed += len(chunk)
        elif len(chunk) > 1:
            for kv in chunk:
                removed += await _delete(etcd, [kv])
    return removed
