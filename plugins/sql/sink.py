"""The OUT side of SQL: messages' statements, many to a transaction; and what a flow asks a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from arint.errors import ArintError, NotFoundError, NotValidError
from arint.plugins import Delivery, SinkContext
from plugins.sql.asking import Ask
from plugins.sql.specs import DRIVERS, SqlConnection

if TYPE_CHECKING:
    from sqlalchemy import URL

    from plugins.sql.database import Database
    from plugins.sql.plans import Plan
    from plugins.sql.threads import Threads

_PROBE_TIMEOUT = 5.0
_WRITERS = 2
"""Transactions with many messages at once: while one commits, the other works."""


class SqlSink:
    """Delivers messages to one database."""

    def __init__(self, context: SinkContext) -> None:
        from plugins.sql.batches import Batches

        spec: SqlConnection = context.spec
        self._database, self._threads = opened(context.name, spec, context.secrets)
        lite = spec.url.startswith("sqlite")
        self._batches = Batches(self._many, self._one, writers=1 if lite else min(_WRITERS, spec.connections))

    async def send(self, delivery: Delivery) -> bytes | None:
        """Run the step's statements in one transaction; nothing, if this was done before.

        The answer is that of the last statement that gives rows, as JSON, where the step asks for one.
        """
        from plugins.sql.plans import plan_of

        if isinstance(delivery.options, Ask):
            return await self._asked(delivery.options, delivery)
        plan = plan_of(delivery)
        if plan.answer is not None:
            return await self._one(plan, delivery.timeout)
        await self._batches.deliver(plan, delivery.timeout)
        return None

    async def _asked(self, ask: Ask, delivery: Delivery) -> bytes:
        from plugins.sql.api.execution import answer

        return await self._threads.run(lambda job: answer(self._database, ask, delivery.idempotency_key, job),
                                       delivery.timeout)

    async def probe(self) -> None:
        """Open the database and begin a transaction."""
        await self._threads.run(self._database.check, _PROBE_TIMEOUT)

    async def close(self) -> None:
        """End the running statements and close all connections."""
        await self._threads.close()
        await self._batches.close()
        self._database.close()

    async def _many(self, plans: Sequence[Plan], timeout: float) -> Sequence[ArintError | None]:
        return await self._threads.run(lambda job: self._database.deliver_many(plans, job), timeout)

    async def _one(self, plan: Plan, timeout: float) -> bytes | None:
        return await self._threads.run(lambda job: self._database.deliver(plan, job), timeout)


def opened(name: str, spec: SqlConnection, secrets: Mapping[str, bytes]) -> tuple[Database, Threads]:
    """A database that is opened when first needed, and the threads to use it from. Raises ArintError."""
    from plugins.sql.database import Database
    from plugins.sql.threads import Threads

    where = f"connection/{name}"
    url = _url(spec, secrets, where)
    # SQLite has one writer; more threads would only wait for its lock, and lose it in no order
    lite = url.get_backend_name() == "sqlite"
    return Database(url, spec, name), Threads(1 if lite else spec.connections, where, server_limits=not lite)


def _url(spec: SqlConnection, secrets: Mapping[str, bytes], where: str) -> URL:
    from sqlalchemy import exc, make_url

    try:
        url = make_url(spec.url)
        url.get_dialect()
    except exc.NoSuchModuleError as error:
        raise NotValidError(f"no database of this kind is known: {spec.url.partition(':')[0]}", where=where,
                            remedy=f"one of {', '.join(DRIVERS)}; or install its SQLAlchemy dialect") from error
    except exc.ArgumentError as error:
        raise NotValidError("not a database URL", where=where,
                            remedy="write it as sqlite:///${ARINT_DATA}/orders.db") from error
    if url.password is not None:
        raise NotValidError("the URL holds a password", where=where, remedy="write password: {secret: …} instead")
    if spec.password is None:
        return url
    if spec.password.secret not in secrets:
        raise NotFoundError(f"no secret {spec.password.secret}", where=where, remedy="declare it and apply again")
    return url.set(password=secrets[spec.password.secret].rstrip(b"\r\n").decode())
