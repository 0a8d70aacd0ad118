import asyncio

import pytest
import uvloop

from arint.bus import lookup, streams
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.errors import RejectedError
from arint.plugins import FullError

STREAM = "F-orders"


def place(number: object) -> str:
    return f"m.{number}.{number}.0.orders.start"


@pytest.fixture
async def committer(bus):
    await streams.ensure_flow(bus, "orders", max_bytes=64 * 2**20)
    committer = Committer(bus, STREAM)
    yield committer
    await committer.close()


async def test_what_is_stored_can_be_read_back_byte_for_byte(bus, committer):
    body = bytes(range(256)) * 8
    stored = await committer.store(place(1), body, {"Arint": '{"ct":"a/b"}'})
    found = await lookup.get_one(bus, STREAM, place(1))
    assert (found.body, found.envelope, found.sequence) == (body, b'{"ct":"a/b"}', stored.sequence)
    assert not stored.duplicate


async def test_many_at_once_are_stored_once_each_with_their_own_sequence(bus, committer):
    stored = await asyncio.gather(*(committer.store(place(i), b"%d" % i, {}) for i in range(2000)))
    assert not any(one.duplicate for one in stored)
    for number in (0, 1, 499, 500, 1999):
        found = await lookup.by_sequence(bus, STREAM, stored[number].sequence)
        assert (found.subject, found.body) == (place(number), b"%d" % number)
    assert (await streams.state(bus, STREAM)).messages == 2000


async def test_a_second_copy_is_refused_and_told_so_alone_and_in_a_crowd(bus, committer):
    await committer.store(place(3), b"first", {})
    assert (await committer.store(place(3), b"second", {})).duplicate
    crowd = await asyncio.gather(*(committer.store(place(i), b"crowd", {}) for i in (1, 2, 3, 4, 4)))
    assert [one.duplicate for one in crowd] == [False, False, True, False, True]
    assert (await lookup.get_one(bus, STREAM, place(3))).body == b"first"
    assert (await streams.state(bus, STREAM)).messages == 4


async def test_what_was_done_before_is_found_out_within_a_large_crowd(bus, committer):
    done = set(range(0, 600, 3))
    await asyncio.gather(*(committer.store(place(i), b"before", {}) for i in done))
    crowd = [*range(600), 7, 9]  # 7 is new and comes twice
    stored = await asyncio.gather(*(committer.store(place(i), b"after", {}) for i in crowd))
    assert {i for i, one in zip(crowd[:600], stored, strict=False) if one.duplicate} == done
    assert [one.duplicate for one in stored[600:]] == [True, True]
    assert (await streams.state(bus, STREAM)).messages == 600
    found = await lookup.get_one(bus, STREAM, place(599))
    assert found.sequence == stored[599].sequence and found.body == b"after"


async def test_without_expectation_each_is_stored(bus, committer):
    for _ in range(2):
        await asyncio.gather(*(committer.store(place(1), b"x", {}, expect_new=False) for _ in range(5)))
    assert (await streams.state(bus, STREAM)).messages == 10


async def test_a_full_stream_is_said_to_be_full_and_takes_more_when_there_is_room(bus):
    await streams.ensure_flow(bus, "orders", max_bytes=64 * 1024)
    committer = Committer(bus, STREAM)
    results = await asyncio.gather(*(committer.store(place(i), bytes(1000), {}) for i in range(200)),
                                   return_exceptions=True)
    stored = [one for one in results if not isinstance(one, Exception)]
    assert 40 < len(stored) < 70 and all(isinstance(one, FullError) for one in results if one not in stored)
    assert (await streams.state(bus, STREAM)).messages == len(stored)
    with pytest.raises(FullError, match="maximum bytes"):
        await committer.store(place("more"), bytes(1000), {})
    await streams.ensure_flow(bus, "orders", max_bytes=128 * 1024)
    await committer.store(place("more"), bytes(1000), {})
    await committer.close()


async def test_a_message_larger_than_the_bus_carries_is_rejected(bus, committer):
    with pytest.raises(RejectedError, match="larger"):
        await committer.store(place(1), bytes(bus.max_payload), {})
    await committer.store(place(1), bytes(bus.max_payload - 1000), {})


async def test_the_queue_is_bounded(bus):
    committer = Committer(bus, STREAM, queue=10, deadline=0.3)  # no such stream: nothing is ever stored
    results = await asyncio.gather(*(committer.store(place(i), b"", {}) for i in range(20)), return_exceptions=True)
    assert all(isinstance(one, FullError) for one in results)
    assert sum("wait" in str(one) for one in results) == 10
    await committer.close()


async def test_closing_refuses_what_comes_later(bus, committer):
    first = asyncio.ensure_future(committer.store(place(1), b"", {}))
    await asyncio.sleep(0)
    await committer.close()
    assert not (await first).duplicate
    with pytest.raises(FullError, match="closing"):
        await committer.store(place(2), b"", {})


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("tls", [False, True])
def test_a_broker_killed_under_load_loses_and_doubles_nothing(nats_factory, settings, tls, run):
    server = nats_factory(tls=tls)
    run(_a_broker_killed_under_load_loses_and_doubles_nothing(server, settings))


async def _a_broker_killed_under_load_loses_and_doubles_nothing(server, settings):
    async with await Bus.connect(settings(server)) as bus:
        await streams.ensure_flow(bus, "orders", max_bytes=64 * 2**20)
        committer = Committer(bus, STREAM, deadline=30)
        numbers, stored = iter(range(6000)), []

        async def feed() -> None:
            for number in numbers:
                await committer.store(place(number), b"%d" % number, {})
                stored.append(number)

        async def harm() -> None:
            for threshold in (1000, 3000):
                while len(stored) < threshold:
                    await asyncio.sleep(0.005)
                server.kill()
                server.start(wait=False)

        await asyncio.gather(harm(), *(feed() for _ in range(64)))
        assert sorted(stored) == list(range(6000))
        assert (await streams.state(bus, STREAM)).messages == 6000
        assert (await committer.store(place(17), b"", {})).duplicate
        await committer.close()


async def test_a_broker_that_stays_away_is_full_after_the_deadline(bus, nats_server, committer):
    quick = Committer(bus, STREAM, deadline=0.6)
    nats_server.kill()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(FullError):
        await quick.store(place(1), b"", {})
    assert 0.5 < loop.time() - began < 20
    await quick.close()


async def test_a_paused_broker_is_full_after_the_deadline_and_serves_again(bus, nats_server, committer):
    quick = Committer(bus, STREAM, deadline=0.6)
    nats_server.pause()
    try:
        with pytest.raises(FullError):
            await quick.store(place(1), b"", {})
    finally:
        nats_server.resume()
    await committer.store(place(1), b"", {})  # in doubt before, surely there now
    await committer.store(place(2), b"", {})
    assert (await streams.state(bus, STREAM)).messages == 2
    await quick.close()


async def test_callers_that_go_away_do_not_hurt_the_others(bus, committer):
    tasks = [asyncio.ensure_future(committer.store(place(i), b"", {})) for i in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    assert all(not one.duplicate for one in await asyncio.gather(*tasks[1::2]))
