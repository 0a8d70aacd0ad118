"""Configuration as change sets: immutable revisions of resources, immutable sets that name them, and one `head`.

A commit writes the new revisions first and then, in one transaction, compares the head with what the caller saw, writes
the set and moves the head. A crash in between leaves revisions that nothing names; the sweep finds them later.
Resources are opaque here: a key `Kind/name` and the bytes of its canonical JSON.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Iterable, Mapping

import msgspec

from arint.errors import ArintError, ConflictError, NotFoundError, NotValidError, TimedOutError, UnreachableError
from arint.store.batches import LARGEST_REQUEST, batches, chunks
from arint.store.connection import Etcd
from arint.store.keys import Keys
from arint.store.secrets import SealedSecrets
from arint.store.sweep import sweep
from arint.store.transactions import KeyValue, get, mod_revision_is, put
from arint.store.view import View

KEPT = 50
"""How many change sets are kept."""
LARGEST_RESOURCE = 256 * 2**10
_READ_AT_ONCE = 64

_log = logging.getLogger(__name__)


class ChangeSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One state of the whole configuration; `resources` maps `Kind/name` to a revision."""

    number: int
    at: float
    """Seconds since the epoch."""
    author: str
    message: str
    parent: int
    """The set it was made from; 0 for the first."""
    resources: dict[str, str]
    hasty: bool = False
    """Whether a new version takes over as soon as it is ready, whatever its service says (`arintctl dev`)."""


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(ChangeSet)


