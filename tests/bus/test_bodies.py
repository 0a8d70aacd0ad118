"""Large bodies against a real broker: stored whole and once, read back checked, told of clearly when they are not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import msgspec
import pytest

from arint.bus import api, lookup, streams, subjects
from arint.bus.bodies import PART, Bodies, digest_of, parts_of
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.bus.dead import DeadLetters
from arint.bus.subjects import DEAD, Place
from arint.bus.sweep import GRACE, SETTLE, Sweeper
from arint.errors import BodyLostError, RejectedError
from arint.message import (
    ENVELOPE_HEADER,
    LARGEST_BODY,
    LARGEST_INLINE,
    Message,
    StoredBody,
    encode_envelope,
    inline,
    is_away,
    size_of,
)

BIG = os.urandom(PART * 3 + 17)


class House:
    """A broker with a flow, and a sweep whose clocks go as the test wants."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.committers: dict[str, Committer] = {}
        self.bodies = Bodies(bus, self.committer)
        self.later = 0.0
        self.sweeper = Sweeper(bus, clock=lambda: asyncio.get_running_loop().time() + self.shift + self.later,
                               steady=lambda: self.later)
        self.shift = 0.0

    def committer(self, stream: str) -> Committer:
        if stream not in self.committers:
            self.committers[stream] = Committer(self.bus, stream)
        return self.committers[stream]

    async def store(self, message: Message, *, stage: str = "start", run: int = 0) -> Message:
        place = Place(message.root, message.id, run, "orders", stage)
        ready = await self.bodies.check_in(message, "orders", place.subject)
        await self.committer("F-orders").store(place.subject, inline(ready), {ENVELOPE_HEADER: encode_envelope(ready)})
        return ready

    async def stored(self, message: Message, stage: str = "start") -> Message:
        place = Place(message.root, message.id, 0, "orders", stage)
        found = await lookup.get_one(self.bus, "F-orders", place.subject)
        assert found is not None
        return found.message()

    async def trim(self) -> None:
        await api.call(self.bus, "STREAM.PURGE.F-orders", {})

    async def sweep(self) -> int:
        """A sweep so much later that grace and settling are over."""
        self.later += GRACE + 1
        first = await self.sweeper.sweep()
        self.later += SETTLE + 1
        return first + await self.sweeper.sweep()

    async def kept(self) -> int:
        return (await streams.state(self.bus, "B-orders")).messages


@pytest.fixture
async def house(bus: Bus) -> AsyncIterator[House]:
    import time

    await streams.ensure_core(bus)
    await streams.ensure_flow(bus, "orders", max_bytes=64 * 2**20)
    house = House(bus)
    house.shift = time.time() - asyncio.get_running_loop().time()
    yield house
    for committer in house.committers.values():
        await committer.close()


async def test_a_large_body_comes_back_byte_for_byte_and_its_message_is_small(house: House) -> None:
    message = Message.new(BIG)
    await house.store(message)
    assert (await streams.state(house.bus, "F-orders")).size < 2000
    found = await house.stored(message)
    assert is_away(found.body)
    assert size_of(found.body) == len(BIG)
    assert (await house.bodies.fetch(found)).body == BIG


async def test_up_to_the_limit_it_stays_in_the_message(house: House) -> None:
    message = Message.new(bytes(LARGEST_INLINE))
    await house.store(message)
    assert (await house.stored(message)).body == message.body
    assert "B-orders" not in await streams.names(house.bus)


async def test_one_that_is_too_large_is_refused(house: House) -> None:
    with pytest.raises(RejectedError, match="at most"):
        await house.store(Message.new(bytes(LARGEST_BODY + 1)))


async def test_what_is_passed_on_is_not_stored_again(house: House) -> None:
    await house.store(message := Message.new(BIG))
    before = await house.kept()
    found = await house.bodies.fetch(await house.stored(message))
    assert isinstance(found.body, StoredBody)
    await house.store(found, stage="1-call-x")
    same = msgspec.structs.replace(found, body=bytes(found.body))
    place = Place(same.root, same.id, 0, "orders", "2-call-y")
    ready = await house.bodies.check_in(same, "orders", place.subject, of=found.body.claim)
    assert isinstance(ready.body, StoredBody)
    assert ready.body.claim == found.body.claim
    assert await house.kept() == before + 2  # two notes


