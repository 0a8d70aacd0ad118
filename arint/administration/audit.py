"""The audit: who did what, when, with which outcome; a stream that nobody can take from, each record tied to the last.

Each record holds the hash of the one before it, and the newest one's hash stands in etcd as well: what is changed,
left out or cut off at the end is found by `check`. The broker orders those who write at once (the expected last
sequence), so that the chain has one branch. Nothing is deleted but by age and room, the oldest first.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from arint.bus import api, streams, subjects
from arint.errors import ArintError, UnreachableError
from arint.masking import MASK, looks_secret

if TYPE_CHECKING:
    from arint.bus.connection import Bus
    from arint.store.connection import Etcd

Outcome = Literal["begun", "done", "failed", "cancelled", "denied"]
_Result = TypeVar("_Result")
_TRIES = 40
_STALE = 10071
_LONGEST = 300
_MOST_ITEMS = 50
log = logging.getLogger("arint.audit")


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One record: that a call began, or how it ended. `at` in seconds since the epoch, `took` in seconds.

    `via`: over the `bus`, or on a server's own `home` (`user` is then the user of the operating system).
    `previous` is the hash of the record before it.
    """

    call: str
    at: float
    user: str
    operation: str
    outcome: Outcome
    role: str = ""
    arguments: dict[str, Any] = {}
    error: str = ""
    took: float = 0.0
    change_set: int = 0
    node: str = ""
    via: str = "bus"
    previous: str = ""


