"""What a database's error means for the message, told without any value of the message."""

from __future__ import annotations

from sqlite3 import Error as SqliteError

from sqlalchemy import exc

from arint.errors import ArintError, MessageError, RejectedError, SystemUnavailableError

_SQLITE_AWAY = frozenset({5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 23, 26})
"""busy, locked, out of memory, read-only, interrupted, I/O, corrupt, full, cannot open, protocol, denied, no database:
the state of the database and not of the message. https://www.sqlite.org/rescode.html"""


def translated(error: Exception, where: str) -> ArintError:
    """The error to raise instead; `where` names connection and statement."""
    if isinstance(error, exc.TimeoutError) or _is_away(error):
        return SystemUnavailableError(_told(error), where=where)
    if isinstance(error, exc.DataError | OverflowError) or (
            isinstance(error, exc.StatementError) and not isinstance(error, exc.DBAPIError)):
        return RejectedError(_told(error), where=where)
    return MessageError(_told(error), where=where)


def _is_away(error: Exception) -> bool:
    if isinstance(error, OSError):
        return True
    if not isinstance(error, exc.DBAPIError):
        return False
    if isinstance(error.orig, SqliteError):
        # "no such table" is an OperationalError as well, and no reason to stop all other messages
        return (getattr(error.orig, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_AWAY
    return error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)


def _told(error: Exception) -> str:
    """SQLite names only tables and columns. Other databases quote values too: of them, class and code are told."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        if isinstance(error.orig, SqliteError):
            return str(error.orig)
        code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        return f"{type(error.orig).__name__}{f' {code}' if code else ''}"
    return "a value does not fit its column" if isinstance(error, OverflowError) else type(error).__name__
