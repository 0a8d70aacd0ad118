import asyncio

import pytest
import uvloop

from arint.bus import streams
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.bus.consumer import PullConsumer
from arint.message import ENVELOPE_HEADER, Message, encode_envelope
from tests.patience import PATIENCE

FLOW, STREAM = "orders", "F-orders"


def place(number: object, stage: str = "start") -> str:
    return f"m.{number}.{number}.0.orders.{stage}"


async def fill(bus: Bus, count: int, first: int = 0) -> None:
    committer = Committer(bus, STREAM, deadline=30)
    await asyncio.gather(*(committer.store(place(i), b"%d" % i, {}) for i in range(first, first + count)))
    await committer.close()


@pytest.fixture
async def stream(bus):
    await streams.ensure_flow(bus, FLOW, max_bytes=64 * 2**20)


class Collector:
    """Acks and keeps the bodies."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, incoming) -> None:
        self.bodies.append(incoming.body)
        incoming.ack()


async def test_every_message_of_its_stage_comes_once_in_order(bus, stream, until):
    collector = Collector()
    consumer = PullConsumer(bus, FLOW, "start", collector, max_in_flight=50)
    await consumer.start()
    committer = Committer(bus, STREAM)
    await committer.store(place("other", "2-call-price"), b"not for us", {})
    await committer.close()
    await fill(bus, 1000)
    await until(lambda: len(collector.bodies) >= 1000)
    assert sorted(collector.bodies) == sorted(b"%d" % i for i in range(1000))
    assert await consumer.stop() == 0


async def test_what_comes_in_is_the_message_that_was_stored(bus, stream):
    got = asyncio.get_running_loop().create_future()
    consumer = PullConsumer(bus, FLOW, "start", got.set_result)
    await consumer.start()
    sent = Message.new(b"\x00\xff", content_type="a/b", headers={"x": "ü"}, channel="in")
    committer = Committer(bus, STREAM)
    stored = await committer.store(f"m.{sent.root}.{sent.id}.0.orders.start", sent.body,
                                   {ENVELOPE_HEADER: encode_envelope(sent)})
    incoming = await asyncio.wait_for(got, PATIENCE)
    assert incoming.message() == sent
    assert (incoming.place.stage, incoming.delivered, incoming.stream_sequence) == ("start", 1, stored.sequence)
    assert abs(incoming.published - sent.created) < 60
    incoming.ack()
    await consumer.stop()
    await committer.close()


async def test_no_more_than_the_limit_is_in_flight(bus, stream, until):
    held = []
    consumer = PullConsumer(bus, FLOW, "start", held.append, max_in_flight=10)
    await consumer.start()
    await fill(bus, 100)
    await until(lambda: len(held) == 10)
    most = 0
    for expected in range(11, 101):
        most = max(most, consumer.in_flight)
        next(one for one in held if not one.settled).ack()
        await until(lambda expected=expected: len(held) >= expected - 6)
    assert most <= 10
    for one in held:
        one.ack()
    await consumer.stop(grace=0)


async def test_a_nak_comes_again_after_its_delay_and_holds_up_nobody(bus, stream, until):
    seen = []

    def handler(incoming) -> None:
        seen.append((incoming.body, incoming.delivered))
        if incoming.body == b"0" and incoming.delivered == 1:
            incoming.nak(0.2)
        else:
            incoming.ack()

    consumer = PullConsumer(bus, FLOW, "start", handler)
    await consumer.start()
    await fill(bus, 5)
    await until(lambda: (b"0", 2) in seen)
    assert seen[-1] == (b"0", 2) and len(seen) == 6
    await consumer.stop()


async def test_a_coroutine_handler_runs_beside_others_and_its_error_naks(bus, stream, until):
    seen, together, reported = [], asyncio.Barrier(4), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    async def handler(incoming) -> None:
        seen.append(incoming.delivered)
        if incoming.delivered == 1:
            await together.wait()  # passes only when all four are being worked at
        if incoming.body == b"0" and incoming.delivered == 1:
            raise RuntimeError("the handler's own")
        incoming.ack()

    consumer = PullConsumer(bus, FLOW, "start", handler)
    await consumer.start()
    await fill(bus, 4)
    await until(lambda: len(seen) == 5)
    assert sorted(seen) == [1, 1, 1, 1, 2] and [str(one) for one in reported] == ["the handler's own"]
    await consumer.stop()


async def test_work_longer_than_the_wait_for_its_ack_is_not_delivered_again(bus, stream, until):
    held = []
    consumer = PullConsumer(bus, FLOW, "start", held.append, ack_wait=1.0)
    await consumer.start()
    await fill(bus, 1)
    await until(lambda: bool(held))
    loop = asyncio.get_running_loop()
    ends = loop.time() + 3.0
    await until(lambda: loop.time() > ends or len(held) > 1)
    assert len(held) == 1
    held[0].ack()
    await consumer.stop()


async def test_pause_and_resume(bus, stream, until):
    collector = Collector()
    consumer = PullConsumer(bus, FLOW, "start", collector, max_in_flight=4)
    await consumer.start()
    await fill(bus, 4)
    await until(lambda: len(collector.bodies) == 4)
    consumer.pause()
    await fill(bus, 20, first=4)
    await bus.request("$JS.API.INFO")  # whatever the broker had sent has come by now
    assert len(collector.bodies) == 4 and consumer.paused
    consumer.resume()
    await until(lambda: len(collector.bodies) == 24)
    await consumer.stop()


async def test_stop_waits_for_what_is_in_flight_and_gives_back_the_rest(bus, stream, until):
    held = []
    consumer = PullConsumer(bus, FLOW, "start", held.append)
    await consumer.start()
    await fill(bus, 2)
    await until(lambda: len(held) == 2)
    stopping = asyncio.ensure_future(consumer.stop(grace=0.3))
    await asyncio.sleep(0)
    held[0].ack()
    assert await stopping == 1
    collector = Collector()
    second = PullConsumer(bus, FLOW, "start", collector)
    await second.start()
    await until(lambda: collector.bodies == [held[1].body], 5)
    await second.stop()


async def test_a_deleted_consumer_is_made_anew(bus, stream, until):
    collector = Collector()
    consumer = PullConsumer(bus, FLOW, "start", collector)
    await consumer.start()
    await fill(bus, 3)
    await until(lambda: len(collector.bodies) == 3)
    await streams.delete_consumer(bus, STREAM, "start")
    await fill(bus, 3, first=3)
    await until(lambda: {b"3", b"4", b"5"} <= set(collector.bodies), 10)
    await consumer.stop()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("tls", [False, True])
def test_it_goes_on_after_the_broker_was_killed(nats_factory, settings, until, tls, run):
    server = nats_factory(tls=tls)
    run(_it_goes_on_after_the_broker_was_killed(server, settings, until))


async def _it_goes_on_after_the_broker_was_killed(server, settings, until):
    async with await Bus.connect(settings(server)) as bus:
        await streams.ensure_flow(bus, FLOW, max_bytes=64 * 2**20)
        collector = Collector()
        consumer = PullConsumer(bus, FLOW, "start", collector, max_in_flight=100)
        await consumer.start()
        filling = asyncio.ensure_future(fill(bus, 5000))
        for threshold in (500, 2000):
            await until(lambda threshold=threshold: len(collector.bodies) > threshold)
            server.kill()
            server.start(wait=False)
        await filling
        await until(lambda: len(set(collector.bodies)) == 5000, 30)
        await consumer.stop()


async def test_it_goes_on_after_the_broker_was_paused(bus, nats_server, stream, until):
    collector = Collector()
    consumer = PullConsumer(bus, FLOW, "start", collector)
    await consumer.start()
    nats_server.pause()
    await until(lambda: not bus.connected, 12)
    nats_server.resume()
    await fill(bus, 10)
    await until(lambda: len(set(collector.bodies)) == 10)
    await consumer.stop()


async def test_two_processes_share_one_consumer(bus, nats_server, settings, stream, until):
    async with await Bus.connect(settings(nats_server)) as other:
        collectors = [Collector(), Collector()]
        consumers = [PullConsumer(b, FLOW, "start", c, max_in_flight=10)
                     for b, c in zip((bus, other), collectors, strict=True)]
        for consumer in consumers:
            await consumer.start()
        await fill(bus, 2000)
        await until(lambda: sum(len(one.bodies) for one in collectors) >= 2000)
        assert sorted(collectors[0].bodies + collectors[1].bodies) == sorted(b"%d" % i for i in range(2000))
        assert all(one.bodies for one in collectors)
        for consumer in consumers:
            await consumer.stop()
