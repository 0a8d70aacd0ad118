"""Certificates of the cluster: list, renew and rotate them, and revoke somebody's.

What is wanted stands in etcd; each node's agent brings it about and reports. An operation writes what it wants, waits
for the reports, and goes on: whatever ends it half-way, the same again goes on from there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from arint.administration.registry import administrative
from arint.errors import ArintError, ConflictError, NotFoundError, TimedOutError
from arint.operations.progress import Progress, Step, silent
from arint.registry.certificates import Report, Revoked, Wanted
from arint.registry.records import NodeRecord

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.store.connection import Etcd
    from arint.store.keys import Keys

_POLL = 0.1
_TRIES = 20
_DAY = 86400.0
SOON = 7 * _DAY
"""A certificate that ends within so many seconds was not renewed in time."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate. `of`: `ca`, `node/NAME` or `user/NAME`. Times are in seconds since the epoch.

    `state`: good, soon (ends within a week), expired, refused (`problem` says why) or revoked.
    """

    of: str
    identity: str
    state: str
    expires: float
    begins: float = 0.0
    serial: str = ""
    ca: str = ""
    problem: str = ""


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes with new certificates, and those that were away and have none. `took` in seconds."""

    nodes: tuple[str, ...]
    away: tuple[str, ...] = ()
    took: float = 0.0


@administrative("viewer")
async def list_certificates(link: Link) -> list[Certificate]:
    """Of the CAs, all nodes and all users, as their agents reported them."""
    from arint.administration.users import Users
    from arint.security.authorities import trusted_here

    etcd, keys = await link.etcd(), _keys(link)
    now = time.time()
    rows = [Certificate(of="ca", identity=name, state=_state(end, now), expires=end, begins=begin, serial=serial, ca=ca)
            for name, begin, end, serial, ca in await asyncio.to_thread(trusted_here, link.home)]
    for node, report in sorted((await _reports(etcd, keys)).items()):
        rows += [Certificate(of=f"node/{node}", identity=one.identity, state=_state(one.expires, now, one.problem),
                             expires=one.expires, begins=one.begins, serial=one.serial, ca=one.ca, problem=one.problem)
                 for one in report.leaves]
    for user in await Users(etcd, link.config.cluster).all():
        rows.append(Certificate(of=f"user/{user.name}", identity="user", state=_state(user.expires, now),
                                expires=user.expires, serial=user.serial, ca=user.ca))
    for gone in await _revoked(etcd, keys):
        rows += [Certificate(of=gone.name, identity="", state="revoked", expires=gone.until, serial=serial)
                 for serial in gone.serials]
    return rows


@administrative("administrator")
async def renew_certificates(link: Link, nodes: tuple[str, ...] = (), *, force: bool = False, timeout: float = 60.0,
                             progress: Progress = silent) -> Renewed:
    """New keys and certificates for these nodes, or for all, while everything runs.

    Raises NotFoundError, ConflictError while a node is away (unless `force`: it is left out), TimedOutError.
    """
    begun = time.monotonic()
    etcd, keys = await link.etcd(), _keys(link)
    here, away = await _present(etcd, keys, nodes, force=force)
    progress(Step(f"renewing the certificates of {', '.join(here)}"))
    wanted = await _change(etcd, keys, lambda one: msgspec.structs.replace(
        one, renew={**one.renew, **dict.fromkeys(here, one.round + 1)}))
    await _wait(etcd, keys, wanted.round, here, timeout, progress)
    progress(Step("all certificates are new", done=True))
    return Renewed(nodes=tuple(here), away=tuple(away), took=time.monotonic() - begun)


