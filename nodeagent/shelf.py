"""A server sees to the cluster's store of code: what is named and lies here is in it, what nobody names leaves it.

`apply` puts code there itself. What an earlier release applied, or what the store has lost, is brought from the home's
folders. A helper does it: `python -m nodeagent.shelf HOME`, what is named as JSON on stdin (see `nodeagent.helper`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from arint.availability import quorum
from arint.errors import ArintError
from arint.home import Home
from nodeagent import helper
from nodeagent.sweeping import GRACE, INTERVAL, Named, Sweeper

log = logging.getLogger(__name__)

FIRST = 10.0
"""Seconds after the broker's first answer: who has just started has better to do."""


async def look_after_code(sweeper: Sweeper, broker: Sequence[asyncio.Event]) -> None:
    """Sweep the home, and where a broker runs the store, until cancelled. `broker`: set when it answers."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sweeper.run(), name="sweeper")
        for answers in broker:
            tasks.create_task(Shelf(sweeper.home, sweeper.named, answers).run(), name="shelf")


class Shelf:
    """Looks whenever what is named has changed, and once in a while; several servers may do it at once."""

    def __init__(self, home: Home, named: Callable[[], Awaitable[Named]], broker: asyncio.Event) -> None:
        self._home = home
        self._named = named
        self._broker = broker
        self._last = Named()
        self._looked = -GRACE

    async def run(self, first: float = FIRST, interval: float = INTERVAL) -> None:
        """Until cancelled; what fails is tried again at the next time."""
        await self._broker.wait()
        await asyncio.sleep(first)
        while True:
            try:
                await self.look()
            except (ArintError, OSError) as error:
                log.warning("the store of code was not seen to: %s", error)
            await asyncio.sleep(interval)

    async def look(self) -> None:
        """Once, if there is a reason to."""
        named = await self._named()
        if named == self._last and time.monotonic() - self._looked < GRACE:
            return
        told = await helper.run("nodeagent.shelf", str(self._home.path), data=msgspec.json.encode(named))
        self._last, self._looked = named, time.monotonic()
        if told:
            log.info("the store of code: %s", told.decode().strip())


async def see_to(home: Home, named: Named, grace: float = GRACE) -> tuple[int, int]:
    """How many pieces went from the store, and how many were brought. Raises ArintError."""
    from arint.artifacts import store, transfer
    from arint.bus.connection import Bus
    from arint.runtime.control import BusSettings

    config = home.load()
    wanted: set[store.Name] = {("code", digest) for digest in named.artifacts}
    wanted |= {("wheel", sha256) for sha256 in named.wheels}
    async with await Bus.connect(BusSettings(config.nats_servers, *home.identity("admin")), name="shelf") as bus:
        gone = await store.sweep(bus, wanted, grace=grace)
        brought = 0
        for kind, digest in sorted(wanted - (await store.kept(bus)).keys()):
            piece = transfer.code_here(home, digest) if kind == "code" else transfer.wheel_here(home, digest)
            if piece is not None:
                brought += await store.put(bus, [piece], replicas=quorum.replicas(len(config.servers)))
    return gone, brought


def main() -> None:
    """Look once."""
    try:
        named = msgspec.json.decode(sys.stdin.buffer.read(), type=Named)
        gone, brought = asyncio.run(see_to(Home(sys.argv[1]), named))
    except (ArintError, OSError, ValueError) as error:
        helper.fail(error)
    if gone or brought:
        print(f"{gone} removed, {brought} brought")


if __name__ == "__main__":
    main()
