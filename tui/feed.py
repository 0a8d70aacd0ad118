"""Keeps the overview coming: follows the source, and follows it again whenever it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from arint.errors import ArintError
from arint.operations.overview import Overview
from tui.source import Source

REDIAL = 1.0
"""Seconds between two attempts."""
SILENCE = 4.0
"""Seconds without a word after which the connection is given up, though it still stands: the agent hangs."""


class Feed:
    """Calls `on_overview` for each overview, and `on_silence` with the reason whenever none comes any more."""

    def __init__(self, source: Source, on_overview: Callable[[Overview], None],
                 on_silence: Callable[[str], None], *, redial: float = REDIAL, silence: float = SILENCE) -> None:
        self._source = source
        self._on_overview = on_overview
        self._on_silence = on_silence
        self._redial = redial
        self._silence = silence

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._on_silence(await self._until_silent())
            await asyncio.sleep(self._redial)

    async def _until_silent(self) -> str:
        """Follow once, to its end; why it ended."""
        try:
            async with asyncio.timeout(self._silence) as deadline, \
                    aclosing(self._source.follow()) as overviews:  # type: ignore[type-var]
                async for overview in overviews:
                    deadline.reschedule(asyncio.get_running_loop().time() + self._silence)
                    self._on_overview(overview)
        except TimeoutError:
            return f"the agent has said nothing for {self._silence:g} s"
        except ArintError as error:
            return str(error)
        return "the agent closed the connection"
