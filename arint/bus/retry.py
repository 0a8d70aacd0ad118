"""When a failed message is tried again: exponential backoff with full jitter.

The source: M. Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): full jitter finishes a crowd's
work soonest, with the fewest calls.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Callable

from arint.resources.quantities import backoff

SHORTEST = 0.05
"""Full jitter may draw nearly nothing; at least this much passes (seconds)."""


def ceiling(attempt: int, spec: str) -> float:
    """The longest wait after failed attempt number `attempt` (1, 2, …): "1s..5m" gives 1, 2, 4, … 300 seconds."""
    first, longest = backoff(spec)
    doublings = min(max(attempt, 1) - 1, 64)  # no float grows without end
    return min(first * 2.0 ** doublings, longest)


def next_delay(attempt: int, spec: str, random: Callable[[], float] = randomness.random) -> float:
    """Seconds until the next attempt; `random` draws from [0, 1)."""
    return max(ceiling(attempt, spec) * random(), SHORTEST)
