"""Which deliveries were made, by their idempotency key, so that none is made twice; in a database beside the data.

A crash of the process forgets nothing; a power cut may forget the last keys, since the database does not wait for the
disk: what was written then may be written once more.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

_REMEMBERED = 30 * 86400.0
"""Seconds after which a key is forgotten: far beyond any retry."""
_SETUP = """
create table if not exists delivered (key text primary key, at real not null);
create index if not exists delivered_at on delivered (at);
create table if not exists appending (key text primary key, file text not null, inode integer not null,
                                      offset integer not null);
"""


class Appending(NamedTuple):
    """An addition to a file that was begun: its key, which file it was, and how long before."""

    key: str
    inode: int
    offset: int


class Ledger:
    """Not for several threads at once; several processes may have the same open."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(file, timeout=10.0, isolation_level=None, check_same_thread=False)
        self._base.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + _SETUP)
        self._base.execute("delete from delivered where at < ?", (time.time() - _REMEMBERED,))

    def has(self, key: str) -> bool:
        """Was this delivery made?"""
        return self._base.execute("select 1 from delivered where key = ?", (key,)).fetchone() is not None

    def made(self, key: str) -> None:
        """This delivery was made."""
        self._base.execute("begin immediate")
        try:
            self._base.execute("insert or ignore into delivered values (?, ?)", (key, time.time()))
            self._base.execute("delete from appending where key = ?", (key,))
        except sqlite3.Error:
            self._base.execute("rollback")
            raise
        self._base.execute("commit")

    def begun(self, file: str) -> list[Appending]:
        """Additions to this file that were begun and not completed."""
        rows = self._base.execute("select key, inode, offset from appending where file = ? order by offset", (file,))
        return [Appending(*row) for row in rows]

    def begin(self, key: str, file: str, inode: int, offset: int) -> None:
        """An addition to this file begins at its end."""
        self._base.execute("insert or replace into appending values (?, ?, ?, ?)", (key, file, inode, offset))

    def forget(self, key: str) -> None:
        """What was begun is undone."""
        self._base.execute("delete from appending where key = ?", (key,))

    def close(self) -> None:
        """Let go."""
        self._base.close()
