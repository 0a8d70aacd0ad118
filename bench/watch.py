"""The rate at which something gets done, without the start of the processes that do it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_DEADLINE = 120.0


async def rate_of(done: Callable[[], Awaitable[int]], count: int) -> float:
    """Watch `done` grow to `count`; the rate between the first tenth and the end."""
    seen: list[tuple[float, int]] = []
    end = time.monotonic() + _DEADLINE
    while not seen or seen[-1][1] < count:
        if time.monotonic() > end:
            raise RuntimeError(f"{seen[-1][1]} of {count} done within {_DEADLINE:g} s")
        await asyncio.sleep(0.05)
        seen.append((time.monotonic(), await done()))
    first = next(entry for entry in seen if entry[1] >= count // 10)
    return (seen[-1][1] - first[1]) / (seen[-1][0] - first[0])
