"""Elections: one leader at a time, and a token that fences off those before.

As etcd's own `concurrency.Election`: every candidate has a key of its own, on its lease; the oldest leads, each other
waits for the one just before it, so that an end wakes one. The token is the create-revision of the leader's key.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec

from arint.errors import TimedOutError, UnreachableError
from arint.store.connection import Etcd
from arint.store.failures import CompactedError, LeaseLostError
from arint.store.keys import candidate
from arint.store.lease import Lease
from arint.store.transactions import Compare, KeyValue, absent, create_revision_is, delete, get, put
from arint.store.watch import EventType, watch

_PAUSE = 0.1


class Leader(msgspec.Struct, frozen=True):
    """Who leads: the value it campaigned with, and its token."""

    value: bytes
    token: int
    key: str


class Election:
    """A candidate under `prefix` (`Keys.election_prefix`), for as long as `lease` lasts."""

    def __init__(self, etcd: Etcd, prefix: str, lease: Lease, value: bytes) -> None:
        self.prefix = prefix
        self.key = candidate(prefix, lease.id)
        self.token = 0
        """The fencing token; 0 until elected. It only grows from leader to leader."""
        self._etcd = etcd
        self._lease = lease
        self._value = value

    @property
    def leading(self) -> bool:
        """Whether this candidate was elected and its lease is certain to be held. Fence what you write all the same."""
        return self.token > 0 and self._lease.held

    async def campaign(self) -> int:
        """Wait until elected; the token. Errors of etcd are waited out. Raises LeaseLostError when the lease ends."""
        lost = asyncio.create_task(self._lease.lost.wait())
        elected = asyncio.create_task(self._campaign())
        try:
            await asyncio.wait((lost, elected), return_when=asyncio.FIRST_COMPLETED)
            self._lease.check()
            self.token = await elected
            return self.token
        finally:
            await _end(lost, elected)

    async def wait_lost(self) -> None:
        """Wait until this candidate no longer leads: its lease has ended, or its key is gone."""
        lost = asyncio.create_task(self._lease.lost.wait())
        gone = asyncio.create_task(self._gone(self.key, self.token))
        try:
            await asyncio.wait((lost, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                gone.result()
        finally:
            self.token = 0
            await _end(lost, gone)

    async def resign(self) -> None:
        """Stop being a candidate; the next is elected at once. Does no harm if this one is none."""
        token, self.token = self.token, 0
        compares = [create_revision_is(self.key, token)] if token else []
        await self._etcd.txn(compares, [delete(self.key)])

    async def _campaign(self) -> int:
        while True:
            try:
                token = await self._stand()
                before = await self._before(token)
                if before is None:
                    return token
                await self._gone(before.key, before.create_revision)
            except (UnreachableError, TimedOutError, CompactedError):
                await asyncio.sleep(_PAUSE)

    async def _stand(self) -> int:
        """The key, made unless it is there already: a second try after a lost answer changes nothing."""
        result = await self._etcd.txn([absent(self.key)], [put(self.key, self._value, self._lease.id)],
                                      [get(self.key)])
        if result.succeeded:
            return result.revision
        there = result.found()
        if there is None:
            raise TimedOutError("the candidate's key came and went", where=self.key)
        if there.value != self._value:
            await self._etcd.txn([create_revision_is(self.key, there.create_revision)],
                                 [put(self.key, self._value, self._lease.id)])
        return there.create_revision

    async def _before(self, token: int) -> KeyValue | None:
        """The candidate just before; raises TimedOutError (stand again) if our own key is gone."""
        candidates, _ = await self._etcd.range(self.prefix)
        if not any(one.create_revision == token and one.key == self.key for one in candidates):
            raise TimedOutError("the candidate's key is gone", where=self.key)
        older = [one for one in candidates if one.create_revision < token]
        return max(older, key=lambda one: one.create_revision, default=None)

    async def _gone(self, key: str, token: int) -> None:
        """Wait until the key that was made at `token` is not there any more."""
        while True:
            with contextlib.suppress(UnreachableError, TimedOutError, CompactedError):
                found, revision = await self._etcd.range(key)
                if not any(one.key == key and one.create_revision == token for one in found):
                    return
                async with contextlib.aclosing(watch(self._etcd, key, revision + 1)) as batches:
                    async for events in batches:
                        if any(event.type is EventType.DELETE and event.kv.key == key for event in events):
                            return
            await asyncio.sleep(_PAUSE)


def fenced(election: Election) -> Compare:
    """A compare that is true only while this very leadership lasts: put it into every transaction of a leader.

    Raises LeaseLostError if it does not lead, which saves the transaction.
    """
    if not election.leading:
        raise LeaseLostError("not the leader any more", where=election.key, remedy="campaign again")
    return create_revision_is(election.key, election.token)


async def leader(etcd: Etcd, prefix: str) -> Leader | None:
    """Who leads now, or None."""
    candidates, _ = await etcd.range(prefix)
    return _oldest({one.key: one for one in candidates})


async def observe(etcd: Etcd, prefix: str) -> AsyncGenerator[Leader | None, None]:
    """Who leads now, and again at every change, for ever; None while nobody does. Close it with contextlib.aclosing."""
    told: Leader | None = None
    first = True
    while True:
        try:
            found, revision = await etcd.range(prefix)
            candidates = {one.key: one for one in found}
            if first or _oldest(candidates) != told:
                first, told = False, _oldest(candidates)
                yield told
            async with contextlib.aclosing(watch(etcd, prefix, revision + 1)) as batches:
                async for events in batches:
                    for event in events:
                        candidates.pop(event.kv.key, None)
                        if event.type is EventType.PUT:
                            candidates[event.kv.key] = event.kv
                    if _oldest(candidates) != told:
                        told = _oldest(candidates)
                        yield told
        except (UnreachableError, TimedOutError, CompactedError):
            await asyncio.sleep(_PAUSE)


def _oldest(candidates: dict[str, KeyValue]) -> Leader | None:
    first = min(candidates.values(), key=lambda one: one.create_revision, default=None)
    return Leader(first.value, first.create_revision, first.key) if first else None


async def _end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)  # awaiting them one by one would swallow our own cancellation with theirs
