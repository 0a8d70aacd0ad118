import asyncio
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.bus import lookup, streams
from arint.bus.bodies import Bodies
from arint.bus.committer import Committer
from arint.bus.consumer import PullConsumer
from arint.bus.keeper import PRESSED, RELIEVED, Keeper, Watched, relief, trim_point

FLOW, STREAM = "orders", "F-orders"
STAGES = ("start", "1-call-a", "2-send-b")


@st.composite
def cases(draw):
    first = draw(st.integers(1, 1000))
    last = first + draw(st.integers(0, 500))
    sequences = st.one_of(st.none(), st.integers(first, last + 50))
    return {
        "first": first, "last": last, "kept_from": draw(st.integers(first, last + 1)),
        "unprocessed": draw(st.dictionaries(st.sampled_from(STAGES), sequences)),
        "stages": draw(st.sets(st.sampled_from(STAGES))), "fill": draw(st.floats(0, 1)),
    }


@given(cases())
def test_nothing_unprocessed_is_ever_trimmed(case):
    point = trim_point(**case)
    assert case["first"] <= point <= case["last"] + 1
    assert all(one is None or point <= max(one, case["first"]) for one in case["unprocessed"].values())


@given(cases())
def test_a_stage_without_a_consumer_holds_everything(case):
    if case["stages"] - case["unprocessed"].keys() or not case["unprocessed"]:
        assert trim_point(**case) == case["first"]


@given(cases())
def test_what_is_young_goes_only_under_pressure_and_only_as_far_as_needed(case):
    point = trim_point(**case)
    needed = case["first"] + relief(case["last"] - case["first"] + 1, case["fill"])
    assert point <= max(case["kept_from"], needed)
    if case["fill"] <= PRESSED:
        assert point <= case["kept_from"]


@given(cases())
def test_what_is_processed_and_old_goes(case):
    case["stages"] = set(case["unprocessed"])
    if case["unprocessed"] and all(one is None for one in case["unprocessed"].values()):
        assert trim_point(**case) >= case["kept_from"]


@given(st.integers(1, 10_000), st.floats(PRESSED, 1, exclude_min=True))
def test_relief_brings_the_stream_down(messages, fill):
    left = messages - relief(messages, fill)
    assert left / messages * fill <= RELIEVED + 1e-9


@pytest.fixture
async def stored(bus):
    """Ten messages in `start` and ten in a later stage, each stage with its consumer."""
    await streams.ensure_flow(bus, FLOW, max_bytes=2**20)
    for stage in STAGES:
        await streams.ensure_consumer(bus, FLOW, stage)
    committer = Committer(bus, STREAM)
    for number in range(10):
        await committer.store(f"m.{number}.{number}.0.orders.start", bytes(100), {})
        await committer.store(f"m.{number}.{number}.0.orders.1-call-a", bytes(100), {})
    yield committer
    await committer.close()


def keeper(bus, later: float = 0.0) -> Keeper:
    return Keeper(bus, list, clock=lambda: time.time() + later)


def watched(keep: float, *more: str) -> Watched:
    return Watched(FLOW, frozenset((*STAGES, *more)), keep)


async def process(bus, stage: str, until, leave: tuple[int, ...] = ()) -> None:
    """Ack all but some of a stage's messages."""
    seen = set()

    def handler(incoming) -> None:
        number = int(incoming.place.root)
        seen.add(number)
        if number not in leave:
            incoming.ack()

    consumer = PullConsumer(bus, FLOW, stage, handler)
    await consumer.start()
    await until(lambda: len(seen) == 10)
    await consumer.stop(grace=0)
    await bus.request("$JS.API.INFO")  # the acks were sent before, so they have arrived


async def test_only_what_is_processed_goes(bus, stored, until):
    assert await keeper(bus, 3600).trim(watched(60)) == 0
    await process(bus, "start", until)
    assert await keeper(bus, 3600).trim(watched(60)) == 1, "the first output is not processed: only its input goes"
    await process(bus, "1-call-a", until, leave=(4,))

    async def trimmed() -> bool:
        await keeper(bus, 3600).trim(watched(60))
        return (await streams.state(bus, STREAM)).messages == 11

    await until(trimmed)
    assert (await lookup.by_sequence(bus, STREAM, 10)).subject == "m.4.4.0.orders.1-call-a"


async def test_what_is_young_stays(bus, stored, until):
    await process(bus, "start", until)
    await process(bus, "1-call-a", until)
    assert await keeper(bus).trim(watched(60)) == 0
    await until(lambda: asyncio.ensure_future(_trimmed(bus, 20)))


async def _trimmed(bus, count: int) -> bool:
    return await keeper(bus, 3600).trim(watched(60)) == count


async def test_a_stage_without_a_consumer_keeps_all(bus, stored, until):
    await process(bus, "start", until)
    await process(bus, "1-call-a", until)
    assert await keeper(bus, 3600).trim(watched(60, "3-callback")) == 0


async def test_a_full_stream_lets_go_of_processed_messages_before_their_time(bus, stored, until):
    await process(bus, "start", until)
    await process(bus, "1-call-a", until)
    size = (await streams.state(bus, STREAM)).size
    await streams.ensure_flow(bus, FLOW, max_bytes=int(size / 0.9))

    async def relieved() -> bool:
        await keeper(bus).trim(watched(3600))
        state = await streams.state(bus, STREAM)
        return state.size <= 0.55 * state.max_bytes

    await until(relieved)
    assert (await streams.state(bus, STREAM)).messages == 11


async def test_an_empty_stream_is_left_alone(bus):
    await streams.ensure_flow(bus, FLOW, max_bytes=2**20)
    assert await keeper(bus, 3600).trim(watched(0)) == 0


async def test_large_bodies_press_as_well_but_not_again_before_they_are_swept(bus, stored, until):
    await process(bus, "start", until)
    await process(bus, "1-call-a", until)
    bodies = Bodies(bus, lambda stream: Committer(bus, stream))
    await bodies.put(bytes(900 * 1024), FLOW, "M", "m.M.M.0.orders.start")
    one = keeper(bus)
    pressed = msgspec.structs.replace(watched(3600.0), limit=2**20)

    async def relieved() -> bool:
        return await one.trim(pressed) > 0

    await until(relieved)
    left = (await streams.state(bus, STREAM)).messages
    assert 0 < left < 20
    assert await one.trim(pressed) == 0
    assert (await streams.state(bus, STREAM)).messages == left
