"""Rows into SQLite and PostgreSQL, one message each, every commit synced; 512 at once, as a runner has them.

And the other way: a polled table of PostgreSQL, by a real source worker, each row a message on the broker's disk.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from arint.errors import NotFoundError
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from bench.path import DEADLINE, Path1, running
from bench.report import Figure, best
from plugins.sql.database import Job
from plugins.sql.sink import SqlSink, opened
from plugins.sql.specs import SqlConnection, SqlOptions
from tests.databases import PASSWORD, PostgresServer, started

ROWS = 20_000
AT_ONCE = 512
POLLED = """
kind: Secret
name: pw
from: {{env: X}}
---
kind: Connection
name: shop
sql: {{url: "{url}", password: {{secret: pw}}}}
---
kind: Flow
name: orders
steps:
  - log: taken
---
kind: Channel
name: orders-in
sql:
  from: connection/shop
  query: select id, customer, total from web_orders where not taken
  by: {by}
  key: id
  {how}
  every: 50ms
to: flow/orders
"""
WAYS = {"key": "", "flag": "taken: update web_orders set taken = true where id = :id"}
"""How a row that was taken is known, and what is said for it."""
SECRETS = {"pw": PASSWORD.encode()}
OPTIONS = SqlOptions(statement="insert into orders values (:id, :customer, :total)")
SETUP = ["drop table if exists orders",
         "create table orders (id varchar(40) primary key, customer varchar(100), total numeric(10,2))"]


class SyncedPostgres(PostgresServer):
    """As in production: a commit is on disk before it is told."""

    fsync = "on"


def measure(runs: int) -> list[Figure]:
    """Rows a second into each; and read page by page, as a polled table is."""
    with tempfile.TemporaryDirectory() as folder:
        lite = SqlConnection(url=f"sqlite:///{Path(folder) / 'bench.db'}", setup=SETUP)
        into_lite = [asyncio.run(_written(lite)) for _ in range(runs)]
    server = started(SyncedPostgres)
    try:
        spec = msgspec.convert({"url": server.url("public"), "password": {"secret": "pw"}, "setup": SETUP},
                               SqlConnection)
        into_postgres = [asyncio.run(_written(spec)) for _ in range(runs)]
        polled = {by: [asyncio.run(_polled(server, by)) for _ in range(runs)] for by in WAYS}
        read = [_read(msgspec.structs.replace(spec, setup=[])) for _ in range(runs)]
    finally:
        server.close()
    return [best("rows into SQLite, each a message", into_lite, "/s", 5000),
            best("rows into PostgreSQL, each a message", into_postgres, "/s", 5000),
            *(best(f"rows of a table polled by {by} to messages on disk", rates, "/s") for by, rates in polled.items()),
            best("rows read from PostgreSQL in pages of 500, as JSON", read, "/s")]


async def _written(spec: SqlConnection) -> float:
    sink = SqlSink(SinkContext("bench", spec, SECRETS, ""))
    numbers = iter(range(ROWS))
    run = f"{time.time_ns()}"
    await sink.probe()

    async def send() -> None:
        for number in numbers:
            body: dict[str, Any] = {"id": f"o-{number}", "customer": "Ada Lovelace", "total": 12.5}
            await sink.send(Delivery(Message(id=f"m-{number}"), body, OPTIONS, f"{run}-{number}"))

    began = time.perf_counter()
    await asyncio.gather(*[send() for _ in range(AT_ONCE)])
    took = time.perf_counter() - began
    await sink.close()
    return ROWS / took


async def _polled(server: PostgresServer, by: str) -> float:
    """Between the first message and the last: what starting takes is not counted."""
    name = server.new_database()
    server.execute("create table web_orders (id integer primary key, customer text, total numeric(10,2), "
                   "taken boolean not null default false)",
                   f"insert into web_orders select n, 'Ada Lovelace', 12.5 from generate_series(1, {ROWS}) n",
                   database=name)
    async with running(POLLED.format(url=server.url(name), by=by, how=WAYS[by]), "") as path:
        await path.agent.start(path.orders("sql-1", "source", source="sql", channels=path.channels, secrets=SECRETS))
        first, began = await _stored(path, 1)
        last, ended = await _stored(path, ROWS)
    return (last - first) / (ended - began)


async def _stored(path: Path1, count: int) -> tuple[int, float]:
    """How many are stored, and when, as soon as there are so many."""
    async with asyncio.timeout(DEADLINE):
        while (found := await _messages(path)) < count:
            await asyncio.sleep(0.01)
    return found, time.perf_counter()


async def _messages(path: Path1) -> int:
    with suppress(NotFoundError):  # the source makes the stream
        return await path.messages("orders")
    return 0


def _read(spec: SqlConnection) -> float:
    database, _ = opened("bench", spec, SECRETS)
    last, found = "", 0
    began = time.perf_counter()
    while rows := database.rows(Job(30.0), "select * from orders where id > :after order by id limit 500",
                                {"after": last}, ("id",), 500, 2**24):
        last, found = rows[-1].values[0], found + len(rows)
    took = time.perf_counter() - began
    database.close()
    return found / took
