import asyncio

import pytest

from arint.bus import lookup, streams, subjects
from arint.bus.dead import DeadLetters
from arint.bus.ledger import Ledger, digest
from arint.errors import NotFoundError
from arint.message import Failure, Message


@pytest.fixture
async def ledger(bus):
    await streams.ensure_core(bus)
    ledger = Ledger(bus)
    yield ledger
    await ledger.close()


async def test_a_key_is_claimed_once_by_channel_and_caller(ledger):
    first = await ledger.claim("in", "ann", "k1", "id-1", digest(b"body"), 60)
    assert first.own and first.message_id == "id-1"
    again = await ledger.claim("in", "ann", "k1", "id-2", digest(b"other"), 60)
    assert (again.own, again.message_id, again.body_digest == digest(b"body")) == (False, "id-1", True)
    assert (await ledger.claim("in", "bob", "k1", "id-3", "", 60)).own
    assert (await ledger.claim("out", "ann", "k1", "id-4", "", 60)).own


async def test_one_of_many_at_once_gets_the_key(ledger):
    claims = await asyncio.gather(*(ledger.claim("in", "ann", "k", f"id-{i}", "", 60) for i in range(100)))
    assert sum(one.own for one in claims) == 1
    assert len({one.message_id for one in claims}) == 1


async def test_a_claim_survives_a_kill_and_ends_with_its_time(bus, ledger, nats_server, until):
    await ledger.claim("in", "ann", "short", "id-1", "", 2)
    await ledger.claim("in", "ann", "long", "id-1", "", 60)
    nats_server.kill()
    nats_server.start(wait=False)
    assert (await ledger.claim("in", "ann", "long", "id-2", "", 60)).message_id == "id-1"

    async def gone() -> bool:
        return await lookup.get_one(bus, subjects.LEDGER, subjects.claim("in", "ann", "short")) is None

    await until(gone)
    assert (await ledger.claim("in", "ann", "short", "id-3", "", 60)).own


async def test_a_dead_letter_is_kept_whole_and_once(bus, ledger):
    dead = DeadLetters(bus)
    message = Message.new(b"\xff\x00", headers={"a": "ü"}, channel="in")
    message.failure = Failure("rejected", "no such thing", "orders/2-call-price", "Traceback…\nline")
    assert not (await dead.store(message, "orders", "2-call-price")).duplicate
    assert (await dead.store(message, "orders", "2-call-price")).duplicate
    (letter,) = await dead.list()
    assert letter.message == message and letter.place.stage == "2-call-price"
    assert await dead.get(message.id) == letter
    assert await dead.of_tree(message.root) == [letter]
    assert await dead.drop(letter) and not await dead.drop(letter)
    assert await dead.list() == []
    with pytest.raises(NotFoundError):
        await dead.get(message.id)
    await dead.close()


async def test_dead_letters_are_listed_by_flow_newest_first(bus, ledger):
    dead = DeadLetters(bus)
    for number in range(6):
        await dead.store(Message.new(b"%d" % number), "orders" if number % 2 else "service=price", "start")
    letters = await dead.list(flow="orders", limit=2)
    assert [one.message.body for one in letters] == [b"5", b"3"]
    assert [one.message.body for one in await dead.list(flow="orders", before=letters[-1].sequence)] == [b"1"]
    assert len(await dead.list()) == 6
    await dead.close()
