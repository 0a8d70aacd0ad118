import pytest

from arint.bus import api, lookup, streams
from arint.bus.committer import Committer
from arint.errors import ArintError, NotFoundError


async def test_declaring_again_updates_and_keeps_what_is_there(bus):
    await streams.ensure_core(bus)
    await streams.ensure_core(bus)
    await streams.ensure_flow(bus, "orders", max_bytes=2**20)
    await streams.ensure_flow(bus, "service=price", max_bytes=2**20)
    committer = Committer(bus, "F-orders")
    await committer.store("m.a.a.0.orders.start", b"x", {})
    await streams.ensure_flow(bus, "orders", max_bytes=2**21)
    state = await streams.state(bus, "F-orders")
    assert (state.messages, state.max_bytes) == (1, 2**21)
    core = {"ACTIONS", "CALLS", "DEAD", "LEDGER", "MARKS", "TOPICS"}
    assert set(await streams.names(bus)) == core | {"F-orders", "F-service=price"}
    await committer.close()


async def test_declaring_again_needs_no_room_for_what_stands_already(bus):
    await streams.ensure_flow(bus, "orders", max_bytes=2**28)
    size, number = 2**40, 0
    while size >= 2**20:  # until nothing is left to be set aside
        try:
            await streams.ensure_flow(bus, f"f{number}", max_bytes=size)
            number += 1
        except ArintError:
            size //= 2
    await streams.ensure_flow(bus, "orders", max_bytes=2**28)
    with pytest.raises(ArintError, match="insufficient storage"):
        await streams.ensure_flow(bus, "another", max_bytes=2**28)


async def test_a_consumer_is_made_once_and_deleted_once(bus):
    await streams.ensure_flow(bus, "orders", max_bytes=2**20)
    for _ in range(2):
        await streams.ensure_consumer(bus, "orders", "2t0-call-approve")
    assert (await streams.state(bus, "F-orders")).consumers == 1
    for _ in range(2):
        await streams.delete_consumer(bus, "F-orders", "2t0-call-approve")
        await streams.delete_stream(bus, "F-never")
    assert (await streams.state(bus, "F-orders")).consumers == 0


async def test_what_is_missing_is_not_found(bus):
    with pytest.raises(NotFoundError):
        await streams.state(bus, "F-never")
    with pytest.raises(NotFoundError):
        await lookup.look_up(bus, "F-never", ">")
    with pytest.raises(NotFoundError):
        await lookup.get_one(bus, "F-never", "m.a")


async def test_a_refusal_carries_the_brokers_own_code(bus):
    with pytest.raises(api.BusError) as caught:
        await streams.ensure_flow(bus, "orders", max_bytes=2**60)
    assert caught.value.code
