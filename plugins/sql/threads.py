"""Drivers block: what they do is done in threads, a bounded number, each piece with a time limit that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from arint.errors import ArintError, SystemUnavailableError
from plugins.sql.database import Job
from plugins.sql.failures import CancelledError, SlowError

T = TypeVar("T")
_SERVER_FIRST = 0.5
"""Seconds that a server has to end a statement by its own limit, before it is asked to."""
_LAST_WAIT = 5.0
"""Seconds from then on until the database counts as gone."""


class Threads:
    """A pool of threads for one database. `where` names it in errors."""

    def __init__(self, count: int, where: str, *, server_limits: bool) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=where)
        self._where = where
        self._grace = _SERVER_FIRST if server_limits else 0.0
        self._jobs: set[Job] = set()

    async def run(self, work: Callable[[Job], T], timeout: float) -> T:
        """The work's result. What takes longer is ended; raises MessageError then, which uses an attempt.

        Raises SystemUnavailableError where the database cannot even end it, or no thread was free.
        """
        job = Job(timeout)
        begun = self._pool.submit(self._work, job, work)
        future = asyncio.wrap_future(begun)
        try:
            done, _ = await asyncio.wait({future}, timeout=timeout + self._grace)
            if not done:
                if begun.cancel():
                    raise SystemUnavailableError(f"no connection was free within {timeout:g} seconds",
                                                 where=self._where)
                await self._end(future, job, timeout)
            return await future
        except CancelledError as error:
            raise SlowError(f"not done within {timeout:g} seconds, and ended", where=error.where,
                               remedy="make it faster, or give it a longer timeout") from None
        except asyncio.CancelledError:
            if not begun.cancel():
                await asyncio.shield(asyncio.to_thread(job.end))
            raise

    async def _end(self, future: asyncio.Future[T], job: Job, timeout: float) -> None:
        """What still runs may be committed after all; then that counts, or the next attempt finds its key."""
        await asyncio.to_thread(job.end)
        done, _ = await asyncio.wait({future}, timeout=_LAST_WAIT)
        if not done:
            raise SystemUnavailableError(f"no answer within {timeout + _LAST_WAIT:g} seconds", where=self._where)

    def _work(self, job: Job, work: Callable[[Job], T]) -> T:
        self._jobs.add(job)
        try:
            return work(job)
        except ArintError:
            if job.ended:
                raise CancelledError("it took too long and was ended", where=self._where) from None
            raise
        finally:
            self._jobs.discard(job)

    async def close(self) -> None:
        """End what runs, and wait for its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*(asyncio.to_thread(job.end) for job in list(self._jobs)))
        await asyncio.to_thread(self._pool.shutdown)
