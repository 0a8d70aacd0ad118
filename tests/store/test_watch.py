"""Watches against real etcd: no event is missed or told twice, whatever happens to the members."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from arint.errors import ArintError
from arint.store.connection import Etcd
from arint.store.failures import CompactedError
from arint.store.watch import Event, EventType, watch
from tests.patience import PATIENCE
from tests.servers import EtcdServer


class Follower:
    """Collects events until the test ends."""

    def __init__(self, etcd: Etcd, prefix: str, from_revision: int = 1) -> None:
        self.events: list[Event] = []
        self.links: list[bool] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run(etcd, prefix, from_revision))

    async def _run(self, etcd: Etcd, prefix: str, from_revision: int) -> None:
        async with contextlib.aclosing(watch(etcd, prefix, from_revision, on_link=self._link)) as batches:
            async for events in batches:
                self.events += events
                self._changed.set()

    def _link(self, up: bool) -> None:
        self.links.append(up)
        self._changed.set()

    async def until(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def values(self) -> list[bytes]:
        return [event.kv.value for event in self.events]


@contextlib.asynccontextmanager
async def following(etcd: Etcd, prefix: str, from_revision: int = 1) -> AsyncIterator[Follower]:
    follower = Follower(etcd, prefix, from_revision)
    try:
        yield follower
    finally:
        await follower.close()


async def write(etcd: Etcd, prefix: str, numbers: range) -> None:
    """Each number under a key of its own, until it is there: a second put of one would be told twice."""
    for number in numbers:
        key = f"{prefix}{number}"
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(ArintError):
                    if await etcd.get(key) is not None:
                        break
                    await etcd.put(key, str(number).encode())
                    break


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


async def test_puts_and_deletes_with_what_was_before(shared_etcd: EtcdServer):
    root = f"/test/{uuid.uuid4().hex}/"
    async with Etcd([shared_etcd.endpoint]) as etcd:
        first = await etcd.put(root + "a", b"1")
        await etcd.put(root + "a", b"2")
        await etcd.put(root[:-1] + "0", b"beside")
        await etcd.delete(root + "a")
        seen: list[Event] = []
        async with contextlib.aclosing(watch(etcd, root, first, previous=True)) as batches:
            async for events in batches:
                seen += events
                if len(seen) == 3:
                    break
        assert [(event.type, event.kv.value) for event in seen] == [
            (EventType.PUT, b"1"), (EventType.PUT, b"2"), (EventType.DELETE, b"")]
        assert seen[0].prev is None
        assert [event.prev.value for event in seen[1:] if event.prev] == [b"1", b"2"]


async def test_many_events_are_caught_up_in_order(shared_etcd: EtcdServer):
    root = f"/test/{uuid.uuid4().hex}/"
    async with Etcd([shared_etcd.endpoint]) as etcd:
        await asyncio.gather(*(etcd.put(root + "k", b"") for _ in range(2000)))
        async with following(etcd, root) as follower:
            await follower.until(lambda: len(follower.events) >= 2000)
        assert [event.kv.version for event in follower.events] == list(range(1, 2001))


async def test_events_come_once_each_over_kills_and_silence(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint], timeout=5) as etcd, following(etcd, "/w/") as follower:
        await write(etcd, "/w/", range(20))
        etcd_server.kill()
        await follower.until(lambda: follower.links[-1:] == [False])
        etcd_server.start(wait=False)
        await write(etcd, "/w/", range(20, 40))
        await follower.until(lambda: follower.links[-1:] == [True])
        etcd_server.pause()
        await follower.until(lambda: follower.links[-1:] == [False], timeout=8)
        etcd_server.resume()
        await write(etcd, "/w/", range(40, 60))
        await follower.until(lambda: len(follower.events) >= 60)
        assert follower.values == numbered(60)


async def test_compacted_history_is_told(etcd_server: EtcdServer):
    async with Etcd([etcd_server.endpoint]) as etcd:
        await etcd.put("/w/a", b"1")
        newest = await etcd.put("/w/a", b"2")
        await etcd.compact(newest)
        with pytest.raises(CompactedError) as caught:
            async for _ in watch(etcd, "/w/", 1):
                pass
        assert caught.value.revision == newest


async def test_a_member_that_dies_or_falls_silent_costs_no_event(etcd_cluster: list[EtcdServer]):
    endpoints = [member.endpoint for member in etcd_cluster]
    async with Etcd(endpoints) as reader, Etcd(endpoints[::-1]) as writer, following(reader, "/w/") as follower:
        await write(writer, "/w/", range(10))
        etcd_cluster[0].kill()
        await write(writer, "/w/", range(10, 30))
        etcd_cluster[0].start(wait=False)
        await etcd_cluster[0].wait_ready()
        etcd_cluster[1].pause()
        await write(writer, "/w/", range(30, 50))
        await follower.until(lambda: len(follower.events) >= 50)
        etcd_cluster[1].resume()
        assert follower.values == numbered(50)


async def test_a_member_without_the_others_does_not_keep_a_watch(etcd_cluster: list[EtcdServer]):
    async with Etcd([etcd_cluster[0].endpoint]) as etcd, following(etcd, "/w/") as follower:
        await follower.until(lambda: follower.links[-1:] == [True])
        for member in etcd_cluster[1:]:
            member.pause()
        await follower.until(lambda: follower.links[-1:] == [False])
        for member in etcd_cluster[1:]:
            member.resume()
        await write(etcd, "/w/", range(3))
        await follower.until(lambda: len(follower.events) >= 3)
        assert follower.values == numbered(3)
