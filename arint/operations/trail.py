"""Everything the bus keeps of one message: stage inputs of all flows, action records, dead letters; read at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

import msgspec

from arint.actions import Action
from arint.bus import subjects
from arint.bus.subjects import ACTIONS, CALLS, Place
from arint.errors import NotFoundError
from arint.message import Message, size_of
from arint.operations.story import Input

if TYPE_CHECKING:
    from arint.bus.connection import Bus
    from arint.bus.dead import DeadLetter
    from arint.bus.lookup import Found

_ID_LENGTH = 26
"""Of a ULID: its letters mean the same in both cases, and are stored in upper case."""
_RECORDS_TOGETHER = 10
"""Immediate calls in one stored message, at the least that is worth reckoning with."""
_actions = msgspec.json.Decoder(Action)


class StoredInput(msgspec.Struct, frozen=True):
    """A stage's input as the flow's stream keeps it. `at` in seconds since the epoch."""

    place: Place
    at: float
    message: Message


class Trail(msgspec.Struct, frozen=True):
    """What is kept of one message from outside, and of all that it caused; each in the order of storing."""

    root: str
    stored: tuple[StoredInput, ...]
    actions: tuple[Action, ...]
    dead: tuple[DeadLetter, ...]

    @property
    def inputs(self) -> list[Input]:
        """The stage inputs without their bodies."""
        return [Input(place=item.place, at=item.at, cause=item.message.cause, channel=item.message.channel,
                      size=size_of(item.message.body)) for item in self.stored]

    @property
    def places(self) -> list[Place]:
        """Every place that anything is known of."""
        acted = [Place(one.root, one.message, one.run, one.flow, one.stage) for one in self.actions]
        return [*(item.place for item in self.stored), *acted, *(letter.place for letter in self.dead)]


async def read(bus: Bus, message: str) -> Trail:
    """The trail of a message, or of the one from outside that caused it. Raises NotFoundError."""
    message = message.upper() if len(message) == _ID_LENGTH else message
    found = await _of_root(bus, message) if subjects.is_token(message) else None
    if found is None and subjects.is_token(message):
        root = await _root_of(bus, message)
        found = await _of_root(bus, root) if root else None
    if found is None:
        raise NotFoundError("nothing is known of this message", where=message,
                            remedy="arintctl message list shows the newest; older ones may have been trimmed")
    return found


async def newest_actions(bus: Bus, *, flow: str = "", limit: int) -> list[Action]:
    """The newest action records, newest first."""
    from arint.bus.lookup import newest

    pattern = f"a.*.*.*.{flow}.>" if flow else "a.>"
    try:
        actions = actions_of(await newest(bus, ACTIONS, pattern, limit))
        calls = [one for found in await newest(bus, CALLS, "i.>", -(-limit // _RECORDS_TOGETHER))
                 for one in calls_of(found.body) if flow in ("", one.flow)]
    except NotFoundError:
        return []
    return sorted([*actions, *calls], key=lambda one: one.at, reverse=True)[:limit] if calls else actions


async def actions_of_root(bus: Bus, root: str) -> list[Action]:
    """All action records of a message from outside, in the order of storing."""
    async with asyncio.TaskGroup() as tasks:
        stages = tasks.create_task(_found(bus, ACTIONS, subjects.tree("a", root)))
        call = tasks.create_task(_call(bus, root))
    return [*call.result(), *actions_of(stages.result())]


async def _call(bus: Bus, root: str) -> list[Action]:
    """The record of an immediate call, which lies among those of the same second."""
    found = await _found(bus, CALLS, subjects.calls(subjects.bucket_of(root)))
    return [one for stored in found for one in calls_of(stored.body) if one.root == root]


def calls_of(body: bytes) -> list[Action]:
    """The records that were gathered in one message."""
    records = []
    for line in body.split(b"\n"):
        try:
            records.append(_actions.decode(line))
        except msgspec.MsgspecError:
            continue
    return records


async def follow_actions(bus: Bus) -> AsyncIterator[Action]:
    """Action records as they are stored, from now on."""
    from arint.bus.connection import Request

    waiting: asyncio.Queue[bytes] = asyncio.Queue(10_000)

    async def arrived(request: Request) -> None:
        if not waiting.full():  # who reads too slowly misses some; the log has them all
            waiting.put_nowait(request.body)

    subscriptions = [await bus.subscribe(subject, "", arrived) for subject in ("a.>", "i.>")]
    try:
        while True:
            for record in calls_of(await waiting.get()):  # a batch is committed with an empty message: none
                yield record
    finally:
        for subscription in subscriptions:
            await subscription.close()


def actions_of(found: Iterable[Found]) -> list[Action]:
    """The records; what is none (written by another release) is left out."""
    records = []
    for one in found:
        try:
            records.append(_actions.decode(one.body))
        except msgspec.MsgspecError:
            continue
    return records


async def flow_streams(bus: Bus) -> list[str]:
    """The streams that hold messages, one a flow."""
    from arint.bus.streams import names

    return [name for name in await names(bus) if name.startswith(subjects.stream_of(""))]


async def _of_root(bus: Bus, root: str) -> Trail | None:
    """One look-up by prefix in each stream, all at once."""
    from arint.bus.dead import DeadLetters

    streams = await flow_streams(bus)
    async with asyncio.TaskGroup() as tasks:
        acted = tasks.create_task(actions_of_root(bus, root))
        died = tasks.create_task(DeadLetters(bus).of_tree(root))
        stored = [tasks.create_task(_inputs(bus, stream, root)) for stream in streams]
    actions, dead = acted.result(), died.result()
    inputs = sorted((one for task in stored for one in task.result()), key=lambda one: one.at)
    if not (actions or dead or inputs):
        return None
    return Trail(root, tuple(StoredInput(one.place, one.at, one.message()) for one in inputs),
                 tuple(actions), tuple(dead))


async def _inputs(bus: Bus, stream: str, root: str) -> list[Found]:
    return [one for one in await _found(bus, stream, subjects.tree("m", root)) if not one.place.is_marker]


async def _root_of(bus: Bus, message: str) -> str:
    """The root of a message that another one caused: slower, since its id does not stand first in the subject."""
    for one in await _found(bus, ACTIONS, f"a.*.{message}.>"):
        return one.place.root
    for stream in await flow_streams(bus):
        for one in await _found(bus, stream, f"m.*.{message}.>"):
            return one.place.root
    return ""


async def _found(bus: Bus, stream: str, pattern: str) -> list[Found]:
    from arint.bus.lookup import look_up

    try:
        return await look_up(bus, stream, pattern)
    except NotFoundError:
        return []
