"""Rows as JSON: every type that a database may have becomes something that JSON has, always the same.

| in the database | in JSON |
|---|---|
| whole numbers, floats | number |
| numeric, decimal | number, with all its digits |
| NaN, infinity | null |
| boolean | true, false (MariaDB has none: 0 and 1) |
| text, enum, uuid, network addresses, ranges | text |
| date, time, timestamp | text, ISO 8601 (RFC 3339 where there is a time zone) |
| interval | text, ISO 8601 (`P1DT2H`); MariaDB's time as `02:30:00` |
| bytea, blob | text, base 64 |
| json, jsonb | the value itself (SQLite and MariaDB: text) |
| arrays, composite types | arrays |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from arint.errors import RejectedError

_encode = msgspec.json.Encoder(decimal_format="number").encode
_AS_IS = frozenset({type(None), bool, int, str, bytes, datetime, date, time, UUID})
"""Types that msgspec writes as it should."""


def encoded(rows: Iterable[Mapping[Any, Any]], *, clock: bool = False) -> Iterator[bytes]:
    """Each row as a JSON object. `clock`: a timedelta is a time of day (MariaDB)."""
    for row in rows:
        yield _encode({name: plain(value, clock=clock) for name, value in row.items()})


def plain(value: Any, *, clock: bool = False) -> Any:
    """A database's value as what JSON has, or msgspec writes as described above."""
    kind = type(value)
    if kind in _AS_IS:
        return value
    if kind is timedelta:
        return _clock(value) if clock else value
    found = _PLAIN.get(kind)
    if found is not None:
        return found(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def write(value: Any) -> bytes:
    """JSON text of what `plain` gave."""
    return _encode(value)


def unique(columns: Iterable[str], where: str) -> tuple[str, ...]:
    """The columns' names. Raises RejectedError where two are the same: one would hide the other."""
    names = tuple(columns)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RejectedError(f'two columns are called "{twice}"', where=where,
                            remedy="give one of them another name with `as`")
    return names


def _clock(value: timedelta) -> str:
    whole = int(abs(value).total_seconds())
    fraction = f".{value.microseconds:06d}" if value.microseconds and value >= timedelta() else ""
    return f"{'-' if value < timedelta() else ''}{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{fraction}"


_PLAIN: dict[type, Callable[[Any], Any]] = {
    float: lambda value: value if math.isfinite(value) else None,
    Decimal: lambda value: value if value.is_finite() else None,
    bytearray: bytes, memoryview: bytes,
}
