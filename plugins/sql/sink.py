"""The OUT side of SQL: a thread or a few beside the loop, since drivers block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from arint.errors import NotFoundError, NotValidError, SystemUnavailableError
from arint.plugins import Delivery, SinkContext
from arint.resources.quantities import seconds
from plugins.sql.specs import SqlConnection, SqlOptions

if TYPE_CHECKING:
    from sqlalchemy import URL

    from plugins.sql.database import Database

_THREADS = 8
_PROBE_TIMEOUT = 5.0


class SqlSink:
    """Delivers messages to one database."""

    def __init__(self, context: SinkContext) -> None:
        from plugins.sql.database import Database

        spec: SqlConnection = context.spec
        self._where = f"connection/{context.name}"
        url = _url(spec, context, self._where)
        self._database: Database = Database(url, spec.setup, seconds(spec.timeout), self._where)
        # SQLite has one writer; more threads would only wait for its lock, and lose it in no order
        threads = 1 if url.get_backend_name() == "sqlite" else _THREADS
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"sql-{context.name}")

    async def send(self, delivery: Delivery) -> bytes | None:
        """Run the step's statements in one transaction; nothing, if this was done before. There is no answer."""
        options: SqlOptions = delivery.options
        statements: Sequence[str] = (
            [options.statement] if isinstance(options.statement, str) else options.statement)
        await self._in_thread(lambda: self._database.deliver(delivery, statements), delivery.timeout)
        return None

    async def probe(self) -> None:
        """Open the database and begin a transaction."""
        await self._in_thread(self._database.check, _PROBE_TIMEOUT)

    async def close(self) -> None:
        """End the running statement and close all connections."""
        self._database.interrupt()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._threads.shutdown)
        self._database.close()

    async def _in_thread(self, work: Callable[[], None], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            # What still runs may be committed after all; the next attempt then finds its key and does nothing
            self._database.interrupt()
            raise SystemUnavailableError(f"not done within {timeout:g} seconds", where=self._where) from error


def _url(spec: SqlConnection, context: SinkContext, where: str) -> URL:
    from sqlalchemy import exc, make_url

    try:
        url = make_url(spec.url)
    except exc.ArgumentError as error:
        raise NotValidError("not a database URL", where=where,
                            remedy="write it as sqlite:///${ARINT_DATA}/orders.db") from error
    if url.password is not None:
        raise NotValidError("the URL holds a password", where=where, remedy="write password: {secret: …} instead")
    if spec.password is None:
        return url
    if spec.password.secret not in context.secrets:
        raise NotFoundError(f"no secret {spec.password.secret}", where=where, remedy="declare it and apply again")
    return url.set(password=context.secrets[spec.password.secret].rstrip(b"\r\n").decode())
