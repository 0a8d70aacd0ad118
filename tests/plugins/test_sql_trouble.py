"""What goes wrong between ARINT and a database: dropped connections, restarts; procedures and types, too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from arint.errors import SystemUnavailableError
from tests.databases import PASSWORD
from tests.plugins.databases import TestDatabase, database, delivery

SERVERS = ("postgresql", "mariadb")
INSERT = "insert into orders values (:id, :total)"


@pytest.fixture(params=SERVERS)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestDatabase]:
    found = database(request.param, tmp_path, request)
    found.execute("create table orders (id varchar(40) primary key, total integer)")
    yield found
    for sink in found.sinks:
        await sink.close()


class Wire:
    """Between a client and the server: cuts every connection once a word was seen."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.cut_at = b""
        self.cuts = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ends = (writer, inner_writer)
        try:
            await asyncio.gather(self._pass(reader, inner_writer, ends), self._pass(inner_reader, writer, ends))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in ends:
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: Any) -> None:
        while data := await reader.read(65536):
            if self.cut_at and self.cut_at in data.lower():
                self.cuts += 1
                for end in ends:
                    end.transport.abort()
                return
            writer.write(data)
            await writer.drain()
        for end in ends:
            end.close()


@asynccontextmanager
async def wire(db: TestDatabase) -> AsyncIterator[Wire]:
    assert db.server is not None
    between = Wire(db.server.port)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()


async def test_a_connection_dropped_in_a_transaction_is_the_systems_failure_and_nothing_is_half(
        db: TestDatabase) -> None:
    assert db.server is not None
    async with wire(db) as between:
        sink = db.sink(url=db.server.url(db.name, port=between.port))
        await sink.send(delivery({"id": "a", "total": 1}, "k-1", statement=INSERT))
        between.cut_at = b"update orders"
        two = [INSERT, "update orders set total = total + 1"]
        with pytest.raises(SystemUnavailableError):
            await sink.send(delivery({"id": "b", "total": 1}, "k-2", statement=two))
        assert db.execute("select id, total from orders") == [("a", 1)]
        between.cut_at = b""
        await sink.probe()
        await sink.send(delivery({"id": "b", "total": 1}, "k-2", statement=two))
        assert sorted(db.execute("select id, total from orders")) == [("a", 2), ("b", 2)]


async def test_an_answer_to_a_commit_that_is_lost_does_nothing_twice(db: TestDatabase) -> None:
    assert db.server is not None
    async with wire(db) as between:
        sink = db.sink(url=db.server.url(db.name, port=between.port))
        add = "update orders set total = total + 1"
        await sink.send(delivery({"id": "a", "total": 0}, "k-1", statement=INSERT))
        between.cut_at = b"commit"  # PostgreSQL's answer says it, MariaDB is cut before it hears it
        for _ in range(3):
            with pytest.raises(SystemUnavailableError):
                await sink.send(delivery({}, "k-2", statement=add))
        assert between.cuts >= 3
        between.cut_at = b""
        await sink.send(delivery({}, "k-2", statement=add))
        assert db.execute("select total from orders") == [(1,)]


async def test_many_at_once_over_a_bad_line_are_each_done_once(db: TestDatabase) -> None:
    assert db.server is not None
    async with wire(db) as between:
        sink = db.sink(url=db.server.url(db.name, port=between.port))
        await sink.probe()
        left = {f"k-{number}": {"id": f"o-{number}", "total": 1} for number in range(120)}
        for turn in range(20):
            between.cut_at = b"o-7" if turn % 2 == 0 and turn < 6 else b""
            outcome = await asyncio.gather(*[sink.send(delivery(body, key, statement=INSERT))
                                             for key, body in left.items()], return_exceptions=True)
            assert all(one is None or isinstance(one, SystemUnavailableError) for one in outcome), outcome
            left = {key: body for (key, body), one in zip(left.items(), outcome, strict=True) if one is not None}
            if not left:
                break
        assert between.cuts
        assert db.execute("select count(*), sum(total) from orders") == [(120, 120)]


async def test_connections_that_died_while_unused_are_made_anew(db: TestDatabase) -> None:
    sink = db.sink()
    await asyncio.gather(*[sink.send(delivery({"id": f"o-{n}", "total": 1}, f"k-{n}", statement=INSERT))
                           for n in range(20)])
    if db.kind == "postgresql":
        db.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'arint warehouse'")
    else:
        for row in db.execute("select id from information_schema.processlist where id <> connection_id() "
                              f"and db = '{db.name}'"):
            db.execute(f"kill {row[0]}")
    await sink.send(delivery({"id": "later", "total": 1}, "k-later", statement=INSERT))
    assert len(db.execute("select id from orders")) == 21


