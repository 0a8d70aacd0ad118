"""How far a table was taken: no row twice, none left out, whenever they appear. Properties of the pure part."""

from __future__ import annotations

import sqlite3
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import NotValidError
from plugins.sql.positions import Queries, Window, bound, message_id, read, written

VALUE = st.one_of(st.integers(), st.text(), st.binary(), st.decimals(allow_nan=False, allow_infinity=False),
                  st.datetimes(), st.datetimes(timezones=st.just(timezone(timedelta(hours=2)))), st.dates(),
                  st.uuids(), st.floats(allow_nan=False), st.times())


@given(st.lists(VALUE, min_size=1, max_size=3))
def test_a_position_is_read_as_it_was_written(values: list[object]) -> None:
    assert read(written(tuple(values))) == tuple(values)


@given(VALUE, VALUE)
def test_rows_have_one_id_each(one: object, other: object) -> None:
    assert message_id("c", (one,)) == message_id("c", (one,))
    assert (message_id("c", (one,)) == message_id("c", (other,))) == (written((one,)) == written((other,)))
    assert message_id("c", (one,)) != message_id("d", (one,))


def test_what_no_row_is_known_by() -> None:
    with pytest.raises(NotValidError, match="is null"):
        written((None,))
    assert written((Decimal("1.50"), date(2026, 1, 2), UUID(int=1), datetime(2026, 1, 2, 3))) == [
        "n:1.50", "d:2026-01-02", "u:00000000-0000-0000-0000-000000000001", "t:2026-01-02T03:00:00"]


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=2)), unique=True, max_size=20),
       st.tuples(st.integers(0, 3), st.text(max_size=2)), st.tuples(st.integers(0, 3), st.text(max_size=2)))
def test_pages_are_what_the_database_sorts(rows: list[tuple[int, str]], after: tuple[int, str],
                                           upto: tuple[int, str]) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("create table t (a integer, b text)")
    database.executemany("insert into t values (?, ?)", rows)
    queries = Queries("select a, b from t", ("a", "b"), str)

    def ask(statement: str, **values: object) -> list[tuple[int, str]]:
        return [tuple(row) for row in database.execute(statement, {**values, "arint_limit": 50})]

    # SQLite compares text as UTF-8
    order = sorted(rows, key=lambda row: (row[0], row[1].encode()))
    key = lambda row: (row[0], row[1].encode())  # noqa: E731
    assert ask(queries.page(after=False)) == order
    beyond = [row for row in order if key(row) > key(after)]
    assert ask(queries.page(after=True), **bound("after", after)) == beyond
    within = [row for row in beyond if key(row) <= key(upto)]
    assert ask(queries.page(after=True, up_to=True), **bound("after", after), **bound("upto", upto)) == within
    assert ask(queries.known(after=True), **bound("after", after), **bound("upto", upto)) == within[::-1]
    assert ask(queries.one(), **bound("after", after)) == [row for row in rows if row == after]
    assert ask(queries.furthest()) == order[-1:]
    database.close()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), unique_by=lambda row: row[0], max_size=30))
def test_late_rows_are_taken_once_each(rows: list[tuple[int, int]]) -> None:
    """`rows` are keys with the turn at which they become visible; late ones within the overlap of 10 turns."""
    window = Window(10.0)
    taken: list[int] = []
    for turn in range(20):
        visible = sorted(key for key, since in rows if since <= turn)
        if window.open:
            low = -1 if window.settled is None else window.settled[0]
            seen = [(key,) for key in visible if low < key <= window.last[0]]  # type: ignore[index]
            late = window.missing(seen)
            window.take(late, turn, late=True)
            taken += [row[0] for row in late]
        fresh = [(key,) for key in visible if window.last is None or key > window.last[0]]
        window.take(fresh, turn)
        taken += [row[0] for row in fresh]
        window.settle(turn)
    assert sorted(taken) == sorted(key for key, _ in rows)
    assert not window.open
