"""A time limit that costs nothing for what never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


async def within(limit: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises TimeoutError after `limit` seconds.

    As `async with asyncio.timeout(limit)`, but the timer is set only when the work first waits: many stages do not,
    and a timer takes a tenth of the time in which a worker processes a trivial message.
    """
    try:
        wanted = work.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    async with asyncio.timeout(limit):
        return await _Rest(work, wanted)


class _Rest(Generic[T]):
    """What is left of a coroutine that has begun, and waits for `wanted`."""

    def __init__(self, work: Coroutine[Any, Any, T], wanted: Any) -> None:
        self._work, self._wanted = work, wanted

    def __await__(self) -> Generator[Any, Any, T]:
        work, wanted = self._work, self._wanted
        try:
            while True:
                try:
                    sent = yield wanted
                except GeneratorExit:
                    work.close()
                    raise
                except BaseException as error:  # a cancellation, mostly: the work's own matter
                    wanted = work.throw(error)
                else:
                    wanted = work.send(sent)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]
