"""The SQL sink against real SQLite files."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import exc

from arint.errors import MessageError, NotFoundError, NotValidError, RejectedError, SystemUnavailableError
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from plugins.sql.failures import translated
from plugins.sql.sink import SqlSink
from plugins.sql.specs import SqlConnection, SqlOptions

SETUP = ["create table if not exists orders (id text primary key, total real not null check (total >= 0), note text)"]
INSERT = "insert into orders values (:id, :total, :note)"
Open = Callable[..., SqlSink]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    sinks: list[SqlSink] = []

    def open_(**spec: Any) -> SqlSink:
        known = {"url": f"sqlite:///{tmp_path}/new/folder/a.db", "setup": SETUP, "timeout": "200ms"}
        sink = SqlSink(SinkContext("warehouse", msgspec.convert(known | spec, SqlConnection), {"pw": b"p"}, "/data"))
        sinks.append(sink)
        return sink

    yield open_
    for sink in sinks:
        await sink.close()


def rows(tmp_path: Path, query: str = "select * from orders order by id") -> list[Any]:
    connection = sqlite3.connect(tmp_path / "new/folder/a.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def delivery(body: Any, key: str = "k", statement: Any = INSERT, timeout: float = 10.0, **params: str) -> Delivery:
    message = Message(id="m-1", headers={"x-from": "here"}, variables={"rate": 2}, correlation_id="c-1")
    return Delivery(message, body, SqlOptions(statement=statement, params=params), key, timeout)


async def test_a_row(opened: Open, tmp_path: Path) -> None:
    assert await opened().send(delivery({"id": "1", "total": 2.5, "note": None})) is None
    assert rows(tmp_path) == [("1", 2.5, None)]


async def test_once_a_key(opened: Open, tmp_path: Path) -> None:
    sink, add = opened(), "update orders set total = total + 1"
    await sink.send(delivery({"id": "1", "total": 1, "note": ""}))
    for _ in range(3):
        await sink.send(delivery({}, "k-2", add))
    await opened().send(delivery({}, "k-2", add))
    assert rows(tmp_path) == [("1", 2.0, "")]


async def test_once_a_key_from_two_sinks_at_once(opened: Open, tmp_path: Path) -> None:
    one, two = opened(timeout="5s"), opened(timeout="5s")
    await one.send(delivery({"id": "1", "total": 0, "note": ""}))
    await asyncio.gather(*[sink.send(delivery({}, f"k-{number}", "update orders set total = total + 1"))
                           for number in range(20) for sink in (one, two)])
    assert rows(tmp_path) == [("1", 20.0, "")]


async def test_several_statements_are_one_transaction(opened: Open, tmp_path: Path) -> None:
    sink = opened()
    two = [INSERT, "insert into orders values (:id || '-b', :second, '')"]
    with pytest.raises(MessageError, match="statement 2: CHECK constraint failed") as caught:
        await sink.send(delivery({"id": "secret-7", "total": 1, "note": "", "second": -1}, statement=two))
    assert "secret-7" not in str(caught.value)
    assert rows(tmp_path) == []
    await sink.send(delivery({"id": "7", "total": 1, "note": "", "second": 3}, statement=two))
    assert [row[0] for row in rows(tmp_path)] == ["7", "7-b"]


async def test_where_values_come_from(opened: Open, tmp_path: Path) -> None:
    body = {"order": {"id": "9", "lines": [{"qty": 3}]}, "headers.x": 1}
    statement = "insert into orders values (:id, :qty * :rate, :a || :b || :c)"
    await opened().send(delivery(body, statement=statement, id="order.id", qty="body.order.lines.0.qty",
                                 rate="vars.rate", a="headers.x-from", b="message.id", c="message.correlation_id"))
    assert rows(tmp_path) == [("9", 6.0, "herem-1c-1")]


async def test_nested_values_are_json_text(opened: Open, tmp_path: Path) -> None:
    await opened().send(delivery({"id": "1", "total": 0, "note": {"a": [1, True]}}))
    assert rows(tmp_path)[0][2] == '{"a":[1,true]}'


async def test_values_are_never_part_of_the_statement(opened: Open, tmp_path: Path) -> None:
    evil = "x'); drop table orders; --"
    await opened().send(delivery({"id": evil, "total": 0, "note": ":id"}))
    assert rows(tmp_path) == [(evil, 0.0, ":id")]


@pytest.mark.parametrize("body", [{}, None, "text", 7, [], {"id": "1", "total": 1}])
async def test_a_missing_field_rejects_the_message(opened: Open, body: Any) -> None:
    with pytest.raises(RejectedError, match="no field"):
        await opened().send(delivery(body))


async def test_a_number_too_large_rejects_the_message(opened: Open) -> None:
    with pytest.raises(RejectedError, match="fit"):
        await opened().send(delivery({"id": 2**70, "total": 1, "note": ""}))


@pytest.mark.parametrize("statement", ["insert into nowhere values (1)", "not sql", "delete from orders; select 1"])
async def test_a_statement_that_fails_uses_an_attempt(opened: Open, tmp_path: Path, statement: str) -> None:
    with pytest.raises(MessageError, match="connection/warehouse, statement 1"):
        await opened().send(delivery({}, statement=statement))
    assert rows(tmp_path, "select * from arint_delivered") == []


async def test_a_locked_database_is_away(opened: Open, tmp_path: Path) -> None:
    sink = opened()
    await sink.probe()
    other = sqlite3.connect(tmp_path / "new/folder/a.db", isolation_level=None)
    other.execute("begin exclusive")
    with pytest.raises(SystemUnavailableError, match="locked"):
        await sink.send(delivery({"id": "1", "total": 1, "note": ""}))
    with pytest.raises(SystemUnavailableError):
        await sink.probe()
    other.execute("rollback")
    other.close()
    await sink.probe()
    await sink.send(delivery({"id": "1", "total": 1, "note": ""}))
    assert len(rows(tmp_path)) == 1


async def test_a_database_that_cannot_be_opened_is_away_until_it_can(opened: Open, tmp_path: Path) -> None:
    sink = opened(url=f"sqlite:///{tmp_path}/a.db")
    (tmp_path / "a.db").mkdir()
    with pytest.raises(SystemUnavailableError, match="unable to open"):
        await sink.send(delivery({"id": "1", "total": 1, "note": ""}))
    (tmp_path / "a.db").rmdir()
    await sink.send(delivery({"id": "1", "total": 1, "note": ""}))


async def test_a_file_that_is_no_database_is_away(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "b.db").write_bytes(b"something else" * 1000)
    with pytest.raises(SystemUnavailableError):
        await opened(url=f"sqlite:///{tmp_path}/b.db").send(delivery({}, statement="delete from orders"))


async def test_a_folder_that_is_a_file_is_away(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemUnavailableError):
        await opened(url=f"sqlite:///{tmp_path}/file/b.db").send(delivery({}, statement="delete from orders"))


async def test_a_statement_without_end_is_ended(opened: Open, tmp_path: Path) -> None:
    sink = opened()
    endless = ("insert into orders with recursive n(x) as (select 1 union all select x + 1 from n) "
               "select 'x', 1, '' from n where x < 0")
    with pytest.raises(MessageError, match=r"within 0\.3 seconds, and ended"):
        await sink.send(delivery({}, "k-1", endless, timeout=0.3))
    await sink.send(delivery({"id": "1", "total": 1, "note": ""}, "k-2"))
    assert len(rows(tmp_path)) == 1


async def test_setup_that_fails_names_its_place(opened: Open) -> None:
    with pytest.raises(MessageError, match="connection/warehouse, setup 2"):
        await opened(setup=[*SETUP, "create nonsense"]).probe()


async def test_what_is_written_is_on_disk(opened: Open, tmp_path: Path) -> None:
    await opened().probe()
    assert rows(tmp_path, "pragma journal_mode") == [("wal",)]


async def test_what_cannot_be_opened_at_all(opened: Open) -> None:
    with pytest.raises(NotValidError, match="password"):
        opened(url="postgresql://u:pw@h/d")
    with pytest.raises(NotFoundError, match="no secret missing"):
        opened(url="postgresql://u@h/d", password={"secret": "missing"})


def test_other_databases_errors_tell_no_values() -> None:
    class UniqueViolation(Exception):
        sqlstate = "23505"

    error = exc.IntegrityError("insert", {"id": "secret"}, UniqueViolation("Key (id)=(secret) already exists"))
    told = translated(error, "connection/x")
    assert str(told) == "connection/x: UniqueViolation 23505"
    gone = exc.OperationalError("select", {}, Exception("could not connect to the server"))
    assert isinstance(translated(gone, "x"), SystemUnavailableError)
