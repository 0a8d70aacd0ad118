"""Leases against real etcd: kept, lost, resumed; two owners never both sure of themselves."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from arint.store.connection import Etcd
from arint.store.failures import LeaseLostError
from arint.store.lease import Lease, boot_time
from tests.patience import PATIENCE
from tests.servers import EtcdServer


@pytest.fixture
async def etcd(shared_etcd: EtcdServer) -> AsyncIterator[Etcd]:
    async with Etcd([shared_etcd.endpoint]) as connection:
        yield connection


@pytest.fixture
def key() -> str:
    return f"/test/{uuid.uuid4().hex}"


async def kept_on(lease: Lease, times: int = 2) -> None:
    """Wait for keepalives: each moves the deadline."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(times):
            before = lease.deadline
            while lease.deadline == before:
                await asyncio.sleep(0.01)


async def gone(etcd: Etcd, key: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await etcd.get(key) is not None:
            await asyncio.sleep(0.02)


async def test_a_key_lives_as_long_as_its_lease(etcd: Etcd, key: str):
    async with Lease(etcd) as lease:
        assert lease.ttl == 3
        assert 2 < lease.remaining <= 3
        await etcd.put(key, b"1", lease.id)
        await kept_on(lease, 8)  # longer than the TTL
        assert lease.held
        lease.check()
        kv = await etcd.get(key)
        assert kv is not None
        assert kv.lease == lease.id
    assert await etcd.get(key) is None, "revoked at once"
    assert lease.lost.is_set()
    assert lease.remaining == 0


async def test_a_lease_that_is_ended_elsewhere_is_lost(etcd: Etcd, key: str):
    async with Lease(etcd) as lease:
        await etcd.put(key, b"1", lease.id)
        async with Lease(etcd, resume=lease.id) as other:  # leaving revokes it
            assert other.resumed
        async with asyncio.timeout(PATIENCE):
            await lease.lost.wait()
        with pytest.raises(LeaseLostError):
            lease.check()


async def test_a_lease_is_resumed_with_its_keys(etcd: Etcd, key: str):
    async with Lease(etcd, revoke=False) as lease:
        await etcd.put(key, b"1", lease.id)
    async with Lease(etcd, resume=lease.id) as again:
        assert again.resumed
        assert again.id == lease.id
        await kept_on(again)
        assert await etcd.get(key) is not None


async def test_a_lease_that_is_gone_is_not_resumed(etcd: Etcd):
    async with Lease(etcd, resume=0x1234) as lease:
        assert not lease.resumed
        assert lease.id != 0x1234
        assert lease.held


async def test_with_etcd_away_the_owner_knows_when_its_time_is_over(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint]) as etcd, Lease(etcd) as lease:
        await kept_on(lease)
        etcd_server.pause()
        deadline = lease.deadline
        async with asyncio.timeout(PATIENCE):
            await lease.lost.wait()
        assert deadline - 0.1 <= boot_time() < deadline + 1.5  # at most one more keepalive was under way
        etcd_server.resume()


async def test_a_short_silence_costs_no_lease(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint]) as etcd, Lease(etcd) as lease:
        await etcd.put("/k", b"1", lease.id)
        await kept_on(lease)
        etcd_server.pause()
        silent_from = boot_time()
        while boot_time() < silent_from + 1.5:
            await asyncio.sleep(0.05)
        etcd_server.resume()
        await kept_on(lease, 3)
        assert lease.held
        assert await etcd.get("/k") is not None


async def test_a_restart_of_etcd_within_the_ttl_costs_no_lease(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint]) as etcd, Lease(etcd, ttl=10) as lease:
        await etcd.put("/k", b"1", lease.id)
        etcd_server.kill()
        etcd_server.start(wait=False)
        await kept_on(lease, 3)
        assert await etcd.get("/k") is not None


async def test_a_member_that_dies_or_falls_silent_costs_no_lease(etcd_cluster: list[EtcdServer]):
    async with Etcd([member.endpoint for member in etcd_cluster]) as etcd, Lease(etcd, ttl=5) as lease:
        await etcd.put("/k", b"1", lease.id)
        etcd_cluster[0].kill()
        await kept_on(lease, 3)
        etcd_cluster[0].start(wait=False)
        await etcd_cluster[0].wait_ready()
        etcd_cluster[1].pause()
        await kept_on(lease, 3)
        etcd_cluster[1].resume()
        assert lease.held
        assert await etcd.get("/k") is not None


async def test_an_owner_that_stops_loses_its_key_within_the_ttl(etcd: Etcd, key: str):
    async with Lease(etcd, revoke=False) as lease:
        await etcd.put(key, b"1", lease.id)
        await kept_on(lease)
    deadline = lease.deadline
    await gone(etcd, key)
    assert boot_time() > deadline - 0.1, "etcd never ends it before the owner's own deadline"
    assert boot_time() < deadline + 2
