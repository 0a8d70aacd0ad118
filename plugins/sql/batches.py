"""Group commit for a database: deliveries that wait at the same time become one transaction.

A batch is what has come while the one before was on its way, so a lone message waits for nobody and many share one
commit. A message that fails fails alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from arint.errors import ArintError
from plugins.sql.database import Alone
from plugins.sql.plans import Plan

LARGEST = 250
"""Messages in one transaction: enough to hide the commit, few enough to hold locks for a moment only."""
Many = Callable[[Sequence[Plan], float], Awaitable[Sequence[ArintError | None]]]
One = Callable[[Plan, float], Awaitable[bytes | None]]


class _Waiting:
    __slots__ = ("future", "plan", "timeout")

    def __init__(self, plan: Plan, timeout: float, future: asyncio.Future[None]) -> None:
        self.plan, self.timeout, self.future = plan, timeout, future


class Batches:
    """`many` delivers a batch and tells what became of each; `one` delivers a single message."""

    def __init__(self, many: Many, one: One, *, writers: int) -> None:
        self._many = many
        self._one = one
        self._free = writers
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def deliver(self, plan: Plan, timeout: float) -> None:
        """Returns when the message's transaction is committed; raises what it failed with."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(plan, timeout, loop.create_future())
        self._waiting.append(waiting)
        loop.call_soon(self._kick)  # so that all that come in this turn of the loop go together
        await waiting.future

    async def close(self) -> None:
        """Wait for the end of what is on its way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _kick(self) -> None:
        while self._free and self._waiting:
            batch = self._gather()
            if batch:
                self._free -= 1
                self._start(self._together(batch))

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _gather(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < LARGEST:
            waiting = self._waiting.popleft()
            if not waiting.future.done():  # its caller may have gone
                batch.append(waiting)
        return batch

    async def _together(self, batch: list[_Waiting]) -> None:
        try:
            if len(batch) == 1:
                await self._alone(batch[0])
            else:
                await self._try_together(batch)
        finally:
            self._free += 1
            self._kick()

    async def _try_together(self, batch: list[_Waiting]) -> None:
        try:
            outcome = await self._many([waiting.plan for waiting in batch], max(one.timeout for one in batch))
        except Alone:
            for waiting in batch:
                self._start(self._alone(waiting))
        except BaseException as error:
            for waiting in batch:
                _end(waiting, error)
            if not isinstance(error, Exception):
                raise
        else:
            for waiting, failure in zip(batch, outcome, strict=True):
                _end(waiting, failure)

    async def _alone(self, waiting: _Waiting) -> None:
        try:
            await self._one(waiting.plan, waiting.timeout)
        except BaseException as error:
            _end(waiting, error)
            if not isinstance(error, Exception):
                raise
        else:
            _end(waiting, None)


def _end(waiting: _Waiting, error: BaseException | None) -> None:
    if waiting.future.done():
        return
    if error is None:
        waiting.future.set_result(None)
    elif isinstance(error, asyncio.CancelledError):
        waiting.future.cancel()
    else:
        waiting.future.set_exception(error)