async def test_an_upload_whose_size_nobody_knows(house: House) -> None:
    upload = await house.bodies.begin("orders", "ID", "m.ID.ID.0.orders.start")
    for start in range(0, len(BIG), 1000):
        await upload.write(BIG[start:start + 1000])
    claim = await upload.finish()
    upload.end()
    assert (claim.size, claim.sha256) == (len(BIG), await digest_of(BIG))
    assert await house.bodies.read(claim) == BIG


@pytest.mark.parametrize("spoil", ["missing", "truncated", "altered", "gone"])
async def test_a_body_that_is_not_what_was_put_there_is_told_of(house: House, spoil: str) -> None:
    ready = await house.store(Message.new(BIG))
    assert isinstance(ready.body, StoredBody)
    claim = ready.body.claim
    stream = subjects.bodies_stream(claim.name)
    if spoil == "gone":
        await streams.delete_stream(house.bus, stream)
    else:
        last = subjects.part(claim.name, parts_of(claim.size) - 1)
        await api.call(house.bus, f"STREAM.PURGE.{stream}", {"filter": last})
        if spoil != "missing":
            await house.committer(stream).store(last, b"x" * (16 if spoil == "truncated" else 17), {})
    with pytest.raises(BodyLostError) as raised:
        await house.bodies.read(claim)
    told = {"missing": "part 3 is missing", "truncated": "of 1572881 bytes", "altered": "SHA-256", "gone": "missing"}
    assert told[spoil] in str(raised.value)


async def test_the_sweep_takes_what_nothing_refers_to_and_only_that(house: House) -> None:
    await house.store(kept := Message.new(BIG))
    abandoned = await house.bodies.begin("orders", "ID", "m.ID.ID.0.orders.start")
    await abandoned.write(BIG)
    abandoned.end()
    assert await house.sweep() == 1
    assert (await house.bodies.fetch(await house.stored(kept))).body == BIG
    await house.trim()
    assert await house.sweep() == 1
    assert await house.kept() == 0


async def test_a_dead_letter_and_a_topic_keep_their_bodies(house: House) -> None:
    dead, topic = Message.new(BIG), Message.new(BIG)
    place = Place(dead.root, dead.id, 0, "orders", "start")
    ready = await house.bodies.check_in(dead, "orders", place.dead)
    letters = DeadLetters(house.bus)
    await letters.store(ready, "orders", "start")
    await house.bodies.check_in(topic, "topic=", f"t.{topic.id}")
    assert await house.sweep() == 0
    letter = await letters.get(dead.id)
    assert (await house.bodies.fetch(letter.message)).body == BIG
    await letters.drop(letter)
    assert await house.sweep() == 1
    house.later += streams.TOPICS_AGE
    assert await house.sweep() == 1
    await letters.close()
    assert (await streams.state(house.bus, DEAD)).messages == 0


async def test_a_second_copy_of_a_stages_output_is_swept_though_its_message_is_there(house: House) -> None:
    """A crash between the body and its message: done again, the body lies there twice, the message once."""
    message = Message.new(BIG)
    await house.store(message)
    await house.store(message)
    assert await house.sweep() == 1
    assert (await house.bodies.fetch(await house.stored(message))).body == BIG


async def test_what_is_noted_again_between_two_looks_stays(house: House) -> None:
    ready = await house.store(Message.new(BIG))
    assert isinstance(ready.body, StoredBody)
    await house.trim()
    house.later += GRACE + 1
    assert await house.sweeper.sweep() == 0
    await house.bodies.note(ready.body.claim.name, "m.X.X.1.orders.start")
    house.later += SETTLE + 1
    assert await house.sweeper.sweep() == 0


async def test_a_replay_of_what_was_swept_meanwhile_is_refused(house: House) -> None:
    ready = await house.store(Message.new(BIG))
    await house.trim()
    await house.sweep()
    assert isinstance(ready.body, StoredBody)
    with pytest.raises(BodyLostError, match="not in the store"):
        await house.bodies.verify(ready.body.claim)
