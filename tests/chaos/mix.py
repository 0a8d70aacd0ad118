"""What goes in besides orders, how much of each, and when: as the orders go on, so do all others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

DEATHS = 2.0
LINES = 5
SCAN_OCTETS = 600 * 1024
"""Over the limit of what a message carries itself: a claim check."""


class Mix(NamedTuple):
    """How many of each."""

    orders: int
    row_files: int
    rows_each: int
    papers: int
    scans: int
    baskets: int
    calls: int

    @property
    def failpoints(self) -> str:
        """Where workers die of themselves, and how likely: about twice at each place, in a drill of any length.

        More often, and they would be held back as what dies at every start.
        """
        stages = 3 * self.orders
        times = {"stored": stages, "recorded": stages, "parts": self.baskets, "aggregated": 2 * self.baskets,
                 "file claimed": self.row_files + self.papers, "file stored": self.papers,
                 "file piece stored": self.row_files, "file put": self.papers + self.scans}
        return ",".join(f"{name}={min(DEATHS / max(number, 1), 0.05)}" for name, number in times.items())

    @property
    def messages(self) -> int:
        """All that goes in."""
        return self.orders + self.row_files * self.rows_each + self.papers + self.scans + self.baskets + self.calls


def mixed(orders: int) -> Mix:
    """The mix of a drill with so many orders."""
    return Mix(orders, row_files=orders // 400, rows_each=40, papers=orders // 100,
               scans=min(max(orders // 500, 4), 100), baskets=orders // 100, calls=orders // 20)


class Pace:
    """Lets the others go on as the orders do: the n-th of `count` is due when that share of the orders is accepted."""

    def __init__(self, orders: int) -> None:
        self._orders, self._accepted = orders, 0
        self._moved = asyncio.Condition()

    async def moved(self) -> None:
        """One more order is accepted."""
        self._accepted += 1
        async with self._moved:
            self._moved.notify_all()

    async def due(self, number: int, count: int) -> None:
        """Wait for the turn of number (from 0) of `count`."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._accepted * count >= number * self._orders)


class Sent:
    """What went in, by name: what must come out of it, what may, and the answers that callers were given.

    A value is what is to come out: a number, a text, a digest.
    """

    def __init__(self) -> None:
        self.must: dict[str, object] = {}
        self.may: dict[str, object] = {}
        self.answers: dict[str, object] = {}
        self.refused = 0
        """Calls that were answered with an error, or not at all."""


def scan(number: int) -> bytes:
    """A large body, another for each number."""
    return b"".join(_blocks(number, SCAN_OCTETS // 32))


def _blocks(number: int, count: int) -> Iterator[bytes]:
    for block in range(count):
        yield sha256(b"%d %d" % (number, block)).digest()


def digest(body: bytes) -> str:
    """As the service of this name has it."""
    return sha256(body).hexdigest()
