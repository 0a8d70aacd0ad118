"""What a source hands its messages to: stored before the outside gets its yes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from arint.actions import ENDS, Action
from arint.bus import ledger, lookup, marks, streams
from arint.bus.bodies import PART, Upload
from arint.bus.committer import Stored
from arint.bus.subjects import ACTIONS, Place, bodies_of, flow_of, parse_place, stream_of, tree
from arint.errors import ArintError, NotFoundError, RejectedError
from arint.flows.state import Output
from arint.message import LARGEST_BODY, LARGEST_INLINE, Message, StoredBody
from arint.plugins import Accepted, FullError, KeyReusedError, Mark
from arint.resources.kinds import Channel
from arint.resources.quantities import seconds
from arint.runtime.desk import Desk

if TYPE_CHECKING:
    from arint.answers import Answer, Request
    from arint.runtime.immediate import Immediate

START = "start"
FILL_INTERVAL = 0.5
"""How often the streams' fill, and the disk's, is looked at, in seconds."""
DISK_RESERVE = 64 * 2**20
"""Bytes that are left on the disk for what was accepted: with less, nothing new is."""
_decode_action = msgspec.json.Decoder(Action).decode
_ENDS = (ENDS - {"dead"}) | {"replayed", "dropped"}
Stage = tuple[str, int, str, str]
"""Message, run, flow and stage tokens."""


class Intake:
    """Accepts messages for this node's channels; see `arint.plugins.Intake`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ledger = ledger.Ledger(desk.bus)
        self._marks = marks.Marks(desk.bus)
        self._channels: dict[str, Channel] = {}
        self._flows: dict[str, str] = {}
        self._limits: dict[str, int] = {}
        self._secrets: Mapping[str, bytes] = {}
        self._full: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._arrived: dict[str, int] = {}
        self._disk_full = False
        self.immediate: Immediate | None = None
        """Set where there are channels of immediate delivery."""

    def update(self, channels: Mapping[str, Channel], limits: Mapping[str, int], secrets: Mapping[str, bytes]) -> None:
        """From now on: these channels; what each flow's stream may hold (bytes); these secrets."""
        self._channels = dict(channels)
        self._flows = {name: flow_of(*channel.to.split("/", 1)) for name, channel in channels.items()}
        self._limits = dict(limits)
        self._secrets = secrets
        self._full &= set(self._flows.values())

    async def accept(self, channel: str, body: bytes | AsyncIterator[bytes], *, content_type: str,
                     headers: Mapping[str, str], idempotency_key: str = "", caller: str = "",
                     correlation_id: str = "", traceparent: str = "", message_id: str = "",
                     variables: Mapping[str, Any] | None = None) -> Accepted:
        """Store one message as the start of the channel's flow; returns when it is on disk."""
        began = time.time()
        flow = self._flows[channel]
        self._refuse_full(flow)
        message = Message.new(b"", content_type=content_type, headers=dict(headers), channel=channel, caller=caller,
                              traceparent=traceparent, change_set=self._desk.change_set,
                              variables=dict(variables) if variables else {})
        if message_id:
            message.id = message.root = message_id
        message.body = await self._taken_in(body, flow, message)
        message.correlation_id = correlation_id or message.id
        repeated = False
        if idempotency_key:
            claim = await self._claim(channel, caller, idempotency_key, message)
            repeated = not claim.own
            message.id = message.root = claim.message_id
            if repeated and await self.is_known(message.id):
                return Accepted(message.id, repeated=True)
        stored = await self._store(Output(flow, START, message), began)
        repeated = repeated or stored.duplicate
        self._desk.accepted += not stored.duplicate
        return Accepted(message.id, repeated)

    async def _store(self, output: Output, began: float) -> Stored:
        """Store it, as a span that begins a trace, or goes on with the caller's."""
        tracer, message = self._desk.tracer, output.message
        if tracer is None:
            return await self._desk.store(output)
        tracer.enter(message, "accept", message.channel, began)
        try:
            stored = await self._desk.store(output)
        except BaseException as error:
            tracer.end(message.traceparent, error=str(error) or type(error).__name__)
            raise
        tracer.end(message.traceparent, flow=output.flow)
        return stored
    async def ask(self, channel: str, request: Request, body: bytes | AsyncIterator[bytes], *, timeout: float,
                  content_type: str, headers: Mapping[str, str], caller: str = "", correlation_id: str = "",
                  traceparent: str = "") -> Answer:
        """The outcome of an immediate call."""
        assert self.immediate is not None
        return await self.immediate.ask(channel, request, body, timeout, content_type=content_type, headers=headers,
                                        caller=caller, correlation_id=correlation_id, traceparent=traceparent)

    async def wants_stream(self, channel: str, timeout: float) -> bool:
        """Does the one who would answer take bodies as streams?"""
        assert self.immediate is not None
        return await self.immediate.wants_stream(channel, timeout)

    def _refuse_full(self, flow: str) -> None:
        if self._disk_full:
            raise FullError("the disk is full")
        if flow in self._full:
            raise FullError(f"the queue of {flow} is full")

    async def _taken_in(self, body: bytes | AsyncIterator[bytes], flow: str, message: Message) -> bytes:
        """The body, where it is small; a large one goes into the store as it arrives."""
        if isinstance(body, bytes):
            if len(body) <= LARGEST_INLINE:
                return body
            body = _whole(body)
        gathered = bytearray()
        async for part in body:
            gathered += part
            if len(gathered) > LARGEST_INLINE:
                return await self._uploaded(gathered, body, flow, message)
        return bytes(gathered)

    async def _uploaded(self, gathered: bytearray, rest: AsyncIterator[bytes], flow: str, message: Message) -> bytes:
        place = Place(message.root, message.id, message.run, flow, START)
        upload = await self._desk.bodies.begin(flow, message.id, place.subject)
        try:
            await self._write(upload, gathered, flow)
            gathered.clear()
            async for part in rest:
                await self._write(upload, part, flow)
            return StoredBody(await upload.finish())
        finally:
            upload.end()

    async def _write(self, upload: Upload, part: bytes | bytearray, flow: str) -> None:
        """Store what came, unless the queue or the disk has become full meanwhile."""
        self._arrived[flow] = self._arrived.get(flow, 0) + len(part)
        if self._sizes.get(flow, 0) + self._arrived[flow] >= self._limits.get(flow, LARGEST_BODY):
            self._full.add(flow)
        self._refuse_full(flow)
        if upload.size + len(part) > LARGEST_BODY:
            raise RejectedError(f"a body may have at most {LARGEST_BODY} bytes", where=upload.name)
        await upload.write(part)

    async def _claim(self, channel: str, caller: str, key: str, message: Message) -> ledger.Claim:
        kept = seconds(self._channels[channel].idempotency_for)
        # The content type belongs to what was asked: the same bytes as another type are another request.
        body = message.body
        known = b"sha256:" + body.claim.sha256.encode() if isinstance(body, StoredBody) else body
        fingerprint = ledger.digest(message.content_type.encode() + b"\0" + known)
        claim = await self._ledger.claim(channel, caller, key, message.id, fingerprint, kept)
        if claim.body_digest != fingerprint:
            raise KeyReusedError(key)
        return claim

    async def is_known(self, message_id: str) -> bool:
        """Has the action log anything of it? Then its input was stored, even if it is trimmed by now."""
        return bool(await lookup.look_up(self._desk.bus, ACTIONS, tree("a", message_id), limit=1))

    async def mark(self, channel: str) -> Mark:
        """How far the channel's source has come."""
        return await self._marks.read(channel)

    async def set_mark(self, channel: str, value: bytes, before: Mark) -> Mark:
        """Keep how far it has come."""
        return await self._marks.write(channel, value, before)

    async def status(self, message_id: str) -> dict[str, Any] | None:
        """Where a message stands, from its stages and its action records."""
        if not message_id.isalnum():
            return None
        actions = [_decode_action(found.body)
                   for found in await lookup.look_up(self._desk.bus, ACTIONS, tree("a", message_id))]
        channel, waiting = "", set[Stage]()
        for flow in set(self._flows.values()):
            with contextlib.suppress(NotFoundError):
                for found in await lookup.look_up(self._desk.bus, stream_of(flow), tree("m", message_id)):
                    if not found.place.is_marker:
                        waiting.add(found.place[1:])
                    channel = channel or found.message().channel
        if not actions and not waiting:
            return None
        channel = channel or next((action.channel for action in actions if action.channel), "")
        return {"id": message_id, **state_of(actions, waiting), "channel": channel}

    def secret(self, name: str) -> bytes:
        """A secret that a channel names."""
        try:
            return self._secrets[name]
        except KeyError:
            raise NotFoundError(f"the secret {name} is not on this node", where=f"secret/{name}",
                                remedy="declare it and apply") from None

    async def measure(self) -> None:
        """Watch how full the streams are, for ever: a full queue answers 503 before the broker has to refuse."""
        while True:
            self._disk_full = _free(self._desk.home) < DISK_RESERVE
            with contextlib.suppress(ArintError):
                known = set(await streams.names(self._desk.bus))
                for flow, limit in list(self._limits.items()):
                    arrived = self._arrived.get(flow, 0)
                    size = sum([await streams.size(self._desk.bus, name)
                                for name in (stream_of(flow), bodies_of(flow)) if name in known])
                    self._sizes[flow] = size
                    self._arrived[flow] = self._arrived.get(flow, 0) - arrived  # the rest came while it was measured
                    (self._full.add if size >= limit else self._full.discard)(flow)
            await asyncio.sleep(FILL_INTERVAL)

    async def close(self) -> None:
        """Finish what has begun."""
        if self.immediate is not None:
            await self.immediate.close()
        await self._ledger.close()
        await self._marks.close()


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PART):
        yield body[start:start + PART]


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return DISK_RESERVE  # nothing is known: let the broker say


