"""Ends a worker whose event loop stands still, and leaves in its log where it stood.

The timer is faulthandler's: a thread in C, which does not need the interpreter that the user's code holds.
"""

from __future__ import annotations

import asyncio
import faulthandler

SHORTEST = 10.0
"""Less would take a machine that is short of processors for a service that hangs."""
LONGEST = 25.0
"""Before the agent kills for silence, which could not tell the line."""
_REARM = 1.0


class Watchdog:
    """Exits the process with code 1, and all stacks on stderr, when the loop does not turn for the limit."""

    def __init__(self) -> None:
        self._limit = LONGEST
        self._task: asyncio.Task[None] | None = None

    def watch(self, timeout: float) -> None:
        """From now on, for a service whose calls may take `timeout` seconds."""
        self._limit = min(max(2 * timeout, SHORTEST), LONGEST)
        if self._task is None:
            self._task = asyncio.create_task(self._rearm(), name="watchdog")

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _rearm(self) -> None:
        try:
            while True:
                faulthandler.dump_traceback_later(self._limit, exit=True)
                await asyncio.sleep(_REARM)
        finally:
            faulthandler.cancel_dump_traceback_later()
