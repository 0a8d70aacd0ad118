"""The connection against real etcd: one that works, dies, falls silent, restarts, and has three members."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from arint.errors import DeniedError, NotFoundError, TimedOutError, UnreachableError
from arint.ports import free_port
from arint.store.connection import Etcd, Tls
from arint.store.failures import CompactedError, InDoubtError
from arint.store.transactions import (
    Deleted,
    absent,
    create_revision_is,
    delete,
    get,
    mod_revision_is,
    prefix_end,
    present,
    put,
)
from tests.patience import PATIENCE
from tests.servers import EtcdServer


@pytest.fixture
async def etcd(shared_etcd: EtcdServer) -> AsyncIterator[Etcd]:
    async with Etcd([shared_etcd.endpoint]) as connection:
        yield connection


@pytest.fixture
def root() -> str:
    return f"/test/{uuid.uuid4().hex}/"


def tls_of(server: EtcdServer, name: str = "etcd-admin") -> Tls:
    pem = server.pem(name)
    assert pem is not None
    return Tls(pem.ca, pem.certificate, pem.key)


async def test_put_get_delete(etcd: Etcd, root: str):
    assert await etcd.get(root + "a") is None
    revision = await etcd.put(root + "a", b"1")
    await etcd.put(root + "a", b"2")
    kv = await etcd.get(root + "a")
    assert kv is not None
    assert (kv.key, kv.value, kv.create_revision, kv.version, kv.lease) == (root + "a", b"2", revision, 2, 0)
    old = await etcd.get(root + "a", revision=revision)
    assert old is not None
    assert old.value == b"1"
    assert await etcd.delete(root + "a") == 1
    assert await etcd.delete(root + "a") == 0


async def test_a_range_is_read_in_pages_at_one_revision(etcd: Etcd, root: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("arint.store.connection._PAGE", 7)
    for number in range(30):
        await etcd.put(f"{root}{number:02d}", str(number).encode())
    await etcd.put(root[:-1] + "0", b"the first key after the prefix")
    kvs, revision = await etcd.range(root)
    assert [int(kv.value) for kv in kvs] == list(range(30))
    await etcd.put(root + "15", b"changed")
    again, _ = await etcd.range(root, revision)
    assert again == kvs
    keys, _ = await etcd.range(root, keys_only=True)
    assert [kv.value for kv in keys] == [b""] * 30
    assert await etcd.delete_prefix(root) == 30
    assert (await etcd.range(root))[0] == []
    assert await etcd.get(root[:-1] + "0") is not None


async def test_transactions(etcd: Etcd, root: str):
    made = await etcd.txn([absent(root)], [put(root, b"1"), get(root)], [get(root)])
    assert made.succeeded
    assert made.found(1) is not None
    refused = await etcd.txn([absent(root)], [put(root, b"2")], [get(root)])
    found = refused.found()
    assert not refused.succeeded
    assert found is not None
    assert found.value == b"1"
    changed = await etcd.txn([mod_revision_is(root, made.revision), create_revision_is(root, made.revision)],
                             [put(root, b"3")])
    assert changed.succeeded
    assert not (await etcd.txn([mod_revision_is(root, made.revision)], [put(root, b"4")])).succeeded
    assert (await etcd.txn([present(root)], [delete(root)])).responses == (Deleted(1),)
    assert (await etcd.read_all([get(root)])).found() is None


def test_the_end_of_a_prefix():
    assert prefix_end("/a/") == b"/a0"
    assert prefix_end("") == b"\0"
    assert prefix_end("é") > "é\U0010ffff".encode()


async def test_large_values_pass(etcd: Etcd, root: str):
    value = b"x" * (3 * 2**20)
    await etcd.put(root, value)
    await etcd.put(root + "2", value)
    kvs, _ = await etcd.range(root)  # above gRPC's own limit of 4 MiB
    assert [len(kv.value) for kv in kvs] == [len(value)] * 2
    await etcd.delete_prefix(root)


async def test_an_ended_lease_is_not_found(etcd: Etcd, root: str):
    with pytest.raises(NotFoundError):
        await etcd.put(root, b"", lease=0x1234)


async def test_a_compacted_revision(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint]) as etcd:
        revision = await etcd.put("/a", b"1")
        newest = await etcd.put("/a", b"2")
        await etcd.compact(newest)
        with pytest.raises(CompactedError):
            await etcd.get("/a", revision=revision)


async def test_status(etcd: Etcd):
    status = await etcd.status()
    assert status.leader == status.member
    assert status.version.startswith("3.")


async def test_nobody_there_is_unreachable_and_says_where():
    endpoint = f"127.0.0.1:{free_port()}"
    async with Etcd([endpoint], timeout=0.5) as etcd:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=endpoint) as caught:
            await etcd.put("/a", b"")
        assert time.monotonic() - started < 10
        assert caught.value.remedy


async def test_mutual_tls(etcd_tls_server: EtcdServer):
    async with Etcd([etcd_tls_server.endpoint], tls_of(etcd_tls_server)) as etcd:
        assert await etcd.put("/a", b"1") > 0


async def test_without_a_certificate_nobody_gets_in(etcd_tls_server: EtcdServer):
    async with Etcd([etcd_tls_server.endpoint], timeout=0.5) as etcd:
        with pytest.raises(UnreachableError):
            await etcd.get("/a")


async def test_a_certificate_of_the_other_ca_is_refused(etcd_tls_server: EtcdServer):
    ours, other = tls_of(etcd_tls_server), tls_of(etcd_tls_server, "worker")
    async with Etcd([etcd_tls_server.endpoint], Tls(ours.ca, other.certificate, other.key), timeout=0.5) as etcd:
        with pytest.raises((UnreachableError, DeniedError)):
            await etcd.get("/a")


async def test_a_certificate_that_is_not_there():
    with pytest.raises(NotFoundError, match="/nowhere/ca"):
        async with Etcd(["127.0.0.1:1"], Tls("/nowhere/ca", "/nowhere/c", "/nowhere/k")):
            pass


async def test_a_silent_server(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint], timeout=0.8) as etcd:
        await etcd.put("/a", b"1")
        etcd_server.pause()
        with pytest.raises(InDoubtError):
            await etcd.put("/a", b"2")
        with pytest.raises((TimedOutError, UnreachableError)):
            await etcd.get("/a")
        etcd_server.resume()
        etcd.timeout = 5
        kv = await etcd.get("/a")
        assert kv is not None
        assert kv.value in (b"1", b"2")


async def test_a_server_that_falls_silent_is_noticed_before_the_deadline(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint], timeout=30) as etcd:
        await etcd.put("/a", b"1")
        etcd_server.pause()
        started = time.monotonic()
        with pytest.raises(InDoubtError):
            await etcd.put("/a", b"2")
        assert time.monotonic() - started < 20
        etcd_server.resume()


async def test_reads_wait_for_a_server_that_is_killed_and_restarted(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint], timeout=15) as etcd:
        await etcd.put("/a", b"1")
        etcd_server.kill()
        reading = asyncio.create_task(etcd.get("/a"))
        etcd_server.start(wait=False)
        kv = await reading
        assert kv is not None
        assert kv.value == b"1"
        assert await etcd.put("/a", b"2") > 0


async def test_a_cluster_is_read_and_written_over_the_death_of_each_member(etcd_cluster: list[EtcdServer]):
    async with Etcd([member.endpoint for member in etcd_cluster], timeout=10) as etcd:
        for member in etcd_cluster:
            member.kill()
            key = f"/a/{member.port}"
            await written(etcd, key)
            assert await etcd.get(key) is not None
            member.start(wait=False)
            await member.wait_ready()
        assert len((await etcd.range("/a/"))[0]) == 3


async def test_a_cluster_is_read_and_written_over_the_silence_of_each_member(etcd_cluster: list[EtcdServer]):
    async with Etcd([member.endpoint for member in etcd_cluster], timeout=10) as etcd:
        for member in etcd_cluster:
            member.pause()
            key = f"/a/{member.port}"
            await written(etcd, key)
            assert await etcd.get(key) is not None
            member.resume()
            await member.wait_ready()
        assert len((await etcd.range("/a/"))[0]) == 3


async def written(etcd: Etcd, key: str) -> None:
    """A put does no harm twice, so a doubtful one is tried again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await etcd.put(key, b"")
            except InDoubtError:
                continue
            return
