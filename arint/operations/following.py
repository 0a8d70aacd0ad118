"""Overviews as they happen, from the agents: one a second, and nothing is asked of etcd."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import msgspec

from arint.administration.registry import administrative
from arint.errors import TimedOutError, UnreachableError
from arint.operations.connect import Link
from arint.operations.overview import Overview, overview_of
from arint.operations.standing import Standing, standings


class Following:
    """Follows what `standings` tells. It remembers the last overview, so that after a silence its story goes on.

    `clock` gives the time of day, `ticks` seconds that never jump.
    """

    def __init__(self, standings: Callable[[], AsyncIterator[Standing]], *, clock: Callable[[], float] = time.time,
                 ticks: Callable[[], float] = time.monotonic) -> None:
        self._standings = standings
        self._clock = clock
        self._ticks = ticks
        self._last: Overview | None = None
        self._last_tick = 0.0

    async def follow(self) -> AsyncIterator[Overview]:
        """One overview a second until the agent goes away. Raises ArintError where it is not there or is garbled."""
        try:
            async with aclosing(self._standings()) as found:  # type: ignore[type-var]
                async for standing in found:
                    tick = self._ticks()
                    self._last = overview_of(standing, self._last, at=self._clock(), elapsed=tick - self._last_tick)
                    self._last_tick = tick
                    yield self._last
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise UnreachableError(f"what the agent said cannot be read: {error}",
                                   remedy="are arintctl and the agent of one release?") from error


@administrative("viewer")
async def overviews(link: Link) -> AsyncIterator[Overview]:
    """One overview a second until the agent goes away. Raises ArintError where it is not there."""
    async with aclosing(Following(lambda: standings(link)).follow()) as found:  # type: ignore[type-var]
        async for overview in found:
            yield overview


async def look(link: Link, *, within: float = 10.0) -> Overview:
    """One overview with rates: the second of two that follow each other.

    Raises UnreachableError, or TimedOutError after `within` seconds.
    """
    import asyncio

    found: Overview | None = None
    try:
        async with asyncio.timeout(within), aclosing(overviews(link)) as looks:  # type: ignore[type-var]
            async for overview in looks:
                if found is not None:
                    return overview
                found = overview
    except TimeoutError:
        raise TimedOutError(f"the agent did not answer within {within:g} s", where=str(link.home.socket),
                            remedy="arintctl logs agent") from None
    raise UnreachableError("the agent closed the connection", where=str(link.home.socket)) from None
