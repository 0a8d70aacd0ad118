"""How far a table has been taken: positions as they are kept, and the queries that go on from them. Pure.

A position is the values of the columns in whose order rows are taken. Two are kept: `last`, the furthest row so far;
and `settled`, the furthest that was reached `overlap` ago. Between them there may still appear rows: a transaction
takes its key, or its time, before it commits, so the row behind may be visible first. They are looked for until then.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from arint.errors import NotValidError
from arint.message import derived_id

Values = tuple[Any, ...]
LOOKED_BACK = 10_000
"""Rows, at most, among which late ones are looked for each time."""

_READ: dict[str, Callable[[str], Any]] = {
    "i": int, "f": float, "n": Decimal, "s": str, "b": b64decode, "t": datetime.fromisoformat,
    "d": date.fromisoformat, "c": time.fromisoformat, "u": UUID, "p": lambda text: timedelta(seconds=float(text)),
}
_WRITE: dict[type, tuple[str, Callable[[Any], str]]] = {
    bool: ("i", lambda value: str(int(value))), int: ("i", str), float: ("f", repr), Decimal: ("n", str),
    str: ("s", str), bytes: ("b", lambda value: b64encode(value).decode()), datetime: ("t", datetime.isoformat),
    date: ("d", date.isoformat), time: ("c", time.isoformat), UUID: ("u", str),
    timedelta: ("p", lambda value: repr(value.total_seconds())),
}


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a channel. `by` and `order` tell what it was made for; values are written with their type."""

    by: str
    order: list[str]
    settled: list[str] | None = None
    last: list[str] | None = None


def written(values: Values) -> list[str]:
    """The values as text that tells their types. Raises NotValidError for what no row can be known by."""
    return [_written(value) for value in values]


def read(texts: Sequence[str]) -> Values:
    """What `written` wrote."""
    return tuple(_READ[text[0]](text[2:]) for text in texts)


def _written(value: Any) -> str:
    found = _WRITE.get(type(value))
    if found is None:
        what = "is null" if value is None else f"is of the type {type(value).__name__}"
        raise NotValidError(f"a row is not known by its key: a column of it {what}",
                            remedy="leave such rows out in the query, or name other columns in key")
    mark, write = found
    return f"{mark}:{write(value)}"


def message_id(channel: str, values: Values) -> str:
    """The id of the message that a row becomes: the same each time it is read."""
    return derived_id("sql", channel, *written(values))


class Window:
    """Which rows between `settled` and `last` were taken already; and when the furthest was reached."""

    def __init__(self, overlap: float, settled: Values | None = None, last: Values | None = None) -> None:
        self.settled = settled
        self.last = last
        self._overlap = overlap
        self._taken: dict[Values, None] = {}
        self._reached: deque[tuple[float, Values]] = deque()

    def take(self, rows: Sequence[Values], now: float, *, late: bool = False) -> None:
        """These rows' messages are stored. In order, and behind `last`, unless they are late."""
        self._taken.update(dict.fromkeys(rows))
        while len(self._taken) > 2 * LOOKED_BACK:
            del self._taken[next(iter(self._taken))]
        if rows and not late:
            self.last = rows[-1]
            self._reached.append((now, rows[-1]))

    def settle(self, now: float) -> bool:
        """Let what was reached long enough ago be settled; tells whether that changed anything."""
        before = self.settled
        while self._reached and now - self._reached[0][0] >= self._overlap:
            self.settled = self._reached.popleft()[1]
        if self.settled == self.last:
            self._taken.clear()
        return self.settled != before

    @property
    def open(self) -> bool:
        """May there still be late rows?"""
        return self.last is not None and self.last != self.settled

    def missing(self, seen: Sequence[Values]) -> list[Values]:
        """Those of the rows in the window that were not taken."""
        return [values for values in seen if values not in self._taken]


class Queries:
    """The statements over a channel's query. `quote` writes a column's name as the database wants it."""

    def __init__(self, query: str, order: Sequence[str], quote: Callable[[str], str]) -> None:
        self._columns = [quote(column) for column in order]
        self._of = f"from ({query}) arint_rows"

    def page(self, *, after: bool, up_to: bool = False) -> str:
        """The next rows: behind `:after_0, …` where `after` says so, and not behind `:upto_0, …`."""
        return f"select * {self._of}{self._where(after, up_to)} {self._ordered()} limit :arint_limit"

    def known(self, *, after: bool) -> str:
        """Only the columns of order, of the rows from `:after_0, …` up to `:upto_0, …`; the furthest first."""
        chosen = ", ".join(self._columns)
        return f"select {chosen} {self._of}{self._where(after, True)} {self._ordered(' desc')} limit :arint_limit"

    def one(self) -> str:
        """The row with the values `:after_0, …`."""
        return f"select * {self._of} where {self._same(len(self._columns), 'after')} limit 2"

    def furthest(self) -> str:
        """The columns of order of the last row of all."""
        return f"select {', '.join(self._columns)} {self._of} {self._ordered(' desc')} limit 1"

    def flagged(self) -> str:
        """The rows that are to be taken, in no order."""
        return f"select * {self._of} limit :arint_limit"

    def _ordered(self, way: str = "") -> str:
        return "order by " + ", ".join(column + way for column in self._columns)

    def _where(self, after: bool, up_to: bool) -> str:
        conditions = [self._beyond("after")] if after else []
        if up_to:
            conditions.append(f"not ({self._beyond('upto')})")
        return " where " + " and ".join(conditions) if conditions else ""

    def _beyond(self, mark: str) -> str:
        """(a, b) > (:x, :y), written so that every database can use an index for it."""
        parts = []
        for index, column in enumerate(self._columns):
            same = self._same(index, mark)
            parts.append(f"({same + ' and ' if same else ''}{column} > :{mark}_{index})")
        # The first column's bound is repeated, since few planners find it in an `or`
        first = f"{self._columns[0]} >= :{mark}_0 and " if len(parts) > 1 else ""
        return f"({first}({' or '.join(parts)}))"

    def _same(self, count: int, mark: str) -> str:
        return " and ".join(f"{column} = :{mark}_{index}" for index, column in enumerate(self._columns[:count]))


def bound(mark: str, values: Values | None) -> Mapping[str, Any]:
    """The parameters of `:mark_0, …`."""
    return {} if values is None else {f"{mark}_{index}": value for index, value in enumerate(values)}
