"""The keeper: lets go of what is processed and old, by sequence, and of nothing else.

By sequence, because a stage's output is always stored after its input: so an input never outlives its output, and a
message that is done again always meets the refusal of what it produced before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from arint.bus import api, lookup, streams, subjects
from arint.bus.connection import Bus
from arint.errors import ArintError

RESTED = 150.0
"""Seconds after which large bodies press again: what is trimmed of the messages frees them only when swept."""
PRESSED = 0.7
"""Above this part of `max_bytes`, what is processed goes before `keep` ends: room is worth more than history."""
RELIEVED = 0.5
"""Down to this part."""


def trim_point(*, first: int, last: int, unprocessed: Mapping[str, int | None], stages: Collection[str],
               kept_from: int, fill: float) -> int:
    """The sequence below which everything may go; `first` where nothing may.

    `unprocessed`: for each stage that has a consumer, the sequence of its first message that is not acked, or None
    where there is none up to `last`. `stages`: all stages that may hold messages; one without a consumer holds
    everything. `kept_from`: the first sequence that is younger than `keep`. `fill`: the part of `max_bytes` in use.
    """
    if not unprocessed or not set(stages) <= unprocessed.keys():
        return first
    done = min((sequence for sequence in unprocessed.values() if sequence is not None), default=last + 1)
    wanted = max(kept_from, first + relief(last - first + 1, fill))
    return max(first, min(done, wanted, last + 1))


def relief(messages: int, fill: float) -> int:
    """How many of the oldest must go so that a stream that is too full is not; 0 where it is not too full."""
    return math.ceil(messages * (1 - RELIEVED / fill)) if fill > PRESSED else 0


class Watched(msgspec.Struct, frozen=True):
    """A flow's stream as the keeper is to treat it: all stages that may hold messages; `keep` is in seconds.

    `limit`: the bytes from which its channels answer 503, if that is less than what the stream itself holds.
    """

    flow: str
    stages: frozenset[str]
    keep: float
    limit: int = 0


class Keeper:
    """Trims the streams of the flows that `flows` names, each `interval` seconds. Any number may run at once."""

    def __init__(self, bus: Bus, flows: Callable[[], Iterable[Watched]], *, interval: float = 15.0,
                 clock: Callable[[], float] = time.time) -> None:
        self._bus, self._flows, self._interval, self._clock = bus, flows, interval, clock
        self._relieved: dict[str, float] = {}

    async def run(self) -> None:
        """Trim for ever; a stream that cannot be looked at now is left to the next time."""
        while True:
            for watched in list(self._flows()):
                try:
                    await self.trim(watched)
                except ArintError:
                    continue
            await asyncio.sleep(self._interval)

    async def trim(self, watched: Watched) -> int:
        """Trim one stream; returns how many messages went."""
        stream = subjects.stream_of(watched.flow)
        state = await streams.state(self._bus, stream)  # first: whatever comes later is not up for trimming
        if not state.messages:
            return 0
        limit = watched.limit or state.max_bytes
        fill = (state.size + await self._pressing(watched.flow)) / limit if limit > 0 else 0.0
        kept_from = await self._kept_from(stream, state, watched.keep)
        if kept_from <= state.first and fill <= PRESSED:
            return 0
        point = trim_point(first=state.first, last=state.last, kept_from=kept_from, fill=fill,
                           stages=watched.stages, unprocessed=await self._unprocessed(stream))
        if point <= state.first:
            return 0
        answer = await api.call(self._bus, f"STREAM.PURGE.{stream}", {"seq": point})
        if fill > PRESSED:
            self._relieved[watched.flow] = self._clock()
        return int(answer.get("purged", 0))

    async def _pressing(self, flow: str) -> int:
        """The bytes of the flow's large bodies, unless the messages were trimmed for them just now."""
        if abs(self._clock() - self._relieved.get(flow, -math.inf)) < RESTED:
            return 0
        return await streams.size(self._bus, subjects.bodies_of(flow))

    async def _kept_from(self, stream: str, state: streams.StreamState, keep: float) -> int:
        """The first sequence younger than `keep`: by halving, since time grows with the sequence."""
        oldest = self._clock() - keep
        low, high = state.first, state.last + 1
        while low < high:
            middle = (low + high) // 2
            found = await lookup.next_of(self._bus, stream, ">", middle)
            if found is None or found.at >= oldest:
                high = middle
            else:
                low = max(found.sequence, middle) + 1
        return low

    async def _unprocessed(self, stream: str) -> dict[str, int | None]:
        """For each consumer: the first message that is not acked, None where there is none."""
        result: dict[str, int | None] = {}
        for info in await consumers(self._bus, stream):
            # What the store holds counts, not the broker's counters of what is pending: those have been wrong before.
            pattern = info["config"].get("filter_subject") or ">"
            found = await lookup.next_of(self._bus, stream, pattern, info["ack_floor"]["stream_seq"] + 1)
            result[info["name"]] = None if found is None else found.sequence
        return result


async def consumers(bus: Bus, stream: str) -> list[dict[str, Any]]:
    """What the broker tells of each consumer of a stream (JetStream's consumer info)."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await api.call(bus, f"CONSUMER.LIST.{stream}", {"offset": len(found)})
        page = answer.get("consumers") or []
        found.extend(page)
        if not page or len(found) >= answer["total"]:
            return found
