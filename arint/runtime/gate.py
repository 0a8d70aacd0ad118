"""Many may work at once, or one alone: so that a message that kills its worker takes no other with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Gate:
    """`shared` waits while somebody is `alone`; `alone` waits until nobody else works."""

    def __init__(self) -> None:
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = asyncio.Event()
        self._open.set()
        self._turn = asyncio.Lock()

    async def enter(self) -> None:
        """Begin to work beside others; ended by `leave`. The hot path: no context manager, no await if open."""
        while not self._open.is_set():
            await self._open.wait()
        self._working += 1
        self._idle.clear()

    def leave(self) -> None:
        """End what `enter` began."""
        self._working -= 1
        if not self._working:
            self._idle.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Work while nobody else does."""
        async with self._turn:
            self._open.clear()
            try:
                await self._idle.wait()
                yield
            finally:
                self._open.set()
