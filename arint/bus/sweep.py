"""The sweep: large bodies that nothing refers to any more go, and no other ever does.

Mark: of each body the notes say what refers to it or is about to. It lives while one of those messages is stored and
carries its claim, or while a note is younger than `GRACE`: who stores a reference notes it just before, each time.

Why no body is taken while a message with its claim is being derived: the note of the new message stands before the new
message does, and the old message is not trimmed before. So whoever finds none of the noted messages, and then no new
note, knows that there is none. The second look comes `SETTLE` seconds later by this process's own clock, so that no
jump of the broker's clock makes a note old before its time.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

import msgspec

from arint.bus import api, lookup, streams, subjects
from arint.bus.connection import Bus
from arint.bus.streams import TOPICS_AGE
from arint.bus.subjects import DEAD, parse_place, parse_reference, stream_of
from arint.errors import ArintError, NotFoundError
from arint.message import StoredBody

GRACE = 60.0
"""Seconds within which a reference that was noted is stored; its note keeps the body so long."""
SETTLE = 45.0
"""Seconds for which a body must have been found without a reference: longer than from a note to its message."""
INTERVAL = 15.0
_ASKED_TOGETHER = 256
_MOST_NOTES = 1_000_000


class Note(msgspec.Struct, frozen=True):
    """A note beside a body: who refers to it, when that was said (seconds since the epoch), its sequence."""

    referrer: str
    at: float
    sequence: int


def is_live(notes: Collection[Note], referring: Collection[str], now: float) -> bool:
    """Must the body stay? `referring` are the stored subjects whose message carries its claim. Pure.

    A topic's messages cannot be looked up by their id: they are believed for as long as a topic keeps anything.
    """
    return any(note.referrer in referring or now - note.at < (
        TOPICS_AGE + GRACE if note.referrer.startswith("t.") else GRACE) for note in notes)


class Suspects:
    """Who was found dead, and since when. A body goes when nothing was noted of it since it was first found so."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[frozenset[int], float]] = {}

    def judge(self, dead: Mapping[str, Collection[Note]], now: float) -> set[str]:
        """The names that are to go; `now` by a clock that does not jump. Pure but for what is remembered."""
        found = {}
        for name, notes in dead.items():
            mark = frozenset(note.sequence for note in notes)
            known = self._found.get(name)
            found[name] = known if known is not None and known[0] == mark else (mark, now)
        self._found = found
        return {name for name, (_, since) in found.items() if now - since >= SETTLE}


class Sweeper:
    """Sweeps the bodies of all flows, each `interval` seconds. Any number may run at once."""

    def __init__(self, bus: Bus, *, interval: float = INTERVAL, clock: Callable[[], float] = time.time,
                 steady: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._interval, self._clock, self._steady = bus, interval, clock, steady
        self._suspects = Suspects()

    async def run(self) -> None:
        """Sweep for ever; what cannot be looked at now is left to the next time."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.sweep()
            except ArintError:
                continue

    async def sweep(self) -> int:
        """Sweep once; returns how many bodies went. Raises where anything cannot be looked at: then nothing goes."""
        dead: dict[str, list[Note]] = {}
        for stream in await streams.names(self._bus):
            if stream.startswith(subjects.BODIES):
                notes = await self._notes(stream, subjects.ALL_REFERENCES)
                referring = await self._referring({note.referrer for each in notes.values() for note in each})
                now = self._clock()
                dead |= {name: each for name, each in notes.items() if not is_live(each, referring[name], now)}
        gone = self._suspects.judge(dead, self._steady())
        return sum([await self._take(name, dead[name]) for name in gone])

    async def _notes(self, stream: str, pattern: str) -> dict[str, list[Note]]:
        """All notes, by the body's name."""
        found: dict[str, list[Note]] = defaultdict(list)
        for one in await lookup.look_up(self._bus, stream, pattern, limit=_MOST_NOTES, deadline=30.0):
            name, referrer = parse_reference(one.subject)
            found[name].append(Note(referrer, one.at, one.sequence))
        return found

    async def _referring(self, referrers: Collection[str]) -> Mapping[str, Collection[str]]:
        """Those of these subjects that are stored and carry a claim, by the claimed body's name."""
        by_stream: dict[str, list[str]] = defaultdict(list)
        for referrer in sorted(referrers):
            if referrer.startswith("m."):
                by_stream[stream_of(parse_place(referrer).flow)].append(referrer)
            elif referrer.startswith("d."):
                by_stream[DEAD].append(referrer)
        claimed: dict[str, set[str]] = defaultdict(set)
        for stream, wanted in by_stream.items():
            for start in range(0, len(wanted), _ASKED_TOGETHER):
                for subject, name in (await self._claims(stream, wanted[start:start + _ASKED_TOGETHER])).items():
                    claimed[name].add(subject)
        return claimed

    async def _claims(self, stream: str, wanted: list[str]) -> dict[str, str]:
        try:
            found = await lookup.exactly(self._bus, stream, wanted)
        except NotFoundError:
            return {}  # the flow is gone, and all its messages with it
        bodies = {subject: one.message().body for subject, one in found.items()}
        return {subject: body.claim.name for subject, body in bodies.items() if isinstance(body, StoredBody)}

    async def _take(self, name: str, notes: Collection[Note]) -> bool:
        """Take the body away, unless something was noted since. The notes last: what is cut short is found again."""
        stream = subjects.bodies_stream(name)
        now = (await self._notes(stream, subjects.reference(name, ">"))).get(name, [])
        if {note.sequence for note in now} != {note.sequence for note in notes}:
            return False
        await api.call(self._bus, f"STREAM.PURGE.{stream}", {"filter": subjects.part(name, "*")})
        await api.call(self._bus, f"STREAM.PURGE.{stream}", {"filter": subjects.reference(name, ">")})
        return True
