"""Secrets: give one a value, list them, seal all of them anew under another key. A value is never read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative
from arint.errors import ConflictError, NotFoundError, NotValidError
from arint.operations.configuration import Applied, changes_between, commit, finish, seal
from arint.operations.history import applied
from arint.operations.progress import Progress, Step, silent
from arint.resources.graph import users
from arint.resources.kinds import Secret, key_of

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.store.changesets import ChangeSet

LARGEST = 64 * 2**10
"""Bytes of a value."""
_TRIES = 5


class SecretSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What may be told of a secret. `set` in seconds since the epoch; `key` is the id of the key that seals it."""

    name: str
    description: str = ""
    set: float = 0.0
    by: str = ""
    key: str = ""
    kept: int = 0
    """Values that kept change sets name, this one included: a rollback brings them back."""
    source: str = ""
    used_by: tuple[str, ...] = ()


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did: the id of the new key; values sealed anew, values forgotten, keys destroyed."""

    key: str
    sealed: int
    forgotten: int
    destroyed: int


@administrative("administrator")
async def set_secret(link: Link, name: str, value: bytes, *, author: str = "", wait: bool = True,
                     timeout: float = 60.0, progress: Progress = silent) -> Applied:
    """Give a secret a value, and make it known if it is new; instances that use it get the new one.

    Raises NotValidError for a name or a value that cannot be, ConflictError where the configuration changed meanwhile.
    """
    from arint.security.sealing import Sealer

    _check(name, value)
    head, resources = await applied(link)
    digest = Sealer.load(link.home).keyed_digest(value)
    known = resources.get(f"Secret/{name}")
    secret = msgspec.structs.replace(known, digest=digest) if isinstance(known, Secret) else _new(name, digest)
    after = {**resources, key_of(secret): secret}
    changes = changes_between(resources, after)
    if changes:
        await seal(link, {(name, digest): value}, progress)
        head = await commit(link, after, head, author, f"secret set {name}")
        await collect(link)
    return await finish(link, head, after, changes, wait, timeout, progress, answers_for={key_of(secret): secret})


@administrative("viewer")
async def list_secrets(link: Link) -> list[SecretSummary]:
    """All secrets, by name."""
    _, resources = await applied(link)
    secrets = [one for one in resources.values() if isinstance(one, Secret)]
    sets = await (await link.change_sets()).history()
    values = await (await link.secrets()).all()
    found = []
    for secret in sorted(secrets, key=lambda one: one.name):
        mine = {one.digest: one.value for one in values if one.name == secret.name}
        since = _since(sets, key_of(secret))
        found.append(SecretSummary(
            name=secret.name, description=secret.description, set=since.at if since else 0.0,
            by=since.author if since else "", key=_key(mine.get(secret.digest)), kept=len(mine), source=_source(secret),
            used_by=tuple(users(resources.values(), key_of(secret)))))
    return found


@administrative("viewer")
async def describe_secret(link: Link, name: str) -> SecretSummary:
    """What may be told of one secret. Raises NotFoundError."""
    for one in await list_secrets(link):
        if one.name == name:
            return one
    raise NotFoundError(f"there is no secret {name!r}", remedy="arintctl secret list shows them")


@administrative("administrator")
async def rotate_secrets(link: Link, progress: Progress = silent) -> Rotated:
    """Seal every value anew under a new key, and destroy the keys that nothing needs any more.

    Whatever ends it half-way leaves every value readable; the next rotation finishes it. Raises DeniedError for a
    value that no key of this ring opens: then no key is destroyed.
    """
    from arint.security import sealing

    kept = await link.secrets()
    forgotten = await collect(link)
    sealer = sealing.rotate(link.home)
    await kept.announce(sealer.newest)
    sealed = 0
    for _ in range(_TRIES):
        old = [one for one in await kept.all() if sealing.key_id(one.value) != sealer.newest]
        if not old:
            in_use = {sealing.key_id(one.value) for one in await kept.all()} | await _of_cas(link, sealing.key_id)
            return Rotated(key=sealer.newest, sealed=sealed, forgotten=forgotten,
                           destroyed=sealing.retire(link.home, in_use))
        for one in old:
            progress(Step(f"sealing {one.name} anew"))
            fresh = sealer.seal(one.name, sealer.unseal(one.name, one.value))
            sealed += await kept.replace(one, fresh, key=sealer.newest)
    raise ConflictError("the secrets change all the time; some are still sealed with an older key",
                        remedy="rotate again once nobody applies; every value can be read")


async def _of_cas(link: Link, key_id: Callable[[bytes], str]) -> set[str]:
    """The keys with which those of CAs that are taking over are sealed."""
    from arint.store.keys import Keys

    found, _ = await (await link.etcd()).range(Keys(link.config.cluster).ca_keys_prefix)
    return {key_id(one.value) for one in found}


async def collect(link: Link) -> int:
    """Forget the values that no kept change set names; returns how many there were."""
    from arint.resources.canonical import from_canonical

    before, revisions = await (await link.change_sets()).kept_of("Secret")
    named = {(one.name, one.digest) for one in map(from_canonical, revisions.values()) if isinstance(one, Secret)}
    return await (await link.secrets()).collect(named, before=before)


def _check(name: str, value: bytes) -> None:
    if not value:
        raise NotValidError("the value is empty", where=f"secret/{name}", remedy="give it on stdin, or with --file")
    if len(value) > LARGEST:
        raise NotValidError(f"the value has {len(value)} bytes; at most {LARGEST} are kept", where=f"secret/{name}")


def _new(name: str, digest: str) -> Secret:
    try:
        return msgspec.convert({"name": name, "digest": digest}, Secret)
    except msgspec.ValidationError as error:
        raise NotValidError(f"{name!r} is no name: {error}", remedy="lower-case letters, digits and hyphens") from None


def _since(sets: list[ChangeSet], key: str) -> ChangeSet | None:
    """The oldest of the kept sets, newest first, since which the resource is as it is now."""
    found: ChangeSet | None = None
    for one in sets:
        if found is not None and one.resources.get(key) != found.resources.get(key):
            break
        found = one
    return found


def _key(sealed: bytes | None) -> str:
    from arint.security.sealing import key_id

    return key_id(sealed) if sealed else ""


def _source(secret: Secret) -> str:
    if secret.source is None:
        return ""
    return f"${secret.source.env}" if secret.source.env else secret.source.file
