"""What a database's error means for the message, told without any value of the message."""

from __future__ import annotations

from sqlite3 import Error as SqliteError

from sqlalchemy import exc

from arint.errors import ArintError, MessageError, RejectedError, SystemUnavailableError

_SQLITE_AWAY = frozenset({5, 6, 7, 8, 10, 11, 13, 14, 15, 23, 26})
"""busy, locked, out of memory, read-only, I/O, corrupt, full, cannot open, protocol, denied, no database:
the state of the database and not of the message. https://www.sqlite.org/rescode.html"""
_SQLITE_INTERRUPTED = 9
_SQLITE_CONSTRAINT = 19
_SQLITE_UNIQUE = frozenset({1555, 2067, 2579})
_SQLITE_READ_ONLY = 8

_STATE_AWAY = ("08", "28", "3D", "53", "57P", "58", "F0")
"""Connection, authorization, no such database, resources, shutdown, system, configuration.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_STATE_CONTENDED = frozenset({"40001", "40P01"})
_STATE_REJECTED = ("22",)
_STATE_READ_ONLY = frozenset({"25006"})
_STATE_CANCELLED = frozenset({"57014"})
_STATE_LOCKED = frozenset({"55P03"})

_CODE_AWAY = frozenset({
    1021, 1037, 1038, 1040, 1041, 1042, 1043, 1044, 1045, 1049, 1053, 1077, 1114, 1129, 1130, 1152, 1153, 1154, 1155,
    1156, 1157, 1158, 1159, 1160, 1161, 1203, 1226, 1290, 1836, 1927, 2002, 2003, 2005, 2006, 2013, 2014, 2026, 2055,
    4031})
"""Disk, memory, too many connections, refused users, shutdown, networks, read-only servers, lost connections.
https://mariadb.com/kb/en/mariadb-error-codes/"""
_CODE_CONTENDED = frozenset({1020, 1213})
_CODE_REJECTED = frozenset({1264, 1265, 1292, 1366, 1406, 1411, 3140})
_CODE_UNIQUE = frozenset({1022, 1062, 1586})
_CODE_VIOLATED = frozenset({1048, 1216, 1217, 1364, 1451, 1452, 3819, 4025})
_CODE_CANCELLED = frozenset({1317, 1969, 3024})
_CODE_LOCKED = frozenset({1205})
_CODE_READ_ONLY = frozenset({1792})
_CODE_NAMES_ONLY = frozenset({1048, 1051, 1054, 1109, 1142, 1143, 1146, 1305, 1364, 1370})
"""Errors whose words hold names of tables, columns and routines, and no values."""


class SlowError(MessageError):
    """The work took longer than its time, and was ended."""


class ContendedError(MessageError):
    """A deadlock, or a conflict with another transaction: the same again may well succeed."""


class LockedError(MessageError):
    """Somebody held a row or a table for longer than `timeout`."""


class ViolatedError(MessageError):
    """A constraint forbids it; of those, `unique` ones say that it is there already."""

    unique = False


class DuplicateError(ViolatedError):
    """What must be there once is there already."""

    unique = True


class CancelledError(MessageError):
    """The statement took too long, and was ended."""


_IN_WORDS: dict[type[ArintError], str] = {LockedError: "somebody else holds a lock on what it needs",
                                          CancelledError: "it took too long and was ended"}


def translated(error: Exception, where: str, *, reading: bool = False) -> ArintError:
    """The error to raise instead; `where` names connection and statement. `reading`: it was not to change anything."""
    if reading and _is_read_only(error):
        return RejectedError("a query may only read", where=where,
                             remedy="say `once: true` if it is meant to change something")
    kind = _kind(error)
    return kind(_IN_WORDS.get(kind) or _told(error), where=where)


def _kind(error: Exception) -> type[ArintError]:
    if isinstance(error, exc.TimeoutError | OSError):
        return SystemUnavailableError
    if isinstance(error, OverflowError):
        return RejectedError
    if isinstance(error, exc.DBAPIError):
        return _kind_of_driver_error(error)
    # A value of a type for which the driver has no form
    return RejectedError if isinstance(error, exc.StatementError) else MessageError


