"""The stages that this process takes part in: a consumer each, kept in step with the orders."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from arint.bus.consumer import PullConsumer
from arint.bus.incoming import Incoming
from arint.bus.streams import ACK_WAIT, OWNER_ACK_WAIT
from arint.runtime.desk import Desk
from arint.runtime.processor import StageProcessor

Key = tuple[str, str]
"""Flow and stage tokens."""


class Stages:
    """Runs a pull consumer for each stage; a changed flow swaps the processor under a consumer that goes on."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._processors: dict[Key, StageProcessor] = {}
        self._consumers: dict[Key, PullConsumer] = {}

    async def reconcile(self, wanted: Mapping[Key, StageProcessor], *, max_in_flight: int) -> None:
        """From now on process these stages, and no others."""
        gone = [key for key, consumer in self._consumers.items()
                if key not in wanted or consumer.max_in_flight != (wanted[key].in_flight or max_in_flight)
                or consumer.owner != wanted[key].is_owner]
        await asyncio.gather(*(self._stop(key, 5.0) for key in gone))
        self._processors = dict(wanted)  # after the stop: what is in flight ends with the processor it began with
        for key, processor in wanted.items():
            if key not in self._consumers:
                consumer = PullConsumer(self._desk.bus, *key, self._handler(key),
                                        max_in_flight=processor.in_flight or max_in_flight, owner=processor.is_owner,
                                        ack_wait=OWNER_ACK_WAIT if processor.is_owner else ACK_WAIT,
                                        in_hand=self._desk.in_hand)
                await consumer.start()
                self._consumers[key] = consumer
        self.heed_circuits()

    def _handler(self, key: Key) -> Callable[[Incoming], Awaitable[None] | None]:
        def handle(incoming: Incoming) -> Awaitable[None] | None:
            return self._processors[key].handle(incoming)

        return handle

    def heed_circuits(self) -> None:
        """Pause the stages whose connection's circuit is open; resume the others."""
        for key, consumer in self._consumers.items():
            is_open = self._is_held(key)
            if is_open and not consumer.paused:
                consumer.pause()
            elif not is_open and consumer.paused:
                consumer.resume()

    @property
    def in_flight(self) -> int:
        """Messages taken and not yet settled."""
        return sum(consumer.in_flight for consumer in self._consumers.values())

    async def _stop(self, key: Key, grace: float) -> None:
        consumer = self._consumers.pop(key)
        await consumer.stop(0.0 if consumer.owner else grace)  # what an owner holds may not end for long

    async def stop(self, grace: float) -> None:
        """Take nothing new; finish what is in flight, at most `grace` seconds; give the rest back."""
        await asyncio.gather(*(self._stop(key, 0.0 if self._is_held(key) else grace) for key in list(self._consumers)))

    def _is_held(self, key: Key) -> bool:
        """Do its messages wait for a system that is away? They are given back, not waited for."""
        outlet = self._processors[key].outlet
        return outlet is not None and not outlet.closed.is_set()
