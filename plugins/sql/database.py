"""One database: opened when first needed, and every message's statements done in one transaction, once.

Blocking, and used from a thread of the sink. `arint_delivered` stands in the same database, and its row is written in
the same transaction as the message's statements: both are there, or neither.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Float,
    MetaData,
    String,
    Table,
    TextClause,
    create_engine,
    delete,
    event,
    exc,
    insert,
    text,
)

from arint.errors import ArintError
from arint.plugins import Delivery
from plugins.sql.failures import translated
from plugins.sql.parameters import values

_DELIVERED = Table("arint_delivered", MetaData(),
                   Column("key", String(255), primary_key=True), Column("at", Float, nullable=False, index=True))
_REMEMBERED = 30 * 86400.0
"""Seconds after which a key is forgotten: far beyond any retry."""
_FORGET_EVERY = 10_000


class Database:
    """Not for more than one thread at once where `url` is SQLite's: writers there wait for each other anyway."""

    def __init__(self, url: URL, setup: Sequence[str], timeout: float, where: str) -> None:
        self._url = url
        self._setup = setup
        self._timeout = timeout
        self._where = where
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self._running: set[Any] = set()
        self._done = 0

    def deliver(self, delivery: Delivery, statements: Sequence[str]) -> None:
        """Run the statements, unless this key's have been run before. Raises ArintError."""
        clauses = [_parsed(statement) for statement in statements]
        bound = [values(clause._bindparams, delivery.options.params, delivery.message, delivery.value)
                 for clause in clauses]
        driver = None
        try:
            with self._opened().begin() as connection:
                driver = connection.connection.dbapi_connection
                self._running.add(driver)
                try:
                    connection.execute(insert(_DELIVERED), {"key": delivery.idempotency_key, "at": time.time()})
                except exc.IntegrityError:
                    return connection.rollback()
                for number, (clause, found) in enumerate(zip(clauses, bound, strict=True), 1):
                    self._execute(connection, clause, found, f"statement {number}")
        except ArintError:
            raise
        except Exception as error:
            raise translated(error, self._where) from None
        finally:
            self._running.discard(driver)
        self._forget_old_keys()

    def check(self) -> None:
        """Is the database there, and writable? Raises SystemUnavailableError."""
        try:
            with self._opened().connect() as connection:
                connection.execute(text("select 1"))
        except ArintError:
            raise
        except Exception as error:
            raise translated(error, self._where) from None

    def interrupt(self) -> None:
        """From another thread: end the statement that runs too long, where the driver can."""
        for connection in list(self._running):
            if hasattr(connection, "interrupt"):
                connection.interrupt()

    def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                engine = self._made()
                try:
                    self._set_up(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def _made(self) -> Engine:
        if self._url.get_backend_name() != "sqlite":
            return create_engine(self._url, hide_parameters=True, pool_pre_ping=True, pool_timeout=self._timeout)
        if self._url.database and self._url.database != ":memory:":
            Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self._url, hide_parameters=True,
                               connect_args={"timeout": self._timeout, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _set_up(self, engine: Engine) -> None:
        with engine.begin() as connection:
            _DELIVERED.metadata.create_all(connection)
            connection.execute(delete(_DELIVERED).where(_DELIVERED.c.at < time.time() - _REMEMBERED))
            for number, statement in enumerate(self._setup, 1):
                self._execute(connection, _parsed(statement), {}, f"setup {number}")

    def _execute(self, connection: Connection, clause: TextClause, bound: dict[str, Any], place: str) -> None:
        try:
            connection.execute(clause, bound)
        except Exception as error:
            raise translated(error, f"{self._where}, {place}") from None

    def _forget_old_keys(self) -> None:
        self._done += 1
        if self._done % _FORGET_EVERY == 0 and self._engine is not None:
            with self._engine.begin() as connection:
                connection.execute(delete(_DELIVERED).where(_DELIVERED.c.at < time.time() - _REMEMBERED))


@lru_cache(maxsize=1024)
def _parsed(statement: str) -> TextClause:
    return text(statement)


def _prepare_sqlite(driver: Any, _: Any) -> None:
    driver.isolation_level = None  # the driver's own idea of when to begin leaves statements outside of transactions
    for pragma in ("journal_mode=wal", "synchronous=full", "foreign_keys=on"):
        driver.execute(f"pragma {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading cannot wait for the writer before it: it fails at once
    connection.exec_driver_sql("begin immediate")