def _kind_of_driver_error(error: exc.DBAPIError) -> type[ArintError]:
    if isinstance(error.orig, SqliteError):
        # "no such table" is an OperationalError as well, and no reason to stop all other messages
        code = _sqlite_code(error)
        if code == _SQLITE_INTERRUPTED:
            return CancelledError
        if code == _SQLITE_CONSTRAINT:
            return DuplicateError if error.orig.sqlite_errorcode in _SQLITE_UNIQUE else ViolatedError
        return SystemUnavailableError if code in _SQLITE_AWAY else MessageError
    if error.connection_invalidated:
        return SystemUnavailableError
    kind = _kind_by_code(error)
    return RejectedError if kind is MessageError and isinstance(error, exc.DataError) else kind


def _kind_by_code(error: exc.DBAPIError) -> type[ArintError]:
    if code := _code(error):
        return _kind_of_code(code)
    if state := _state(error):
        return _kind_of_state(state)
    # The driver's own words: it never reached the server, or lost it
    return SystemUnavailableError if isinstance(error, exc.OperationalError | exc.InterfaceError) else MessageError


def _kind_of_state(state: str) -> type[ArintError]:
    for states, kind in ((_STATE_CONTENDED, ContendedError), (_STATE_CANCELLED, CancelledError),
                         (_STATE_LOCKED, LockedError), (_STATE_READ_ONLY, SystemUnavailableError)):
        if state in states:
            return kind
    if state.startswith(_STATE_AWAY):
        return SystemUnavailableError
    if state.startswith("23"):
        return DuplicateError if state in ("23505", "23P01") else ViolatedError
    return RejectedError if state.startswith(_STATE_REJECTED) else MessageError


def _kind_of_code(code: int) -> type[ArintError]:
    for codes, kind in ((_CODE_CONTENDED, ContendedError), (_CODE_CANCELLED, CancelledError),
                        (_CODE_LOCKED, LockedError), (_CODE_AWAY, SystemUnavailableError),
                        (_CODE_READ_ONLY, SystemUnavailableError), (_CODE_REJECTED, RejectedError),
                        (_CODE_UNIQUE, DuplicateError), (_CODE_VIOLATED, ViolatedError)):
        if code in codes:
            return kind
    return MessageError


def _is_read_only(error: Exception) -> bool:
    return isinstance(error, exc.DBAPIError) and (
        _code(error) in _CODE_READ_ONLY or _state(error) in _STATE_READ_ONLY
        or _sqlite_code(error) == _SQLITE_READ_ONLY)


def _sqlite_code(error: exc.DBAPIError) -> int:
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF


def _state(error: exc.DBAPIError) -> str:
    """The SQLSTATE, where the driver tells it."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""


def _code(error: exc.DBAPIError) -> int:
    """MySQL's and MariaDB's number."""
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def _told(error: Exception) -> str:
    """SQLite names only tables and columns. Other databases quote values too: then class and code are told."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        if isinstance(error.orig, SqliteError):
            return str(error.orig)
        code = _code(error) or _state(error)
        name = f"{type(error.orig).__name__}{f' {code}' if code else ''}"
        return f"{name}: {said}" if (said := _said(error)) else name
    return "a value does not fit its column" if isinstance(error, OverflowError) else type(error).__name__


def _said(error: exc.DBAPIError) -> str:
    """What the database says, where that is free of values; else the names of what it is about."""
    code = _code(error)
    if code:
        return str(error.orig.args[1]) if error.orig and code in _CODE_AWAY | _CODE_NAMES_ONLY else ""
    diagnosis = getattr(error.orig, "diag", None)
    if state := _state(error):
        if state.startswith((*_STATE_AWAY, "42")):  # nothing of the message, or only names in the statement
            return str(getattr(diagnosis, "message_primary", None) or "")
        names = [getattr(diagnosis, field, None) for field in ("table_name", "column_name", "constraint_name")]
        return ", ".join(name for name in names if name)
    if isinstance(error, exc.OperationalError):  # a driver's failure to connect
        return " ".join(str(error.orig).split())[:300]
    return ""
