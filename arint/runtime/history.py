"""What became of earlier attempts of a stage: read from the action log when a message is delivered again."""

from __future__ import annotations

import msgspec

from arint.actions import ENDS, Action
from arint.bus.connection import Bus
from arint.bus.lookup import look_up
from arint.bus.subjects import ACTIONS, Place

_decode = msgspec.json.Decoder(Action).decode


class History(msgspec.Struct, frozen=True):
    """Counts of the stage's records. `finished`: an attempt has ended it, and only the ack was lost.

    `records` are the attempts that came to an end; `suspected` counts those that were begun alone.
    """

    failed: int = 0
    deferrals: int = 0
    records: int = 0
    suspected: int = 0
    first_deferral: float = 0.0
    finished: bool = False

    def with_deferral(self, at: float) -> History:
        """One deferral more."""
        return msgspec.structs.replace(self, deferrals=self.deferrals + 1, records=self.records + 1,
                                       first_deferral=self.first_deferral or at)


def summarize(actions: list[Action]) -> History:
    """The history that these records tell."""
    suspected = sum(action.outcome == "suspected" for action in actions)
    deferred = [action.at for action in actions if action.outcome == "deferred"]
    return History(
        failed=sum(action.outcome == "failed" for action in actions),
        deferrals=len(deferred), records=len(actions) - suspected, suspected=suspected,
        first_deferral=min(deferred, default=0.0),
        finished=any(action.outcome in ENDS for action in actions),
    )


async def history_of(bus: Bus, place: Place) -> History:
    """One look-up by prefix in the action log (0.3 ms)."""
    found = await look_up(bus, ACTIONS, place.actions)
    return summarize([_decode(stored.body) for stored in found])
