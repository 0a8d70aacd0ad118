import asyncio
import time

import pytest

from arint.bus import lookup, streams
from arint.bus.committer import Committer

STREAM = "F-orders"


@pytest.fixture
async def store(bus):
    await streams.ensure_flow(bus, "orders", max_bytes=64 * 2**20)
    committer = Committer(bus, STREAM)

    async def store(*subjects: str) -> list[int]:
        # A batch is stored in the order of the calls, so the sequences rise.
        return [one.sequence for one in await asyncio.gather(*(committer.store(s, s.encode(), {}) for s in subjects))]

    yield store
    await committer.close()


async def test_a_tree_is_one_look_up_by_its_root(bus, store):
    await store("m.r.a.0.orders.start", "m.x.x.0.orders.start", "m.r.b.0.orders.2-call-price", "m.r.b.1.orders.start")
    found = await lookup.look_up(bus, STREAM, "m.r.>")
    assert [one.place.stage for one in found] == ["start", "2-call-price", "start"]
    assert [one.subject.encode() for one in found] == [one.body for one in found]
    assert all(abs(one.at - time.time()) < 60 for one in found)
    assert len(await lookup.look_up(bus, STREAM, "m.r.>", limit=2)) == 2
    assert len(await lookup.look_up(bus, STREAM, "m.r.>", up_to=found[1].sequence)) == 2
    assert await lookup.look_up(bus, STREAM, "m.never.>") == []


async def test_more_than_the_broker_gives_at_once_come_in_pages(bus, store):
    await store(*(f"m.r.{i}.0.orders.start" for i in range(1500)), "m.x.x.0.orders.start")
    found = await lookup.look_up(bus, STREAM, "m.r.>")
    assert [one.place.message for one in found] == [str(i) for i in range(1500)]
    assert len(await lookup.look_up(bus, STREAM, "m.r.>", limit=1200)) == 1200
    assert len(await lookup.look_up(bus, STREAM, "m.r.>", up_to=found[1299].sequence)) == 1300


async def test_one_by_subject_sequence_or_next(bus, store):
    first, second = await store("m.a.a.0.orders.start", "m.b.b.0.orders.2-send-x")
    assert (await lookup.get_one(bus, STREAM, "m.b.b.0.orders.2-send-x")).sequence == second
    assert (await lookup.by_sequence(bus, STREAM, first)).body == b"m.a.a.0.orders.start"
    assert (await lookup.next_of(bus, STREAM, "m.*.*.*.orders.2-send-x", 1)).sequence == second
    assert await lookup.next_of(bus, STREAM, "m.*.*.*.orders.start", second) is None
    assert await lookup.get_one(bus, STREAM, "m.never") is None
    assert await lookup.by_sequence(bus, STREAM, 99) is None


async def test_the_newest_come_first_in_pages(bus, store):
    await store(*(f"m.{i}.{i}.0.orders.{'rare' if i % 400 == 0 else 'start'}" for i in range(1300)))
    page = await lookup.newest(bus, STREAM, limit=3)
    assert [one.place.message for one in page] == ["1299", "1298", "1297"]
    page = await lookup.newest(bus, STREAM, limit=2, before=page[-1].sequence)
    assert [one.place.message for one in page] == ["1296", "1295"]
    rare = await lookup.newest(bus, STREAM, "m.*.*.*.orders.rare", limit=10)
    assert [one.place.message for one in rare] == ["1200", "800", "400", "0"]
    assert [one.place.message for one in await lookup.newest(bus, STREAM, "m.*.*.*.orders.rare", limit=1)] == ["1200"]


async def test_the_newest_of_an_empty_stream_are_none(bus, store):
    assert await lookup.newest(bus, STREAM) == []


async def test_a_deleted_message_is_gone(bus, store):
    (sequence,) = await store("m.a.a.0.orders.start")
    assert await lookup.delete(bus, STREAM, sequence)
    assert not await lookup.delete(bus, STREAM, sequence)
    assert await lookup.by_sequence(bus, STREAM, sequence) is None


async def test_a_look_up_waits_for_a_broker_that_restarts(bus, store, nats_server, until):
    await store("m.a.a.0.orders.start")
    nats_server.kill()
    await until(lambda: not bus.connected)
    nats_server.start(wait=False)
    assert len(await lookup.look_up(bus, STREAM, "m.a.>", deadline=15)) == 1
