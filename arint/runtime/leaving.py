"""Has a message left its flow? The action log tells, which is written after what a stage stores."""

from __future__ import annotations

import msgspec

from arint.actions import ENDS, Action
from arint.bus import lookup
from arint.bus.connection import Bus
from arint.bus.subjects import ACTIONS, Place, stream_of

_decode = msgspec.json.Decoder(Action).decode
_LIMIT = 1_000_000


class Inside:
    """Counts what of one message is under way in its flow, from action records in any order.

    The count is 0 when all is over. It may also be so for a moment before, and a record may be missed: whoever counts
    makes sure.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.count = 1
        self._seen: set[tuple[str, int, str] | str] = set()

    def hear(self, action: Action) -> bool:
        """One more record of the same root and flow; tells whether all may be over now."""
        stage = (action.message, action.run, action.stage)
        if action.outcome not in ENDS or stage in self._seen:
            return False
        self._seen.add(stage)
        self.count += self._begun(action) - 1
        return self.count == 0

    def _begun(self, action: Action) -> int:
        """How many stages of this flow the record says were stored."""
        own = [label for label in action.to if label.startswith(f"{self.place.flow}/")]
        if action.parts and own:
            return action.parts
        wholes = {label for label in action.to if label.startswith(f"m.{self.place.root}.")} - self._seen
        self._seen |= wholes  # each member of an aggregate names it
        return len(own) + len(wholes)


async def has_left(bus: Bus, place: Place) -> bool:
    """Is everything over that came of this message in its flow?

    The records are read before the inputs: a stage stores its outputs before its record, so what a record has ended
    has its outputs among the inputs that are read after it.
    """
    ended = {(found.place.message, found.place.run, found.place.stage)
             for found in await lookup.look_up(bus, ACTIONS, f"a.{place.root}.*.*.{place.flow}.>", limit=_LIMIT)
             if _decode(found.body).outcome in ENDS}
    inputs = await lookup.look_up(bus, stream_of(place.flow), f"m.{place.root}.*.*.{place.flow}.*", limit=_LIMIT)
    mine = {(place.message, place.run)}
    for found in inputs:  # in the order of storing: parents first
        it = (found.place.message, found.place.run)
        if it not in mine and not found.place.is_marker and (found.message().cause, found.place.run) in mine:
            mine.add(it)
    return all((found.place.message, found.place.run, found.place.stage) in ended for found in inputs
               if not found.place.is_marker and (found.place.message, found.place.run) in mine)
