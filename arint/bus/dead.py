"""Dead letters: messages that no attempt got through, kept until somebody replays, edits or drops them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from arint.bus import lookup, subjects
from arint.bus.committer import Committer, Stored
from arint.bus.connection import Bus
from arint.bus.subjects import Place
from arint.errors import NotFoundError
from arint.message import ENVELOPE_HEADER, Message, encode_envelope, inline


class DeadLetter(msgspec.Struct, frozen=True):
    """One dead letter: where it died, when (seconds since the epoch), and the message with its `failure`."""

    sequence: int
    at: float
    place: Place
    message: Message


class DeadLetters:
    """The stream DEAD. Storing the same death twice (after a crash) stores it once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._committer: Committer | None = None

    async def store(self, message: Message, flow: str, stage: str) -> Stored:
        """Keep the message as the dead letter of this stage. Raises FullError: then do not ack its input.

        A large body is checked in before (`arint.bus.bodies`).
        """
        if self._committer is None:
            self._committer = Committer(self._bus, subjects.DEAD)
        place = Place(message.root, message.id, message.run, flow, stage)
        return await self._committer.store(place.dead, inline(message), {ENVELOPE_HEADER: encode_envelope(message)})

    async def list(self, *, flow: str = "*", limit: int = 50, before: int = 0) -> Sequence[DeadLetter]:
        """The newest, newest first; `before` (the last one's sequence) asks for the next page."""
        found = await lookup.newest(self._bus, subjects.DEAD, f"d.*.*.*.{flow}.*", limit, before=before)
        return [_letter(one) for one in found]

    async def get(self, message_id: str) -> DeadLetter:
        """The newest dead letter of a message. Raises NotFoundError."""
        found = []
        if subjects.is_token(message_id):
            found = await lookup.look_up(self._bus, subjects.DEAD, f"d.*.{message_id}.>")
        if not found:
            raise NotFoundError("no dead letter of this message", where=message_id, remedy="see arintctl dlq list")
        return _letter(found[-1])

    async def of_tree(self, root: str) -> Sequence[DeadLetter]:
        """All dead letters that came of one message from outside."""
        if not subjects.is_token(root):
            return []
        return [_letter(one) for one in await lookup.look_up(self._bus, subjects.DEAD, subjects.tree("d", root))]

    async def drop(self, letter: DeadLetter) -> bool:
        """Delete it; False where it was gone already."""
        return await lookup.delete(self._bus, subjects.DEAD, letter.sequence)

    async def close(self) -> None:
        """Finish what has begun."""
        if self._committer:
            await self._committer.close()


def _letter(found: lookup.Found) -> DeadLetter:
    return DeadLetter(found.sequence, found.at, found.place, found.message())