def revision_of(content: bytes) -> str:
    """The revision of a resource: the first 16 hex digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(content).hexdigest()[:16]


class ChangeSets:
    """The change sets of `cluster`."""

    def __init__(self, etcd: Etcd, cluster: str, *, kept: int = KEPT) -> None:
        self._etcd = etcd
        self._keys = Keys(cluster)
        self._kept = kept
        self.secrets = SealedSecrets(etcd, cluster)
        self._loaded: dict[tuple[str, str], bytes] = {}

    async def head_number(self) -> int:
        """The number of the set in force; 0 if none was ever committed."""
        return _number(await self._etcd.get(self._keys.head))

    async def head(self) -> ChangeSet | None:
        """The set in force, or None if none was ever committed."""
        _, current = await self._head()
        return current

    async def get(self, number: int) -> ChangeSet:
        """The set `number`. Raises NotFoundError if it is not kept (any more)."""
        kv = await self._etcd.get(self._keys.change_set(number))
        if kv is None:
            raise NotFoundError(f"there is no change set {number}", remedy="see which are kept: arintctl history")
        return _decoder.decode(kv.value)

    async def history(self) -> list[ChangeSet]:
        """The kept sets, newest first."""
        kvs, _ = await self._etcd.range(self._keys.sets_prefix)
        return [_decoder.decode(kv.value) for kv in reversed(kvs)]

    async def load(self, number: int | None = None) -> tuple[ChangeSet, dict[str, bytes]]:
        """The set `number` (default: the one in force) and its resources. Raises NotFoundError.

        Revisions that the last load already read are not read again: an agent pays for what changed.
        """
        found = await self.get(number) if number is not None else await self.head()
        if found is None:
            raise NotFoundError("nothing is configured yet", remedy="apply a manifest: arintctl apply -f FILE")
        wanted = set(found.resources.items())
        known = {pair: content for pair, content in self._loaded.items() if pair in wanted}
        for pairs in chunks(sorted(wanted - known.keys()), _READ_AT_ONCE):
            known |= await self._read(pairs)
        self._loaded = known
        return found, {key: known[key, revision] for key, revision in found.resources.items()}

    async def commit(self, resources: Mapping[str, bytes], *, expected_head: int, author: str,
                     message: str, hasty: bool = False) -> ChangeSet:
        """Put `resources` in force as the whole configuration, as a new set; if that changes nothing, no set is made.

        `expected_head` is the number of the set the caller looked at, 0 for none.
        Raises ConflictError if another was committed since, NotValidError for a resource over 256 KiB.
        """
        _check_sizes(resources)
        head, current = await self._head()
        if _number(head) != expected_head:
            raise _moved(expected_head, _number(head))
        revisions = {key: revision_of(content) for key, content in resources.items()}
        if current is not None and current.resources == revisions:
            return current
        new = ChangeSet(number=expected_head + 1, at=time.time(), author=author, message=message, parent=expected_head,
                        resources=revisions, hasty=hasty)
        encoded = _encode(new)
        there = current.resources.items() if current else ()
        await self._write(resources, revisions.items() - set(there))
        await self._move_head(head, new, encoded)
        await self._sweep(new.number)
        return new

    async def rollback(self, to: int, *, expected_head: int, author: str, message: str = "") -> ChangeSet:
        """Put the resources of set `to` in force again, as a new set. Raises as `get` and `commit`."""
        _, resources = await self.load(to)
        return await self.commit(resources, expected_head=expected_head, author=author,
                                 message=message or f"rollback to {to}")

    async def follow(self) -> AsyncGenerator[int, None]:
        """The number of the set in force now (0: none), and again whenever another is, over broken links, for ever.

        Numbers may be skipped. Close it with contextlib.aclosing.
        """
        async with View(self._etcd, self._keys.head, bytes) as view:
            async for snapshot in view:
                yield int(snapshot.get("", b"0"))

    async def kept_of(self, kind: str) -> tuple[int, dict[tuple[str, str], bytes]]:
        """Every revision of resources of a kind that a kept set names; and, read before, the mod revision of head."""
        head = await self._etcd.get(self._keys.head)
        named = {pair for one in await self.history() for pair in one.resources.items()}
        pairs = {pair for pair in named if pair[0].startswith(f"{kind}/")}
        found: dict[tuple[str, str], bytes] = {}
        for some in chunks(sorted(pairs), _READ_AT_ONCE):
            found |= await self._read(some)
        return (head.mod_revision if head else 0), found

    async def put_secret(self, name: str, digest: str, sealed: bytes) -> None:
        """Keep a sealed value."""
        await self.secrets.put(name, digest, sealed)

    async def get_secret(self, name: str, digest: str) -> bytes | None:
        """A sealed value, or None."""
        try:
            return await self.secrets.get(name, digest)
        except NotFoundError:
            return None

    async def _head(self) -> tuple[KeyValue | None, ChangeSet | None]:
        head = await self._etcd.get(self._keys.head)
        return head, (await self.get(_number(head)) if head else None)

    async def _read(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        result = await self._etcd.read_all([get(self._keys.resource(*pair)) for pair in pairs])
        answers = {pair: result.found(index) for index, pair in enumerate(pairs)}
        found = {pair: kv.value for pair, kv in answers.items() if kv}
        for key, revision in pairs:
            if (key, revision) not in found:
                raise NotFoundError(f"revision {revision} is not kept any more", where=key,
                                    remedy="see which change sets are kept: arintctl history")
        return found

    async def _write(self, resources: Mapping[str, bytes], pairs: Iterable[tuple[str, str]]) -> None:
        """Written even if a revision may exist: that renews its mod revision, which keeps the sweep off it."""
        contents = [(self._keys.resource(key, revision), resources[key]) for key, revision in sorted(pairs)]
        for batch in batches(contents):
            await self._etcd.txn([], [put(key, value) for key, value in batch])

    async def _move_head(self, head: KeyValue | None, new: ChangeSet, encoded: bytes) -> None:
        key = self._keys.change_set(new.number)
        compares = [mod_revision_is(self._keys.head, head.mod_revision if head else 0)]
        then = [put(key, encoded), put(self._keys.head, str(new.number).encode())]
        try:
            result = await self._etcd.txn(compares, then, [get(key)])
        except TimedOutError as doubt:  # it may have been done; the comparison makes asking again harmless
            try:
                result = await self._etcd.txn(compares, then, [get(key)])
            except UnreachableError:
                raise doubt from None  # that one changed nothing, but the first may have
        if result.succeeded:
            return
        there = result.found()
        if there is None or there.value != encoded:  # else it is ours: the first try was done after all
            raise _moved(new.parent, await self.head_number())

    async def _sweep(self, newest: int) -> None:
        """The commit stands already, so a failure here is only told; the next commit sweeps again."""
        try:
            await sweep(self._etcd, self._keys, oldest=newest - self._kept + 1, resources_of=_resources_of)
        except ArintError as error:
            _log.warning("old change sets were not swept: %s", error)


def _number(head: KeyValue | None) -> int:
    return int(head.value) if head else 0


def _resources_of(encoded: bytes) -> Iterable[tuple[str, str]]:
    return _decoder.decode(encoded).resources.items()


def _encode(new: ChangeSet) -> bytes:
    encoded = _encoder.encode(new)
    if len(encoded) > LARGEST_REQUEST:
        raise NotValidError(f"the change set names too many resources ({len(new.resources)})",
                            remedy="split the configuration over several clusters")
    return encoded


def _check_sizes(resources: Mapping[str, bytes]) -> None:
    for key, content in resources.items():
        if len(content) > LARGEST_RESOURCE:
            raise NotValidError(f"the resource is {len(content)} bytes; at most {LARGEST_RESOURCE} are kept", where=key,
                                remedy="split it, or move large content to a file that a service reads")


def _moved(expected: int, found: int) -> ConflictError:
    return ConflictError(f"the configuration changed in between: set {expected} was expected, {found} is in force",
                         remedy="plan again, look at the difference, then apply")
