"""Rows by a flag: the database itself says what is to be taken, and is told what was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from arint.errors import RejectedError
from plugins.sql.database import Job, Row
from plugins.sql.plans import parsed
from plugins.sql.polling import LARGEST_BATCH, Table
from plugins.sql.positions import Queries

_STORE_TIMEOUT = 30.0
"""Seconds that the store of a batch may take; the rows stay unmarked then, and are read again."""


class Flagged:
    """Reads a batch, has it stored, marks it as taken: in one transaction, so that `for update` holds until then."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._queries = Queries(table.spec.query, table.spec.order, str)

    async def turn(self) -> bool:
        """Take a batch."""
        table = self._table
        work = partial(self._apart if table.database.is_file else self._within, asyncio.get_running_loop())
        rows, known = await table.threads.run(work, table.timeout + _STORE_TIMEOUT)
        table.in_doubt = known > 0
        return rows == table.spec.batch

    def _within(self, loop: asyncio.AbstractEventLoop, job: Job) -> tuple[int, int]:
        with self._table.database.transaction(job) as connection:
            rows = self._read(connection)
            known = self._store(rows, loop)
            self._mark(connection, rows)
        return len(rows), known

    def _apart(self, loop: asyncio.AbstractEventLoop, job: Job) -> tuple[int, int]:
        """SQLite has one writer: it is not held up while the broker stores."""
        database = self._table.database
        with database.transaction(job, reads=True) as connection:
            rows = self._read(connection)
        known = self._store(rows, loop)
        if rows:
            with database.transaction(job) as connection:
                self._mark(connection, rows)
        return len(rows), known

    def _read(self, connection: Connection) -> list[Row]:
        spec = self._table.spec
        return self._table.database.rows_in(connection, self._queries.flagged(), {"arint_limit": spec.batch},
                                            spec.order, spec.batch, LARGEST_BATCH)

    def _store(self, rows: Sequence[Row], loop: asyncio.AbstractEventLoop) -> int:
        stored = asyncio.run_coroutine_threadsafe(self._table.accept(rows, in_doubt=self._table.in_doubt), loop)
        return stored.result(_STORE_TIMEOUT)

    def _mark(self, connection: Connection, rows: Sequence[Row]) -> None:
        clause = parsed(self._table.spec.taken)
        for name in clause._bindparams if rows else ():
            if name not in rows[0].columns:
                raise RejectedError(f'there is no column "{name}"', where=f"channel/{self._table.channel}, taken",
                                    remedy=f"its columns are {', '.join(rows[0].columns)}")
        values = [{name: row.columns[name] for name in clause._bindparams} for row in rows]
        if values:
            self._table.database.run(connection, clause, values, "taken")
