"""How many messages wait for each stage: asked of the broker now and then, for the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from arint.bus.connection import Bus
from arint.bus.keeper import Watched, consumers
from arint.bus.subjects import stream_of
from arint.errors import ArintError
from arint.meters.families import STAGE_WAITING

INTERVAL = 5.0


async def count_waiting(bus: Bus, flows: Callable[[], Iterable[Watched]]) -> None:
    """Keep the gauge, for ever; one question a flow. What cannot be asked now is left out until the next time."""
    while True:
        found: dict[tuple[str, ...], float] = {}
        for flow in [watched.flow for watched in flows()]:
            try:
                for one in await consumers(bus, stream_of(flow)):
                    found[flow, str(one["name"])] = one.get("num_pending", 0) + one.get("num_ack_pending", 0)
            except ArintError:
                continue
        STAGE_WAITING.replace(found)
        await asyncio.sleep(INTERVAL)