class Head(msgspec.Struct, frozen=True):
    """The newest record that etcd knows of."""

    sequence: int
    hash: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked through, and what is wrong with it: nothing, where `problems` is empty."""

    records: int
    first: int
    last: int
    problems: tuple[str, ...] = ()


class Audit:
    """The audit of one cluster."""

    def __init__(self, bus: Bus, etcd: Etcd, cluster: str) -> None:
        from arint.store.keys import Keys

        self._bus, self._etcd = bus, etcd
        self._key = Keys(cluster).audit_head(subjects.AUDIT)

    async def ensure(self, replicas: int | None = None) -> None:
        """Make the stream; with `replicas` also bring it to so many."""
        if replicas is None:
            with suppress(ArintError):
                await streams.state(self._bus, subjects.AUDIT)
                return
        await streams.ensure(self._bus, streams.audit_config(replicas or 1))

    async def append(self, record: Record) -> None:
        """Write one record. Raises UnreachableError where it is not taken."""
        subject = subjects.audit(record.user, record.call, record.outcome)
        for attempt in range(_TRIES):
            sequence, digest = await self._last()
            body = msgspec.json.encode(msgspec.structs.replace(record, previous=digest))
            reply = await self._bus.request(subject, body, 5.0, {"Nats-Expected-Last-Sequence": str(sequence)})
            answer = msgspec.json.decode(reply.body)
            error = answer.get("error")
            if error is None:
                await self._set_head(Head(answer["seq"], hash_of(body)))
                return
            if error.get("err_code") != _STALE:
                raise api.refusal(error, subjects.AUDIT)
            await asyncio.sleep(random.uniform(0.0, 0.002 * (attempt + 1)))  # noqa: S311 - others write too
        raise UnreachableError("others write into the audit all the time", where=subjects.AUDIT, remedy="try again")

    async def around(self, record: Record, run: Callable[[], Awaitable[_Result]], *, strict: bool) -> _Result:
        """Run something between a record that it begins and one of how it ended.

        `strict`: it is not run where its beginning cannot be written.
        """
        try:
            await self.append(record)
        except ArintError as error:
            if strict:
                raise UnreachableError(f"the audit cannot be written, so nothing was done: {error.what}",
                                       where=subjects.AUDIT, remedy="see arintctl doctor; on a server's own home it "
                                                                    "is done without it") from error
            log.warning("not audited: %s", error)
        begun = time.monotonic()
        change: dict[str, Any] = {"outcome": "failed"}
        try:
            result = await run()
        except asyncio.CancelledError:
            change["outcome"] = "cancelled"
            raise
        except Exception as error:
            change["error"] = str(error)[:_LONGEST]
            raise
        else:
            change = {"outcome": "done", "change_set": int(getattr(result, "change_set", 0) or 0)}
            return result
        finally:
            end = msgspec.structs.replace(record, at=time.time(), took=time.monotonic() - begun, **change)
            await asyncio.shield(self._end(end))

    async def _end(self, record: Record) -> None:
        try:
            await self.append(record)
        except ArintError as error:
            log.warning("the end of %s by %s is not in the audit: %s", record.operation, record.user, error)

    async def head(self) -> Head | None:
        """The newest record that etcd knows of."""
        found = await self._etcd.get(self._key)
        return msgspec.json.decode(found.value, type=Head) if found is not None else None

    async def newest(self, limit: int, user: str = "") -> list[tuple[int, Record]]:
        """The newest records with their numbers, the newest first."""
        from arint.bus import lookup
        from arint.errors import NotFoundError

        try:
            found = await lookup.newest(self._bus, subjects.AUDIT, subjects.audits(user), limit)
        except NotFoundError:
            return []
        return [(one.sequence, msgspec.json.decode(one.body, type=Record)) for one in found]

    async def verify(self) -> Verified:
        """Look through all that is kept."""
        from arint.bus import lookup

        head = await self.head()  # before the records: those that come meanwhile stand behind it
        found = await lookup.look_up(self._bus, subjects.AUDIT, subjects.audits(), limit=10_000_000, deadline=60.0)
        return check([(one.sequence, one.body) for one in found], head)

    async def _last(self) -> tuple[int, str]:
        from arint.bus import lookup

        state = await streams.state(self._bus, subjects.AUDIT)
        if state.messages:
            found = await lookup.by_sequence(self._bus, subjects.AUDIT, state.last)
            return state.last, hash_of(found.body) if found is not None else ""
        head = await self.head() if state.last else None
        return state.last, head.hash if head is not None and head.sequence == state.last else ""

    async def _set_head(self, head: Head) -> None:
        from arint.store.transactions import mod_revision_is, put

        with suppress(ArintError):  # the next one's head covers this record too
            while True:
                found = await self._etcd.get(self._key)
                if found is not None and msgspec.json.decode(found.value, type=Head).sequence >= head.sequence:
                    return
                revision = found.mod_revision if found is not None else 0
                done = await self._etcd.txn([mod_revision_is(self._key, revision)],
                                            [put(self._key, msgspec.json.encode(head))])
                if done.succeeded:
                    return


def check(found: Sequence[tuple[int, bytes]], head: Head | None) -> Verified:
    """Whether the records (numbers and bodies, in their order) are one chain that ends where etcd says. Pure."""
    problems: list[str] = []
    for (before, body), (number, next_body) in itertools.pairwise(found):
        if number != before + 1:
            problems.append(f"records {before + 1} to {number - 1} are missing")
        elif _previous(next_body) != hash_of(body):
            problems.append(f"record {number} does not follow from record {before}: one of them was changed")
    last = found[-1][0] if found else 0
    hashes = {number: hash_of(body) for number, body in found[-1000:]}
    if head is not None and head.sequence > last:
        problems.append(f"the end is missing: etcd knows of record {head.sequence}, the last one here is {last}")
    elif head is not None and hashes.get(head.sequence, head.hash) != head.hash:
        problems.append(f"record {head.sequence} is not the one that etcd knows of")
    return Verified(records=len(found), first=found[0][0] if found else 0, last=last, problems=tuple(problems))


def hash_of(body: bytes) -> str:
    """By what a record is tied to the next."""
    return hashlib.sha256(body).hexdigest()


def _previous(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Record).previous
    except msgspec.MsgspecError:
        return "unreadable"


def told(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the audit holds them: no bytes, nothing that looks secret, nothing long. Pure."""
    plain = msgspec.to_builtins(dict(arguments), builtin_types=(bytes,), enc_hook=str)
    return {name: _short(name, value) for name, value in plain.items()}


def _short(name: str, value: Any) -> Any:
    if value not in (None, "", False) and looks_secret(name):
        return MASK
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    if isinstance(value, Mapping):
        return {str(key): _short(str(key), item) for key, item in _first(value.items())}
    if isinstance(value, list | tuple):
        return [_short("", item) for item in _first(value)]
    return value


def _first(items: Iterable[Any]) -> Iterable[Any]:
    return [item for _, item in zip(range(_MOST_ITEMS), items, strict=False)]
