"""One bell for many causes: who waits is told that something has changed, not what."""

from __future__ import annotations

import asyncio
from typing import Any

from arint.store.view import View


class Bell:
    """Rings are counted, so none is missed between a look and the next wait."""

    def __init__(self) -> None:
        self.rings = 0
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Something has changed."""
        self.rings += 1
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, since: int, timeout: float | None = None) -> int:
        """Wait until it has rung more often than `since`, at most `timeout` seconds; how often it has rung by then."""
        try:
            async with asyncio.timeout(timeout):
                while self.rings <= since:
                    await self._event.wait()
        except TimeoutError:
            pass
        return self.rings

    async def ring_with(self, view: View[Any]) -> None:
        """Ring at every change of the view, until cancelled. Raises DeniedError as the view does."""
        async for _ in view:
            self.ring()