@administrative("administrator")
async def rotate_cas(link: Link, *, force: bool = False, timeout: float = 120.0,
                     progress: Progress = silent) -> Renewed:
    """Put new CAs in the place of both, and new certificates with them, while everything runs.

    Both are trusted until every node has certificates of the new ones. `force`: nodes that are away and users with
    certificates of the old one are left behind. `timeout` in seconds is for each step. Raises ConflictError that says
    who is missing, TimedOutError; the same again goes on.
    """
    from arint.security import authorities

    begun = time.monotonic()
    etcd, keys = await link.etcd(), _keys(link)
    here, away = await _present(etcd, keys, (), force=force)
    wanted = await _wanted(etcd, keys)
    if not authorities.is_rotating(wanted):
        progress(Step("making new CAs"))
        made = await authorities.make_next(link.home, etcd, link.config.cluster)
        wanted = await _change(etcd, keys, lambda one: msgspec.structs.replace(one, authorities=made))
    if not authorities.is_signing_anew(wanted):
        progress(Step("waiting until every node trusts the old and the new"))
        await _wait(etcd, keys, wanted.round, here, timeout, progress)
        await _refuse_users_of_before(link, authorities.newest(wanted)["cluster-ca"], force=force)
        wanted = await _change(etcd, keys, authorities.sign_anew)
    progress(Step("waiting until every node has certificates of the new"))
    await _wait(etcd, keys, wanted.round, here, timeout, progress)
    wanted = await _change(etcd, keys, authorities.drop_old)
    progress(Step("waiting until no node trusts the old"))
    await _wait(etcd, keys, wanted.round, here, timeout, progress)
    await _forget_the_old(etcd, keys, tuple(wanted.authorities))
    progress(Step("the old CAs are gone", done=True))
    return Renewed(nodes=tuple(here), away=tuple(away), took=time.monotonic() - begun)


@administrative("administrator")
async def revoke(link: Link, kind: Literal["node", "user"], name: str, *, timeout: float = 60.0,
                 progress: Progress = silent) -> Revoked:
    """Shut a node or a user out, whatever certificate they hold: connections are cut, and while one of theirs lasts the
    name is not let in again.

    Raises NotFoundError, ConflictError for the node by which this is done, TimedOutError while a server has not cut
    the connections yet: the same again goes on.
    """
    from arint.operations import shutting_out

    etcd, keys = await link.etcd(), _keys(link)
    if kind == "user":
        return await shutting_out.user(link, etcd, keys, name)
    if name == link.config.node:
        raise ConflictError("this is the node itself", where=name, remedy="revoke it from another server")
    progress(Step(f"shutting {name} out"))
    revoked = await shutting_out.node(link, etcd, keys, name)
    wanted = await _change(etcd, keys, lambda one: msgspec.structs.replace(one, cut=one.round + 1))
    progress(Step("cutting its connections"))
    await _wait(etcd, keys, wanted.round, await _servers(etcd, keys), timeout, progress)
    progress(Step(f"{name} is shut out", done=True))
    return revoked


async def _change(etcd: Etcd, keys: Keys, change: Callable[[Wanted], Wanted]) -> Wanted:
    """A new round of what is wanted. Raises ConflictError where others change it all the time."""
    from arint.store.transactions import absent, mod_revision_is, put

    key = keys.certificates_wanted
    for _ in range(_TRIES):
        found = await etcd.get(key)
        before = msgspec.json.decode(found.value, type=Wanted) if found is not None else Wanted()
        after = msgspec.structs.replace(change(before), round=before.round + 1)
        compare = mod_revision_is(key, found.mod_revision) if found is not None else absent(key)
        if (await etcd.txn([compare], [put(key, msgspec.json.encode(after))])).succeeded:
            return after
    raise ConflictError("others change the certificates all the time", remedy="try again")


