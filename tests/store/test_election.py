"""Elections between two clients of real etcd."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest

from arint.store.connection import Etcd
from arint.store.election import Election, Leader, fenced, leader, observe
from arint.store.failures import LeaseLostError
from arint.store.lease import Lease
from arint.store.transactions import put
from tests.patience import PATIENCE
from tests.servers import EtcdServer


@pytest.fixture
async def one(shared_etcd: EtcdServer) -> AsyncIterator[Etcd]:
    async with Etcd([shared_etcd.endpoint]) as connection:
        yield connection


@pytest.fixture
async def two(shared_etcd: EtcdServer) -> AsyncIterator[Etcd]:
    async with Etcd([shared_etcd.endpoint]) as connection:
        yield connection


@pytest.fixture
def prefix() -> str:
    return f"/test/{uuid.uuid4().hex}/"


async def waits(etcd: Etcd, prefix: str, candidates: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len((await etcd.range(prefix))[0]) < candidates:
            await asyncio.sleep(0.01)


async def test_one_leads_the_other_follows_when_it_resigns(one: Etcd, two: Etcd, prefix: str):
    async with Lease(one) as first, Lease(two) as second, asyncio.timeout(PATIENCE):
        a, b = Election(one, prefix, first, b"a"), Election(two, prefix, second, b"b")
        token = await a.campaign()
        assert a.leading
        assert await leader(two, prefix) == Leader(b"a", token, a.key)
        waiting = asyncio.create_task(b.campaign())
        await waits(one, prefix, 2)
        assert not waiting.done()
        assert not b.leading
        await a.resign()
        assert await waiting > token
        assert not a.leading
        assert b.leading


async def test_a_leader_whose_lease_ends_is_followed_and_fenced_off(one: Etcd, two: Etcd, prefix: str):
    async with Lease(one) as first, Lease(two) as second, asyncio.timeout(PATIENCE):
        a, b = Election(one, prefix, first, b"a"), Election(two, prefix, second, b"b")
        await a.campaign()
        fence = fenced(a)
        assert (await one.txn([fence], [put(prefix[:-1] + "-x", b"a")])).succeeded
        waiting = asyncio.create_task(b.campaign())
        await waits(one, prefix, 2)
        lost = asyncio.create_task(a.wait_lost())
        await first.close()
        await lost
        await waiting
        assert not (await one.txn([fence], [put(prefix[:-1] + "-x", b"late")])).succeeded
        assert (await two.txn([fenced(b)], [put(prefix[:-1] + "-x", b"b")])).succeeded
        with pytest.raises(LeaseLostError):
            fenced(a)


async def test_a_candidate_that_goes_does_not_make_the_next_lead(one: Etcd, two: Etcd, prefix: str):
    async with Lease(one) as first, Lease(two) as second, Lease(two) as third, asyncio.timeout(PATIENCE):
        a, b, c = (Election(etcd, prefix, lease, name) for etcd, lease, name in
                   ((one, first, b"a"), (two, second, b"b"), (two, third, b"c")))
        await a.campaign()
        middle = asyncio.create_task(b.campaign())
        await waits(one, prefix, 2)
        last = asyncio.create_task(c.campaign())
        await waits(one, prefix, 3)
        middle.cancel()
        await asyncio.wait([middle])
        await b.resign()
        await two.put(prefix[:-1] + "-barrier", b"")
        done, _ = await asyncio.wait([last], timeout=0.3)
        assert not done
        await a.resign()
        await last
        assert c.leading


async def test_a_resumed_lease_still_leads_with_the_same_token(one: Etcd, two: Etcd, prefix: str):
    async with Lease(one, revoke=False) as before, asyncio.timeout(PATIENCE):
        token = await Election(one, prefix, before, b"a").campaign()
    async with Lease(two, resume=before.id) as after, asyncio.timeout(PATIENCE):
        again = Election(two, prefix, after, b"a again")
        assert await again.campaign() == token
        found = await leader(one, prefix)
        assert found is not None
        assert found.value == b"a again"


async def test_a_campaign_ends_with_its_lease(one: Etcd, two: Etcd, prefix: str):
    async with Lease(one) as first, Lease(two) as second, asyncio.timeout(PATIENCE):
        await Election(one, prefix, first, b"a").campaign()
        waiting = asyncio.create_task(Election(two, prefix, second, b"b").campaign())
        await waits(one, prefix, 2)
        await second.close()
        with pytest.raises(LeaseLostError):
            await waiting


async def test_a_leader_whose_key_is_deleted_learns_of_it(one: Etcd, two: Etcd, prefix: str):
    async with Lease(one) as first, asyncio.timeout(PATIENCE):
        a = Election(one, prefix, first, b"a")
        await a.campaign()
        lost = asyncio.create_task(a.wait_lost())
        await two.delete_prefix(prefix)
        await lost
        assert not a.leading


async def test_observers_see_every_leader_and_none(one: Etcd, two: Etcd, prefix: str):
    async with Lease(one) as first, Lease(two) as second, asyncio.timeout(PATIENCE):
        a, b = Election(one, prefix, first, b"a"), Election(two, prefix, second, b"b")
        seen: list[bytes | None] = []
        async with contextlib.aclosing(observe(two, prefix)) as leaders:
            async for found in leaders:
                seen.append(found.value if found else None)
                match len(seen):
                    case 1:
                        await a.campaign()
                    case 2:
                        await a.resign()
                    case 3:
                        await b.campaign()
                    case 4:
                        break
        assert seen == [None, b"a", None, b"b"]


async def test_two_clients_over_kills_and_silence_never_both_lead(etcd_cluster: list[EtcdServer]):
    """Whoever holds the fence writes; a write of the other's must be refused, whatever befalls the members."""
    endpoints = [member.endpoint for member in etcd_cluster]
    async with (Etcd(endpoints) as one, Etcd(endpoints[::-1]) as two, Lease(one, ttl=10) as first,
                Lease(two, ttl=10) as second, asyncio.timeout(60)):
        a, b = Election(one, "/e/", first, b"a"), Election(two, "/e/", second, b"b")
        await a.campaign()
        waiting = asyncio.create_task(b.campaign())
        await waits(one, "/e/", 2)
        fence = fenced(a)
        etcd_cluster[0].kill()
        etcd_cluster[0].start(wait=False)
        await etcd_cluster[0].wait_ready()
        assert not waiting.done()
        assert a.leading
        etcd_cluster[1].pause()
        assert (await one.get(a.key)) is not None
        etcd_cluster[1].resume()
        await first.close()
        token = await waiting
        assert token > fence.create_revision
        assert not (await one.txn([fence], [put("/x", b"late")])).succeeded
        assert (await two.txn([fenced(b)], [put("/x", b"b")])).succeeded
