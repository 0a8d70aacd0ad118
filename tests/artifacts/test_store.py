"""The store of code against a real broker: whole or not at all, found by digest, swept when nobody wants it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator, Callable

import pytest

from arint.artifacts.store import LARGEST_PIECE, Name, Piece, fetch, kept, put, sweep
from arint.bus import lookup, streams, subjects
from arint.bus.connection import Bus
from arint.errors import ArintError, NotFoundError, NotValidError
from arint.message import new_id
from arint.runtime.control import BusSettings
from tests.servers import NatsServer

BIG = os.urandom(3 * 2**20 + 17)


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(BusSettings((nats_server.server,), "", "", ""), name="test") as bus:
        yield bus


def piece(content: bytes, *, wheel: str = "") -> Piece:
    digest = hashlib.sha256(content).hexdigest()
    return Piece("wheel" if wheel else "code", digest, len(content), lambda: io.BytesIO(content), wheel)


async def read(bus: Bus, one: Piece) -> bytes:
    found = bytearray()
    mark = await fetch(bus, one.kind, one.digest, found.extend)
    assert mark.name == one.name
    return bytes(found)


async def upload_of(bus: Bus, one: Piece) -> str:
    return (await kept(bus))[one.key].mark.upload


async def parts(bus: Bus) -> list[str]:
    return await streams.subjects_in(bus, subjects.CODE, "c.*.*.*.*")


async def test_what_is_put_is_fetched_by_its_digest(bus: Bus) -> None:
    assert await kept(bus) == {}
    code, wheel, nothing = piece(BIG), piece(b"wheel", wheel="a-1-py3-none-any.whl"), piece(b"")
    said: list[str] = []
    assert await put(bus, [code, wheel, nothing], said=said.append) == 3
    assert len(said) == 3
    assert [await read(bus, one) for one in (code, wheel, nothing)] == [BIG, b"wheel", b""]
    assert await put(bus, [code, wheel]) == 0
    with pytest.raises(NotFoundError, match="not in the cluster's store of code"):
        await read(bus, piece(b"other"))


async def test_what_is_not_whole_is_told_of(bus: Bus) -> None:
    code = piece(BIG)
    await put(bus, [code])
    subject = subjects.kept_part(*code.key, await upload_of(bus, code), 2)
    await bus.request(subject, b"x" * 2**19)
    with pytest.raises(NotValidError, match="is not what was put there"):
        await read(bus, code)
    assert await put(bus, [code]) == 1  # it is mended by whoever puts it again
    assert await read(bus, code) == BIG
    subject = subjects.kept_part(*code.key, await upload_of(bus, code), 2)
    damaged = await lookup.get_one(bus, subjects.CODE, subject)
    assert damaged is not None
    await lookup.delete(bus, subjects.CODE, damaged.sequence)
    with pytest.raises(NotValidError, match="part 3 of 7 is missing"):
        await read(bus, code)
    assert await put(bus, [code]) == 1
    assert await read(bus, code) == BIG
    assert len(await parts(bus)) == 7


async def test_what_does_not_fit_is_refused_before_anything_is_stored(bus: Bus) -> None:
    with pytest.raises(ArintError, match=r"needs 3.0 MiB more, and 0.0 MiB of the 2.0 MiB"):
        await put(bus, [piece(BIG)], largest=2 * 2**20)
    assert subjects.CODE not in await streams.names(bus)
    small = piece(b"small")
    await put(bus, [small], largest=2 * 2**20)
    with pytest.raises(ArintError, match="does not fit"):
        await put(bus, [piece(BIG)], largest=2 * 2**20)
    assert (await streams.state(bus, subjects.CODE)).max_bytes == 2 * 2**20
    assert await read(bus, small) == b"small"


async def test_a_broker_without_room_is_told_of(nats_factory: Callable[..., NatsServer]) -> None:
    server = nats_factory(max_file_store=100 * 2**20)
    async with await Bus.connect(BusSettings((server.server,), "", "", ""), name="test") as bus:
        await put(bus, [piece(b"small")])
        huge = Piece("code", "ab" * 32, LARGEST_PIECE, lambda: io.BytesIO(b""))
        with pytest.raises(ArintError, match="the broker's disk has no room"):
            await put(bus, [huge])
        assert await read(bus, piece(b"small")) == b"small"


async def test_its_limit_follows_what_it_holds(bus: Bus) -> None:
    await put(bus, [piece(b"small")])
    assert (await streams.state(bus, subjects.CODE)).max_bytes == 64 * 2**20
    large = [Piece("wheel", f"{number:064}", 2**20, lambda: io.BytesIO(bytes(2**20)), "x.whl") for number in range(70)]
    await put(bus, large)
    assert (await streams.state(bus, subjects.CODE)).max_bytes == 128 * 2**20
    assert await sweep(bus, set(), grace=-1.0) == 71
    state = await streams.state(bus, subjects.CODE)
    assert (state.messages, state.max_bytes) == (0, 64 * 2**20)


async def test_the_sweep_takes_what_nobody_names_nor_wanted(bus: Bus) -> None:
    named, wanted, gone = piece(b"named"), piece(b"wanted"), piece(BIG)
    await put(bus, [named, wanted, gone])
    keep: set[Name] = {named.key}
    assert await sweep(bus, keep, grace=60.0) == 0
    first, last = (await kept(bus))[wanted.key], (await kept(bus))[gone.key]
    await put(bus, [wanted])  # by an apply that names it in a moment
    again = (await kept(bus))[wanted.key]
    assert (again.mark, again.sequence > first.sequence) == (first.mark, True)
    assert await sweep(bus, keep, grace=60.0, now=last.at + 60.0 + (again.at - last.at) / 2) == 1
    assert set(await kept(bus)) == {named.key, wanted.key}
    assert len(await parts(bus)) == 2


async def test_an_upload_that_was_broken_off_is_swept(bus: Bus) -> None:
    await put(bus, [piece(b"named")])
    left = subjects.kept_part("code", "cd" * 32, "01" + "0" * 24, 0)
    fresh = subjects.kept_part("code", "cd" * 32, new_id(), 0)
    for subject in (left, fresh):
        await bus.request(subject, b"part")
    await sweep(bus, {piece(b"named").key}, grace=3600.0)
    assert left not in await parts(bus)
    assert fresh in await parts(bus)


async def test_two_who_put_the_same_leave_one(bus: Bus) -> None:
    code = piece(BIG)
    await put(bus, [piece(b"first")])
    await asyncio.gather(*(put(bus, [code]) for _ in range(4)))
    assert await read(bus, code) == BIG
    assert len(await parts(bus)) == 7 + 1


async def test_who_wants_what_is_just_being_removed_stores_it_again(bus: Bus) -> None:
    code = piece(BIG)
    for _ in range(5):
        await put(bus, [code])
        swept, stored = await asyncio.gather(sweep(bus, set(), grace=-1.0, now=time.time() + 1), put(bus, [code]))
        if await kept(bus):
            assert await read(bus, code) == BIG
        else:
            assert swept and not stored
