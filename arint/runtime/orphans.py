"""Messages of a stage that the flow has no more: told of, not forgotten."""

from __future__ import annotations

import logging

from arint.bus import lookup, streams
from arint.bus.keeper import consumers
from arint.bus.subjects import stage_filter, stream_of
from arint.errors import ArintError
from arint.message import Failure
from arint.runtime.desk import Desk

log = logging.getLogger(__name__)


async def bury_orphans(desk: Desk, flow: str, stages: frozenset[str]) -> int:
    """Make dead letters of what waits in stages that a change of the flow has taken away; returns how many.

    They can be replayed from the start, or where they are after a rollback.
    """
    buried = 0
    stream = stream_of(flow)
    for info in await consumers(desk.bus, stream):
        stage = str(info["name"])
        if stage in stages:
            continue
        position = int(info["ack_floor"]["stream_seq"]) + 1
        while found := await lookup.next_of(desk.bus, stream, stage_filter(flow, stage), position):
            message = found.message()
            message.failure = Failure(kind="stage gone", where=stage, message=(
                f"the flow {flow} has no stage {stage} since change set {desk.change_set}"))
            await desk.bury(found.place, message)
            position = found.sequence + 1
            buried += 1
        try:
            await streams.delete_consumer(desk.bus, stream, stage)
        except ArintError as error:
            log.warning("the consumer of %s/%s stays: %s", flow, stage, error)
    if buried:
        log.warning("%d messages of %s waited in stages that are gone; they are dead letters now", buried, flow)
    return buried
