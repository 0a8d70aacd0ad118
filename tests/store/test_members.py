"""Members of etcd against real ones: 1 -> 3 and back, refusals, and the upkeep of a full database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from arint.errors import ArintError, ConflictError
from arint.store.connection import Etcd, Status
from arint.store.members import Members
from arint.store.upkeep import Upkeep, in_order, is_wasteful
from tests.servers import EtcdServer, node_config


class Growing:
    """A cluster that begins with one member."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, EtcdServer] = {}

    def server(self, name: str, members: dict[str, str], *, existing: bool) -> EtcdServer:
        made = EtcdServer(self.folder / name, config=self.configs[name], members=members,
                          extra=("--initial-cluster-state=existing",) if existing else ())
        self.servers[name] = made
        return made

    def prepare(self, *names: str) -> None:
        self.configs = {name: node_config(name) for name in names}

    def peer(self, name: str) -> str:
        return f"http://127.0.0.1:{self.configs[name].ports.etcd_peer}"


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    cluster = Growing(tmp_path)
    cluster.prepare("n1", "n2", "n3")
    try:
        cluster.server("n1", {"n1": cluster.peer("n1")}, existing=False).start()
        yield cluster
    finally:
        for server in cluster.servers.values():
            server.close()


@pytest.fixture
async def etcd(growing: Growing) -> AsyncIterator[Etcd]:
    endpoints = [f"127.0.0.1:{config.ports.etcd_client}" for config in growing.configs.values()]
    async with Etcd(endpoints) as connection:
        yield connection


async def join(growing: Growing, members: Members, name: str) -> None:
    added, known = await members.add(growing.peer(name))
    assert added.learner
    again, _ = await members.add(growing.peer(name))  # what broke off is done again
    assert again.id == added.id
    urls = {one.name or name: one.peer for one in known}
    growing.server(name, urls, existing=True).start(wait=False)
    await members.promote(name)
    await members.promote(name)


async def test_from_one_to_three_and_back_and_what_is_there_stays(growing: Growing, etcd: Etcd):
    members = Members(etcd)
    await etcd.put("/test/a", b"1")
    await join(growing, members, "n2")
    with pytest.raises(ConflictError, match=r"only server|would answer"):
        growing.servers["n2"].pause()
        try:
            await members.remove("n1")
        finally:
            growing.servers["n2"].resume()
    await members.promote("n2")
    async with asyncio.timeout(20):
        while not all(one.healthy for one in await members.standing()):
            await asyncio.sleep(0.05)
    await join(growing, members, "n3")
    assert [(one.name, one.learner) for one in await members.known()] == [("n1", False), ("n2", False), ("n3", False)]
    growing.servers["n1"].kill()
    await etcd.put("/test/b", b"2")  # a majority is left
    with pytest.raises(ConflictError, match="n1"):
        await members.add("http://127.0.0.1:1")
    with pytest.raises(ConflictError, match="n1"):
        await members.remove("n2")
    assert await members.remove("n1")  # the dead one may go
    assert not await members.remove("n1")
    assert await members.remove("n3")
    found = await etcd.get("/test/b")
    assert found is not None
    assert found.value == b"2"
    with pytest.raises(ConflictError, match="only server"):
        await members.remove("n2")


async def test_an_addition_that_is_given_up_is_taken_back(growing: Growing, etcd: Etcd):
    members = Members(etcd)
    await members.add(growing.peer("n2"))
    with pytest.raises(ConflictError, match="one at a time"):
        await members.add(growing.peer("n3"))
    assert await members.drop_unstarted(growing.peer("n2"))
    assert not await members.drop_unstarted(growing.peer("n1"))  # a voter is not touched
    assert [one.name for one in await members.known()] == ["n1"]
    await etcd.put("/test/a", b"1")


async def test_a_full_etcd_takes_writes_again_once_there_is_room(tmp_path: Path):
    server = EtcdServer(tmp_path / "home", extra=("--quota-backend-bytes=16777216",))
    server.start(wait=False)
    try:
        await server.wait_ready()
        async with Etcd([server.endpoint]) as etcd:
            upkeep = Upkeep(etcd)
            assert await upkeep.once() == ""
            with pytest.raises(ArintError, match="no room"):
                for _ in range(40):
                    await etcd.put("/test/big", b"x" * 2**20)
            for number in range(1100):  # more than is kept of history; deletions need no room
                await etcd.delete(f"/test/{'big' if number == 0 else number}")
            # Of 1,000 revisions that are kept none holds the large value: only real changes count as one.
            async with Etcd([server.endpoint]) as other:
                revision = (await other.status()).revision
                await other.compact(revision)
            assert await upkeep.once() == ""
            await etcd.put("/test/a", b"1")
            status = await etcd.status()
            assert status.database_bytes < 4 * 2**20
    finally:
        server.close()


def test_the_leader_is_last_and_only_waste_is_rewritten():
    def of(address: str, member: int, size: int = 0, used: int = 0) -> Status:
        return Status(address, "3.5.16", size, 2, member, 1, used)

    assert [one.address for one in in_order([of("b", 2), of("c", 3), of("a", 1)])] == ["a", "c", "b"]
    assert is_wasteful(of("a", 1, 100 * 2**20, 20 * 2**20))
    assert not is_wasteful(of("a", 1, 100 * 2**20, 80 * 2**20))
    assert not is_wasteful(of("a", 1, 10 * 2**20, 2**20))
