"""The SQL sink against SQLite, PostgreSQL and MariaDB: what must be the same for all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from arint.errors import MessageError, RejectedError, SystemUnavailableError
from arint.ports import free_port
from plugins.sql.database import Job
from plugins.sql.sink import opened
from tests.plugins.databases import KINDS, SECRETS, TestDatabase, database, delivery

ORDERS = "create table orders (id varchar(40) primary key, total numeric(10,2) not null, note varchar(200))"
INSERT = "insert into orders values (:id, :total, :note)"


@pytest.fixture(params=KINDS)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestDatabase]:
    found = database(request.param, tmp_path, request)
    found.execute(ORDERS)
    yield found
    for sink in found.sinks:
        await sink.close()


def order(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"o-{number}", "total": number, "note": None, **more}


async def test_a_row_once_a_key(db: TestDatabase) -> None:
    sink = db.sink()
    for _ in range(3):
        assert await sink.send(delivery(order(1), "k-1", statement=INSERT)) is None
    assert [(row[0], float(row[1])) for row in db.execute("select * from orders")] == [("o-1", 1.0)]


async def test_many_at_once_are_few_transactions_and_each_once(db: TestDatabase) -> None:
    sink = db.sink()
    await asyncio.gather(*[sink.send(delivery(order(number), f"k-{number}", statement=INSERT))
                           for number in (*range(600), *range(300))])
    assert int(db.execute("select count(*) from orders")[0][0]) == 600
    if db.kind == "postgresql":
        assert len({row[0] for row in db.execute("select xmin::text from orders")}) < 60


async def test_a_poisoned_message_fails_alone(db: TestDatabase) -> None:
    sink = db.sink()
    bodies = [order(number, total=None if number % 100 == 7 else number) for number in range(300)]
    outcome = await asyncio.gather(*[sink.send(delivery(body, f"k-{body['id']}", statement=INSERT)) for body in bodies],
                                   return_exceptions=True)
    failed = [number for number, one in enumerate(outcome) if one is not None]
    assert failed == [7, 107, 207]
    assert all(isinstance(outcome[number], MessageError) for number in failed)
    assert int(db.execute("select count(*) from orders")[0][0]) == 297
    # it left no key behind, so that the next attempt is one
    await sink.send(delivery(order(7), "k-o-7", statement=INSERT))
    assert int(db.execute("select count(*) from orders")[0][0]) == 298


async def test_what_only_the_commit_refuses_fails_alone(db: TestDatabase) -> None:
    if db.kind == "mariadb":
        pytest.skip("MariaDB has no deferred constraints")
    db.execute("create table positions (id integer, order_id varchar(40) references orders (id) "
               "deferrable initially deferred)")
    await db.sink().send(delivery(order(1), "k-0", statement=INSERT))
    sink = db.sink()
    insert = "insert into positions values (:number, :order)"
    outcome = await asyncio.gather(*[
        sink.send(delivery({"number": number, "order": "nowhere" if number == 5 else "o-1"}, f"k-{number}",
                           statement=insert)) for number in range(1, 20)], return_exceptions=True)
    assert [number for number, one in enumerate(outcome, 1) if one is not None] == [5]
    assert int(db.execute("select count(*) from positions")[0][0]) == 18


async def test_a_statement_for_each_row_of_a_message(db: TestDatabase) -> None:
    db.execute("create table positions (order_id varchar(40), position integer, sku varchar(40), qty integer)")
    body = {**order(1), "lines": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 1}]}
    insert = {"for_each": "body.lines", "statement": "insert into positions values (:order, :index, :sku, :qty)",
              "params": {"order": "body.id"}}
    await db.sink().send(delivery(body, statement=[INSERT, insert]))
    assert db.execute("select * from positions order by position") == [("o-1", 0, "a", 2), ("o-1", 1, "b", 1)]
    await db.sink().send(delivery({"rows": [1, 2, 3]}, "k-2", for_each="rows",
                                  statement="insert into positions values ('x', :row, '', 0)"))
    assert len(db.execute("select * from positions where order_id = 'x'")) == 3
    await db.sink().send(delivery({"rows": []}, "k-3", for_each="rows", statement="delete from positions"))
    assert len(db.execute("select * from positions")) == 5


async def test_a_row_that_fails_undoes_the_whole_message(db: TestDatabase) -> None:
    body = {"orders": [order(1), order(2), order(1)]}
    with pytest.raises(MessageError, match="connection/warehouse, statement 1"):
        await db.sink().send(delivery(body, for_each="orders", statement=INSERT))
    assert db.execute("select * from orders") == []
    with pytest.raises(RejectedError, match="no list is in the message's field total"):
        await db.sink().send(delivery({"total": 1}, for_each="total", statement=INSERT))


@pytest.mark.parametrize("evil", ["x'); drop table orders; --", "\\'; drop table orders; --", "%s %(id)s :id ?",
                                  "' or '1'='1", "\u02bc; delete from orders", "a\u0000b"[:1]])
async def test_values_are_never_part_of_the_statement(db: TestDatabase, evil: str) -> None:
    await db.sink().send(delivery({"id": evil, "total": 1, "note": evil}, statement=INSERT))
    assert [(row[0], row[2]) for row in db.execute("select * from orders")] == [(evil, evil)]


async def test_the_answer_is_read(db: TestDatabase) -> None:
    db.execute(*[f"insert into orders values ('o-{n}', {n}.5, 'n{n}')" for n in range(1, 4)])
    sink = db.sink()

    async def ask(statement: str, body: Any = None, **answer: Any) -> Any:
        found = await sink.send(delivery(body or {}, statement=statement, **{"rows": "all", **answer}))
        return None if found is None else json.loads(found)

    assert [row["id"] for row in await ask("select id, total from orders order by id")] == ["o-1", "o-2", "o-3"]
    assert await ask("select id, note from orders where id = :id", {"id": "o-2"}, rows="one") == {
        "id": "o-2", "note": "n2"}
    assert await ask("select note from orders where id = 'o-9'", rows="one") is None
    assert await ask("select count(*) from orders", rows="scalar") == 3
    with pytest.raises(RejectedError, match="more than 2 rows"):
        await ask("select * from orders", limit=2)
    with pytest.raises(RejectedError, match="more than 1 row"):
        await ask("select * from orders", rows="one")
    with pytest.raises(RejectedError, match='two columns are called "id"'):
        await ask("select a.id, b.id from orders a join orders b on a.id = b.id")
    assert await ask("select count(*) from orders", rows="scalar") == 3
    assert "arint_delivered" not in str(db.execute("select table_name from information_schema.tables "
                                                   f"where table_schema = '{db.name}'"
                                                   if db.server else "select name from sqlite_master"))


async def test_a_query_changes_nothing_unless_it_says_so(db: TestDatabase) -> None:
    sink = db.sink()
    with pytest.raises(RejectedError, match=r"may only read.*once: true"):
        await sink.send(delivery(order(1), statement=INSERT, rows="all", once=False))
    assert db.execute("select * from orders") == []
    for _ in range(2):  # done once, and the same answer is given again
        found = await sink.send(delivery(
            order(1), statement=[INSERT, "select count(*) as n from orders"], rows="one"))
        assert found == b'{"n":1}'
        db.execute("insert into orders values ('later', 1, '')")
        db.execute("delete from orders where id = 'later'")


async def test_a_slow_statement_uses_an_attempt_and_leaves_the_database_usable(db: TestDatabase) -> None:
    slow = {"sqlite": "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n",
            "postgresql": "select pg_sleep(30)", "mariadb": "select sleep(30)"}[db.kind]
    sink = db.sink()
    with pytest.raises(MessageError, match=r"not done within 0\.4 seconds|took too long"):
        await sink.send(delivery({}, statement=slow, rows="all", timeout=0.4))
    await sink.send(delivery(order(1), statement=INSERT))
    assert len(db.execute("select * from orders")) == 1


async def test_a_vanished_table_uses_an_attempt(db: TestDatabase) -> None:
    sink = db.sink()
    await sink.send(delivery(order(1), "k-1", statement=INSERT))
    db.execute("drop table orders")
    with pytest.raises(MessageError, match="orders"):
        await sink.send(delivery(order(2), "k-2", statement=INSERT))
    db.execute(ORDERS, "drop table arint_delivered")
    with pytest.raises(MessageError, match="table arint_delivered"):
        await sink.send(delivery(order(2), "k-2", statement=INSERT))
    await sink.send(delivery(order(2), "k-2", statement=INSERT))
    assert len(db.execute("select * from orders")) == 1


async def test_wrong_types_reject_the_message(db: TestDatabase) -> None:
    if db.kind == "sqlite":
        pytest.skip("SQLite stores everything everywhere")
    with pytest.raises(RejectedError):
        await db.sink().send(delivery({"id": "x", "total": "many", "note": ""}, statement=INSERT))
    with pytest.raises(RejectedError):  # cut to fit is not what was sent
        await db.sink().send(delivery({"id": "x" * 50, "total": 1, "note": ""}, statement=INSERT))
    assert db.execute("select * from orders") == []


async def test_who_only_reads_needs_no_rights(db: TestDatabase) -> None:
    if db.server is None:
        pytest.skip("SQLite has no users")
    where = "'reader'@'127.0.0.1'" if db.kind == "mariadb" else f"reader_{db.name}"
    user = "reader" if db.kind == "mariadb" else f"reader_{db.name}"
    password = "identified by" if db.kind == "mariadb" else "password"
    db.execute(f"create user {where} {password} 's3cret of the tests'", f"grant select on orders to {where}")
    if db.kind == "postgresql":
        db.execute(f"grant usage on schema {db.name} to {where}")
    sink = db.sink(url=db.server.url(db.name, user=user))
    assert await sink.send(delivery({}, statement="select * from orders", rows="all")) == b"[]"
    with pytest.raises(MessageError, match="see the how-to"):
        await sink.send(delivery(order(1), statement=INSERT))


async def test_deadlocks_are_tried_again(db: TestDatabase) -> None:
    if db.server is None:
        pytest.skip("SQLite has one writer")
    db.execute("insert into orders values ('a', 0, ''), ('b', 0, '')")
    one, two = db.sink(timeout="10s"), db.sink(timeout="10s")
    add = "update orders set total = total + 1 where id = :id"
    ways = [[("a", "b"), ("b", "a")][number % 2] for number in range(60)]
    await asyncio.gather(*[
        (one if number % 3 else two).send(delivery({"rows": [{"id": way[0]}, {"id": way[1]}]}, f"k-{number}",
                                                   timeout=30.0, for_each="rows", statement=add))
        for number, way in enumerate(ways)])
    assert [float(row[0]) for row in db.execute("select total from orders order by id")] == [60.0, 60.0]


async def test_a_held_row_delays_only_its_own_message(db: TestDatabase) -> None:
    if db.server is None:
        pytest.skip("SQLite has one writer")
    db.execute("insert into orders values ('a', 0, '')")
    other, threads = opened("other", db.connection(), SECRETS)
    with other.transaction(Job(30)) as connection:
        connection.execute(text("update orders set note = 'held' where id = 'a'"))
        sink = db.sink()
        held = [sink.send(delivery({}, "k-held", statement="update orders set total = 1 where id = 'a'"))]
        free = [sink.send(delivery(order(number), f"k-{number}", statement=INSERT)) for number in range(40)]
        outcome = await asyncio.gather(*held, *free, return_exceptions=True)
    assert isinstance(outcome[0], MessageError) and "holds a lock" in str(outcome[0])
    assert outcome[1:] == [None] * 40
    await threads.close()
    other.close()


async def test_a_database_that_is_not_there(db: TestDatabase) -> None:
    if db.server is None:
        pytest.skip("SQLite is a file")
    gone = db.server.url(db.name, port=free_port())
    with pytest.raises(SystemUnavailableError, match=r"(?i)refused"):
        await db.sink(url=gone).probe()
    with pytest.raises(SystemUnavailableError, match="nowhere"):
        nowhere = f"{db.kind}://arint@127.0.0.1:{db.server.port}/nowhere"
        await db.sink(url=nowhere).send(delivery(order(1), statement=INSERT))
    with pytest.raises(SystemUnavailableError, match="nobody") as caught:
        await db.sink(url=db.server.url(db.name, user="nobody")).probe()
    assert "s3cret" not in str(caught.value)
