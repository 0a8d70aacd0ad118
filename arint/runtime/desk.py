"""What everything in one worker process shares: the bus, the committers, the journal, the counters."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from arint.bus import streams
from arint.bus.committer import Committer, Stored
from arint.bus.connection import Bus
from arint.bus.dead import DeadLetters
from arint.bus.subjects import ACTIONS, TOPICS, Place, stream_of, topic
from arint.message import ENVELOPE_HEADER, Message, encode_envelope
from arint.runtime.gate import Gate
from arint.runtime.journal import Journal

if TYPE_CHECKING:
    from arint.flows.state import Output
    from arint.runtime.control import Orders


FORKS = 4
"""Messages whose parts are being stored at once: each keeps a window of them in memory."""


class Desk:
    """One a process. `change_set` is the configuration in force; the counters only grow."""

    def __init__(self, bus: Bus, orders: Orders) -> None:
        self.bus = bus
        self.node = orders.node
        self.home = Path(orders.home)
        self.instance = orders.instance
        self.change_set = orders.change_set
        self.gate = Gate()
        self.forks = asyncio.Semaphore(FORKS)
        self.processed = self.failed = self.dead = self.accepted = 0
        self._replicas = orders.bus.replicas
        self._grouped = orders.fsync
        self._committers: dict[str, Committer] = {}
        self._known_streams: set[str] = set()
        self._dead_letters = DeadLetters(bus)
        self._actions = Committer(bus, ACTIONS, grouped=self._grouped)
        file = self.home / "log" / f"actions-{orders.instance}.jsonl"
        self.journal = Journal(self._actions, file)

    async def ensure_flow(self, flow: str, *, max_bytes: int) -> None:
        """The flow's stream, with this limit."""
        await streams.ensure_flow(self.bus, flow, max_bytes=max_bytes, replicas=self._replicas)
        self._known_streams.add(flow)

    async def store(self, output: Output) -> Stored:
        """Store what a stage gave, once: the input of another stage, or a topic's message.

        Raises FullError when the stream takes no more for now.
        """
        message = output.message
        headers = {ENVELOPE_HEADER: encode_envelope(message)}
        if output.flow.startswith("topic="):
            name = output.flow.removeprefix("topic=")
            return await self.committer(TOPICS).store(topic(name), message.body,
                                                      {**headers, "Nats-Msg-Id": message.id}, expect_new=False)
        place = Place(message.root, message.id, message.run, output.flow, output.stage)
        return await self.committer(stream_of(output.flow)).store(place.subject, message.body, headers)

    def committer(self, stream: str) -> Committer:
        """The one that stores in this stream."""
        found = self._committers.get(stream)
        if found is None:
            found = self._committers[stream] = Committer(self.bus, stream, grouped=self._grouped)
        return found

    async def bury(self, place: Place, message: Message) -> None:
        """Keep the message, with its failure, as a dead letter of this stage."""
        await self._dead_letters.store(message, place.flow, place.stage)

    async def close(self) -> None:
        """Store what waits, and let go."""
        await asyncio.gather(self._actions.close(), self._dead_letters.close(),
                             *(committer.close() for committer in self._committers.values()))
        self.journal.close()
