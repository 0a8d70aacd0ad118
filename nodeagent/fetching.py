"""Bringing the code of a service to this node: `python -m nodeagent.fetching HOME DIGEST` (see `nodeagent.helper`)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from arint.artifacts import transfer
from arint.bus.connection import Bus
from arint.errors import ArintError, NotFoundError, NotValidError, TimedOutError, UnreachableError
from arint.home import Home
from arint.runtime.control import BusSettings
from nodeagent import helper

TRIES = 4
_PAUSE = 0.5
"""Seconds before the second try, and twice as long before each further one."""
_CONNECT = 5.0


async def from_store(home: Home, bring: Callable[[Bus], Awaitable[None]], tries: int = TRIES) -> None:
    """Have `bring` fetch from the cluster's store, again where it was cut off or met a copy that lags behind.

    Raises what the last try raised; UnreachableError at once where no broker answers.
    """
    settings = BusSettings(home.load().nats_servers, *home.identity("agent"))
    async with await Bus.connect(settings, name="fetching", timeout=_CONNECT) as bus:
        for number in range(1, tries + 1):
            try:
                await bring(bus)
            except (UnreachableError, TimedOutError, NotFoundError, NotValidError):
                if number == tries:
                    raise
                await asyncio.sleep(_PAUSE * 2 ** (number - 1))
            else:
                return


def main() -> None:
    """Fetch one."""
    home, digest = Home(sys.argv[1]), sys.argv[2]
    try:
        asyncio.run(from_store(home, lambda bus: transfer.bring_code(bus, home, digest)))
    except (ArintError, OSError) as error:
        helper.fail(error)


if __name__ == "__main__":
    main()
