"""Marks are kept by the broker, and of two writers the second is refused."""

from __future__ import annotations

import pytest

from arint.bus import streams
from arint.bus.connection import Bus
from arint.bus.marks import Marks
from arint.errors import ConflictError
from arint.plugins import Mark
from arint.runtime.control import BusSettings
from tests.servers import NatsServer


async def test_a_mark_is_kept_and_the_second_of_two_writers_is_refused(nats_server: NatsServer) -> None:
    async with await Bus.connect(BusSettings((nats_server.server,), "", "", ""), name="test") as bus:
        await streams.ensure_core(bus)
        one, two = Marks(bus), Marks(bus)
        first = await one.read("orders-in")
        assert first == Mark()
        kept = await one.write("orders-in", b"1", first)
        assert await two.read("orders-in") == kept
        with pytest.raises(ConflictError, match="channel/orders-in"):
            await two.write("orders-in", b"2", first)
        assert await two.write("orders-in", b"1", first) == kept  # the answer to the first write was lost
        following = await two.write("orders-in", b"2", kept)
        assert (await one.read("orders-in"), await one.read("other")) == (following, Mark())
        assert (await streams.state(bus, "MARKS")).messages == 1
        await one.close()
        await two.close()
