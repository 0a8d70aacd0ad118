"""Marks: how far a source has come, one small value a channel, kept by the broker.

A mark is written on the condition that it is still the one that was read: of two instances of a source that overlap,
the second to write is refused, and reads again.
"""

from __future__ import annotations

from arint.bus import lookup, subjects
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.errors import ConflictError
from arint.plugins import Mark


class Marks:
    """Reads and writes marks."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._committer = Committer(bus, subjects.MARKS)

    async def read(self, channel: str) -> Mark:
        """The channel's mark. Raises UnreachableError or TimedOutError."""
        found = await lookup.get_one(self._bus, subjects.MARKS, subjects.mark(channel))
        return Mark() if found is None else Mark(found.body, found.sequence)

    async def write(self, channel: str, value: bytes, before: Mark) -> Mark:
        """The new mark, once it is on disk. Raises FullError; ConflictError where somebody else has written one."""
        stored = await self._committer.store(subjects.mark(channel), value, {
            "Nats-Expected-Last-Subject-Sequence": str(before.sequence)}, expect_new=False)
        if not stored.duplicate:
            return Mark(value, stored.sequence)
        found = await self.read(channel)
        if found.value == value:  # our own, whose answer was lost
            return found
        raise ConflictError("somebody else takes from it too", where=f"channel/{channel}",
                            remedy="one of the two gives up by itself, when it notices that its lease is gone")

    async def close(self) -> None:
        """Finish what has begun."""
        await self._committer.close()
