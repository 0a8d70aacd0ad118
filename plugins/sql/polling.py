"""Polled tables: their rows become messages, each once, whatever dies when.

The order is the guarantee: a row's message is stored under an id derived from the row; then how far it has come is
kept, or the row is marked as taken. A crash in between reads rows again, and what was stored is known by its id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from arint.errors import ArintError, SystemUnavailableError
from arint.plugins import FullError, Intake
from arint.resources.quantities import seconds
from plugins.sql.database import Database, Row
from plugins.sql.positions import message_id
from plugins.sql.specs import SqlChannel
from plugins.sql.threads import Threads

_log = logging.getLogger(__name__)
LARGEST_BATCH = 16 * 2**20
"""Bytes of rows that are held at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class Table(msgspec.Struct):
    """A channel's table, and all that taking from it needs.

    `in_doubt`: rows may be read that were taken before, and whose messages their flow's stream has let go of since.
    """

    channel: str
    spec: SqlChannel
    database: Database
    threads: Threads
    intake: Intake
    in_doubt: bool = True

    @property
    def timeout(self) -> float:
        """Seconds that one query may take."""
        return seconds(self.spec.timeout)

    async def rows(self, statement: str, values: Mapping[str, Any], columns: Sequence[str], most: int) -> list[Row]:
        """Ask the database."""
        return await self.threads.run(lambda job: self.database.rows(
            job, statement, {**values, "arint_limit": most}, columns, most, LARGEST_BATCH), self.timeout)

    async def accept(self, rows: Sequence[Row], *, in_doubt: bool) -> int:
        """Store the rows' messages; tells how many were stored before."""
        try:
            async with asyncio.TaskGroup() as tasks:
                stored = [tasks.create_task(self._accept(row, in_doubt)) for row in rows]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # they all say the same: the store takes nothing for now
        return sum(task.result() for task in stored)

    async def _accept(self, row: Row, in_doubt: bool) -> bool:
        identity = message_id(self.channel, row.values)
        if in_doubt and await self.intake.is_known(identity):
            return True
        accepted = await self.intake.accept(self.channel, row.body, content_type="application/json", headers={},
                                            message_id=identity)
        return accepted.repeated


class Way(Protocol):
    """A way to take rows: in an order, or by a flag."""

    async def turn(self) -> bool:
        """Take what is there, a batch at most; tells whether there may be more."""
        ...


class Poller:
    """Takes the rows of one channel: `run` until it is cancelled, then `close`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._pause = 0.0
        self.trouble = ""
        self.away_since = 0.0

    async def run(self) -> None:
        """Poll for ever. What goes wrong is told in `trouble`, and tried again."""
        way = self._way()
        while True:
            try:
                more = await way.turn()
            except Exception as error:
                if not isinstance(error, ArintError | FullError):
                    _log.exception("channel %s", self._table.channel)
                self._failed(error)
                way = self._way()
                await asyncio.sleep(self._pause)
            else:
                self._worked()
                if not more:
                    await asyncio.sleep(seconds(self._table.spec.every))

    def _way(self) -> Way:
        """Go on from what is kept."""
        from plugins.sql.flagged import Flagged
        from plugins.sql.ordered import Ordered

        self._table.in_doubt = True
        return Flagged(self._table) if self._table.spec.by == "flag" else Ordered(self._table)

    def _failed(self, error: Exception) -> None:
        if not self.trouble:
            _log.warning("channel %s takes no rows: %s", self._table.channel, error)
        self.trouble = f"channel/{self._table.channel}: {error}"
        self.away_since = (self.away_since or time.time()) if isinstance(error, SystemUnavailableError) else 0.0
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)

    def _worked(self) -> None:
        if self.trouble:
            _log.info("channel %s takes rows again", self._table.channel)
        self.trouble, self.away_since, self._pause = "", 0.0, 0.0

    async def close(self) -> None:
        """End the running statement, close the connections."""
        await self._table.threads.close()
        self._table.database.close()
