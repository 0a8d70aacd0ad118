"""A few things under way at once, and their results in the order in which they were begun."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Pipeline(Generic[T]):
    """Use as an async context manager: what is still under way when it is left by an exception is cancelled."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._tasks: deque[asyncio.Task[T]] = deque()

    async def add(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Begin it. If `depth` others are under way, wait for the oldest, whose result is returned."""
        self._tasks.append(asyncio.create_task(work))
        if len(self._tasks) <= self._depth:
            return None
        return await self._oldest()

    async def rest(self) -> T | None:
        """Wait for all that is under way; the last result, if there was any."""
        result = None
        while self._tasks:
            result = await self._oldest()
        return result

    async def _oldest(self) -> T:
        result = await self._tasks[0]
        self._tasks.popleft()
        return result

    async def __aenter__(self) -> Pipeline[T]:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        if kind is None:
            await self.rest()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
            self._tasks.clear()


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """As `asyncio.to_thread`; but a cancelled call waits for its thread, which may use a file that is closed next."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
