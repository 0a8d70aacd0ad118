"""What everything in one worker process shares: the bus, the committers, the journal, the counters."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from arint.bus import streams
from arint.bus.bodies import Bodies
from arint.bus.committer import Committer, Stored
from arint.bus.connection import Bus
from arint.bus.dead import DeadLetters
from arint.bus.in_hand import InHand
from arint.bus.subjects import ACTIONS, TOPICS, Place, stream_of, topic
from arint.calls.peers import Peers
from arint.home import Home
from arint.message import ENVELOPE_HEADER, Claim, Message, encode_envelope, inline
from arint.meters.families import STORE_DURATION
from arint.room import Room, Stay
from arint.runtime.gate import Gate
from arint.runtime.journal import Journal
from arint.version import VERSION

if TYPE_CHECKING:
    from arint.flows.state import Output
    from arint.runtime.control import Orders
    from arint.tracing.exporter import Exporter
    from arint.tracing.settings import TraceSettings
    from arint.tracing.tracer import Tracer


FORKS = 4
"""Messages whose parts are being stored at once: each keeps a window of them in memory."""


class Desk:
    """One a process. `change_set` is the configuration in force; the counters only grow.

    `tracer` is None unless spans are wanted. `in_hand` remembers what this process works at, for the one after it.
    """

    def __init__(self, bus: Bus, orders: Orders, in_hand: InHand | None = None) -> None:
        self.bus = bus
        self.in_hand = in_hand
        self.node = orders.node
        self.home = Path(orders.home)
        self.instance = orders.instance
        self.change_set = orders.change_set
        self.ended = orders.ended
        self.gate = Gate()
        self.forks = asyncio.Semaphore(FORKS)
        self.processed = self.failed = self.dead = self.accepted = 0
        self.tracer: Tracer | None = None
        self._traces: TraceSettings | None = None
        self._exporter: Exporter | None = None
        self._exporting: asyncio.Task[None] | None = None
        self._store_duration = STORE_DURATION.at()
        self._replicas = orders.bus.replicas
        self._grouped = orders.fsync
        self._committers: dict[str, Committer] = {}
        self._known_streams: set[str] = set()
        self._dead_letters = DeadLetters(bus)
        self.bodies = Bodies(bus, self.committer, replicas=self._replicas)
        self.peers = Peers(Home(orders.home), bus, self.bodies)
        self._body_room, self._answer_room = Room(), Room()
        self._actions = Committer(bus, ACTIONS, grouped=self._grouped)
        file = self.home / "log" / f"actions-{orders.instance}.jsonl"
        self.journal = Journal(self._actions, file)

    async def ensure_flow(self, flow: str, *, max_bytes: int) -> None:
        """The flow's stream, with this limit."""
        await streams.ensure_flow(self.bus, flow, max_bytes=max_bytes, replicas=self._replicas)
        self._known_streams.add(flow)

    async def store(self, output: Output, *, of: Claim | None = None) -> Stored:
        """Store what a stage gave, once: the input of another stage, or a topic's message.

        `of` is the claim of the stage's own input: a body that is the same is not stored again. Raises FullError when
        the stream takes no more for now, RejectedError for a body that is too large.
        """
        began = time.perf_counter()
        message = output.message
        if output.flow.startswith("topic="):
            message = await self.bodies.check_in(message, "topic=", f"t.{message.id}", of=of)
            stored = await self.committer(TOPICS).store(
                topic(output.flow.removeprefix("topic=")), inline(message),
                {ENVELOPE_HEADER: encode_envelope(message), "Nats-Msg-Id": message.id}, expect_new=False)
        else:
            place = Place(message.root, message.id, message.run, output.flow, output.stage)
            message = await self.bodies.check_in(message, output.flow, place.subject, of=of)
            stored = await self.committer(stream_of(output.flow)).store(
                place.subject, inline(message), {ENVELOPE_HEADER: encode_envelope(message)})
        self._store_duration.observe(time.perf_counter() - began)
        return stored

    def stay(self) -> Stay:
        """Room for one attempt's large bodies."""
        return Stay(self._body_room, self._answer_room)

    def committer(self, stream: str) -> Committer:
        """The one that stores in this stream."""
        found = self._committers.get(stream)
        if found is None:
            found = self._committers[stream] = Committer(self.bus, stream, grouped=self._grouped)
        return found

    async def bury(self, place: Place, message: Message) -> None:
        """Keep the message, with its failure, as a dead letter of this stage."""
        message = await self.bodies.check_in(message, place.flow, place.dead)
        await self._dead_letters.store(message, place.flow, place.stage)

    async def trace(self, settings: TraceSettings | None, service: str) -> None:
        """From now on send spans there, or nowhere; `service` is what this process runs."""
        if settings == self._traces:
            return
        await self._stop_tracing()
        self._traces = settings
        if settings is not None:
            from arint.tracing.exporter import Exporter
            from arint.tracing.tracer import Tracer

            self._exporter = Exporter(settings.endpoint, {
                "service.name": service, "service.namespace": "arint", "service.version": VERSION,
                "service.instance.id": f"{self.node}/{self.instance}", "host.name": self.node})
            self.tracer = Tracer(self._exporter.put, ratio=settings.ratio)
            self._exporting = asyncio.create_task(self._exporter.run(), name="traces")

    async def _stop_tracing(self) -> None:
        self.tracer = None
        if self._exporting is not None and self._exporter is not None:
            self._exporting.cancel()
            await asyncio.wait([self._exporting])
            await self._exporter.close()
            self._exporting = self._exporter = None

    async def close(self) -> None:
        """Store what waits, and let go."""
        await asyncio.gather(self._actions.close(), self._dead_letters.close(),
                             *(committer.close() for committer in self._committers.values()))
        self.journal.close()
        if self.in_hand is not None:
            self.in_hand.close()
        await self._stop_tracing()
        await self.peers.close()