async def test_the_servers_connections_are_bounded(db: TestDatabase) -> None:
    sink = db.sink(connections=3)
    await asyncio.gather(*[sink.send(delivery({}, f"k-{n}", statement="select count(*) from orders", rows="scalar"))
                           for n in range(40)])
    query = ("select count(*) from pg_stat_activity where application_name = 'arint warehouse'"
             if db.kind == "postgresql" else
             f"select count(*) from information_schema.processlist where db = '{db.name}' and id <> connection_id()")
    assert int(db.execute(query)[0][0]) <= 3


async def test_tls_that_the_server_does_not_speak_is_told(db: TestDatabase) -> None:
    with pytest.raises(SystemUnavailableError) as caught:
        await db.sink(tls={}).probe()
    assert "SSL" in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_procedures(db: TestDatabase) -> None:
    if db.kind == "postgresql":
        db.execute("create procedure add_order(new_id text, inout amount integer) language plpgsql as "
                   "$$ begin insert into orders values (new_id, amount); amount := amount * 2; end $$",
                   "create function total_of(wanted text) returns integer language sql as "
                   "'select total from orders where id = wanted'")
        statement: Any = "call add_order(:id, :amount)"
        ask = "select total_of(:id)"
    else:
        db.execute("create procedure add_order(new_id varchar(40), inout amount integer) "
                   "begin insert into orders values (new_id, amount); set amount = amount * 2; end",
                   "create function total_of(wanted varchar(40)) returns integer reads sql data "
                   "return (select total from orders where id = wanted)")
        statement = ["set @amount = :amount", "call add_order(:id, @amount)", "select @amount as amount"]
        ask = "select total_of(:id)"
    sink = db.sink()
    for _ in range(2):  # once a message, and its answer again
        found = await sink.send(delivery({"id": "a", "amount": 21}, "k-1", statement=statement, rows="one"))
        assert found == b'{"amount":42}'
    assert db.execute("select id, total from orders") == [("a", 21)]
    assert await sink.send(delivery({"id": "a"}, statement=ask, rows="scalar")) == b"21"
    await sink.send(delivery({"id": "b", "amount": 1}, "k-2", statement=statement if db.kind == "postgresql" else [
        "set @amount = :amount", "call add_order(:id, @amount)"]))
    assert len(db.execute("select id from orders")) == 2


POSTGRES_TYPES = """select 12345678901234567890.123456789 as exact, 'NaN'::numeric as nan, 1.5::float8 as real_,
    'infinity'::float8 as inf, true as yes, null as nothing, date '2026-01-02' as day,
    timestamp '2026-01-02 03:04:05.5' as moment, timestamptz '2026-01-02 03:04:05+02' as instant,
    time '03:04' as clock, interval '1 day 2 hours' as span, '\\x00ff'::bytea as raw,
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as id, '{"a": [1, null]}'::jsonb as doc, array[1, 2] as many,
    '10.0.0.0/8'::cidr as net, int4range(1, 5) as span_of"""
MARIA_TYPES = """select cast(12345678901234567890.123456789 as decimal(30,9)) as exact, 1.5e0 as real_, true as yes,
    null as nothing, date '2026-01-02' as day, timestamp '2026-01-02 03:04:05.5' as moment,
    cast('-02:30:00' as time) as clock, x'00ff' as raw, cast('{"a": [1, null]}' as char) as doc"""


async def test_types_as_json(db: TestDatabase) -> None:
    told = await db.sink().send(delivery({}, statement=POSTGRES_TYPES if db.kind == "postgresql" else MARIA_TYPES,
                                         rows="one"))
    assert told is not None
    assert b'"exact":12345678901234567890.123456789' in told
    row = json.loads(told)
    common = {"real_": 1.5, "nothing": None, "day": "2026-01-02", "moment": "2026-01-02T03:04:05.500000", "raw": "AP8="}
    assert {key: row[key] for key in common} == common
    if db.kind == "postgresql":
        assert {key: row[key] for key in ("nan", "inf", "yes", "clock", "span", "id", "doc", "many", "net")} == {
            "nan": None, "inf": None, "yes": True, "clock": "03:04:00", "span": "P1DT7200S",
            "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "doc": {"a": [1, None]}, "many": [1, 2], "net": "10.0.0.0/8"}
        assert row["instant"].startswith("2026-01-02T")
        assert row["span_of"] == "[1, 5)"
    else:
        assert {key: row[key] for key in ("yes", "clock", "doc")} == {
            "yes": 1, "clock": "-02:30:00", "doc": '{"a": [1, null]}'}
