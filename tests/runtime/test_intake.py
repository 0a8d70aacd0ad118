"""What a source hands over is stored once, however often it is taken."""

from __future__ import annotations

from pathlib import Path

from arint.bus import streams
from arint.bus.connection import Bus
from arint.message import derived_id
from arint.plugins import Accepted
from arint.resources.kinds import Channel
from arint.runtime.control import BusSettings, Orders
from arint.runtime.desk import Desk
from arint.runtime.intake import Intake
from tests.servers import NatsServer

CHANNEL = Channel(name="files", to="flow/orders", transport="file", spec={})


async def test_what_is_taken_again_stores_nothing_twice(nats_server: NatsServer, tmp_path: Path) -> None:
    settings = BusSettings((nats_server.server,), "", "", "")
    async with await Bus.connect(settings, name="test") as bus:
        await streams.ensure_core(bus)
        desk = Desk(bus, Orders(instance="file-1", node="n1", role="source", bus=settings, home=str(tmp_path)))
        await desk.ensure_flow("orders", max_bytes=2**20)
        intake = Intake(desk)
        intake.update({"files": CHANNEL}, {"orders": 2**20}, {})
        identity = derived_id("files", "in/a.csv", 1)

        async def take() -> Accepted:
            return await intake.accept("files", b"{}", content_type="application/json", headers={},
                                       message_id=identity)

        assert await take() == Accepted(identity, repeated=False)
        assert await take() == Accepted(identity, repeated=True)
        assert (await streams.state(bus, "F-orders")).messages == 1
        assert desk.accepted == 1
        await intake.close()
        await desk.close()
