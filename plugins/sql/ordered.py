"""Rows by key or by time: taken in an order; how far, the broker keeps."""

from __future__ import annotations

import logging
import time

import msgspec

from arint.plugins import Mark
from arint.resources.quantities import seconds
from plugins.sql.database import Row
from plugins.sql.polling import Table
from plugins.sql.positions import LOOKED_BACK, Position, Queries, Values, Window, bound, read, written

_log = logging.getLogger(__name__)
_LATE_AT_ONCE = 200


class Ordered:
    """Goes on from the channel's mark."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._order = table.spec.order
        self._queries: Queries
        self._window: Window | None = None
        self._mark = Mark()
        self._taken_before: Values | None = None
        """The row up to which, after a start, rows were taken already, if they are not late."""

    async def turn(self) -> bool:
        """Take the next rows, and late ones."""
        if self._window is None:
            self._window = await self._begin()
        window = self._window
        if self._taken_before is not None:
            return await self._again(window)
        late = await self._late(window)
        fresh = await self._page(window, None)
        known = await self._table.accept(fresh, in_doubt=self._table.in_doubt)
        now = time.monotonic()
        window.take([row.values for row in fresh], now)
        if window.settle(now) or fresh or late:
            await self._keep(window)
        self._table.in_doubt = known > 0  # none was known: from here on all is new
        return bool(fresh)

    async def _begin(self) -> Window:
        table, overlap = self._table, seconds(self._table.spec.overlap)
        quote = await table.threads.run(lambda job: table.database.quote, table.timeout)
        self._queries = Queries(table.spec.query, self._order, quote)
        self._mark = await table.intake.mark(table.channel)
        kept = self._kept()
        if kept is None:
            last = await self._furthest() if table.spec.start == "now" else None
            window = Window(overlap, last, last)
            await self._keep(window)
            return window
        settled = read(kept.settled) if kept.settled else None
        if kept.last and kept.last != kept.settled:
            self._taken_before = read(kept.last)
        return Window(overlap, settled, settled)

    def _kept(self) -> Position | None:
        if self._mark.value is None:
            return None
        kept = msgspec.json.decode(self._mark.value, type=Position)
        if (kept.by, kept.order) == (self._table.spec.by, list(self._order)):
            return kept
        _log.warning("channel %s goes by other columns than before: it begins anew", self._table.channel)
        return None

    async def _furthest(self) -> Values | None:
        found = await self._table.rows(self._queries.furthest(), {}, self._order, 1)
        return found[0].values if found else None

    async def _again(self, window: Window) -> bool:
        """Rows that were taken before the start, and late ones among them."""
        rows = await self._page(window, self._taken_before)
        await self._table.accept(rows, in_doubt=True)
        window.take([row.values for row in rows], time.monotonic())
        if not rows:
            self._taken_before = None
        return True

    async def _page(self, window: Window, up_to: Values | None) -> list[Row]:
        statement = self._queries.page(after=window.last is not None, up_to=up_to is not None)
        values = {**bound("after", window.last), **bound("upto", up_to)}
        return await self._table.rows(statement, values, self._order, self._table.spec.batch)

    async def _late(self, window: Window) -> bool:
        """Rows that have appeared behind the furthest: begun earlier, committed later."""
        if not window.open:
            return False
        values = {**bound("after", window.settled), **bound("upto", window.last)}
        seen = await self._table.rows(self._queries.known(after=window.settled is not None), values, self._order,
                                      LOOKED_BACK)
        missing = window.missing([row.values for row in seen])[:_LATE_AT_ONCE]
        for one in missing:
            rows = await self._table.rows(self._queries.one(), bound("after", one), self._order, 1)
            await self._table.accept(rows, in_doubt=True)
            window.take([one], time.monotonic(), late=True)
        return bool(missing)

    async def _keep(self, window: Window) -> None:
        position = Position(self._table.spec.by, list(self._order),
                            written(window.settled) if window.settled else None,
                            written(window.last) if window.last else None)
        self._mark = await self._table.intake.set_mark(self._table.channel, msgspec.json.encode(position), self._mark)
