"""When a message may be worked at: at once, after a moment in hand, or later, when the broker brings it again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from arint.flows.pace import Pace
from arint.flows.state import State
from arint.flows.steps.waiting import Delay, Throttle

Turn = Callable[[State, float, float], Awaitable[float]]
"""Given the message, when it was stored, and the time: returns 0 at its turn, or how many seconds to wait, stored."""

A_MOMENT = 0.1
"""Seconds for which a delayed message is held; one that has to wait for longer is given back."""
IN_HAND = 2.0
"""The same for one that waits for its turn among others."""
LOOKAHEAD = 30.0
"""Seconds' worth of messages that are held where all have one pace: as long as an effect may take, and more."""


def delayed(step: Delay) -> Turn:
    """The turn of a message at a `delay`."""
    async def turn(state: State, stored: float, now: float) -> float:
        wait = step.due(state, stored) - now
        if 0 < wait <= A_MOMENT:
            await asyncio.sleep(wait)
            return 0.0
        return max(wait, 0.0)

    return turn


class Pacer:
    """The pace of one stage; it outlives changes of the flow.

    Of two clocks the first says who passes, strictly; the second when it is worth while to ask again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._passing = Pace(1.0)
        self._booking = Pace(1.0)
        self._clock = clock

    def turn_of(self, step: Throttle) -> Turn:
        """The turn of a message at this `throttle`."""
        for pace in (self._passing, self._booking):
            pace.interval, pace.burst = step.interval, step.burst

        async def turn(state: State, stored: float, now: float) -> float:
            key, moment = step.pace_of(state), self._clock()
            slot = self._passing.slot(key, moment, within=IN_HAND if step.by_key else math.inf)
            if slot is None:
                booked = self._booking.slot(key, moment + IN_HAND)
                assert booked is not None
                return booked - moment
            if slot > moment:
                await asyncio.sleep(slot - moment)
            return 0.0

        return turn


def most_held(step: Throttle, most: int) -> int:
    """How many messages to take at once: with one pace for all, no more than pass in a while."""
    return most if step.by_key else max(16, min(most, math.ceil(LOOKAHEAD / step.interval)))