def state_of(actions: list[Action], waiting: set[Stage]) -> dict[str, Any]:
    """A message's state for its sender: accepted, processing, done or dead."""
    if not actions:
        return {"state": "accepted", "stage": "start", "attempts": 0}
    met = {_stage(action) for action in actions}
    ended = {_stage(action) for action in actions if action.outcome in _ENDS}
    dead = {_stage(action) for action in actions if action.outcome == "dead"}
    following = {stage for action in actions for label in action.to if (stage := _following(action, label))}
    if dead - ended:  # what is dead ends by a replay, in another run, or is dropped
        state = "dead"
    elif (waiting | met) - ended or following - {stage[1:] for stage in ended}:
        state = "processing"
    else:
        state = "done"
    last = max(actions, key=lambda action: action.at + action.took)
    return {"state": state, "stage": last.stage, "attempts": sum(action.outcome in {"done", "failed"} for action in
                                                                  actions if action.stage == last.stage)}


def _stage(action: Action) -> Stage:
    return action.message, action.run, action.flow, action.stage


def _following(action: Action, label: str) -> tuple[int, str, str] | None:
    """The stage that an action stored next; None for a topic, where nothing waits for it, and for another message."""
    if label.startswith("m."):  # a replay names the whole place, and so does what went into an aggregate
        place = parse_place(label)
        return (place.run, place.flow, place.stage) if place.root == action.root else None
    flow, _, stage = label.rpartition("/")
    return None if flow == "topic" else (action.run, flow, stage)