async def _wait(etcd: Etcd, keys: Keys, wanted: int, nodes: Sequence[str], timeout: float, progress: Progress) -> None:
    """Until all of these nodes report this round. Raises TimedOutError with those that did not, and why."""
    deadline, told = time.monotonic() + timeout, ""
    while True:
        try:
            reports = await _reports(etcd, keys)
        except ArintError:  # etcd is started anew meanwhile
            reports = {}
        missing = [name for name in nodes if reports.get(name, Report()).round < wanted]
        if reports and not missing:
            return
        if time.monotonic() >= deadline:
            why = "; ".join(f"{name}: {reports.get(name, Report()).error or 'no report yet'}" for name in missing)
            raise TimedOutError(f"not done within {timeout:g} s by {why}", where="certificates", remedy=(
                "see the log of that node's agent (arintctl logs agent, there); then the same again, which goes on"))
        if reports and (words := f"waiting for {', '.join(missing)}") != told:
            progress(Step(told := words))
        await asyncio.sleep(_POLL)


async def _present(etcd: Etcd, keys: Keys, nodes: Sequence[str], *, force: bool) -> tuple[list[str], list[str]]:
    """Those of these nodes (of all, where none is named) that live, and that do not. Raises ConflictError."""
    known, _ = await etcd.range(keys.nodes_prefix, keys_only=True)
    names = {one.key.removeprefix(keys.nodes_prefix) for one in known}
    for name in nodes:
        if name not in names:
            raise NotFoundError(f"there is no node {name!r}", remedy="arintctl node list")
    found, _ = await etcd.range(keys.alive_prefix, keys_only=True)
    alive = {one.key.removeprefix(keys.alive_prefix) for one in found}
    asked = set(nodes) or names
    away = sorted(asked - alive)
    if away and not force:
        raise ConflictError(f"away: {', '.join(away)}", where="certificates", remedy=(
            "start them, or with --force leave them behind: they must join again then (arintctl node request)"))
    return sorted(asked & alive), away


async def _servers(etcd: Etcd, keys: Keys) -> list[str]:
    found, _ = await etcd.range(keys.nodes_prefix)
    records = [msgspec.json.decode(one.value, type=NodeRecord) for one in found]
    return sorted(one.name for one in records if "server" in one.roles)


async def _refuse_users_of_before(link: Link, newest: str, *, force: bool) -> None:
    """Raises ConflictError with the users who would be cut off."""
    from arint.administration.users import Users

    users = await Users(await link.etcd(), link.config.cluster).all()
    left = [one.name for one in users if one.expires > time.time() and one.ca != newest]
    if left and not force:
        raise ConflictError(f"users with certificates of the old CA: {', '.join(left)}", where="certificates", remedy=(
            "give them others (arintctl user add NAME --role ROLE --renew), which are good before and after; then the "
            "same again. --force cuts them off"))


async def _forget_the_old(etcd: Etcd, keys: Keys, names: Sequence[str]) -> None:
    """The keys that were kept for servers; and whom certificates of the old CAs might have let in again."""
    for name in names:
        await etcd.delete(keys.ca_key(name))
    await etcd.delete_prefix(keys.revoked_prefix)


async def _wanted(etcd: Etcd, keys: Keys) -> Wanted:
    found = await etcd.get(keys.certificates_wanted)
    return msgspec.json.decode(found.value, type=Wanted) if found is not None else Wanted()


async def _reports(etcd: Etcd, keys: Keys) -> dict[str, Report]:
    found, _ = await etcd.range(keys.certificates_prefix)
    return {one.key.removeprefix(keys.certificates_prefix): msgspec.json.decode(one.value, type=Report)
            for one in found}


async def _revoked(etcd: Etcd, keys: Keys) -> list[Revoked]:
    found, _ = await etcd.range(keys.revoked_prefix)
    return [msgspec.json.decode(one.value, type=Revoked) for one in found]


def _state(expires: float, now: float, problem: str = "") -> str:
    if expires and expires <= now:
        return "expired"
    if problem:
        return "refused"
    return "soon" if expires - now < SOON else "good"


def _keys(link: Link) -> Keys:
    from arint.store.keys import Keys

    return Keys(link.config.cluster)
