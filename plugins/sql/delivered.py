"""The two tables that ARINT keeps in a database it writes to: what was done there, and what was answered to it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Inspector,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    exc,
    insert,
    inspect,
    select,
)
from sqlalchemy.dialects import mysql

REMEMBERED = 30 * 86400.0
"""Seconds after which a key is forgotten: far beyond any retry."""

# MySQL compares text without regard to case and to blanks at the end, unless it is told
_KEY = String(255).with_variant(mysql.VARCHAR(255, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
_METADATA = MetaData()
_DELIVERED = Table("arint_delivered", _METADATA,
                   Column("key", _KEY, primary_key=True), Column("at", Float(53), nullable=False, index=True))
_ANSWERS = Table("arint_answers", _METADATA,
                 Column("key", _KEY, primary_key=True),
                 Column("answer", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
                 Column("at", Float(53), nullable=False, index=True))
TABLES = tuple(_METADATA.tables)


class RepeatedError(Exception):
    """At least one of the keys was there already; the transaction must be rolled back."""


def create(connection: Connection) -> None:
    """Make both tables, unless they are there."""
    _METADATA.create_all(connection)


def are_there(connection: Connection) -> bool:
    """Has somebody made both tables: their owner, as ARINT has no right to, or another process just now?"""
    inspector: Inspector = inspect(connection)
    return all(inspector.has_table(name) for name in TABLES)


def claim(connection: Connection, keys: Iterable[str]) -> None:
    """Note that these are done now. Raises RepeatedError."""
    now = time.time()
    try:
        connection.execute(insert(_DELIVERED), [{"key": key, "at": now} for key in keys])
    except exc.IntegrityError:
        raise RepeatedError from None


def known(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Those of the keys that were done before."""
    return set(connection.scalars(select(_DELIVERED.c.key).where(_DELIVERED.c.key.in_(list(keys)))))


def keep_answer(connection: Connection, key: str, answer: bytes) -> None:
    """Keep what was answered, to say the same when it is asked again."""
    connection.execute(insert(_ANSWERS), {"key": key, "answer": answer, "at": time.time()})


def kept_answer(connection: Connection, key: str) -> bytes | None:
    """What was answered to this key."""
    found = connection.scalar(select(_ANSWERS.c.answer).where(_ANSWERS.c.key == key))
    return None if found is None else bytes(found)


def forget(connection: Connection) -> None:
    """Let go of what is older than REMEMBERED."""
    for table in (_DELIVERED, _ANSWERS):
        connection.execute(delete(table).where(table.c.at < time.time() - REMEMBERED))
